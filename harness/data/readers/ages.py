"""Gestational age in weeks, from participants.tsv, sessions.tsv and the images' sidecars."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from harness.data.naming import original

# An age outside this is not one of a fetus in weeks (it may be the mother's, in years).
FETAL_WEEKS = (14.0, 43.0)
AGE_COLUMNS = (
    "gestational_age",
    "gestational_age_weeks",
    "gestational_age_in_weeks",
    "gestationalage",
    "gestationalageweeks",
    "ga",
    "ga_weeks",
)
# By BIDS the participant's age in years, the mother's; in weeks only where the sidecar says so.
AMBIGUOUS_AGE = "age"
_WEEKS_AND_DAYS = re.compile(r"^(\d+)\s*(?:w|wk|weeks?)?\s*[+ ]\s*(\d)\s*d?$|^(\d+)w(\d)d$")


def is_fetal(weeks: float) -> bool:
    """Whether an age in weeks is one of a fetus that is imaged."""
    return FETAL_WEEKS[0] <= weeks <= FETAL_WEEKS[1]


def weeks(text: object) -> float | None:
    """`27.4`, `27,4`, `27+3` or `27w3d` in weeks; None for all else and for ages of no fetus."""
    written = str(text if text is not None else "").strip().lower()
    match = _WEEKS_AND_DAYS.match(written)
    try:
        if match:
            whole, days = (int(part) for part in match.groups() if part is not None)
            age = whole + days / 7 if days < 7 else float("nan")
        else:
            age = float(written.replace(",", "."))
    except ValueError:
        return None
    return age if is_fetal(age) else None


def of_tables(source: Path) -> dict[tuple[str, str], float]:
    """Weeks by subject and session (each without `sub-` and `ses-`), where the tables give them."""
    ages: dict[tuple[str, str], float] = {}
    tables = [source / "participants.tsv", *sorted(source.glob("sub-*/sub-*_sessions.tsv"))]
    for table in tables:
        if not table.is_file():
            continue
        columns = (*AGE_COLUMNS, AMBIGUOUS_AGE) if _in_weeks(table) else AGE_COLUMNS
        # Spreadsheets put a byte-order mark before the first column's name.
        with table.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            for held in csv.DictReader(stream, delimiter="\t"):
                row = {_column(key): value for key, value in held.items() if key}
                subject = label(row.get("participant_id") or table.parent.name)
                found = [age for name in columns if (age := weeks(row.get(name))) is not None]
                if found:
                    session = (row.get("session_id") or "").strip()
                    ages[subject, session.removeprefix("ses-")] = found[0]
    return ages


def find(ages: dict[tuple[str, str], float], subject: str, session: str = "") -> float | None:
    """The age at a session, or of the subject where sessions are not told apart."""
    visit = session.removeprefix("ses-")
    return ages.get((label(subject), visit), ages.get((label(subject), "")))


def of_sidecar(image: Path, stem: str) -> float | None:
    """The age that the image's own .json gives, under one of the columns' names."""
    try:
        described = json.loads((image.parent / f"{stem}.json").read_text(encoding="utf-8-sig"))
        fields = {_column(key): value for key, value in described.items()}
    except (OSError, ValueError, AttributeError):
        return None
    found = [age for name in AGE_COLUMNS if (age := weeks(fields.get(name))) is not None]
    return found[0] if found else None


def label(subject: str) -> str:
    """A subject as tables may call it, with or without `sub-`."""
    return original(subject.strip()).removeprefix("sub-")


def _column(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _in_weeks(table: Path) -> bool:
    """Whether the sidecar of a table gives the unit of its column `age` as weeks."""
    try:
        described = json.loads(table.with_suffix(".json").read_text(encoding="utf-8-sig"))
        return str(described[AMBIGUOUS_AGE]["Units"]).lower().startswith("week")
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return False
