"""What people said of pictures, and the files that say it; importing this package loads no module of it.

- `histograms`: distributions of votes, `Score`; `percentiles`: the share of AVA's photographs that score lower.
- `ratings`, `scores`: labels of your own pictures, and AVA's; `rating_files`: the forms of their files.
- `tid2013`: mean opinion scores of distorted pictures, and ladders of them; `faults`: kinds of technical fault.
- `splits`: pictures to train on and to test on, by share or in folds, with groups kept whole.
"""
