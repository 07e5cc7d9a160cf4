"""What people said of pictures, and the files that say it.

- `histograms`: distributions of votes: `normalise`, `mean`, `std`, histograms around mean scores, `Score`.
- `ratings`: `read_ratings`, labels of AVA and of your own pictures: histograms of the votes 1-10.
- `scores`: `read_scores`, mean opinion scores of your own pictures, on whatever scale.
- `rating_files`: the forms of files that `ratings` and `scores` read.
- `splits`: pictures to train on and to test on, by share or in folds, with groups kept whole.
- `tid2013`: `read_mos`, labels of TID2013: mean opinion scores of distorted pictures, and ladders of them.
- `percentiles`: `percentile`, the share of AVA's photographs that score lower.
- `faults`: the kinds of technical fault.

Importing this package loads none of them.
"""
