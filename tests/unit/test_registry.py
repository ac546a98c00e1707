"""The registry finds what lies in the folders, and answers misspellings."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from backends.contract import MissingFramework
from harness import registry
from harness.errors import UsageError

PAPER = (
    "unet",
    "rfbsnet",
    "segnet",
    "enet",
    "fast_scnn",
    "dfanet",
    "shuffleseg",
    "shuffleseg_v2",
    "icnet",
)


def test_the_papers_nine_networks_are_there_in_three_frameworks() -> None:
    missing = [
        (name, backend)
        for name in PAPER
        for backend in ("torch", "keras", "flax")
        if not registry.network(name).implements(backend)
    ]
    assert missing == []


@pytest.mark.parametrize("name", sorted(registry.networks()))
def test_every_card_can_stand_on_a_page(name: str) -> None:
    card = registry.network(name).card
    assert card.title
    assert card.summary.endswith(".")
    assert card.citation
    assert card.url.startswith("https://")
    assert (card.published is not None) == (name in PAPER)


def test_a_network_without_its_file_is_not_implemented(tmp_path: Path) -> None:
    entry = registry.NetworkEntry(name="x", package="x", folder=tmp_path)
    assert not entry.implements("torch")
    (tmp_path / "torch_net.py").touch()
    assert entry.implements("torch")


@pytest.mark.parametrize(
    ("typed", "meant"), [("Fast-SCNN", "fast_scnn"), ("U-Net", "unet"), ("RFBSNet", "rfbsnet")]
)
def test_names_as_people_write_them(typed: str, meant: str) -> None:
    assert registry.network(typed).name == meant


@pytest.mark.parametrize(
    ("typed", "meant"), [("jax", "flax"), ("pytorch", "torch"), ("TF", "keras")]
)
def test_frameworks_as_people_call_them(typed: str, meant: str) -> None:
    assert registry.backend(typed) == meant


def test_a_misspelling_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'rfbsnet'"):
        registry.network("rfbnet")
    with pytest.raises(UsageError, match="did you mean 'torch'"):
        registry.backend("trch")


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "../x", "", "A", "x" * 65, ".x"])
def test_names_that_could_leave_their_folder_or_page_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        registry.check_name(name, "network")


def test_a_missing_framework_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "missing_modules", lambda _name: ("jax",))
    with pytest.raises(MissingFramework, match=r"pip install 'fetalbench\[jax\]'") as caught:
        registry.load_backend("flax")
    assert caught.value.exit_code == 4


def test_published_figures_are_those_of_the_papers_table() -> None:
    text = (Path(__file__).parents[1] / "table1.csv").read_text(encoding="utf-8")
    rows = {row["network"]: row for row in csv.DictReader(text.splitlines())}
    for name in PAPER:
        card = registry.network(name).card
        row, ours = rows[card.title], card.published
        assert ours is not None
        assert ours.gflops == row["gflops"]
        assert ours.trainable_parameters == int(row["trainable_parameters"])
        for column in ("normal_dice", "normal_iou", "challenging_dice", "challenging_iou"):
            assert getattr(ours, column) == float(row[column])
        assert ours.latency_ms_mean == float(row["latency_ms_mean"])
        assert ours.latency_ms_std == float(row["latency_ms_std"])
