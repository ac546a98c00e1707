"""`fetalbench compare` as a user calls it, on made-up records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from harness.cli.compare import compare
from harness.errors import UsageError
from tests.report import factory
from tests.report.factory import Cell

app = typer.Typer()
app.command("compare")(compare)


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = [
        Cell(network="enet", seed=0),
        Cell(network="enet", seed=1, status="diverged", reason="The loss was not finite."),
        Cell(network="unet"),
        Cell(network="segnet", status="crashed", reason="It crashed."),
    ]
    return factory.write_results(tmp_path_factory.mktemp("trio") / "results", cells)


def call(results: Path, *words: str):
    return CliRunner().invoke(app, ["--results", str(results), *words])


def test_failed_networks_and_seeds_are_counted_and_said(trio: Path) -> None:
    rows = json.loads(call(trio, "--json").stdout)
    assert [(row["a"], row["b"], row["family_size"]) for row in rows] == [
        ("enet", "segnet", 3),
        ("enet", "unet", 3),
        ("segnet", "unet", 3),
    ]
    text = call(trio).stdout
    assert "no record of segnet" in text
    assert "1 of 2 seeds ended without scores" in text


def test_margin_and_slices_can_be_chosen(trio: Path, tmp_path: Path) -> None:
    cells = [Cell(network="rfbsnet"), Cell(network="unet")]
    close = factory.write_results(tmp_path / "results", cells)
    (pair,) = json.loads(call(close, "--json", "--margin", "2", "--over", "brain").stdout)
    assert (pair["over"], pair["negligible"]) == ("brain", True)
    (plain,) = json.loads(call(close, "--json").stdout)
    assert (plain["over"], plain["negligible"]) == ("alarms", False)
    wrong = call(trio, "--over", "some")
    assert wrong.exit_code == 2
    assert "'some'" in wrong.output
    assert "alarms" in wrong.output


@pytest.mark.parametrize(
    ("margin", "said"), [("0.005", "in points"), ("90", "at most 5.00 points")]
)
def test_a_margin_is_in_points_and_bounded(trio: Path, margin: str, said: str) -> None:
    wrong = call(trio, "--margin", margin)
    assert isinstance(wrong.exception, UsageError)
    assert said in str(wrong.exception)
