"""nnU-Net: `imagesTr/<case>_0000.nii.gz` with `labelsTr/<case>.nii.gz`, and `…Ts` for tests."""

from __future__ import annotations

import re
from pathlib import Path

from harness.data.cases import Case

EXTENSIONS = (".nii.gz", ".nii")
CHANNEL = re.compile(r"_0000$")
# The subject stands before the first underscore or dash and number of a run, if the name has one.
RUN = re.compile(r"[_-](run|stack|scan)[-_]?\d+.*$", re.IGNORECASE)


def find_cases(source: Path) -> list[Case]:
    """Cases of both folders; training goes to train, test to normal, unless a split says else."""
    cases = []
    for part, set_name in (("Tr", "train"), ("Ts", "normal")):
        folder = source / f"images{part}"
        images = sorted(p for p in folder.glob("*_0000.*") if p.name.endswith(EXTENSIONS))
        for image in images:
            name = CHANNEL.sub("", image.name.removesuffix(".gz").removesuffix(".nii"))
            masks = [source / f"labels{part}" / f"{name}{ending}" for ending in EXTENSIONS]
            cases.append(
                Case(
                    stack=name,
                    subject=RUN.sub("", name),
                    image=image,
                    mask=next((mask for mask in masks if mask.is_file()), None),
                    source=image.relative_to(source).as_posix(),
                    set_name=set_name,
                )
            )
    return cases
