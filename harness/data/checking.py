"""Looks a folder through and lists every stack with what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.cases import Case, not_annotated
from harness.data.catalogue import Dataset, open_dataset
from harness.data.importing import told
from harness.data.labels import Labels
from harness.data.leaks import LeakSearch, check_leakage
from harness.data.readers import detect_form, find_cases
from harness.data.visibility import Window, fault_of, outside_share, outside_shares
from harness.data.writer import Stack
from harness.errors import DataError


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """What the command line says about a check; with a protocol's `window`, what it leaves out."""

    form: str = "auto"
    largest_excluded_share: float = 0.2
    labels: Labels | None = None
    slice_axis: Sequence[str] = ()
    window: Window | None = None
    largest_outside_share: float = 0.0


def check_folder(folder: Path, options: CheckOptions) -> tuple[list[dict[str, Any]], str]:
    """One row a stack, and the reason why the folder as a whole cannot be used ("" if it can).

    Raw sources are read case by case; a prepared data set is verified against its hash. Both are
    searched for leaks between their sets. Raises `DataError` where the folder is neither.
    """
    window = options.window
    if (folder / "slices.parquet").is_file():
        rows, fault = _check_prepared(folder, window)
    else:
        rows, fault = _check_raw(folder, options)
    if fault or window is None:
        return rows, fault
    shares = {row["stack"]: (row["outside_window_percent"] or 0.0) / 100 for row in rows}
    return rows, fault_of(shares, window, options.largest_outside_share)


def _check_raw(folder: Path, options: CheckOptions) -> tuple[list[dict[str, Any]], str]:
    form = detect_form(folder) if options.form == "auto" else options.form
    cases = told(find_cases(folder, form), options.labels, options.slice_axis)
    leaks = _Leaks()
    rows = [_check_case(case, leaks, options.window) for case in cases]
    unfit = sum(row["status"] == "excluded" for row in rows)
    wanted = sum(row["status"] != "left out" for row in rows)
    if unfit > options.largest_excluded_share * wanted:
        return rows, (
            f"{unfit} of {wanted} stacks cannot be used, more than "
            f"{options.largest_excluded_share:.0%} (--max-excluded)."
        )
    return rows, leaks.first


class _Leaks:
    """The first leak between the sets that a raw source names, if it names any."""

    def __init__(self) -> None:
        self.first = ""
        self._search = LeakSearch()

    def add(self, stack: Stack) -> None:
        if stack.set_name and not self.first:
            try:
                self._search.add(stack.set_name, stack.subject, stack.name, stack.images)
            except DataError as error:
                self.first = str(error)


def _check_case(case: Case, leaks: _Leaks, window: Window | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "stack": case.stack,
        "subject": case.subject,
        "session": case.session,
        "set": case.set_name,
        "status": "excluded",
        "slices": None,
        "slices_with_brain": None,
        "height": None,
        "width": None,
        "spacing_mm": None,
        "thickness_mm": None,
        "orientation": None,
        "gestational_age_weeks": case.gestational_age_weeks,
        "outside_window_percent": None,
        "reason": "",
    }
    if case.left_out:
        return row | {"status": "left out", "reason": case.left_out}
    try:
        stack = case.load(case.set_name)
    except DataError as error:
        return row | {"reason": str(error)}
    leaks.add(stack)
    slices, height, width = stack.images.shape
    taken = list(range(slices) if stack.taken is None else stack.taken)
    found: dict[str, Any] = {
        "reason": "; ".join((*stack.warnings, not_annotated(stack))).strip("; ")
    }
    if window is not None:
        share = outside_share(stack.masks, stack.spacing_mm, window)
        found["outside_window_percent"] = round(100 * share, 2)
    return (
        row
        | found
        | {
            "status": "ok",
            "slices": len(taken),
            "slices_with_brain": int(stack.masks[taken].any(axis=(1, 2)).sum()),
            "height": height,
            "width": width,
            "spacing_mm": round(stack.spacing_mm[0], 4),
            "thickness_mm": round(stack.thickness_mm, 4),
            "orientation": stack.orientation,
        }
    )


def _check_prepared(folder: Path, window: Window | None) -> tuple[list[dict[str, Any]], str]:
    dataset = open_dataset(folder, verify=True)
    shares = outside_shares(folder, window) if window is not None else {}
    shares = {stack: round(100 * share, 2) for stack, share in shares.items()}
    rows = _prepared_rows(dataset, shares)
    try:
        check_leakage(dataset)
    except DataError as error:
        return rows, str(error)
    return rows, ""


def _prepared_rows(dataset: Dataset, shares: Mapping[str, float]) -> list[dict[str, Any]]:
    rows = []
    ages = dataset.meta.gestational_age_weeks
    for name in dict.fromkeys(dataset.slices["stack"]):
        stack = dataset.slices.loc[dataset.slices["stack"] == name]
        first = stack.to_dict("records")[0]
        rows.append(
            {
                "stack": name,
                "subject": first["subject"],
                "session": first["session"],
                "set": first["set"],
                "status": "ok",
                "slices": len(stack),
                "slices_with_brain": sum(pixels > 0 for pixels in stack["brain_pixels"]),
                "height": int(first["height"]),
                "width": int(first["width"]),
                "spacing_mm": round(float(first["spacing_y_mm"]), 4),
                "thickness_mm": round(float(first["thickness_mm"]), 4),
                "orientation": first["orientation"],
                "gestational_age_weeks": ages.get(str(name)),
                "outside_window_percent": shares.get(str(name)),
                "reason": "",
            }
        )
    for exclusion in dataset.meta.excluded:
        empty = dict.fromkeys(rows[0]) if rows else {}
        rows.append(
            empty | {"stack": exclusion.case, "status": "excluded", "reason": exclusion.reason}
        )
    return rows
