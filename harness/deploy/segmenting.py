"""Segments stacks that nobody has labelled, and writes masks, tables and contact sheets.

    from harness.deploy.segmenting import segment

    for found in segment([Path("stack.nii.gz")], Path("masks")):
        print(found.name, found.volume_ml, found.look_at)

What lies in the folder afterwards:

```
dataset_description.json                       BIDS derivative
sub-01/anat/sub-01_run-1_desc-brain_mask.nii.gz   uint8 0/1 on the source's own grid, and a .json
figures/sub-01_run-1.png                       every slice with its outline
stacks.tsv                                     a row per stack: volume, slices to look at, time
slices.tsv                                     a row per slice: area, confidence, why to look at it
```
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.derivatives import description, write_json
from harness.data.unlabelled import Unlabelled, find_stacks, read_stack
from harness.deploy.segmenter import SegmentedStack, Segmenter
from harness.deploy.sheet import contact_sheet
from harness.errors import DataError

FIGURES, STACKS, SLICES = "figures", "stacks.tsv", "slices.tsv"
# What a validator of BIDS is not to look at.
IGNORED = f"{FIGURES}\n{STACKS}\n{SLICES}\n"
NOT_FOR_PATIENTS = "Research only; not a medical device."


@dataclass(frozen=True, kw_only=True)
class Segmented:
    """One stack that was segmented: `masks` (slices, rows, columns), `mask` the file written.

    `fault` is the sentence that says why a stack could not be segmented; all else is empty then.
    """

    name: str
    source: Path
    fault: str = ""
    mask: Path | None = None
    sheet: Path | None = None
    volume_ml: float = 0.0
    slices: int = 0
    with_brain: int = 0
    confidence: float = 0.0
    milliseconds: float = 0.0
    look_at: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    rows: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def row(self) -> dict[str, Any]:
        """The line of stacks.tsv."""
        return {
            "stack": self.name,
            "source": self.source.name,
            "slices": self.slices,
            "slices_with_brain": self.with_brain,
            "volume_ml": round(self.volume_ml, 2),
            "confidence": round(self.confidence, 3),
            "milliseconds_per_slice": round(self.milliseconds, 1),
            "look_at": " ".join(map(str, self.look_at)) or "n/a",
            "problem": self.fault or " ".join(self.warnings) or "n/a",
        }


def segment(
    sources: Sequence[Path],
    out: Path,
    *,
    segmenter: Segmenter | None = None,
    largest_component: bool = False,
    slice_axis: Sequence[str] = (),
    force: bool = False,
    on_stack: Callable[[Segmented, int], None] = lambda _found, _all: None,
) -> list[Segmented]:
    """Segment files, folders or BIDS data sets into `out`; returns one entry per stack.

    `segmenter` is by default the package's RFBSNet. A stack that is damaged, or a mask, is an entry
    with a `fault`, and the others are segmented all the same; if all are, the first fault is
    raised. `on_stack` is told of each stack, and how many there are. Raises `DataError` for a
    source that is missing or holds no stack, and for an `out` that is not empty unless `force`.
    """
    cases = find_stacks(sources, slice_axis)
    require_free(out, force=force)
    worker = segmenter or Segmenter()
    found: list[Segmented] = []
    for name, case in cases.items():
        try:
            stack = read_stack(case)
        except DataError as error:
            found.append(Segmented(name=name, source=case.image, fault=str(error)))
        else:
            found.append(_segment(worker, name, stack, out, largest_component=largest_component))
        on_stack(found[-1], len(cases))
    if all(one.fault for one in found):
        raise DataError(found[0].fault)
    _write_tables(out, worker, found)
    return found


def require_free(out: Path, *, force: bool, remove: bool = True) -> None:
    """Raise `DataError` if something lies where the masks would; `force` removes old masks."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / STACKS).is_file():
        raise DataError(f"{out}: is not empty, and holds no masks of this command; choose another.")
    if not force:
        raise DataError(f"{out}: holds masks already; choose another --out, or replace (--force).")
    for old in out.iterdir() if remove else ():
        if old.is_dir() and old.name.startswith(("sub-", FIGURES)):
            shutil.rmtree(old)


def _segment(
    worker: Segmenter, name: str, stack: Unlabelled, out: Path, *, largest_component: bool
) -> Segmented:
    result = worker.stack(stack.images, stack.spacing_mm, largest_component=largest_component)
    parts = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    place, figures = out.joinpath(*parts, "anat"), out / FIGURES
    place.mkdir(parents=True, exist_ok=True)
    figures.mkdir(exist_ok=True)
    mask, sheet = place / f"{name}_desc-brain_mask.nii.gz", figures / f"{name}.png"
    mask.write_bytes(stack.mask_file(result.masks))
    areas = result.masks.sum(axis=(1, 2), dtype=np.int64)
    volume = float(areas.sum()) * stack.voxel_ml
    title = f"{name}   {volume:.1f} ml   {worker.network}   {NOT_FOR_PATIENTS}"
    sheet.write_bytes(
        contact_sheet(stack.images, result.masks, stack.spacing_mm, result.look, title)
    )
    found = Segmented(
        name=name,
        source=stack.case.image,
        mask=mask,
        sheet=sheet,
        volume_ml=volume,
        slices=len(areas),
        with_brain=int((areas > 0).sum()),
        confidence=float(result.confidence.mean()),
        milliseconds=float(np.median(result.milliseconds)),
        look_at=tuple(index for index, why in enumerate(result.look) if why),
        warnings=stack.warnings,
        rows=_slice_rows(name, stack, result, areas),
    )
    sidecar = {
        "Type": "Brain",
        "Description": f"Brain, by {worker.network}. {NOT_FOR_PATIENTS}",
        "RawSources": [stack.case.source],
        "Weights": worker.source,
        "WeightsSha256": worker.sha256,
        "Backend": worker.backend,
        "Plan": worker.plan,
        "LargestComponent": largest_component,
        "VolumeMl": round(volume, 3),
        "SlicesToLookAt": list(found.look_at),
    }
    write_json(mask.with_name(f"{name}_desc-brain_mask.json"), sidecar)
    return found


def _slice_rows(
    name: str, stack: Unlabelled, result: SegmentedStack, areas: np.ndarray
) -> list[dict[str, Any]]:
    pixel_cm2 = stack.spacing_mm[0] * stack.spacing_mm[1] / 100
    return [
        {
            "stack": name,
            "slice": index,
            "axis": "ijk"[stack.axis],
            "brain_cm2": round(float(areas[index]) * pixel_cm2, 3),
            "confidence": round(float(result.confidence[index]), 3),
            "milliseconds": round(float(result.milliseconds[index]), 2),
            "look": " ".join(result.look[index]) or "n/a",
        }
        for index in range(len(areas))
    ]


def _write_tables(out: Path, worker: Segmenter, found: list[Segmented]) -> None:
    title = f"Brain masks by {worker.network} ({worker.source})"
    write_json(out / "dataset_description.json", description(title))
    (out / "README.md").write_text(f"{title}.\n\n{NOT_FOR_PATIENTS}\n", encoding="utf-8")
    (out / ".bidsignore").write_text(IGNORED, encoding="utf-8")
    _tsv(out / SLICES, [row for one in found for row in one.rows])
    _tsv(out / STACKS, [one.row() for one in found])


def _tsv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, rows[0], delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
