"""Finding files: endings in any case, links that lead nowhere, and what looks like an image."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.data.cases import Case
from harness.data.naming import original

NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
# Images in other forms; a reader that passed over them in silence would lose stacks.
OTHER_IMAGES = re.compile(
    r"\.(nrrd|nhdr|mha|mhd|img|mgz|mgh|mnc|gipl|dcm|ima|par|nii\.(bz2|xz|zst|zip))$", re.IGNORECASE
)
_MOST_LISTED = 3


def walk(source: Path) -> Iterator[Path]:
    """All files below a folder in order, dangling links too, but nothing hidden.

    Hidden are the folders of Git and DataLad and the `._` files that macOS leaves beside others.
    """
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(folder, name)


def nifti_files(source: Path) -> list[Path]:
    """Files below `source` that are called NIfTI, in the order of their paths."""
    return sorted(path for path in walk(source) if NIFTI.search(path.name))


def stem(path: Path) -> str:
    """The name without its ending, in the one spelling of `naming.original`."""
    return original(NIFTI.sub("", path.name))


def posix(path: Path, source: Path) -> str:
    """The path below the source as it is written into tables."""
    return original(path.relative_to(source).as_posix())


def not_taken(path: Path, source: Path, reason: str) -> Case:
    """What looks like an image and is not taken: listed under its path, with why."""
    name = posix(path, source)
    return Case(stack=name, subject="", image=path, mask=None, source=name, left_out=reason)


def other_images(source: Path) -> list[Case]:
    """Images that are not NIfTI, one by one or, where a folder is full of them, as a whole."""
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in walk(source):
        found = OTHER_IMAGES.search(path.name)
        if found:
            groups.setdefault((path.parent, found[0].lower()), []).append(path)
    cases = []
    for (_, ending), paths in groups.items():
        reason = f"{ending} is not read: convert it to .nii.gz"
        if len(paths) > _MOST_LISTED:
            reason = f"and {len(paths) - 1} more like it in its folder: {reason}"
        shown = paths[:1] if len(paths) > _MOST_LISTED else paths
        cases += [not_taken(path, source, reason) for path in shown]
    return cases


def by_casefold(paths: Iterable[Path]) -> dict[tuple[Path, str], list[Path]]:
    """Paths by folder and stem, the stem's case aside."""
    found: dict[tuple[Path, str], list[Path]] = {}
    for path in paths:
        found.setdefault((path.parent, stem(path).casefold()), []).append(path)
    return found
