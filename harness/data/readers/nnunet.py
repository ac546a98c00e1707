"""nnU-Net: `imagesTr/<case>_0000.nii.gz` with `labelsTr/<case>.nii.gz`, and `…Ts` for tests.

Of `dataset.json` the `file_ending` and the `labels` are heeded, in the form of either version. The
brain is the label named `brain` (one value or, as a region, several), else the only label there is.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from harness.data.cases import Case
from harness.errors import DataError

EXTENSIONS = (".nii.gz", ".nii")
CHANNEL = re.compile(r"_0000$")
# The subject stands before the first underscore or dash and number of a run, if the name has one.
RUN = re.compile(r"[_-](run|stack|scan)[-_]?\d+.*$", re.IGNORECASE)
NO_BRAIN = ("background", "ignore")
NO_LABELS = "the folder labelsTs is not there: a test image without a mask cannot be scored"


def find_cases(source: Path) -> list[Case]:
    """Cases of both folders; training goes to train, test to normal, unless a split says else.

    Raises `DataError` where dataset.json is damaged or does not say which label is the brain.
    """
    described = _description(source)
    extensions = _extensions(source, described)
    brain, other = _labels(source, described)
    cases = []
    for part, set_name in (("Tr", "train"), ("Ts", "normal")):
        labels = source / f"labels{part}"
        images = sorted((source / f"images{part}").glob("*_0000.*"))
        for image in (path for path in images if path.name.endswith(extensions)):
            name = CHANNEL.sub("", image.name.removesuffix(".gz").removesuffix(".nii"))
            masks = [labels / f"{name}{ending}" for ending in extensions]
            cases.append(
                Case(
                    stack=name,
                    subject=RUN.sub("", name),
                    image=image,
                    mask=next((mask for mask in masks if mask.is_file()), None),
                    source=image.relative_to(source).as_posix(),
                    set_name=set_name,
                    left_out=NO_LABELS if part == "Ts" and not labels.is_dir() else "",
                    brain_values=brain,
                    other_values=other,
                )
            )
    return cases


def _description(source: Path) -> dict[str, Any]:
    path = source / "dataset.json"
    if not path.is_file():
        return {}
    try:
        described = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is not JSON ({error}); mend it or take it out.") from None
    if not isinstance(described, dict):
        raise DataError(f"{path}: is no JSON object; mend it or take it out.")
    return described


def _extensions(source: Path, described: dict[str, Any]) -> tuple[str, ...]:
    ending = described.get("file_ending")
    if ending is None:
        return EXTENSIONS
    if ending not in EXTENSIONS:
        raise DataError(
            f"{source / 'dataset.json'}: file_ending {ending!r} is not read; convert the files "
            f"to {EXTENSIONS[0]}."
        )
    return (ending,)


def _labels(source: Path, described: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Values of the brain and of all else but 0."""
    path = source / "dataset.json"
    named = described.get("labels")
    if named is None:
        return (1,), ()
    try:
        values = _by_name(named)
    except (AttributeError, TypeError, ValueError):
        raise DataError(f"{path}: its labels are not name: number; mend them.") from None
    inside = {name: held for name, held in values.items() if name not in NO_BRAIN}
    brain = inside.get("brain")
    if brain is None and len(inside) == 1:
        (brain,) = inside.values()
    if not brain or 0 in brain:
        raise DataError(
            f"{path}: has the labels {', '.join(inside) or 'of no structure'}; call the one that "
            'is the brain "brain", or add "brain": [values] for several that make it up.'
        )
    known = {value for held in values.values() for value in held}
    return brain, tuple(sorted(known - {0, *brain}))


def _by_name(named: Any) -> dict[str, tuple[int, ...]]:
    """Values by lower-case name; version 1 of nnU-Net writes number: name."""
    values = {}
    for key, value in named.items():
        name, held = (value, key) if str(key).isdigit() else (key, value)
        held = held if isinstance(held, list) else [held]
        values[str(name).lower()] = tuple(int(item) for item in held)
    return values
