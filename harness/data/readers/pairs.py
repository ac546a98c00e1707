"""A CSV file of pairs: columns image and mask, and if wished subject, session, set, age.

Paths are relative to the file. `gestational_age_weeks` and `stack` may be given too; a row without
`stack` or `subject` is named after its image's path, so each such row is a subject of its own.
"""

from __future__ import annotations

import csv
from pathlib import Path

from harness.data.cases import FETAL_WEEKS, Case, is_fetal, tidy
from harness.errors import DataError


def find_cases(source: Path) -> list[Case]:
    """One case a row. Raises `DataError` where a column is missing or a path leaves the folder."""
    root = source.parent
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source}: cannot be read as a table ({error}).") from None
    if not rows or not {"image", "mask"} <= rows[0].keys():
        raise DataError(f"{source}: needs the columns image and mask and at least one row.")
    cases = []
    for number, row in enumerate(rows, start=2):
        values = {key: (value or "").strip() for key, value in row.items() if key}
        image = _inside(values["image"], source, number)
        own = tidy("_".join(image.parts).removesuffix(".gz").removesuffix(".nii"))
        mask = _inside(values["mask"], source, number) if values["mask"] else None
        cases.append(
            Case(
                stack=values.get("stack") or own,
                subject=values.get("subject") or own,
                session=values.get("session", ""),
                image=root / image,
                mask=None if mask is None else root / mask,
                source=image.as_posix(),
                set_name=values.get("set", ""),
                gestational_age_weeks=_age(values, source, number),
            )
        )
    return cases


def _inside(text: str, source: Path, number: int) -> Path:
    path = Path(text)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{source}, line {number}: {text!r} must be a path below the file's folder."
        )
    return path


def _age(values: dict[str, str], source: Path, number: int) -> float | None:
    text = values.get("gestational_age_weeks", "")
    if not text:
        return None
    try:
        age = float(text)
    except ValueError:
        age = float("nan")
    if not is_fetal(age):
        low, high = FETAL_WEEKS
        raise DataError(
            f"{source}, line {number}: {text!r} is no age of a fetus in weeks "
            f"({low:g} to {high:g}); correct it or leave it empty."
        )
    return age
