"""A plain folder of NIfTI files: each image beside a mask of the same name and an ending.

`case7.nii.gz` goes with `case7_mask.nii.gz` (or `_seg`, `_label`, `_brain`), in the same folder, or
in a folder `masks/` or `labels/` under the image's own name: beside the image, beside its folder,
or beside `images/` with the same folders below it. The subject is the folder below the source, or
the file's name where there is none.
"""

from __future__ import annotations

from pathlib import Path

from harness.data.cases import Case, tidy

EXTENSIONS = (".nii.gz", ".nii")
ENDINGS = ("_mask", "-mask", "_seg", "_label", "_brain")
MASK_FOLDERS = ("masks", "labels")
IMAGE_FOLDER = "images"


def find_cases(source: Path) -> list[Case]:
    """All images of the folder that are no masks, in the order of their paths."""
    files = sorted(path for path in source.rglob("*") if path.name.endswith(EXTENSIONS))
    cases = []
    for image in files:
        stem = _stem(image)
        relative = image.relative_to(source)
        if stem.endswith(ENDINGS) or set(relative.parent.parts) & set(MASK_FOLDERS):
            continue
        parts = [part for part in relative.parent.parts if part != IMAGE_FOLDER]
        subject = tidy(parts[0]) if parts else tidy(stem)
        cases.append(
            Case(
                stack=tidy("_".join([*parts, stem])),
                subject=subject,
                image=image,
                mask=_find_mask(source, relative.parent, stem),
                source=relative.as_posix(),
            )
        )
    return cases


def _find_mask(source: Path, relative: Path, stem: str) -> Path | None:
    for extension in EXTENSIONS:
        places = [source / relative / f"{stem}{ending}{extension}" for ending in ENDINGS]
        places += [
            folder / f"{stem}{ending}{extension}"
            for folder in _mask_folders(source, relative)
            for ending in ("", *ENDINGS)
        ]
        for place in places:
            if place.is_file():
                return place
    return None


def _mask_folders(source: Path, relative: Path) -> list[Path]:
    """Where masks of the images in `source / relative` may lie, the likeliest first."""
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


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")
