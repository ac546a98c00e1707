"""What a data set says of itself: `dataset.json`, read without opening tables or arrays."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import DataError

SCHEMA_VERSION = 1
NAME_PATTERN = re.compile(r"^[a-z0-9][a-z0-9_.-]{0,63}$")


class SetCounts(BaseModel):
    """How much one set holds."""

    model_config = ConfigDict(extra="forbid")

    slices: int
    slices_with_brain: int
    stacks: int
    subjects: int


class Exclusion(BaseModel):
    """A case that was left out, and why."""

    model_config = ConfigDict(extra="forbid")

    case: str
    reason: str


class DatasetMeta(BaseModel):
    """What `dataset.json` holds."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    schema_version: int = SCHEMA_VERSION
    name: str = Field(pattern=NAME_PATTERN.pattern)
    title: str
    kind: str = Field(description="phantom, bids, nifti, pairs, nnunet or arrays")
    source: str = Field(description="where the data come from, in words; no absolute path")
    licence: str
    hash: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    sets: dict[str, SetCounts] = Field(default_factory=dict)
    excluded: list[Exclusion] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    gestational_age_weeks: dict[str, float] = Field(
        default_factory=dict, description="by stack, where it is known"
    )
    split: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)


def read_meta(folder: Path) -> DatasetMeta:
    """The description of a data set. Raises `DataError` with the remedy where there is none."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; make one with `fetalbench data phantom` or "
            "`fetalbench data import`."
        )
    path = folder / "dataset.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{folder}: holds no dataset.json, so it is no prepared data set; "
            "prepare raw files with `fetalbench data import`."
        ) from None
    except RecursionError:
        raise DataError(f"{path}: is nested too deeply; make the data set anew.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); make the data set anew.") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise DataError(
            f"{path}: schema version {version} is newer than {SCHEMA_VERSION}; update fetalbench."
        )
    try:
        return DatasetMeta.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise DataError(f"{path}: {where}: {first['msg']}; make the data set anew.") from None
