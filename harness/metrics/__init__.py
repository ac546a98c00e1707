"""Metrics on masks at the original grid, and their means."""

from __future__ import annotations

from harness.metrics.aggregation import (
    Quartiles,
    check_values,
    counted,
    quartiles,
    stack_means,
    subject_means,
    summarise,
    volume_dice,
    with_brain,
)
from harness.metrics.catalogue import METRICS, Metric, metric_named
from harness.metrics.slices import (
    NO_PREDICTION,
    TOLERANCE_MM,
    SliceScores,
    coarse_tolerance,
    score_slices,
    slice_scores,
)

__all__ = [
    "METRICS",
    "NO_PREDICTION",
    "TOLERANCE_MM",
    "Metric",
    "Quartiles",
    "SliceScores",
    "check_values",
    "coarse_tolerance",
    "counted",
    "metric_named",
    "quartiles",
    "score_slices",
    "slice_scores",
    "stack_means",
    "subject_means",
    "summarise",
    "volume_dice",
    "with_brain",
]
