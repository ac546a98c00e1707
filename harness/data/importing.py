"""Turns a source in any known form into a data set folder, leaving out what is unfit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from harness.data.cases import Case, not_annotated
from harness.data.catalogue import Dataset
from harness.data.description import DatasetMeta, Exclusion
from harness.data.labels import Labels
from harness.data.leaks import LEAK_WARNING, check_leakage
from harness.data.naming import original, short_name
from harness.data.readers import arrays, detect_form, find_cases
from harness.data.splitting import Split, assign_sets
from harness.data.writer import DatasetWriter
from harness.errors import DataError, UsageError

AXIS_NAMES = {"i": 0, "j": 1, "k": 2, "0": 0, "1": 1, "2": 2}


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What the command line says about an import."""

    form: str = "auto"
    split: Sequence[str] = ()
    split_by: str = "subject"
    split_file: Path | None = None
    split_ratio: str = ""
    seed: int = 0
    slice_axis: Sequence[str] = ()
    labels: Labels | None = None
    largest_excluded_share: float = 0.2
    name: str = ""
    licence: str = "not stated"
    force: bool = False


def import_dataset(
    source: Path,
    folder: Path,
    options: ImportOptions,
    on_stack: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Read, check, divide and write; the data set appears whole or not at all.

    Raises `UsageError` for a split that fits nothing, `DataError` for a source in no known form, a
    leak between sets, or more unfit cases than the stated share.
    """
    form = detect_form(source) if options.form == "auto" else options.form
    if not 0 <= options.largest_excluded_share <= 1:
        raise UsageError("--max-excluded is a share from 0 to 1.")
    split = Split(
        texts=options.split,
        by=options.split_by,
        table=options.split_file,
        ratio=options.split_ratio,
        seed=options.seed,
    )
    if form == "arrays" and split.is_given:
        raise UsageError("--split: arrays come divided into sets (X_train.npy, …); leave it out.")
    meta = _meta(source, form, options)
    cases = told(find_cases(source, form), options.labels, options.slice_axis)
    sets, how = assign_sets(cases, split)
    warnings = [LEAK_WARNING] if how.get("by") == "stack" and _shares(cases, sets) else []
    if form == "arrays":
        warnings += arrays.warnings(source)
    root = source if source.is_dir() else source.parent
    with DatasetWriter(folder, meta, force=options.force) as writer:
        added = _Added()
        _add_cases(writer, cases, sets, root, options, added, on_stack)
        writer.meta = meta.model_copy(
            update={
                "split": how,
                "excluded": added.unfit + added.left_out,
                "warnings": warnings + added.warnings,
            }
        )
        return writer.finish(check_leakage)


def _meta(source: Path, form: str, options: ImportOptions) -> DatasetMeta:
    said: dict[str, object] = {"max_excluded": options.largest_excluded_share}
    if options.labels is not None:
        said["labels"] = options.labels.described()
    if options.slice_axis:
        said["slice_axis"] = list(options.slice_axis)
    name = original(source.resolve().stem)
    return DatasetMeta(
        name=options.name or short_name(name),
        title=f"{options.name or name} ({form})",
        kind=form,
        source=f"{form} source {original(source.resolve().name)!r}, imported by fetalbench",
        licence=options.licence,
        options=said,
    )


def told(cases: Sequence[Case], labels: Labels | None, axes: Sequence[str]) -> list[Case]:
    """The cases with what the user says of their labels and slice axes. Raises `UsageError`.

    An axis is `k`, for all, or `NAME=k`, a name or pattern of stacks or subjects.
    """
    found = list(cases)
    for text in axes:
        name, _, axis = text.rpartition("=")
        if axis not in AXIS_NAMES:
            raise UsageError(
                f"--slice-axis {text!r}: write i, j or k (or 0, 1, 2), for some stacks NAME=k."
            )
        fitting = [
            place
            for place, case in enumerate(found)
            if not name or any(fnmatchcase(held, name) for held in (case.stack, case.subject))
        ]
        if not fitting:
            raise UsageError(f"--slice-axis: no stack or subject is named {name!r}.")
        for place in fitting:
            found[place] = replace(found[place], slice_axis=AXIS_NAMES[axis])
    return [replace(case, labels=case.labels.overridden(labels)) for case in found]


@dataclass
class _Added:
    """What an import has to say of its stacks."""

    unfit: list[Exclusion] = field(default_factory=list)
    left_out: list[Exclusion] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _add_cases(
    writer: DatasetWriter,
    cases: Sequence[Case],
    sets: dict[str, str],
    root: Path,
    options: ImportOptions,
    added: _Added,
    on_stack: Callable[[int, int], None] | None,
) -> None:
    for done, case in enumerate(cases, start=1):
        if case.left_out or case.stack not in sets:
            reason = case.left_out or "not named in --split"
            added.left_out.append(Exclusion(case=case.stack, reason=reason))
        else:
            _add_case(writer, case, sets[case.stack], root, added)
        if on_stack:
            on_stack(done, len(cases))
    unfit = added.unfit
    wanted = sum(not case.left_out and case.stack in sets for case in cases)
    if len(unfit) > options.largest_excluded_share * wanted:
        raise DataError(
            f"{len(unfit)} of {wanted} stacks cannot be used, more than "
            f"{options.largest_excluded_share:.0%} (--max-excluded); the first: {unfit[0].reason}"
        )


def _add_case(writer: DatasetWriter, case: Case, set_name: str, root: Path, added: _Added) -> None:
    try:
        stack = case.load(set_name)
        writer.add_stack(stack)
    except DataError as error:
        reason = case.without_places(_relative(str(error), root))
        added.unfit.append(Exclusion(case=case.stack, reason=reason))
        return
    added.warnings += [f"{case.stack}: {text}" for text in stack.warnings]
    missing = not_annotated(stack)
    if missing:
        added.left_out.append(Exclusion(case=case.stack, reason=missing))


def _relative(reason: str, root: Path) -> str:
    """The reason without this machine's folders, as it is published with the records."""
    return reason.replace(str(root / "_").removesuffix("_"), "")


def _shares(cases: Sequence[Case], sets: dict[str, str]) -> bool:
    held: dict[str, set[str]] = {}
    for case in cases:
        if case.stack in sets:
            held.setdefault(case.subject, set()).add(sets[case.stack])
    return any(len(names) > 1 for names in held.values())
