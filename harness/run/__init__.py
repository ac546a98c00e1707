"""The parent: which cells, in what order, and the watch over their processes."""
