"""Records are checked, not believed: whatever was altered is left out, named, and run again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.records import atomic, store
from harness.records.soundness import digest_of
from tests.report import factory
from tests.report.factory import Cell

ENET, UNET = Cell(network="enet"), Cell(network="unet")
MACHINE = ENET.machine
Alteration = Callable[[Path], Any]


@pytest.fixture(scope="module")
def two_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factory.write_results(tmp_path_factory.mktemp("two") / "results", [ENET, UNET])


@pytest.fixture
def results(two_cells: Path, tmp_path: Path) -> Path:
    return shutil.copytree(two_cells, tmp_path / "results")


def folder_of(results: Path, network: str = "enet") -> Path:
    (found,) = results.glob(f"[!.]*/*/*/{network}/torch/seed-0")
    return found


def edit(folder: Path, change: Callable[[dict[str, Any]], object], *, signed: bool) -> None:
    path = folder / store.RECORD
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    if signed:
        record["digest"] = digest_of(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def as_schema_1(folder: Path) -> None:
    edit(
        folder, lambda record: record.update(schema_version=1) or record.pop("digest"), signed=False
    )


def dice(value: float) -> Callable[[dict[str, Any]], object]:
    return lambda record: record["scores"]["normal"].update(dice=value)


def rewrite(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Alteration:
    return lambda folder: atomic.write_parquet(
        folder / name, change(pd.read_parquet(folder / name))
    )


def resized(folder: Path) -> None:
    path = folder / store.SLICES
    path.write_bytes(path.read_bytes()[:-100])


def swapped(folder: Path) -> None:
    other = folder_of(folder.parents[5], "unet")
    shutil.copy(other / store.LATENCY, folder / store.LATENCY)


def old_and_edited(folder: Path) -> None:
    edit(folder, dice(0.99), signed=False)
    as_schema_1(folder)


ALTERED: dict[str, tuple[Alteration, str]] = {
    "Dice": (lambda f: edit(f, dice(0.99), signed=False), "was changed after it was written"),
    "no digest": (
        lambda f: edit(f, lambda record: record.pop("digest"), signed=False),
        "was changed after it was written",
    ),
    "Dice above 1": (lambda f: edit(f, dice(123456), signed=True), "less than or equal to 1"),
    "old, Dice": (old_and_edited, "dice on normal, 0.99, is not that of its slices"),
    "crashed with scores": (
        lambda f: edit(f, lambda r: r.update(status="crashed", reason="segfault"), signed=True),
        "the status crashed and scores",
    ),
    "hash not hex": (
        lambda f: edit(f, lambda r: r["key"].update(dataset_hash="../" * 21 + "a"), signed=True),
        "key.dataset_hash",
    ),
    "no scores file": (lambda f: (f / store.SLICES).unlink(), "slices.parquet: is missing"),
    "scores cut": (resized, "slices.parquet: is not the file"),
    "other latencies": (swapped, "latency.parquet: is not the file"),
    "masks changed": (
        rewrite(store.PREDICTIONS, lambda table: table[::-1]),
        "predictions.parquet: is not the file",
    ),
    "nested": (lambda f: (f / store.RECORD).write_text("[" * 100_000), "record.json"),
}
# What only a computation from the samples finds: somebody made the digest again.
FORGED: dict[str, tuple[Alteration, str]] = {
    "Dice": (lambda f: edit(f, dice(0.99), signed=True), "dice on normal, 0.99, is not that"),
    "subjects": (
        lambda f: edit(f, lambda r: r["scores"]["normal"].update(subjects=80), signed=True),
        "subjects on normal, 80",
    ),
    "median": (
        lambda f: edit(f, lambda r: r["latency"][0].update(median_ms=0.1), signed=True),
        "median_ms, 0.1",
    ),
    "p90": (
        lambda f: edit(f, lambda r: r["latency"][0].update(p90_ms=0.1), signed=True),
        "p90_ms, 0.1",
    ),
}


@pytest.mark.parametrize("what", ALTERED)
def test_an_altered_record_is_left_out_named_and_run_again(what: str, results: Path) -> None:
    change, sentence = ALTERED[what]
    folder = folder_of(results)
    key = store.read_record(folder).key
    change(folder)
    found = store.survey(results)
    assert [stored.record.key.network for stored in found.records] == ["unet"]
    (left_out,) = found.left_out
    assert sentence in left_out
    assert str(folder) in left_out
    assert store.find_usable(results, MACHINE, key) is None


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_summary_is_not_that_of_the_samples(what: str, results: Path) -> None:
    change, sentence = FORGED[what]
    change(folder_of(results))
    (left_out,) = store.survey(results).left_out
    assert sentence in left_out


def test_a_record_of_schema_1_is_read_and_its_summaries_are_computed_again(results: Path) -> None:
    as_schema_1(folder_of(results))
    found = store.survey(results)
    assert not found.left_out
    assert [stored.record.schema_version for stored in found.records] == [2, 2]


def test_a_record_that_was_copied_elsewhere_is_another_cells(results: Path) -> None:
    folder = folder_of(results)
    shutil.copytree(folder, folder.with_name("seed-1"))
    shutil.copytree(results / MACHINE, results / "other-box")
    found = store.survey(results)
    assert len(found.records) == 2
    assert len(found.left_out) == 4
    assert all("holds the record of another cell" in sentence for sentence in found.left_out)


def test_a_copy_under_another_key_is_refused(results: Path) -> None:
    folder = folder_of(results)
    copy = shutil.copytree(folder, folder.with_name("seed-1"))
    edit(copy, lambda record: record["key"].update(seed=1), signed=True)
    found = store.survey(results)
    assert len(found.records) == 2
    (left_out,) = found.left_out
    assert f"{copy}: is a copy of {folder}" in left_out


@pytest.mark.parametrize("fault", ["missing", "cut", "another"])
def test_a_damaged_gallery_is_named_and_made_again(fault: str, results: Path) -> None:
    folder = folder_of(results)
    path = folder.parents[2] / store.GALLERY
    match fault:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-10])
        case _:
            atomic.write_parquet(path, factory.gallery_frame().iloc[:1])
    found = store.survey(results)
    assert len(found.records) == 2
    (left_out,) = found.left_out
    assert str(path) in left_out
    assert not store.load_galleries(results)
    store.write_gallery(results, MACHINE, store.read_record(folder).key, factory.gallery_frame)
    assert not store.survey(results).left_out
    assert store.load_galleries(results)


@pytest.mark.parametrize("command", ["report", "compare", "publish"])
def test_a_command_shows_what_is_sound_and_leaves_with_the_exit_code_of_data(
    command: str, results: Path, tmp_path: Path
) -> None:
    factory.write_results(results, [Cell(network="icnet")])
    edit(folder_of(results), dice(0.99), signed=False)
    words = [command, "--results", str(results)]
    if command == "report":
        words += ["--no-figures", "--out", str(tmp_path / "out")]
    if command == "publish":
        words += ["--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3, done.output
    assert "enet/torch/seed-0/record.json: was changed after it was written" in done.output
    if command == "compare":
        assert "unet" in done.output
        return
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "1 left out" in page
    assert "0.99" not in (tmp_path / "out" / "leaderboard.csv").read_text(encoding="utf-8")
    assert str(tmp_path) not in page
