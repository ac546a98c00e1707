"""The registry finds what lies in the folders, and answers misspellings."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import architectures
from backends.errors import MissingFramework
from backends.plans import PLANS
from harness import registry
from harness.cli.listing import list_cells
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
    text = (Path(__file__).parent / "table1.csv").read_text(encoding="utf-8")
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


CARD = "from architectures.card import Card\n\nCARD = Card({fields})\n"
FIELDS = 'title="Odd", summary="s.", citation="c", url="https://x.org"'


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The registry of an empty tree, whose networks are found as those of ours are."""
    monkeypatch.setattr(architectures, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    registry.networks.cache_clear()
    importlib.invalidate_caches()
    yield tmp_path
    registry.networks.cache_clear()


def add(tree: Path, name: str, card: str) -> None:
    (tree / name).mkdir()
    (tree / name / "__init__.py").touch()
    (tree / name / "card.py").write_text(card)


@pytest.mark.parametrize(
    ("name", "card", "sentence"),
    [
        ("odd_keyword", CARD.format(fields=FIELDS + ", colour=1"), "TypeError: .*'colour'"),
        ("odd_syntax", "CARD = (\n", "line 1: '\\(' was never closed"),
        ("odd_name", "CARD = Crad()\n", "NameError: name 'Crad' is not defined"),
        ("odd_nothing", "", "has no attribute 'CARD'"),
        ("odd_other", "CARD = 1\n", "is not a Card"),
    ],
)
def test_a_broken_card_is_a_sentence_that_names_its_file(
    tree: Path, name: str, card: str, sentence: str
) -> None:
    add(tree, name, card)
    add(tree, f"{name}_sane", CARD.format(fields=FIELDS))
    with pytest.raises(UsageError, match=sentence) as caught:
        registry.network(name)
    assert str(tree / name / "card.py") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert registry.network(f"{name}_sane").card.title == "Odd"


def test_list_shows_a_broken_network_and_all_others(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(tree, "odd_listed", "CARD = (\n")
    add(tree, "odd_listed_sane", CARD.format(fields=FIELDS))
    add(tree, "Odd Name", CARD.format(fields=FIELDS))
    (tree / "odd_listed_sane" / "torch_net.py").touch()
    list_cells(as_json=True)
    rows = json.loads(capsys.readouterr().out)
    status = {(row["network"], row["backend"]): row["status"] for row in rows}
    assert status["odd_listed", "torch"].startswith("broken: network 'odd_listed'")
    assert "card.py" in status["odd_listed", "torch"]
    assert status["odd_listed_sane", "torch"] == "ready"
    assert "is not allowed" in status["Odd Name", "torch"]


def test_a_plugin_that_cannot_be_found_is_broken_alone(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = registry.ENTRY_POINT_GROUP
    points = [EntryPoint(name, package, group) for name, package in PLUGINS]
    monkeypatch.setattr(registry, "entry_points", lambda **_: points)
    add(tree, "odd_beside", CARD.format(fields=FIELDS))
    assert registry.network("odd_beside").card.title == "Odd"
    for name, package in PLUGINS:
        with pytest.raises(UsageError, match=f"'{package}' cannot be imported: install it again"):
            registry.network(name)


def test_a_clash_is_broken_with_its_packages_name_and_stops_nothing(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(tree, "odd_taken", CARD.format(fields=FIELDS))
    (tree / "odd_taken" / "torch_net.py").touch()
    point = EntryPoint("odd_taken", "architectures.unet", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [point])
    assert registry.network("odd_taken").package == "architectures.odd_taken"
    assert registry.usable_networks() == ["odd_taken"]
    list_cells(as_json=True)
    rows = json.loads(capsys.readouterr().out)
    status = {(row["network"], row["backend"]): row["status"] for row in rows}
    assert status["odd_taken", "torch"] == "ready"
    clash = status["odd_taken of architectures.unet", "torch"]
    assert clash.startswith("broken")
    assert "'architectures.unet'" in clash
    assert "rename it" in clash


PLUGINS = (("gone_net", "no_such_package"), ("lost_net", "no_such_parent.package"))


def test_every_backend_has_plans_and_each_key_is_its_own() -> None:
    assert tuple(PLANS) == registry.backend_names()
    for backend, plans in PLANS.items():
        keys = [plan.key for plan in plans]
        assert len(set(keys)) == len(keys), backend
        assert "cpu" in plans[0].devices, backend
