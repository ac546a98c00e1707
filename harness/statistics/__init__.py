"""Statistics of the comparison: leaves of the harness, known answers in tests.

`compare` is the entry for scores, `latency_ratio` for times, `variance_split` for frameworks. The
modules are imported where they are used: reading `harness.statistics` alone costs nothing.
"""
