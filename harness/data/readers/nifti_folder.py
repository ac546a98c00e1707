"""A plain folder of NIfTI files: each image beside a mask of the same name and an ending.

`case7.nii.gz` goes with `case7_mask.nii.gz` (or `_seg`, `_label`, `_brain`), in the same folder or
in a sibling folder `masks/` or `labels/` under the image's own name. The subject is the folder
below the source, or the file's name where there is none.
"""

from __future__ import annotations

import re
from pathlib import Path

from harness.data.cases import Case

EXTENSIONS = (".nii.gz", ".nii")
ENDINGS = ("_mask", "-mask", "_seg", "_label", "_brain")
MASK_FOLDERS = ("masks", "labels")


def find_cases(source: Path) -> list[Case]:
    """All images of the folder that are no masks, in the order of their paths."""
    files = sorted(path for path in source.rglob("*") if path.name.endswith(EXTENSIONS))
    cases = []
    for image in files:
        stem = _stem(image)
        if stem.endswith(ENDINGS) or image.parent.name in MASK_FOLDERS:
            continue
        relative = image.relative_to(source)
        parts = [part for part in relative.parent.parts if part != "images"]
        subject = _tidy(parts[0]) if parts else _tidy(stem)
        cases.append(
            Case(
                stack=_tidy("_".join([*parts, stem])),
                subject=subject,
                image=image,
                mask=_find_mask(image, stem),
                source=relative.as_posix(),
            )
        )
    return cases


def _find_mask(image: Path, stem: str) -> Path | None:
    for extension in EXTENSIONS:
        places = [image.with_name(f"{stem}{ending}{extension}") for ending in ENDINGS]
        places += [
            folder / folder_name / f"{stem}{ending}{extension}"
            for folder in (image.parent, image.parent.parent)
            for folder_name in MASK_FOLDERS
            for ending in ("", *ENDINGS)
        ]
        for place in places:
            if place.is_file():
                return place
    return None


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _tidy(name: str) -> str:
    """Letters, digits and `_.-` only, as names of stacks are written."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip("_.-") or "case"
