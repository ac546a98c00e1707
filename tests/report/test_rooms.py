"""The rooms of the leaderboard import along one stream: board ← figures, claims ← page."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

HOUSE = ROOT / "harness" / "leaderboard"
IMPORT = re.compile(r"^\s*(?:from|import) harness\.leaderboard(?:\.(\w+)| import (\w+))", re.M)


@pytest.mark.parametrize(
    ("room", "allowed"),
    [
        ("board", {"board"}),
        ("claims", {"board", "claims"}),
        ("figures", {"board", "figures"}),
    ],
)
def test_rooms_import_along_the_stream(room: str, allowed: set[str]) -> None:
    modules = sorted((HOUSE / room).glob("*.py"))
    assert len(modules) > 3
    for path in modules:
        found = {a or b for a, b in IMPORT.findall(path.read_text(encoding="utf-8"))}
        assert found <= allowed, path
