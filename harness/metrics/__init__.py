"""Metrics on masks at the original grid, and their means."""

from __future__ import annotations

from harness.metrics.aggregation import (
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
    score_slices,
    slice_scores,
)

__all__ = [
    "METRICS",
    "NO_PREDICTION",
    "TOLERANCE_MM",
    "Metric",
    "SliceScores",
    "metric_named",
    "score_slices",
    "slice_scores",
    "stack_means",
    "subject_means",
    "summarise",
    "volume_dice",
    "with_brain",
]
