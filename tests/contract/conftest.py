"""One set of frameworks and built networks for a test run."""

from __future__ import annotations

import pytest

from tests.contract.hooks import FRAMEWORKS, FrameworkHooks, load


@pytest.fixture(scope="session", params=FRAMEWORKS)
def hooks(request: pytest.FixtureRequest) -> FrameworkHooks:
    """Each framework in turn; `indirect=["hooks"]` picks one by name."""
    return load(request.param)
