"""A CSV file of pairs: columns image and mask, and if wished subject, session, stack, set, age.

Columns are divided by comma, semicolon or tab and called in any case. Paths are relative to the
file, or absolute. A row without `stack` or `subject` is named after its image's path, so each such
row is a subject of its own.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

from harness.data.cases import Case
from harness.data.naming import original
from harness.data.readers.ages import FETAL_WEEKS, weeks
from harness.data.readers.files import NIFTI
from harness.errors import DataError

DELIMITERS = ",;\t"
# What spreadsheets write; the last takes anything.
ENCODINGS = ("utf-8-sig", "utf-16", "cp1252", "latin-1")


def find_cases(source: Path) -> list[Case]:
    """One case a row. Raises `DataError` where a column or a path is missing."""
    rows = _read(source)
    if not rows or not {"image", "mask"} <= rows[0][1].keys():
        raise DataError(f"{source}: needs the columns image and mask and at least one row.")
    folder = source.absolute().parent
    cases = []
    images = []
    for number, row in rows:
        if not row["image"]:
            raise DataError(f"{source}, line {number}: names no image.")
        images.append(_place(folder, row["image"]))
    root = _root(folder, images)
    for (number, row), image in zip(rows, images, strict=True):
        relative = image.relative_to(root)
        own = original(NIFTI.sub("", "_".join(relative.parts)))
        cases.append(
            Case(
                stack=row.get("stack") or own,
                subject=row.get("subject") or own,
                session=row.get("session", ""),
                image=image,
                mask=_place(folder, row["mask"]) if row["mask"] else None,
                source=original(relative.as_posix()),
                set_name=row.get("set", "").lower(),
                gestational_age_weeks=_age(row, source, number),
            )
        )
    return cases


def _read(source: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows with their line numbers, columns in lower case, cells without margins."""
    try:
        raw = source.read_bytes()
        text = _decoded(raw)
        header = text.lstrip().split("\n", 1)[0]
        delimiter = max(DELIMITERS, key=header.count)
        lines = csv.DictReader(text.splitlines(), delimiter=delimiter)
        rows = []
        for row in lines:
            cells = {
                key.strip().lower(): original((value or "").strip())
                for key, value in row.items()
                if isinstance(key, str)
            }
            if any(cells.values()):
                rows.append((lines.line_num, cells))
    except (OSError, csv.Error) as error:
        raise DataError(f"{source}: cannot be read as a table ({error}).") from None
    return rows


def _decoded(raw: bytes) -> str:
    for encoding in ENCODINGS:
        if encoding == "utf-16" and raw[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            continue
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("Latin-1 decodes anything")


def _place(folder: Path, text: str) -> Path:
    """An absolute path without `..`; links stay as they are named."""
    given = Path(text.replace("\\", "/")) if "\\" in text else Path(text)
    return Path(os.path.normpath(folder / given.expanduser()))


def _root(folder: Path, images: list[Path]) -> Path:
    """What stacks are named below: the table's folder, else the folder that holds all images."""
    normal = Path(os.path.normpath(folder))
    if all(image.is_relative_to(normal) for image in images):
        return normal
    return Path(os.path.commonpath([image.parent for image in images]))


def _age(row: dict[str, str], source: Path, number: int) -> float | None:
    text = row.get("gestational_age_weeks", "")
    if not text or text.lower() in ("n/a", "na"):
        return None
    age = weeks(text)
    if age is None:
        low, high = FETAL_WEEKS
        raise DataError(
            f"{source}, line {number}: {text!r} is no age of a fetus in weeks "
            f"({low:g} to {high:g}); correct it or leave it empty."
        )
    return age
