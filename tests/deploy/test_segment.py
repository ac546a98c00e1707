"""`fetalbench segment` and its Python functions, on phantom stacks written as NIfTI files."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from backends.errors import WeightsError
from backends.weights import to_bytes
from harness.data.phantom.generation import make_stack, plan_stacks
from harness.data.phantom.presets import PRESETS, SetSize
from harness.data.unlabelled import find_stacks
from harness.data.writer import Stack
from harness.deploy import judging, pretrained
from harness.errors import DataError, UsageError
from tests.conftest import ROOT, Fetalbench

PRESET = replace(
    PRESETS["sim_to_real"],
    contrast=0.0,
    harm=0.0,
    coverage=(0.8, 0.8),
    sets={"train": SetSize(subjects=1, stacks=1, slices=6)},
)


@pytest.fixture(scope="module")
def phantom() -> Stack:
    """Six slices through a brain."""
    return make_stack(plan_stacks(PRESET, 5)[0])


def write(path: Path, stack: Stack, images: np.ndarray | None = None) -> nib.Nifti1Image:
    """The stack as a scanner's converter writes it: int16, sform and qform of two codes."""
    voxels = (stack.images if images is None else images).transpose(2, 1, 0)
    image = nib.Nifti1Image(voxels.astype(np.int16), stack.affine)
    image.set_sform(stack.affine, code=2)
    image.set_qform(stack.affine, code=1, strip_shears=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return image


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_bids_in_masks_on_the_sources_grid_out(
    fetalbench: Fetalbench, tmp_path: Path, phantom: Stack
) -> None:
    source = write(tmp_path / "bids/sub-01/anat/sub-01_run-1_T2w.nii.gz", phantom)
    done = fetalbench("segment", "bids", "--out", "masks", "--largest-component")
    assert done.returncode == 0, done.stderr
    place = tmp_path / "masks/sub-01/anat"
    mask = nib.Nifti1Image.from_filename(place / "sub-01_run-1_desc-brain_mask.nii.gz")
    # The grid is the source's to the bit: size, both forms and their codes, voxels, unit.
    for key in ("dim", "pixdim", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z"):
        np.testing.assert_array_equal(mask.header[key], source.header[key], err_msg=key)
    for key in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        assert float(mask.header[key]) == float(source.header[key]), key
    assert mask.get_data_dtype() == np.uint8
    voxels = np.asarray(mask.dataobj)
    truth = phantom.masks.transpose(2, 1, 0)
    overlap = 2 * (voxels & truth).sum() / (voxels.sum() + truth.sum())
    assert overlap > 0.8
    volume = voxels.sum() * abs(np.linalg.det(phantom.affine[:3, :3])) / 1000
    (row,) = table(tmp_path / "masks/stacks.tsv")
    assert float(row["volume_ml"]) == pytest.approx(volume, abs=0.01)
    assert int(row["slices_with_brain"]) == voxels.any(axis=(0, 1)).sum()
    slices = table(tmp_path / "masks/slices.tsv")
    areas = voxels.sum(axis=(0, 1)) * phantom.spacing_mm[0] * phantom.spacing_mm[1] / 100
    np.testing.assert_allclose([float(s["brain_cm2"]) for s in slices], areas, atol=1e-3)
    assert all(0 <= float(s["confidence"]) <= 1 for s in slices)
    said = json.loads((place / "sub-01_run-1_desc-brain_mask.json").read_text())
    assert said["RawSources"] == ["sub-01/anat/sub-01_run-1_T2w.nii.gz"]
    assert said["WeightsSha256"] == pretrained.load("rfbsnet").sha256
    description = json.loads((tmp_path / "masks/dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    pixels = np.asarray(Image.open(tmp_path / "masks/figures/sub-01_run-1.png")).astype(int)
    # Outlines are there: pixels of their colour, which no grey image has.
    assert (np.abs(pixels - (255, 90, 54)).sum(axis=2) == 0).sum() > 100

    validator = Path(sys.executable).with_name("bids-validator-deno")
    judged = subprocess.run(
        [str(validator), "--json", str(tmp_path / "masks")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    issues = json.loads(judged.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []

    again = fetalbench("segment", "bids", "--out", "masks")
    assert again.returncode == 3
    assert "holds masks already" in again.stderr
    assert "--force" in again.stderr
    assert fetalbench("segment", "bids", "--out", "bids").returncode == 3


def test_names_of_masks(tmp_path: Path, phantom: Stack) -> None:
    """BIDS names stay, whichever folder is named; two stacks of one name stay two."""
    for name in (
        "bids/sub-7/ses-2/anat/sub-7_ses-2_run-1_T2w.nii.gz",
        "a/t2.nii.gz",
        "b/t2.nii.gz",
    ):
        write(tmp_path / name, phantom)
    write(tmp_path / "a/t2_mask.nii.gz", phantom, phantom.masks)
    whole = find_stacks([tmp_path / "bids"])
    assert list(whole) == ["sub-7_ses-2_run-1"]
    assert list(find_stacks([tmp_path / "bids/sub-7/ses-2"])) == list(whole)
    others = find_stacks([tmp_path / "a", tmp_path / "b/t2.nii.gz", tmp_path / "a/t2.nii.gz"])
    assert {name: case.image.parent.name for name, case in others.items()} == {
        "sub-t2": "a",
        "sub-t2_acq-2": "b",
    }


def test_what_is_not_a_stack_is_one_sentence_and_the_others_are_segmented(
    fetalbench: Fetalbench, tmp_path: Path, phantom: Stack
) -> None:
    write(tmp_path / "ok.nii", phantom)
    flat = nib.Nifti1Image(phantom.images[3].T.astype(np.float32), phantom.affine)
    nib.save(flat, tmp_path / "flat.nii.gz")
    four = np.stack([phantom.images.transpose(2, 1, 0)] * 2, axis=3).astype(np.float32)
    nib.save(nib.Nifti1Image(four, phantom.affine), tmp_path / "four.nii.gz")
    write(tmp_path / "labels.nii.gz", phantom, phantom.masks)
    whole = gzip.compress((tmp_path / "ok.nii").read_bytes())
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    names = ("ok.nii", "flat.nii.gz", "four.nii.gz", "labels.nii.gz", "cut.nii.gz")
    done = fetalbench("segment", *names, "--force")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for sentence in (
        "four.nii.gz: is 4-D",
        "labels.nii.gz: holds 2 whole values only (0, 1), as a mask or label map does",
        "cut.nii.gz: cannot be unpacked",
    ):
        assert sentence in done.stderr
    rows = {row["stack"]: row for row in table(tmp_path / "masks/stacks.tsv")}
    assert float(rows["sub-ok"]["volume_ml"]) > 10
    assert "4-D" in rows["sub-four"]["problem"]
    written = nib.Nifti1Image.from_filename(
        tmp_path / "masks/sub-flat/anat/sub-flat_desc-brain_mask.nii.gz"
    )
    assert written.shape == phantom.images[3].T.shape
    assert np.asarray(written.dataobj).any()


def test_weights_of_ones_own_and_a_stack_without_brain(
    fetalbench: Fetalbench, tmp_path: Path, phantom: Stack
) -> None:
    write(tmp_path / "stack.nii.gz", phantom)
    weights = pretrained.load("rfbsnet").weights
    # A classifier that never says brain.
    weights["head.bias"] = np.array([50, -50], np.float32)
    (tmp_path / "never.safetensors").write_bytes(to_bytes(weights))
    done = fetalbench("segment", "stack.nii.gz", "--weights", "never.safetensors", "--json")
    assert done.returncode == 1
    assert "no brain found in its 6 slices; the mask is empty" in done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["slices_with_brain"], row["volume_ml"], row["look_at"]) == (0, 0.0, "n/a")
    mask = nib.Nifti1Image.from_filename(
        tmp_path / "masks/sub-stack/anat/sub-stack_desc-brain_mask.nii.gz"
    )
    assert not np.asarray(mask.dataobj).any()


def test_without_any_stack_nothing_is_imported_and_nothing_written(
    fetalbench: Fetalbench, tmp_path: Path, phantom: Stack
) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "cube.nii.gz", replace(phantom, affine=np.diag([2.0, 2.0, 2.0, 1.0])))
    (tmp_path / "text.txt").write_text("no image")
    for words, code, sentence in (
        (("empty",), 3, "empty: holds no stacks in a known form"),
        (("none.nii.gz",), 3, "none.nii.gz: no such file"),
        (("text.txt",), 3, "is not a NIfTI file"),
        (("cube.nii.gz",), 3, "name it with --slice-axis"),
        (("cube.nii.gz", "--slice-axis", "k", "--network", "unet"), 2, "only of rfbsnet"),
        (("cube.nii.gz", "--slice-axis", "k", "--plan", "best-one"), 2, "unknown plan"),
    ):
        done = fetalbench("segment", *words)
        assert (done.returncode, done.stdout) == (code, "")
        assert sentence in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "masks").exists()


def test_the_documented_programs_run(tmp_path: Path, phantom: Stack) -> None:
    """Both snippets of docs/segment.md, and the loop under the deadline test."""
    write(tmp_path / "stack.nii.gz", phantom)
    text = (ROOT / "docs" / "segment.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    code = "\n".join(
        [
            "import numpy as np",
            "from nibabel import load",
            "scanner = np.moveaxis(np.asarray(load('stack.nii.gz').dataobj), 2, 0)",
            *blocks,
            "assert mask.shape == scanner[-1].shape and mask.dtype == np.uint8",
            "from harness.deploy.slice_query import SliceQuery",
            "from harness.measuring import stream",
            "images = scanner[..., None].astype(np.float32)",
            "query = SliceQuery(segmenter, images[:1], (2.0, 2.0))",
            "pace = stream.Pace(name='slow', title='slow', interval_ms=(300, 300))",
            "before = query.compilations()",
            "found, rows = stream.run(lambda: query, images, pace, slices=3, seed=0)",
            "assert query.compilations() == before",
            "print('deadline', found.slices, len(rows))",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=tmp_path,
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "deadline 3 35" in done.stdout
    assert (tmp_path / "masks/figures/sub-stack.png").exists()


def test_the_packaged_weights_are_small_and_checked(tmp_path: Path) -> None:
    for name in pretrained.names():
        assert (pretrained.FOLDER / f"{name}.safetensors").stat().st_size <= 5 * 2**20
        assert "not for patients" in (pretrained.FOLDER / f"{name}.md").read_text().lower()
        assert all(v.dtype == np.float32 for v in pretrained.load(name).weights.values())
    for suffix in (".safetensors", ".toml"):
        content = (pretrained.FOLDER / f"rfbsnet{suffix}").read_bytes()
        (tmp_path / f"rfbsnet{suffix}").write_bytes(content)
    damaged = bytearray((tmp_path / "rfbsnet.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "rfbsnet.safetensors").write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"its card says .* install fetalbench again"):
        pretrained.load("rfbsnet", tmp_path)
    with pytest.raises(UsageError, match="no weights of network 'unet'"):
        pretrained.load("unet")


def test_slices_to_look_at() -> None:
    masks = np.zeros((6, 8, 8), np.uint8)
    masks[0:3, 1:5, 1:5] = 1
    masks[4, 6:8, 6:8] = 1  # apart, behind a gap
    sure = np.array([0.9, 0.3, 0.9, 1.0, 0.9, 1.0])
    assert judging.reasons(masks, sure) == [[], ["uncertain"], [], ["gap"], ["apart"], []]
    kept = judging.largest_component(masks)
    assert kept.sum() == masks[:3].sum()
    assert not kept[4].any()
    empty = np.zeros((2, 8, 8), np.uint8)
    assert judging.reasons(empty, np.ones(2)) == [[], []]
    assert not judging.largest_component(empty).any()


def test_confidence_is_low_where_brain_is_faint() -> None:
    clear, faint, none = (np.zeros((16, 16), np.float32) for _ in range(3))
    clear[4:12, 4:12] = 0.99
    faint[4:12, 4:12] = 0.55
    assert judging.confidence(clear) == pytest.approx(0.98)
    assert judging.confidence(faint) == pytest.approx(0.1)
    assert judging.confidence(none) == 1.0


def test_an_output_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    from harness.deploy.segmenting import require_free

    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="holds no masks of this command"):
        require_free(tmp_path, force=True)
    assert (tmp_path / "mine.txt").exists()
