"""Brains from label maps of any atlas, for `fetalbench data phantom --brains FOLDER`.

A folder holds segmentations of fetal brains as NIfTI, each with an age in weeks. Their tissues are
sampled in the scene's planes, and the envelope of all tissues is the inside of the skull.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from harness.data.nifti import check_nifti, read_voxels
from harness.data.phantom.shapes import Field, Points
from harness.errors import UsageError

# FeTA's seven labels (Payette et al., Sci Data 2021; 8:167).
FETA_LABELS: dict[str, tuple[int, ...]] = {
    "csf": (1,),
    "cortex": (2,),
    "white_matter": (3,),
    "ventricles": (4,),
    "cerebellum": (5,),
    "deep_grey": (6,),
    "brainstem": (7,),
}
LABELS_FILE = "labels.toml"
# Of a finer map, blocks of voxels are averaged into shares of tissue on a grid of about this size.
GRID_MM = 1.0
# Beyond this distance from the brain the envelope's distance is not needed.
MARGIN_MM = 12.0
# The envelope bridges gaps between the lobes up to about this width, as the dura does.
BRIDGED_MM = 2.0


@dataclass(frozen=True)
class LabelMap:
    """One file of an atlas: where it is, its age, and which label is which tissue."""

    path: str
    weeks: float
    labels: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.path).name


@dataclass(frozen=True, eq=False)
class Tissues:
    """A label map made ready for sampling: axes to the right, to the face, to the vertex.

    `values` is (x, y, z, channels) float32: first the shares of the tissues in `names`, then the
    depth below the cortex, the distance from the ventricles and the distance to the envelope, all
    in mm. `middle` is the voxel of the envelope's middle and `radii_mm` its half diameters.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    voxel_mm: NDArray[np.float64]
    middle: NDArray[np.float64]
    radii_mm: NDArray[np.float64]

    def sample(self, points: Points, scale: NDArray[np.float64]) -> NDArray[np.float32]:
        """Channels at points in mm from the middle, linearly, (…, channels) float32.

        `scale` is how much larger than the map the subject's brain is, by axis.
        """
        shape = self.values.shape
        corner, rest = [], []
        for axis, coordinate in enumerate(points):
            step = np.float32(1 / (scale[axis] * self.voxel_mm[axis]))
            place = coordinate * step + np.float32(self.middle[axis])
            place = np.clip(place, 0, np.float32(shape[axis] - 1.001))
            whole = place.astype(np.int32)
            corner.append(whole)
            rest.append(place - whole)
        flat = self.values.reshape(-1, shape[3])
        rows = (corner[0] * shape[1] + corner[1]) * shape[2] + corner[2]
        found = np.zeros((*rows.shape, shape[3]), dtype=np.float32)
        for x in (0, 1):
            for y in (0, 1):
                for z in (0, 1):
                    weight = _side(rest[0], x) * _side(rest[1], y) * _side(rest[2], z)
                    there = flat.take(rows + (x * shape[1] + y) * shape[2] + z, axis=0)
                    found += weight[..., None] * there
        return found


def _side(rest: Field, upper: int) -> Field:
    return rest if upper else 1 - rest


def find_label_maps(folder: Path) -> tuple[LabelMap, ...]:
    """The label maps of a folder, youngest first.

    The age is that of `participants.tsv` (columns `participant_id`, `gestational_age`) or else the
    number in the file's name, as in `sub-sta30_dseg.nii.gz`. `labels.toml` may say which labels are
    which tissue (`cortex = [2, 12]`); without it they are FeTA's seven. Raises `UsageError`.
    """
    files = sorted([*folder.rglob("*.nii"), *folder.rglob("*.nii.gz")])
    if not files:
        raise UsageError(f"--brains {folder}: holds no label map (*.nii, *.nii.gz).")
    labels = _read_labels(folder / LABELS_FILE)
    ages = _read_ages(folder / "participants.tsv")
    maps = [LabelMap(str(file.resolve()), _weeks(file, ages), labels) for file in files]
    return tuple(sorted(maps, key=lambda item: (item.weeks, item.path)))


def _read_labels(file: Path) -> tuple[tuple[str, tuple[int, ...]], ...]:
    if not file.is_file():
        return tuple(FETA_LABELS.items())
    known = ", ".join(FETA_LABELS)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: is not TOML ({error}).") from None
    labels: dict[str, tuple[int, ...]] = {}
    for name, value in table.items():
        values = value if isinstance(value, list) else [value]
        if name not in FETA_LABELS or any(type(item) is not int or item < 1 for item in values):
            raise UsageError(
                f"{file}: {name} = {value!r}: expected one of {known} with a label or a list of "
                "labels, whole numbers from 1 on."
            )
        labels[name] = tuple(values)
    if not {"cortex", "white_matter"} <= set(labels):
        raise UsageError(f"{file}: names no cortex or no white_matter; tissues are {known}.")
    return tuple(labels.items())


def _read_ages(file: Path) -> dict[str, float]:
    if not file.is_file():
        return {}
    table = pd.read_csv(file, sep="\t", dtype={"participant_id": str})
    if not {"participant_id", "gestational_age"} <= set(table.columns):
        raise UsageError(f"{file}: expected the columns participant_id and gestational_age.")
    ages = pd.to_numeric(table["gestational_age"], errors="coerce")
    return dict(zip(table["participant_id"], map(float, ages), strict=True))


