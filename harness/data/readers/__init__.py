"""Readers: each finds the cases of one common form of folder and reads no voxel."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from harness.data.cases import Case
from harness.data.naming import name_fault
from harness.data.readers import arrays, bids, nifti_folder, nnunet, pairs
from harness.data.readers.files import nifti_files, posix
from harness.errors import DataError, UsageError

READERS: dict[str, Callable[[Path], list[Case]]] = {
    "bids": bids.find_cases,
    "nifti": nifti_folder.find_cases,
    "pairs": pairs.find_cases,
    "nnunet": nnunet.find_cases,
    "arrays": arrays.find_cases,
}


TABLES = (".csv", ".tsv", ".txt")
RAW_BIDS = re.compile(r"(^|/)sub-[^/]+/(.*/)?(anat/|sub-[^/]*_T2w\.nii)", re.IGNORECASE)


def detect_form(source: Path) -> str:
    """The form of a source: bids, nifti, pairs, nnunet or arrays. Raises `DataError`."""
    if not source.exists():
        raise DataError(f"{source}: no such folder or file.")
    if source.is_file():
        if source.suffix.lower() not in TABLES:
            raise DataError(f"{source}: expected a folder, or a .csv file of image,mask pairs.")
        return "pairs"
    if (source / "imagesTr").is_dir():
        return "nnunet"
    if any(source.glob("X_*.npy")):
        return "arrays"
    files = nifti_files(source)
    if any(RAW_BIDS.search(posix(path, source)) for path in files):
        return "bids"
    if files:
        return "nifti"
    raise DataError(
        f"{source}: holds no stacks in a known form (BIDS, NIfTI with masks, nnU-Net, X_*.npy); "
        "see docs/data.md."
    )


def find_cases(source: Path, form: str) -> list[Case]:
    """The cases of a source in one form, each under a name of its own.

    Raises `DataError` where there is none or two have one name.
    """
    if form not in READERS:
        raise UsageError(f"form {form!r} is unknown: use one of {', '.join(READERS)}.")
    cases = READERS[form](source)
    if all(case.left_out for case in cases):
        seen = f" ({cases[0].stack}: {cases[0].left_out})" if cases else ""
        raise DataError(f"{source}: holds no stacks in the form {form!r}{seen}; see docs/data.md.")
    named: dict[str, Case] = {}
    for case in cases:
        for what, name in (("stack", case.stack), ("subject", case.subject)):
            fault = "" if case.left_out else name_fault(name)
            if fault:
                raise DataError(f"{source}: the {what} {name!r} of {case.source} {fault}.")
        first = named.setdefault(case.stack, case)
        if first is not case:
            raise DataError(
                f"{source}: {first.source} and {case.source} are both the stack {case.stack!r}; "
                "give each a name of its own or take one out."
            )
    return cases
