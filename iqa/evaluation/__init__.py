"""Predictions and labels -> figures.

`predictions` reads the `.mat` files, `metrics` and `uncertainty` measure them, `comparison` compares several, `tables`
prints and `plots` draws. Importing this package loads none of them.
"""
