"""From a file or folder to pixels (`reading`), and from pixels to what a network sees (`geometry`, `picture`, `pooling`).

`finding` says which files are meant, `stored` knows those on shared storage. Importing this package loads none of them.
"""
