"""Looks a folder through and lists every stack with what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.data.cases import Case, load_case
from harness.data.catalogue import Dataset, open_dataset
from harness.data.readers import detect_form, find_cases
from harness.data.splitting import check_leakage
from harness.errors import DataError, UsageError


def check_folder(
    folder: Path, form: str, largest_excluded_share: float
) -> tuple[list[dict[str, Any]], str]:
    """One row a stack, and the reason why the folder as a whole cannot be used ("" if it can).

    Raw sources are read case by case; a prepared data set is verified against its hash and for
    leaks between its sets. Raises `DataError` where the folder is neither.
    """
    if (folder / "slices.parquet").is_file():
        return _check_prepared(folder)
    form = detect_form(folder) if form == "auto" else form
    if form == "arrays":
        raise UsageError(f"{folder}: arrays are checked when they are imported.")
    rows = [_check_case(case) for case in find_cases(folder, form)]
    unfit = [row for row in rows if row["status"] == "excluded"]
    if len(unfit) > largest_excluded_share * len(rows):
        return rows, (
            f"{len(unfit)} of {len(rows)} stacks cannot be used, more than "
            f"{largest_excluded_share:.0%} (--max-excluded)."
        )
    return rows, ""


def _check_case(case: Case) -> dict[str, Any]:
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
        "reason": "",
    }
    try:
        stack = load_case(case, case.set_name)
    except DataError as error:
        row["reason"] = str(error)
        return row
    slices, height, width = stack.images.shape
    return row | {
        "status": "ok",
        "slices": slices,
        "slices_with_brain": int(stack.masks.any(axis=(1, 2)).sum()),
        "height": height,
        "width": width,
        "spacing_mm": round(stack.spacing_mm[0], 4),
        "thickness_mm": round(stack.thickness_mm, 4),
        "orientation": stack.orientation,
    }


def _check_prepared(folder: Path) -> tuple[list[dict[str, Any]], str]:
    dataset = open_dataset(folder, verify=True)
    rows = _prepared_rows(dataset)
    try:
        check_leakage(dataset)
    except DataError as error:
        return rows, str(error)
    return rows, ""


def _prepared_rows(dataset: Dataset) -> list[dict[str, Any]]:
    rows = []
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
                "reason": "",
            }
        )
    for exclusion in dataset.meta.excluded:
        empty = dict.fromkeys(rows[0]) if rows else {}
        rows.append(
            empty | {"stack": exclusion.case, "status": "excluded", "reason": exclusion.reason}
        )
    return rows
