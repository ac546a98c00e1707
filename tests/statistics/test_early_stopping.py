"""MLPerf's early-stopping estimate: chance does not make it too small."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import lognorm

from harness.statistics.percentiles import allowed_overlong, early_stopping


@pytest.mark.parametrize("queries", [64, 200, 1000])
def test_the_estimate_is_rarely_below_the_true_percentile(queries):
    random = np.random.default_rng(5)
    samples = random.lognormal(sigma=0.5, size=(20_000, queries))
    place = queries - allowed_overlong(queries)
    estimates = np.partition(samples, place, axis=1)[:, place]
    assert early_stopping(samples[0]).value == estimates[0]
    assert (estimates >= lognorm.ppf(0.9, 0.5)).mean() >= 0.99
