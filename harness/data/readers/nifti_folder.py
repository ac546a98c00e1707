"""A plain folder of NIfTI files: each image beside a mask of the same name and an ending.

`case7.nii.gz` goes with `case7_mask.nii.gz` (or `_seg`, `_dseg`, `_label`, `_brain`), in the same
folder, or in a folder `masks/` or `labels/` under the image's own name: beside the image, beside
its folder, or beside `images/` with the same folders below it. The subject is the folder below the
source, or the file's name where there is none. Endings and names are compared without their case.
"""

from __future__ import annotations

from pathlib import Path

from harness.data.cases import Case
from harness.data.naming import original
from harness.data.readers import ages
from harness.data.readers.files import (
    by_casefold,
    nifti_files,
    not_taken,
    other_images,
    posix,
    stem,
)

ENDINGS = ("_mask", "-mask", "_seg", "_dseg", "_label", "_brain")
MASK_FOLDERS = ("masks", "labels")
IMAGE_FOLDER = "images"


def find_cases(source: Path) -> list[Case]:
    """All images of the folder that are not masks, in the order of their paths."""
    files = nifti_files(source)
    images = [path for path in files if not _is_mask(path, source)]
    index = by_casefold([*files, *_mirrored_files(source)])
    known = ages.of_tables(source)
    used: set[Path] = set()
    cases = []
    for image in images:
        folders = image.relative_to(source).parts[:-1]
        parts = [original(part) for part in folders if part != IMAGE_FOLDER]
        subject = parts[0] if parts else stem(image)
        found = _find_masks(source, image, index)
        used.update(found)
        age = ages.of_sidecar(image, stem(image))
        cases.append(
            Case(
                stack="_".join([*parts, stem(image)]),
                subject=subject,
                image=image,
                mask=found[0] if found else None,
                source=posix(image, source),
                fault=_ambiguous(image, found),
                gestational_age_weeks=ages.find(known, subject) if age is None else age,
            )
        )
    orphans = [path for path in files if _is_mask(path, source) and path not in used]
    reason = "a mask to which no image belongs, or not the first of its image"
    return [*cases, *(not_taken(path, source, reason) for path in orphans), *other_images(source)]


def _is_mask(path: Path, source: Path) -> bool:
    folders = {part.lower() for part in path.relative_to(source).parts[:-1]}
    return stem(path).lower().endswith(ENDINGS) or bool(folders & set(MASK_FOLDERS))


def _find_masks(source: Path, image: Path, index: dict[tuple[Path, str], list[Path]]) -> list[Path]:
    """The mask; several of one place and name, their case and ending aside, are all returned."""
    name = stem(image).casefold()
    places = [(image.parent, f"{name}{ending}") for ending in ENDINGS]
    places += [
        (folder, f"{name}{ending}")
        for folder in _mask_folders(source, image)
        for ending in ("", *ENDINGS)
    ]
    for place in places:
        found = index.get(place, [])
        # Of T2 and t2 each has its own.
        exact = [path for path in found if stem(path).startswith(stem(image))]
        if found:
            return exact or found
    return []


def _ambiguous(image: Path, found: list[Path]) -> str:
    if len(found) < 2:
        return ""
    shown = " and ".join(path.name for path in found)
    return f"{image}: has several brain masks ({shown}); keep one of them."


def _mask_folders(source: Path, image: Path) -> list[Path]:
    """Where masks of an image may lie, the likeliest first."""
    relative = image.relative_to(source).parent
    # The source may be the folder of images itself.
    parts = (source.name, *relative.parts)
    mirrored = [
        source.parent.joinpath(*parts[:at], name, *parts[at + 1 :])
        for at, part in enumerate(parts)
        if part == IMAGE_FOLDER
        for name in MASK_FOLDERS
    ]
    own = source / relative
    beside = [folder / name for folder in (own, own.parent) for name in MASK_FOLDERS]
    return mirrored + beside


def _mirrored_files(source: Path) -> list[Path]:
    """Masks beside the source, where it is the folder of images itself."""
    if source.name != IMAGE_FOLDER and not any(
        (source.parent / name).is_dir() for name in MASK_FOLDERS
    ):
        return []
    folders = [source.parent / name for name in MASK_FOLDERS]
    return [path for folder in folders if folder.is_dir() for path in nifti_files(folder)]
