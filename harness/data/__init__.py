"""Data sets: what a slice, a stack and a set are, where they come from and how they are checked.

A data set is a folder with `dataset.json`, `slices.parquet` and two arrays a stack, however it came
about: phantom, BIDS, NIfTI folder, CSV of pairs, nnU-Net or the arrays of the paper's code.
"""
