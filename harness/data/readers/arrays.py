"""NumPy arrays as the paper's code used them: `X_train.npy` with `y_train.npy`, and test sets.

`X_test_normal.npy` and `X_test_challenging.npy` become the sets normal and challenging; a plain
`X_test.npy` becomes normal, `X_val.npy` val. Shapes are (n, h, w) or (n, h, w, 1). The arrays do
not say where one subject ends: `groups_<name>.npy`, if there, holds a subject's number a slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
UNKNOWN_SUBJECTS = (
    "the arrays do not say which slices belong to one subject: each set counts as one subject, "
    "and nothing can be said about new subjects (add groups_<set>.npy)."
)


def read_stacks(source: Path) -> Iterator[Stack]:
    """One stack a set, or one a subject where groups are given. Raises `DataError`."""
    found = False
    for name, set_name in SETS.items():
        path = source / f"X_{name}.npy"
        if not path.is_file():
            continue
        found = True
        images = _open(path)
        masks = _open(source / f"y_{name}.npy")
        if images.shape != masks.shape:
            raise DataError(
                f"{source / f'y_{name}.npy'}: its shape is {masks.shape}, that of {path.name} "
                f"{images.shape}; they must be the same."
            )
        for subject, taken in _groups(source, name, len(images)):
            yield _stack(path, set_name, subject, images[taken], masks[taken])
    if not found:
        raise DataError(f"{source}: holds none of {', '.join(f'X_{name}.npy' for name in SETS)}.")


def has_groups(source: Path) -> bool:
    """Whether any set says which slices belong to one subject."""
    return any((source / f"groups_{name}.npy").is_file() for name in SETS)


def _open(path: Path) -> NDArray[Any]:
    """Memory-mapped (n, h, w); nothing is read and no pickle is opened."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; each X_*.npy needs its y_*.npy.")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: is no plain NumPy array ({error}).") from None
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.dtype.kind not in "biuf" or len(array) == 0:
        raise DataError(f"{path}: is {array.dtype} {array.shape}; expected numbers (n, h, w, 1).")
    if any(side > LARGEST_SIDE for side in array.shape[1:]):
        raise DataError(f"{path}: slices of {array.shape[1:]} are larger than {LARGEST_SIDE}.")
    return array


def _groups(source: Path, name: str, count: int) -> Iterator[tuple[str, NDArray[np.int64]]]:
    path = source / f"groups_{name}.npy"
    if not path.is_file():
        yield name.replace("_", "-"), np.arange(count)
        return
    try:
        groups = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: is no plain NumPy array ({error}).") from None
    if groups.shape != (count,) or groups.dtype.kind not in "iu":
        raise DataError(f"{path}: expected {count} whole numbers, one a slice.")
    for group in np.unique(groups):
        yield f"sub-{int(group):03d}", np.flatnonzero(groups == group)


def _stack(
    path: Path, set_name: str, subject: str, images: NDArray[Any], masks: NDArray[Any]
) -> Stack:
    images = np.asarray(images, dtype=np.float32)
    if not np.isfinite(images).all():
        raise DataError(f"{path}: holds NaN or infinite values; replace them and save it anew.")
    if not np.isin(np.unique(masks), (0, 1)).all():
        raise DataError(
            f"{path.with_name('y' + path.name[1:])}: is no binary mask; "
            "save brain as 1 and the rest as 0."
        )
    return Stack(
        name=f"{subject}_{path.stem}",
        subject=subject,
        set_name=set_name,
        images=images,
        masks=masks,
        # Arrays carry no spacing; distances in mm are in pixels then, and a warning says so.
        spacing_mm=(1.0, 1.0),
        thickness_mm=1.0,
        affine=np.eye(4),
        orientation="oblique",
        source=path.name,
    )