def _weeks(file: Path, ages: dict[str, float]) -> float:
    subject = file.name.split("_")[0].split(".")[0]
    weeks = ages.get(subject, float("nan"))
    if np.isnan(weeks):
        numbers = [float(text) for text in re.findall(r"\d+(?:\.\d+)?", file.name.split(".nii")[0])]
        fetal = [number for number in numbers if 14 <= number <= 43]
        weeks = fetal[0] if fetal else float("nan")
    if not 14 <= weeks <= 43:
        raise UsageError(
            f"{file}: its gestational age is not known: name it in {file.parent}/participants.tsv "
            "(columns participant_id, gestational_age), or in the file's name, as sub-30_dseg.nii."
        )
    return weeks


@lru_cache(maxsize=6)
def load_tissues(item: LabelMap) -> Tissues:
    """Read a label map. Raises `DataError` for a damaged file, `UsageError` for other labels."""
    path = Path(item.path)
    file = check_nifti(path)
    labels, voxel_mm = _upright(read_voxels(file).astype(np.int16), file.affine)
    shares = [_coarse(np.isin(labels, values), voxel_mm) for _, values in item.labels]
    voxel_mm = voxel_mm * np.array([_block(side) for side in voxel_mm])
    names = tuple(name for name, _ in item.labels)
    missing = [name for name, share in zip(names, shares, strict=True) if not share.any()]
    if {"cortex", "white_matter"} & set(missing):
        raise UsageError(
            f"{path}: has no voxel of {' nor of '.join(missing)}: write which labels are which "
            f"tissue into {LABELS_FILE} beside it."
        )
    return _prepare(names, np.stack(shares, axis=-1), voxel_mm)


def _upright(
    labels: NDArray[np.int16], affine: NDArray[np.float64]
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """The map with axes to the right, front and top, cut to the brain, and its voxel's sides."""
    turns = nib.orientations.io_orientation(affine)
    labels = nib.orientations.apply_orientation(labels, turns)
    sides = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    voxel_mm = np.empty(3)
    voxel_mm[turns[:, 0].astype(int)] = sides
    found = ndimage.find_objects((labels > 0).astype(np.int8))
    return (labels[found[0]] if found else labels), voxel_mm


def _block(side_mm: float) -> int:
    return max(1, round(GRID_MM / side_mm))


def _coarse(inside: NDArray[np.bool_], voxel_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Shares of a tissue in blocks of voxels, with a margin around the brain."""
    blocks = [_block(side) for side in voxel_mm]
    margin = [int(np.ceil(MARGIN_MM / (s * n))) for s, n in zip(voxel_mm, blocks, strict=True)]
    padding = [
        (edge * n, edge * n + -size % n)
        for edge, n, size in zip(margin, blocks, inside.shape, strict=True)
    ]
    padded = np.pad(inside, padding).astype(np.float32)
    x, y, z = (size // n for size, n in zip(padded.shape, blocks, strict=True))
    parts = padded.reshape(x, blocks[0], y, blocks[1], z, blocks[2])
    return parts.mean(axis=(1, 3, 5), dtype=np.float32)


def _prepare(
    names: tuple[str, ...], shares: NDArray[np.float32], voxel_mm: NDArray[np.float64]
) -> Tissues:
    sampling = voxel_mm.tolist()
    brain = shares.sum(axis=-1) >= 0.5
    reach = [max(1, round(BRIDGED_MM / side)) for side in sampling]
    ball = np.ones([2 * n + 1 for n in reach], dtype=bool)
    envelope = ndimage.binary_fill_holes(ndimage.binary_closing(brain, ball))
    assert envelope is not None
    to_envelope = _signed_distance(envelope, sampling)
    by_name = dict(zip(names, np.moveaxis(shares, -1, 0), strict=True))
    depth = _signed_distance(by_name["cortex"] >= 0.5, sampling)
    ventricles = by_name.get("ventricles")
    from_ventricles = np.full_like(depth, MARGIN_MM)
    if ventricles is not None and (ventricles >= 0.5).any():
        from_ventricles = _signed_distance(ventricles >= 0.5, sampling)
    boxes = ndimage.find_objects(envelope.astype(np.int8))[0]
    first = np.array([part.start for part in boxes], dtype=float)
    last = np.array([part.stop for part in boxes], dtype=float)
    values = np.concatenate(
        [shares, np.stack([depth, from_ventricles, to_envelope], axis=-1)], axis=-1
    )
    return Tissues(
        names=names,
        values=values.astype(np.float32),
        voxel_mm=voxel_mm,
        middle=(first + last - 1) / 2,
        radii_mm=(last - first) * voxel_mm / 2,
    )


def _signed_distance(inside: NDArray[np.bool_], sampling: list[float]) -> NDArray[np.float32]:
    """Distance in mm to the surface, negative inside, smoothed over a voxel's steps."""
    outer = ndimage.distance_transform_edt(~inside, sampling=sampling)
    inner = ndimage.distance_transform_edt(inside, sampling=sampling)
    assert isinstance(outer, np.ndarray)
    assert isinstance(inner, np.ndarray)
    distance = np.where(inside, 0.5 - inner, outer - 0.5).astype(np.float32)
    return ndimage.gaussian_filter(distance, 0.7)
