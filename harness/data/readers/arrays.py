"""NumPy arrays as the paper's code used them: `X_train.npy` with `y_train.npy`, and test sets.

`X_test_normal.npy` and `X_test_challenging.npy` become the sets normal and challenging; a plain
`X_test.npy` becomes normal, `X_val.npy` val. Shapes are (n, h, w) or (n, h, w, 1). The arrays do
not say where one subject ends: `groups_<name>.npy`, if there, holds a subject's number a slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.cases import Case
from harness.data.writer import Stack
from harness.errors import DataError

SETS = {
    "train": "train",
    "val": "val",
    "test": "normal",
    "test_normal": "normal",
    "test_challenging": "challenging",
}
LARGEST_SIDE = 1024
MAGIC = np.lib.format.MAGIC_PREFIX
# What NumPy's reader of headers lets through when one is damaged.
DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    OverflowError,
    TypeError,
    SyntaxError,
    TokenError,
    RecursionError,
    MemoryError,
)
NO_SPACING = "the arrays carry no spacing: distances in mm are in pixels of 1 mm."
UNKNOWN_SUBJECTS = (
    "the arrays do not say which slices belong to one subject: each set counts as one subject, "
    "and nothing can be said about new subjects (add groups_<set>.npy)."
)


@dataclass(frozen=True, kw_only=True)
class ArrayCase(Case):
    """Slices of one subject in `X_<set>.npy` and `y_<set>.npy`; `taken` are their indices."""

    taken: NDArray[np.int64]

    def load(self, set_name: str) -> Stack:
        """Read the slices. Raises `DataError` on NaN, constant images and unknown labels."""
        assert self.mask is not None
        images = np.asarray(_open(self.image)[self.taken], dtype=np.float32)
        masks = _open(self.mask)[self.taken]
        if not np.isfinite(images).all():
            raise DataError(
                f"{self.image}: {self.subject} holds NaN or infinite values; replace them and "
                "save it anew."
            )
        if images.min() == images.max():
            raise DataError(
                f"{self.image}: every pixel of {self.subject} is {images.flat[0]:g}; export it "
                "anew."
            )
        masks, taken, warning = self._brain(masks)
        return Stack(
            name=self.stack,
            subject=self.subject,
            set_name=set_name,
            images=images,
            masks=masks,
            # Arrays carry no spacing; distances in mm are in pixels then, and a warning says so.
            spacing_mm=(1.0, 1.0),
            thickness_mm=1.0,
            affine=np.eye(4),
            orientation="oblique",
            source=self.source,
            taken=taken,
            warnings=(f"{self.mask.name}: {warning}",) if warning else (),
        )

    def _brain(self, values: NDArray[Any]) -> tuple[NDArray[np.uint8], tuple[int, ...] | None, str]:
        """Masks of 0/1, the slices that count where not all do, and a warning."""
        assert self.mask is not None
        try:
            brain, ignored, warning = self.labels.split(values.astype(np.float32), self.mask)
        except DataError as error:
            said = str(error).replace(f"{self.mask}: ", f"{self.mask}: {self.subject} ", 1)
            raise DataError(said) from None
        taken = np.flatnonzero(~ignored.any(axis=(1, 2)))
        if not len(taken):
            raise DataError(f"{self.mask}: {self.subject} has no slice that was annotated.")
        return brain, tuple(taken.tolist()) if len(taken) < len(brain) else None, warning


def find_cases(source: Path) -> list[Case]:
    """One case a set, or one a subject where groups are given.

    Raises `DataError` where an array is missing, damaged or of another shape than its masks.
    """
    cases: list[Case] = []
    for name, set_name in SETS.items():
        path, masks_path = source / f"X_{name}.npy", source / f"y_{name}.npy"
        if not path.is_file():
            continue
        images, masks = _open(path), _open(masks_path)
        if images.shape != masks.shape:
            raise DataError(
                f"{masks_path}: its shape is {masks.shape}, that of {path.name} {images.shape}; "
                "they must be the same."
            )
        cases += [
            ArrayCase(
                stack=f"{subject}_{path.stem}",
                subject=subject,
                image=path,
                mask=masks_path,
                source=path.name,
                set_name=set_name,
                taken=taken,
            )
            for subject, taken in _groups(source, name, len(images))
        ]
    return cases


def warnings(source: Path) -> list[str]:
    """What must be said beside results on these arrays."""
    grouped = any((source / f"groups_{name}.npy").is_file() for name in SETS)
    return [NO_SPACING] if grouped else [NO_SPACING, UNKNOWN_SUBJECTS]


def _load(path: Path) -> NDArray[Any]:
    """A plain .npy array, memory-mapped; no pickle is opened, and no archive."""
    try:
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise DataError(f"{path}: is no plain NumPy array; save it with numpy.save.")
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGED as error:
        raise DataError(
            f"{path}: is no plain NumPy array ({error}); save it with numpy.save."
        ) from None


def _open(path: Path) -> NDArray[Any]:
    """Memory-mapped (n, h, w); nothing is read."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; each X_*.npy needs its y_*.npy.")
    array = _load(path)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.dtype.kind not in "biuf" or 0 in array.shape:
        raise DataError(f"{path}: is {array.dtype} {array.shape}; expected numbers (n, h, w, 1).")
    if any(side > LARGEST_SIDE for side in array.shape[1:]):
        raise DataError(f"{path}: slices of {array.shape[1:]} are larger than {LARGEST_SIDE}.")
    return array


def _groups(source: Path, name: str, count: int) -> Iterator[tuple[str, NDArray[np.int64]]]:
    path = source / f"groups_{name}.npy"
    if not path.is_file():
        yield name.replace("_", "-"), np.arange(count)
        return
    groups = _load(path)
    if groups.shape != (count,) or groups.dtype.kind not in "iu":
        raise DataError(f"{path}: expected {count} whole numbers, one a slice.")
    for group in np.unique(groups):
        yield f"sub-{int(group):03d}", np.flatnonzero(groups == group)
