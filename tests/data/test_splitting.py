"""Dividing into sets: by patterns, by a table, by a ratio; what is suggested is accepted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from harness.data.cases import Case
from harness.data.importing import ImportOptions, import_dataset
from harness.data.splitting import Split, assign_sets, parse_split
from harness.errors import UsageError
from tests.data.nifti_files import bids


def cases(subjects: int, runs: int = 1, ages: dict[int, float] | None = None) -> list[Case]:
    return [
        Case(
            stack=f"sub-{subject:02d}_run-{run}",
            subject=f"sub-{subject:02d}",
            image=Path("i.nii"),
            mask=Path("m.nii"),
            source="i.nii",
            gestational_age_weeks=(ages or {}).get(subject),
        )
        for subject in range(subjects)
        for run in range(1, runs + 1)
    ]


def test_patterns_of_subjects_and_of_stacks() -> None:
    by_subject, _ = assign_sets(cases(12), Split(texts=("sub-0*=train", "1?=normal")))
    assert list(by_subject.values()) == ["train"] * 10 + ["normal"] * 2
    by_stack, _ = assign_sets(
        cases(1, 12), Split(texts=("run-?=train", "sub-00_run-1?=normal"), by="stack")
    )
    assert list(by_stack.values()) == ["train"] * 9 + ["normal"] * 3
    every, _ = assign_sets(cases(3), Split(texts=("*=normal",)))
    assert set(every.values()) == {"normal"}
    with pytest.raises(UsageError, match="--split-by stack"):
        assign_sets(cases(2, 2), Split(texts=("run-*=train",)))


def test_an_exact_name_means_its_stack_alone() -> None:
    found = list(cases(1, 2))
    found.append(Case(stack="sub-00", subject="sub-00", image=Path("i"), mask=None, source="other"))
    sets, _ = assign_sets(found, Split(texts=("sub-00=train", "run-*=normal"), by="stack"))
    assert sets == {"sub-00": "train", "sub-00_run-1": "normal", "sub-00_run-2": "normal"}


@pytest.mark.parametrize("column", ["subject", "participant_id", "Stack"])
def test_a_table_says_which_set(tmp_path: Path, column: str) -> None:
    by = "stack" if column == "Stack" else "subject"
    tail = "_run-1" if by == "stack" else ""
    table = tmp_path / "split.tsv"
    table.write_text(f"{column}\tset\nsub-00{tail}\ttrain\nsub-01{tail}\tnormal\n")
    sets, how = assign_sets(cases(3), Split(table=table, by=by))
    assert sets == {"sub-00_run-1": "train", "sub-01_run-1": "normal"}
    assert how["by"] == by
    for text, says in (
        ("subject\tset\nsub-00\ttraining\n", "line 2"),
        ("subject\tset\na\ttrain\na\tnormal\n", "two sets"),
        ("name\nsub-00\n", "columns"),
        ("", "no row"),
    ):
        table.write_text(text)
        with pytest.raises(UsageError, match=says):
            assign_sets(cases(3), Split(table=table, by=by))


@pytest.mark.parametrize(
    ("ratio", "subjects", "expected"),
    [
        ("0.7/0.15/0.15", 20, {"train": 14, "val": 3, "normal": 3}),
        ("0.7/0.15/0.15", 3, {"train": 1, "val": 1, "normal": 1}),
        ("70/30", 10, {"train": 7, "normal": 3}),
        ("0.8/0/0.2", 5, {"train": 4, "normal": 1}),
        ("0.25/0.25/0.25/0.25", 9, {"train": 3, "val": 2, "normal": 2, "challenging": 2}),
    ],
)
def test_a_ratio_divides_subjects(ratio: str, subjects: int, expected: dict[str, int]) -> None:
    sets, how = assign_sets(cases(subjects, 2), Split(ratio=ratio))
    names = [set_name for stack, set_name in sets.items() if stack.endswith("run-1")]
    assert sorted(names) == sorted(name for name, count in expected.items() for _ in range(count))
    for stack, name in sets.items():
        assert sets[stack.replace("run-2", "run-1")] == name
    assert how["seed"] == 0


def test_a_ratio_is_drawn_by_its_seed() -> None:
    draws = [assign_sets(cases(20), Split(ratio="0.5/0.5", seed=seed))[0] for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


@pytest.mark.parametrize("seed", range(5))
def test_a_ratio_is_alike_in_gestational_age(seed: int) -> None:
    ages = {subject: 20.0 + subject * 0.5 for subject in range(30)}
    sets, how = assign_sets(cases(30, 1, ages), Split(ratio="0.6/0.2/0.2", seed=seed))
    assert how["stratified_by_gestational_age"] is True
    for name in ("train", "val", "normal"):
        held = [ages[int(stack[4:6])] for stack, where in sets.items() if where == name]
        assert abs(np.mean(held) - 27.25) < 1.6
        assert min(held) < 24
        assert max(held) > 30.5


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (Split(ratio="0.7/0.2"), "add up to 0.9"),
        (Split(ratio="1"), "as in 0.7/0.15/0.15"),
        (Split(ratio="a/b"), "as in 0.7/0.15/0.15"),
        (Split(ratio="-1/2"), "as in 0.7/0.15/0.15"),
        (Split(ratio="0.25/0.25/0.25/0.25"), "asks for 4 sets and there are 3 subjects"),
        (Split(ratio="0.5/0.5", by="stack"), "divides subjects"),
        (Split(ratio="0.5/0.5", texts=("a=train",)), "exclude one another"),
    ],
)
def test_wrong_ratios(wish: Split, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        assign_sets(cases(3), wish)


def odd(*subjects: str) -> list[Case]:
    return [
        Case(stack=name, subject=name, image=Path("i"), mask=None, source=name) for name in subjects
    ]


@pytest.mark.parametrize(
    "found",
    [cases(5), cases(1, 2), cases(1, 1), odd("a b", "c'd"), odd("x=1", "y,2"), odd("[a]", "*")],
    ids=["subjects", "one subject", "one stack", "quotes", "commas", "patterns"],
)
def test_what_is_suggested_is_accepted(found: list[Case]) -> None:
    with pytest.raises(UsageError) as caught:
        assign_sets(found, Split())
    told = re.split(r"as in |tested on, with ", str(caught.value))[1]
    words = shlex.split(re.split(r" \(|, or ", told)[0])
    texts = [words[at + 1].strip(".,") for at, word in enumerate(words) if word == "--split"]
    by = "stack" if "--split-by" in words else "subject"
    ratio = [words[at + 1].strip(".") for at, word in enumerate(words) if word == "--split-ratio"]
    sets, _ = assign_sets(
        found, Split(ratio=ratio[0]) if ratio else Split(texts=tuple(texts), by=by)
    )
    assert sets
    if len(found) > 1:
        assert set(sets.values()) == {"train", "normal"}


def test_names_are_compared_in_one_spelling() -> None:
    assert parse_split(["Mu\u0308ller=train"]) == {"Müller": "train"}


def test_the_ratio_is_kept_with_the_data_set(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw", subjects=4, runs=1)
    options = ImportOptions(split_ratio="0.5/0.5", seed=3)
    dataset = import_dataset(source, tmp_path / "set", options)
    assert dataset.meta.sets["train"].subjects == 2
    assert dataset.meta.split["ratio"] == {"train": 0.5, "normal": 0.5}
    assert sorted(dataset.meta.split["sets"]) == [f"sub-0{n}" for n in range(1, 5)]
