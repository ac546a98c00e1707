"""BIDS: raw `sub-*/[ses-*/]anat/*_T2w.nii[.gz]`, masks in `derivatives/*/` on the same path.

Masks are taken as the specification names them, `<entities>_desc-brain_mask`, and as they are
found in the wild, `<entities>_T2w_desc-brain_mask`.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from harness.data.cases import Case, is_fetal

SUFFIX = "_T2w"
EXTENSIONS = (".nii.gz", ".nii")
MASK_ENDINGS = ("_desc-brain_mask", f"{SUFFIX}_desc-brain_mask")
AGE_COLUMNS = ("gestational_age", "gestational_age_weeks", "ga", "ga_weeks")
# By BIDS the participant's age in years, the mother's; in weeks only where the sidecar says so.
AMBIGUOUS_AGE = "age"


def find_cases(source: Path) -> list[Case]:
    """All T2-weighted stacks, in the order of their names."""
    ages = _gestational_ages(source)
    derivatives = sorted(path for path in (source / "derivatives").glob("*") if path.is_dir())
    cases = []
    images = [
        path
        for pattern in ("sub-*/anat/*", "sub-*/ses-*/anat/*")
        for extension in EXTENSIONS
        for path in source.glob(f"{pattern}{SUFFIX}{extension}")
    ]
    for image in sorted(images):
        relative = image.relative_to(source)
        entities = image.name.split(SUFFIX + ".")[0]
        masks = _find_masks(derivatives, relative.parent, entities)
        fault = ""
        if len(masks) > 1:
            shown = " and ".join(str(mask.relative_to(source)) for mask in masks)
            fault = f"{image}: has several brain masks ({shown}); keep one of them."
        session = relative.parts[1] if relative.parts[1].startswith("ses-") else ""
        subject = relative.parts[0]
        cases.append(
            Case(
                stack=entities,
                subject=subject,
                session=session,
                image=image,
                mask=masks[0] if masks else None,
                source=relative.as_posix(),
                gestational_age_weeks=ages.get((subject, session), ages.get((subject, ""))),
                fault=fault,
            )
        )
    return cases


def _find_masks(derivatives: list[Path], folder: Path, entities: str) -> list[Path]:
    return [
        path
        for derivative in derivatives
        for ending in MASK_ENDINGS
        for extension in EXTENSIONS
        if (path := derivative / folder / f"{entities}{ending}{extension}").is_file()
    ]


def _gestational_ages(source: Path) -> dict[tuple[str, str], float]:
    """Weeks by subject and session from participants.tsv and sub-*_sessions.tsv, where given."""
    ages = {}
    tables = [source / "participants.tsv", *sorted(source.glob("sub-*/sub-*_sessions.tsv"))]
    for table in tables:
        if not table.is_file():
            continue
        columns = (*AGE_COLUMNS, AMBIGUOUS_AGE) if _in_weeks(table) else AGE_COLUMNS
        # Spreadsheets put a byte-order mark before the first column's name.
        with table.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                subject = row.get("participant_id") or table.parent.name
                for column in columns:
                    age = _weeks(row.get(column))
                    if age is not None:
                        ages[subject, row.get("session_id") or ""] = age
                        break
    return ages


def _in_weeks(table: Path) -> bool:
    """Whether the sidecar of a table gives the unit of its column `age` as weeks."""
    try:
        described = json.loads(table.with_suffix(".json").read_text(encoding="utf-8-sig"))
        return str(described[AMBIGUOUS_AGE]["Units"]).lower().startswith("week")
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return False


def _weeks(text: str | None) -> float | None:
    try:
        age = float(text or "")
    except ValueError:
        return None
    return age if is_fetal(age) else None
