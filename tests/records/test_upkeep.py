"""Results folders are merged, brought to today's schema and cleaned, and no record is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.data.catalogue import Dataset
from harness.errors import UsageError
from harness.records import leftovers, store, upkeep
from harness.records.schema import SCHEMA_VERSION
from tests.conftest import Fetalbench
from tests.records.test_soundness import dice, edit
from tests.report import factory
from tests.report.factory import Cell

# Of November 2026, made by `make leaderboard`: from before records had a digest.
OLD = Path(__file__).parent / "schema_1"


def test_a_real_record_of_schema_1_is_migrated_and_says_what_it_said(tmp_path: Path) -> None:
    root = shutil.copytree(OLD, tmp_path / "results")
    (before,) = store.survey(root).records
    assert before.record.digest is None
    first = upkeep.migrate(root)
    assert first.records == 1
    assert not first.left_out or "gallery.parquet" in first.left_out[0]
    (after,) = store.survey(root).records
    written = json.loads((after.folder / store.RECORD).read_bytes())
    assert written["schema_version"] == SCHEMA_VERSION
    assert after.record.digest == written["digest"]
    assert after.record.model_copy(update={"digest": None}) == before.record
    assert len(after.slices()) == sum(s.slices for s in after.record.scores.values())
    assert upkeep.migrate(root).records == 0


def test_an_old_record_that_was_edited_is_not_migrated(tmp_path: Path) -> None:
    root = shutil.copytree(OLD, tmp_path / "results")
    (stored,) = store.survey(root).records
    edit(stored.folder, dice(0.99), signed=False)
    done = upkeep.migrate(root)
    assert done.records == 0
    assert "dice on normal, 0.99, is not that of its slices" in done.left_out[0]


def test_results_of_several_machines_become_one_folder(tmp_path: Path) -> None:
    cells = [Cell(network="enet", machine="box-a"), Cell(network="unet", machine="box-a")]
    one = factory.write_results(tmp_path / "one", cells)
    two = factory.write_results(tmp_path / "two", [Cell(network="enet", machine="box-b")])
    damaged = factory.write_results(tmp_path / "three", [Cell(network="icnet")])
    edit(store.survey(damaged).records[0].folder, dice(0.5), signed=False)
    done = upkeep.merge([one, two, damaged], tmp_path / "all")
    assert done.records == 3
    assert len(done.left_out) == 1
    found = store.survey(tmp_path / "all")
    assert not found.left_out
    assert {s.record.provenance.machine.name for s in found.records} == {"box-a", "box-b"}
    assert len(store.load_galleries(tmp_path / "all")) == 1
    assert upkeep.merge([one, two], tmp_path / "all").records == 0


def test_two_finished_records_of_one_cell_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    one = factory.write_results(tmp_path / "one", [Cell(network="enet")])
    two = factory.write_results(tmp_path / "two", [Cell(network="enet", notes=["another run"])])
    with pytest.raises(UsageError, match="two records of one cell"):
        upkeep.merge([one, two], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_of_a_failed_and_a_finished_record_the_finished_one_is_taken(tmp_path: Path) -> None:
    failed = Cell(network="enet", status="oom", reason="no memory")
    one = factory.write_results(tmp_path / "one", [failed])
    two = factory.write_results(tmp_path / "two", [Cell(network="enet")])
    upkeep.merge([one, two], tmp_path / "all")
    (stored,) = store.survey(tmp_path / "all").records
    assert stored.record.status == "ok"


def test_clean_keeps_what_an_unfinished_cell_needs(tmp_path: Path) -> None:
    root = factory.write_results(tmp_path / "results", [Cell(network="enet")])
    (stored,) = store.survey(root).records
    done = store.work_folder(root, "cpu-2-cores", stored.record.key)
    todo = done.with_name("seed-7")
    for work in (done, todo):
        work.mkdir(parents=True, exist_ok=True)
        for name in (store.LOG, store.CHECKPOINT, f"job.{leftovers.token()}.json"):
            (work / name).write_bytes(b"x" * 1000)
    freed = upkeep.clean(root)
    assert freed.freed_bytes >= 3000
    assert {p.name for p in done.iterdir()} == {store.LOCK}
    assert {p.name for p in todo.iterdir()} == {store.LOCK, store.CHECKPOINT}
    assert not store.survey(root).left_out
    upkeep.clean(root, checkpoints=True)
    assert {p.name for p in todo.iterdir()} == {store.LOCK}


def test_verify_runs_a_cell_again_and_says_whether_it_agrees(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "p.toml").write_text('name = "p"\n[input]\nheight = 64\nwidth = 64\n')
    words = ("--data", disc_data.folder)
    done = fetalbench("run", *words, "--protocol", "p.toml", "--networks", "threshold")
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("results/*/*/*/threshold/numpy/seed-0")
    again = fetalbench("verify", folder.relative_to(tmp_path), *words, "--json")
    assert again.returncode == 0, again.stderr
    rows = json.loads(again.stdout)
    assert {row["what"] for row in rows} >= {"status", "normal dice", "challenging dice"}
    assert all(row["recorded"] == row["again"] for row in rows)
    # What was recorded is a little off, as on another machine: the tolerance decides.
    slices = store.read_record(folder).scores["normal"].dice
    edit(folder, lambda r: r.update(schema_version=1) or r.pop("digest"), signed=False)
    edit(folder, dice(slices + 0.001), signed=False)
    refused = fetalbench("verify", folder, *words)
    assert refused.returncode == 3
    assert "is not that of its slices" in refused.stderr
