"""Statistics of the comparison: leaves of the harness, known answers in tests.

`comparison.compare` is the entry for scores, `latency.latency_ratio` for times,
`spread.variance_split` for frameworks, `detection.detection` for false alarms and missed slices,
`robustness` for the ranking across metrics and the subjects of one pair. When one network is called
better is decided in `verdicts`, from `evidence` and `guard`. The modules are imported where they
are used: reading `harness.statistics` alone costs nothing.
"""
