"""nnU-Net: `imagesTr/<case>_0000.nii.gz` with `labelsTr/<case>.nii.gz`, and `…Ts` for tests.

The Medical Segmentation Decathlon's form is the same without `_0000`. Of `dataset.json` the
`file_ending` and the `labels` are heeded, in the form of either version. The brain is the label
named `brain` (one value or, as a region, several), else the only label there is; nobody annotated
the voxels of the label `ignore`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from harness.data.cases import Case
from harness.data.labels import Labels
from harness.data.readers import ages
from harness.data.readers.files import nifti_files, not_taken, other_images, posix, stem
from harness.errors import DataError

EXTENSIONS = (".nii.gz", ".nii")
CHANNEL = re.compile(r"_(\d{4})$")
# The subject stands before the first underscore or dash and number of a run, if the name has one.
RUN = re.compile(r"[_-](run|stack|scan)[-_]?\d+.*$", re.IGNORECASE)
NO_BRAIN = ("background", "ignore")
NO_LABELS = "the folder labelsTs is not there: a test image without a mask cannot be scored"


def find_cases(source: Path) -> list[Case]:
    """Cases of both folders; training goes to train, test to normal, unless a split says else.

    Raises `DataError` where dataset.json is damaged or does not say which label is the brain.
    """
    described = _description(source)
    endings = _extensions(source, described)
    labels = _labels(source, described)
    known = ages.of_tables(source)
    cases: list[Case] = []
    listed: list[Case] = []
    for part, set_name in (("Tr", "train"), ("Ts", "normal")):
        folder = source / f"labels{part}"
        masks: dict[str, list[Path]] = {}
        for path in nifti_files(folder):
            if path.name.lower().endswith(endings):
                masks.setdefault(stem(path), []).append(path)
        used: set[str] = set()
        for image in nifti_files(source / f"images{part}"):
            if not image.name.lower().endswith(endings):
                reason = f"file_ending of dataset.json is {endings[0]}"
                listed.append(not_taken(image, source, reason))
                continue
            name, other = _case_name(image, masks)
            if other:
                listed.append(not_taken(image, source, other))
                continue
            used.add(name)
            found = masks.get(name, [])
            subject = RUN.sub("", name)
            cases.append(
                Case(
                    stack=name,
                    subject=subject,
                    image=image,
                    mask=found[0] if found else None,
                    source=posix(image, source),
                    set_name=set_name,
                    left_out=NO_LABELS if part == "Ts" and not folder.is_dir() else "",
                    fault=_several(image, found),
                    labels=labels,
                    gestational_age_weeks=ages.find(known, subject),
                )
            )
        listed += [
            not_taken(path, source, "a mask to which no image belongs")
            for name, paths in masks.items()
            if name not in used
            for path in paths
        ]
    return cases + listed + other_images(source)


def _case_name(image: Path, masks: dict[str, list[Path]]) -> tuple[str, str]:
    """The name of a case, and why the image is not taken ("" if it is).

    A name that ends in four digits may be the Decathlon's (`fetus_2021`): the mask tells.
    """
    whole = stem(image)
    channel = CHANNEL.search(whole)
    if channel is None or whole in masks:
        return whole, ""
    name = whole[: channel.start()]
    return name, "" if channel[1] == "0000" else f"channel {channel[1]}: only 0000 is read"


def _several(image: Path, found: list[Path]) -> str:
    if len(found) < 2:
        return ""
    shown = " and ".join(path.name for path in found)
    return f"{image}: has several brain masks ({shown}); keep one of them."


def _description(source: Path) -> dict[str, Any]:
    path = source / "dataset.json"
    if not path.is_file():
        return {}
    try:
        described = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is not JSON ({error}); correct it or take it out.") from None
    if not isinstance(described, dict):
        raise DataError(f"{path}: is no JSON object; correct it or take it out.")
    return described


def _extensions(source: Path, described: dict[str, Any]) -> tuple[str, ...]:
    ending = described.get("file_ending")
    if ending is None:
        return EXTENSIONS
    if str(ending).lower() not in EXTENSIONS:
        raise DataError(
            f"{source / 'dataset.json'}: file_ending {ending!r} is not read; convert the files "
            f"to {EXTENSIONS[0]}."
        )
    return (str(ending).lower(),)


def _labels(source: Path, described: dict[str, Any]) -> Labels:
    """Values of the brain, of all else but 0, and of what nobody annotated."""
    path = source / "dataset.json"
    named = described.get("labels")
    if named is None:
        return Labels()
    try:
        values = _by_name(named)
    except (AttributeError, TypeError, ValueError):
        raise DataError(f"{path}: its labels are not name: number; correct them.") from None
    inside = {name: held for name, held in values.items() if name not in NO_BRAIN}
    brain = inside.get("brain")
    if brain is None and len(inside) == 1:
        (brain,) = inside.values()
    known = {value for held in values.values() for value in held}
    ignored = values.get("ignore", ())
    if not brain or 0 in brain:
        # Which of them it is the user may still say; until then no value is taken for it.
        fault = (
            f"{path}: has the labels {', '.join(inside) or 'of no structure'}; call the one that "
            'is the brain "brain", add "brain": [values] for several that make it up, or name '
            "them with --brain-labels."
        )
        return Labels(
            brain=(), other=tuple(sorted(known - {0, *ignored})), ignored=ignored, fault=fault
        )
    return Labels(
        brain=brain, other=tuple(sorted(known - {0, *brain, *ignored})), ignored=ignored, named=True
    )


def _by_name(named: Any) -> dict[str, tuple[int, ...]]:
    """Values by lower-case name; version 1 of nnU-Net writes number: name."""
    values = {}
    for key, value in named.items():
        name, held = (value, key) if str(key).isdigit() else (key, value)
        held = held if isinstance(held, list) else [held]
        values[str(name).lower()] = tuple(int(item) for item in held)
    return values
