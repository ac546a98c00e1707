"""The experiment: data, training, evaluation, measuring, statistics, records, leaderboard.

No module here imports torch, tensorflow, keras, jax or flax; a cell's process reaches them through
`backends.contract` alone.
"""
