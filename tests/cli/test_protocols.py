"""`fetalbench protocols`, and the page of the keys that is made from the same model."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from harness.cli import app
from harness.cli.protocols import document, keys
from harness.protocol import available
from tests.conftest import ROOT


def said(*words: str) -> str:
    done = CliRunner().invoke(app, ["protocols", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_page_is_what_the_model_gives() -> None:
    page = (ROOT / "docs" / "protocol-keys.md").read_text(encoding="utf-8")
    assert page == document(), "run `make schema`"


def test_every_protocol_has_one_line() -> None:
    rows = json.loads(said("--json"))
    assert [row["protocol"] for row in rows] == available()
    assert all(row["description"].strip() for row in rows)


def test_every_key_says_what_it_means_and_what_it_may_be() -> None:
    found = dict(keys())
    assert {"training.learning_rate", "limits.stalled_seconds", "grid.first"} <= found.keys()
    assert [key for key, field in found.items() if not field.get("description")] == []


def test_one_protocol_shows_its_values_beside_the_defaults() -> None:
    rows = {row["key"]: row for row in json.loads(said("small_data", "--json"))}
    assert set(rows) == {key for key, _ in keys()}
    epochs = rows["training.epochs"]
    assert (epochs["value"], epochs["default"], epochs["allowed"]) == (
        "240",
        "100",
        "whole number ≥ 1",
    )
    assert rows["input.pixel_mm"]["value"] == "2.0"
    assert rows["evaluation.sets"]["allowed"] == "list of normal, challenging"
