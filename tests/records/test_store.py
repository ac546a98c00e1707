"""Records: strict, whole or not there, migrated or refused by name."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from harness.errors import EnvironmentFault, RecordError
from harness.records import atomic
from harness.records import store as records
from harness.records.schema import SCHEMA_VERSION, CellKey, Machine, Provenance, Record

ROOT = Path(__file__).parents[2]
TABLE = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, 0.25]})


def make_record(**changes: object) -> Record:
    key = CellKey(
        network="unet",
        backend="torch",
        dataset="discs",
        dataset_hash="a" * 64,
        protocol="tiny",
        protocol_hash="b" * 64,
        seed=0,
    )
    machine = Machine(
        name="box-2c", processor="box", cores=2, memory_bytes=1, gpu=None, system="Linux"
    )
    provenance = Provenance(
        fetalbench="0",
        git_commit=None,
        git_dirty=None,
        python="3.11",
        versions={},
        environment={},
        machine=machine,
    )
    record = Record(
        key=key,
        status="ok",
        created_at="2026-01-01T00:00:00Z",
        title="U-Net",
        command="fetalbench run",
        protocol={},
        dataset={},
        provenance=provenance,
    )
    return record.model_copy(update=changes)


def test_a_record_comes_back_as_it_went(tmp_path: Path) -> None:
    stored = records.commit(tmp_path, make_record(), {"history.parquet": TABLE})
    (found,) = records.load_records(tmp_path)
    assert found.record == stored.record
    pd.testing.assert_frame_equal(found.history(), TABLE)
    assert found.folder == tmp_path / "box-2c/discs-aaaaaaaa/tiny-bbbbbbbb/unet/torch/seed-0"


def test_a_file_that_was_altered_is_refused(tmp_path: Path) -> None:
    stored = records.commit(tmp_path, make_record(), {"history.parquet": TABLE})
    atomic.write_parquet(stored.folder / "history.parquet", TABLE * 2)
    with pytest.raises(RecordError, match="is not the file that the record names"):
        stored.history()


def test_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    stored = records.commit(tmp_path, make_record())
    path = stored.folder / "record.json"
    newer = json.loads(path.read_text()) | {"schema_version": SCHEMA_VERSION + 1}
    path.write_text(json.dumps(newer))
    with pytest.raises(RecordError, match=f"schema version {SCHEMA_VERSION + 1}.*upgrade"):
        records.load_records(tmp_path)


@pytest.mark.parametrize("text", ['{"schema_version": 1, "seconds": NaN}', "{", '{"a": 1}'])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    stored = records.commit(tmp_path, make_record())
    (stored.folder / "record.json").write_text(text)
    with pytest.raises(RecordError, match=r"record\.json: "):
        records.load_records(tmp_path)


def test_a_number_that_is_not_finite_never_reaches_the_disk(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic.write_json(tmp_path / "x.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file_and_leaves_no_temp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "record.json"
    atomic.write_bytes(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(EnvironmentFault, match=r"record\.json.*No space left") as caught:
        atomic.write_bytes(path, b"new")
    assert caught.value.exit_code == 4
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_between_any_two_steps_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    old = make_record(status="crashed", reason="old")
    records.commit(tmp_path, old)
    done = 0
    rename = Path.rename

    def until(path: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            raise KeyboardInterrupt
        done += 1
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", until)
        if renames < 2:
            with pytest.raises(KeyboardInterrupt):
                records.commit(tmp_path, make_record())
        else:
            records.commit(tmp_path, make_record())
    (seen,) = records.load_records(tmp_path)
    assert seen.record.status == ("ok" if renames == 2 else "crashed")
    settled = records.find_record(tmp_path, "box-2c", old.key)
    assert settled is not None
    assert settled.record == seen.record


def test_a_reader_changes_nothing_in_the_middle_of_a_swap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look from another process between the two renames must not undo the first."""
    old = make_record(status="crashed", reason="old")
    records.commit(tmp_path, old)
    seen: list[str] = []
    rename = Path.rename

    def look(path: Path, target: Path) -> Path:
        done = rename(path, target)
        found = records.find_record(tmp_path, "box-2c", old.key)
        seen.append(found.record.status if found else "nothing")
        seen.extend(stored.record.status for stored in records.load_records(tmp_path))
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", look)
        records.commit(tmp_path, make_record())
    assert seen == ["crashed", "crashed", "ok", "ok"]
    (left,) = records.load_records(tmp_path)
    assert left.record.status == "ok"
    assert not list(tmp_path.rglob("*.old"))


def test_files_that_stay_come_along_and_absent_ones_stay_named(tmp_path: Path) -> None:
    stored = records.commit(
        tmp_path, make_record(), {"history.parquet": TABLE}, {"weights.safetensors": b"w"}
    )
    (stored.folder / "weights.safetensors").unlink()
    changed = records.commit(
        tmp_path, make_record(title="New"), {"slices.parquet": TABLE}, keep=stored
    )
    assert set(changed.record.files) == {
        "history.parquet",
        "slices.parquet",
        "weights.safetensors",
    }
    pd.testing.assert_frame_equal(changed.history(), TABLE)


def test_a_schema_that_never_was_is_refused(tmp_path: Path) -> None:
    stored = records.commit(tmp_path, make_record())
    path = stored.folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 0}))
    with pytest.raises(RecordError, match="no schema version 0"):
        records.load_records(tmp_path)


def test_two_processes_never_hold_one_cell(tmp_path: Path) -> None:
    key = make_record().key
    code = f"""
import sys
from pathlib import Path
from harness.records import store as records
from harness.records.schema import CellKey
key = CellKey.model_validate_json({key.model_dump_json()!r})
with records.lock(Path({str(tmp_path)!r}), "box-2c", key) as held:
    print(held)
"""

    def other() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    with records.lock(tmp_path, "box-2c", key) as held:
        assert held
        assert other() == "False"
    assert other() == "True"


def test_no_user_or_host_name_is_in_the_machine() -> None:
    assert set(Machine.model_fields) == {
        "name",
        "processor",
        "cores",
        "memory_bytes",
        "gpu",
        "system",
    }


def test_the_schema_in_the_docs_is_the_code() -> None:
    written = json.loads((ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8"))
    assert written == Record.model_json_schema(), "run `make schema`"


def test_a_record_from_before_plans_were_scored_is_read(tmp_path: Path) -> None:
    stored = records.commit(tmp_path, make_record())
    path = stored.folder / "record.json"
    old = json.loads(path.read_text()) | {"schema_version": 1}
    del old["accuracy"], old["digest"]
    path.write_text(json.dumps(old))
    (found,) = records.load_records(tmp_path)
    assert (found.record.schema_version, found.record.accuracy) == (SCHEMA_VERSION, [])
