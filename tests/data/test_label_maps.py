"""Brains from label maps: found, read upright, placed in the scene, and refused with a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from harness.data.phantom.atlas import find_label_maps, load_tissues
from harness.data.phantom.brain import AtlasBrain
from harness.data.phantom.generation import BRAINS_EVERY, make_phantom, make_stack, plan_stacks
from harness.data.phantom.growth import draw_size
from harness.data.phantom.presets import PRESETS, SetSize, with_matrix
from harness.errors import UsageError

MINI = replace(
    with_matrix(PRESETS["tiny"], 48),
    sets={"train": SetSize(subjects=3, stacks=3, slices=18)},
)


def labels() -> np.ndarray:
    """A brain of nested ellipsoids, 50 × 60 × 44 mm, with a cerebellum behind and below."""
    x, y, z = np.meshgrid(np.arange(60) - 30, np.arange(72) - 36, np.arange(60) - 30, indexing="ij")
    size = np.sqrt((x / 25) ** 2 + (y / 30) ** 2 + (z / 22) ** 2)
    found = np.zeros(size.shape, dtype=np.int16)
    for label, radius in ((1, 1.0), (2, 0.85), (3, 0.75), (4, 0.2)):
        found[size < radius] = label
    found[(x / 12) ** 2 + ((y + 16) / 9) ** 2 + ((z + 14) / 7) ** 2 < 1] = 5
    found[(np.abs(x) < 4) & (np.abs(y) < 4) & (z < -12) & (z > -22)] = 7
    return found


def write(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def test_the_age_is_the_tables_or_else_the_names(tmp_path: Path) -> None:
    write(tmp_path / "sub-sta30_dseg.nii.gz", labels())
    write(tmp_path / "sub-017_dseg.nii.gz", labels())
    table = "participant_id\tgestational_age\nsub-017\t24.5\n"
    (tmp_path / "participants.tsv").write_text(table)
    assert [item.weeks for item in find_label_maps(tmp_path)] == [24.5, 30.0]


def test_an_age_that_nobody_tells_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "brain.nii.gz", labels())
    with pytest.raises(UsageError, match=r"brain\.nii\.gz: its gestational age is not known"):
        find_label_maps(tmp_path)


def test_a_folder_without_label_maps(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no label map"):
        find_label_maps(tmp_path)


def test_a_map_in_another_orientation_is_the_same_brain(tmp_path: Path) -> None:
    upright = write(tmp_path / "a" / "30.nii.gz", labels())
    turned = np.ascontiguousarray(labels().transpose(2, 0, 1)[:, ::-1])
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 1, -1, 1, 1
    write(tmp_path / "b" / "30.nii.gz", turned, affine)
    one, two = (load_tissues(find_label_maps(tmp_path / name)[0]) for name in "ab")
    assert upright.exists()
    assert np.array_equal(one.values, two.values)
    assert one.radii_mm == pytest.approx([25, 30, 22], abs=1.5)


def test_other_labels_are_mapped_by_a_file(tmp_path: Path) -> None:
    write(tmp_path / "a" / "30.nii.gz", labels())
    other = np.where(labels() > 0, labels() + 110, 0).astype(np.int16)
    write(tmp_path / "b" / "30.nii.gz", other)
    with pytest.raises(UsageError, match=r"has no voxel of .*labels\.toml"):
        load_tissues(find_label_maps(tmp_path / "b")[0])
    (tmp_path / "b" / "labels.toml").write_text(
        "csf = 111\ncortex = 112\nwhite_matter = [113]\nventricles = 114\ncerebellum = 115\n"
        "deep_grey = 116\nbrainstem = 117\n"
    )
    one, two = (load_tissues(find_label_maps(tmp_path / name)[0]) for name in "ab")
    assert np.array_equal(one.values, two.values)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("cortexx = 2\nwhite_matter = 3\n", "cortexx = 2: expected one of csf, cortex"),
        ("cortex = 2.5\nwhite_matter = 3\n", "expected one of"),
        ("cortex = 2\n", "names no cortex or no white_matter"),
        ("cortex = \n", "is not TOML"),
    ],
)
def test_a_wrong_mapping(tmp_path: Path, text: str, answer: str) -> None:
    write(tmp_path / "30.nii.gz", labels())
    (tmp_path / "labels.toml").write_text(text)
    with pytest.raises(UsageError, match=answer):
        find_label_maps(tmp_path)


def test_the_brain_is_scaled_to_the_subject(tmp_path: Path) -> None:
    write(tmp_path / "30.nii.gz", labels())
    rng = np.random.default_rng(0)
    brain = AtlasBrain.fitted(
        find_label_maps(tmp_path)[0], (40.0, 50.0, 42.0), draw_size(30, rng), rng
    )
    assert brain.radii_mm[:2] == pytest.approx((40.0, 50.0))
    signals = dict.fromkeys(
        ("subplate", "white_matter", "germinal_matrix", "deep_grey", "cerebellum"), 300.0
    ) | {"csf": 500.0, "cortex": 100.0, "brainstem": 200.0}
    line = np.linspace(0, 48, 97, dtype=np.float32)
    zero = np.zeros_like(line)
    distance, signal = brain.draw((line, zero, zero), signals, 1.0)
    # From the ventricle through white matter and cortex to the fluid, and out at 40 mm.
    assert line[np.abs(distance).argmin()] == pytest.approx(40, abs=1.5)
    middle = [float(signal[np.abs(line - at).argmin()]) for at in (0, 15, 32, 37)]
    assert middle[0] > 400
    assert middle[1] == pytest.approx(300, rel=0.1)
    assert middle[2] < 160
    assert middle[3] > 400


def test_a_phantom_with_label_maps_holds_their_brains(tmp_path: Path) -> None:
    write(tmp_path / "maps" / "sub-30_dseg.nii.gz", labels())
    brains = find_label_maps(tmp_path / "maps")
    jobs = plan_stacks(MINI, 4, brains=brains)
    assert [bool(job.brains) for job in jobs] == [bool(job.subject % BRAINS_EVERY) for job in jobs]
    with_map = make_stack(jobs[0])
    without = make_stack(replace(jobs[0], brains=()))
    assert with_map.masks.any()
    assert not np.array_equal(with_map.images, without.images)


def test_same_label_maps_same_bytes_on_any_number_of_processes(tmp_path: Path) -> None:
    write(tmp_path / "maps" / "sub-30_dseg.nii.gz", labels())
    brains = find_label_maps(tmp_path / "maps")
    one = make_phantom(tmp_path / "one", MINI, seed=4, brains=brains, processes=1)
    two = make_phantom(tmp_path / "two", MINI, seed=4, brains=brains, processes=2)
    assert one.meta.hash == two.meta.hash
    assert one.meta.options["brains"] == [{"file": "sub-30_dseg.nii.gz", "weeks": 30.0}]
    assert "CC0" not in one.meta.licence
