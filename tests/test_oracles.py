"""The rule by which a missing oracle is a failure or a skip."""

from __future__ import annotations

import pytest

from tests.oracles import oracle


def test_a_missing_oracle_fails_in_ci_and_is_skipped_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(ModuleNotFoundError):
        oracle("no_such_library")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no_such_library"):
        oracle("no_such_library")
