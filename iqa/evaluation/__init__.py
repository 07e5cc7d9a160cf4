"""Predictions and labels -> figures: read, measure, compare, print, draw."""
