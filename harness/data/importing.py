"""Turns a source in any known form into a data set folder, leaving out what is unfit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.data.cases import Case
from harness.data.catalogue import Dataset
from harness.data.description import DatasetMeta, Exclusion
from harness.data.readers import arrays, detect_form, find_cases
from harness.data.splitting import LEAK_WARNING, assign_sets, check_leakage
from harness.data.writer import DatasetWriter
from harness.errors import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What the command line says about an import."""

    form: str = "auto"
    split: Sequence[str] = ()
    split_by: str = "subject"
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
    meta = DatasetMeta(
        name=options.name or _name_of(source),
        title=f"{options.name or source.resolve().stem} ({form})",
        kind=form,
        source=f"{form} source {source.resolve().name!r}, imported by fetalbench",
        licence=options.licence,
        options={"max_excluded": options.largest_excluded_share},
    )
    if form == "arrays" and options.split:
        raise UsageError("--split: arrays come divided into sets (X_train.npy, …); leave it out.")
    cases = find_cases(source, form)
    sets, split = assign_sets(cases, options.split, options.split_by)
    warnings = [LEAK_WARNING] if split.get("by") == "stack" and _shares(cases, sets) else []
    if form == "arrays":
        warnings += arrays.warnings(source)
    meta = meta.model_copy(update={"split": split})
    root = source if source.is_dir() else source.parent
    with DatasetWriter(folder, meta, force=options.force) as writer:
        excluded = _add_cases(writer, cases, sets, root, options, on_stack)
        writer.meta = meta.model_copy(update={"excluded": excluded, "warnings": warnings})
        return writer.finish(check_leakage)


def _add_cases(
    writer: DatasetWriter,
    cases: Sequence[Case],
    sets: dict[str, str],
    root: Path,
    options: ImportOptions,
    on_stack: Callable[[int, int], None] | None,
) -> list[Exclusion]:
    unfit: list[Exclusion] = []
    left_out: list[Exclusion] = []
    for done, case in enumerate(cases, start=1):
        if case.left_out or case.stack not in sets:
            reason = case.left_out or "not named in --split"
            left_out.append(Exclusion(case=case.stack, reason=reason))
        else:
            try:
                writer.add_stack(case.load(sets[case.stack]))
            except DataError as error:
                unfit.append(Exclusion(case=case.stack, reason=_relative(str(error), root)))
        if on_stack:
            on_stack(done, len(cases))
    wanted = len(cases) - len(left_out)
    if len(unfit) > options.largest_excluded_share * wanted:
        raise DataError(
            f"{len(unfit)} of {wanted} stacks cannot be used, more than "
            f"{options.largest_excluded_share:.0%} (--max-excluded); the first: {unfit[0].reason}"
        )
    return unfit + left_out


def _relative(reason: str, root: Path) -> str:
    """The reason without this machine's folders, as it is published with the records."""
    return reason.replace(str(root / "_").removesuffix("_"), "")


def _shares(cases: Sequence[Case], sets: dict[str, str]) -> bool:
    held: dict[str, set[str]] = {}
    for case in cases:
        if case.stack in sets:
            held.setdefault(case.subject, set()).add(sets[case.stack])
    return any(len(names) > 1 for names in held.values())


def _name_of(source: Path) -> str:
    name = re.sub(r"[^a-z0-9_.-]+", "-", source.resolve().stem.lower()).lstrip("_.-")
    return name[:64] or "data"
