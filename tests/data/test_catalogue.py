"""The data set folder: written whole or not at all, read with its hash, prepared for networks."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.data.augmentation import augment
from harness.data.augmentation_levels import LEVELS, Strengths
from harness.data.catalogue import Dataset, DatasetMeta, open_dataset
from harness.data.fitting import fit, fit_masks, unfit
from harness.data.normalisation import normalise, warning
from harness.data.preparation import prepare
from harness.data.writer import DatasetWriter, Stack
from harness.errors import DataError, UsageError
from tests.conftest import discs


def meta() -> DatasetMeta:
    return DatasetMeta(name="x", title="X", kind="phantom", source="a test", licence="CC0-1.0")


def stack(name: str, seed: int, size: int = 32) -> Stack:
    images, masks = discs(4, size, seed)
    return Stack(
        name=name,
        subject=name,
        set_name="train",
        images=images,
        masks=masks,
        spacing_mm=(1.0, 1.0),
        thickness_mm=3.0,
        affine=np.eye(4),
        orientation="axial",
    )


def write(folder: Path, *, seed: int = 0, force: bool = False) -> Dataset:
    with DatasetWriter(folder, meta(), force=force) as writer:
        writer.add_stack(stack("sub-b", seed))
        writer.add_stack(stack("sub-a", seed + 1))
        return writer.finish()


def test_round_trip_and_hash(tmp_path: Path) -> None:
    dataset = write(tmp_path / "one")
    again = open_dataset(tmp_path / "one", verify=True)
    assert again.meta == dataset.meta
    assert list(again.slices["stack"]) == ["sub-a"] * 4 + ["sub-b"] * 4
    assert np.array_equal(again.images("sub-b"), discs(4, 32, 0)[0])
    assert write(tmp_path / "two").meta.hash == dataset.meta.hash
    assert write(tmp_path / "three", seed=5).meta.hash != dataset.meta.hash


def test_changed_content_is_found_out(tmp_path: Path) -> None:
    write(tmp_path / "set")
    path = tmp_path / "set/stacks/sub-a.images.npy"
    array = np.load(path)
    array[0, 0, 0] += 1
    np.save(path, array)
    with pytest.raises(DataError, match="does not match the hash"):
        open_dataset(tmp_path / "set", verify=True)


def test_nothing_is_left_of_a_failed_write(tmp_path: Path) -> None:
    twice = stack("sub-a", 0)
    with DatasetWriter(tmp_path / "set", meta()) as writer:
        writer.add_stack(twice)
        with pytest.raises(DataError, match="comes twice"):
            writer.add_stack(twice)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_replaced_only_by_force_and_only_a_data_set(tmp_path: Path) -> None:
    write(tmp_path / "set")
    with pytest.raises(DataError, match="exists already"):
        write(tmp_path / "set")
    assert write(tmp_path / "set", seed=3, force=True).meta.hash
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter.txt").write_text("dear")
    with pytest.raises(DataError, match="is no data set"):
        write(tmp_path / "home", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "set"]


def test_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "set")
    path = tmp_path / "set/dataset.json"
    content = json.loads(path.read_text()) | {"schema_version": 99}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="newer"):
        open_dataset(tmp_path / "set")


@pytest.mark.parametrize("missing", ["dataset.json", "slices.parquet"])
def test_what_is_no_data_set_is_said_so(tmp_path: Path, missing: str) -> None:
    write(tmp_path / "set")
    (tmp_path / "set" / missing).unlink()
    with pytest.raises(DataError, match=missing):
        open_dataset(tmp_path / "set")


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set")
    shutil.rmtree(tmp_path / "set/stacks")
    with pytest.raises(DataError, match=r"sub-a\.images\.npy"):
        dataset.images("sub-a")


def test_crop_pad_goes_back_exactly() -> None:
    images = np.random.default_rng(0).random((3, 50, 71)).astype(np.float32)
    fitted = fit(images, 64, 64, "crop_pad")
    assert fitted.shape == (3, 64, 64)
    back = unfit((fitted > 0.5).astype(np.uint8), 50, 71, "crop_pad")
    assert np.array_equal(back[:, :, 3:67], images[:, :, 3:67] > 0.5)
    assert not back[:, :, :3].any()
    assert not back[:, :, 67:].any()


def test_resize_keeps_position_and_mean() -> None:
    masks = np.zeros((1, 100, 80), np.uint8)
    masks[0, 20:60, 30:60] = 1
    fitted = fit_masks(masks, 64, 64, "resize")
    back = unfit(fitted, 100, 80, "resize")
    overlap = 2 * (back & masks).sum() / (back.sum() + masks.sum())
    assert overlap > 0.96
    images = np.random.default_rng(1).random((2, 100, 80)).astype(np.float32)
    assert fit(images, 64, 64, "resize").mean() == pytest.approx(images.mean(), abs=0.01)
    flat = np.full((1, 33, 47), 5, np.float32)
    assert np.allclose(fit(flat, 64, 32, "resize"), 5)


def test_unknown_fit_and_normalisation() -> None:
    images = np.zeros((1, 8, 8), np.float32)
    with pytest.raises(UsageError, match="crop_pad"):
        fit(images, 4, 4, "stretch")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="per_slice"):
        normalise(images, "none")  # type: ignore[arg-type]


def test_normalisation_of_slices_and_of_constants() -> None:
    images = np.random.default_rng(0).normal(400, 90, (4, 20, 20)).astype(np.float32)
    images[2] = 812.5
    slices = normalise(images, "per_slice")
    assert slices[0].mean() == pytest.approx(0, abs=1e-5)
    assert slices[0].std() == pytest.approx(1, abs=1e-5)
    assert not slices[2].any()
    pixels = normalise(images, "per_pixel_std")
    assert np.allclose(pixels.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(pixels.std(axis=0), 1, atol=1e-4)
    assert warning("per_pixel_std")
    assert warning("per_slice") is None


def test_normalisation_of_the_body_does_not_depend_on_the_air_around_it() -> None:
    random = np.random.default_rng(0)
    body = random.uniform(50, 150, (1, 40, 30)).astype(np.float32)
    alone = normalise(body, "per_body")
    np.testing.assert_allclose(alone, normalise(body, "per_slice"), rtol=1e-5)
    for air in (5, 40):
        wide = np.pad(body, ((0, 0), (air, 2 * air), (air, air)))
        found = normalise(wide, "per_body")[:, air : air + 40, air : air + 30]
        np.testing.assert_allclose(found, alone, rtol=1e-5)
    dot = np.zeros((1, 40, 30), np.float32)
    dot[0, 3, 4] = 9
    np.testing.assert_allclose(normalise(dot, "per_body"), normalise(dot, "per_slice"), rtol=1e-5)
    assert not normalise(np.full((1, 8, 8), 7.0, np.float32), "per_body").any()


def test_normalisation_of_pixels_takes_no_copies() -> None:
    images = np.random.default_rng(0).normal(400, 90, (200, 64, 64)).astype(np.float32)
    expected = (images - images.mean(axis=0)) / images.std(axis=0)
    tracemalloc.start()
    pixels = normalise(images, "per_pixel_std")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * images.nbytes
    assert np.allclose(pixels, expected, atol=1e-4)


def test_preparation_keeps_the_order_of_the_rows(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set")
    rows = dataset.slices.iloc[[6, 1, 3]]
    images, masks = prepare(
        dataset, rows, height=64, width=64, fit="crop_pad", normalisation="per_slice"
    )
    assert images.shape == (3, 64, 64, 1)
    expected = normalise(
        fit(np.asarray(dataset.images("sub-b")[2:3]), 64, 64, "crop_pad"), "per_slice"
    )
    assert np.array_equal(images[0, :, :, 0], expected[0])
    assert np.array_equal(masks[1, 16:48, 16:48], dataset.masks("sub-a")[1])


@pytest.mark.parametrize("level", ["basic", "strong", "domain"])
def test_augmentation_moves_image_and_mask_together(level: str) -> None:
    images, masks = discs(40, 64, 3)
    images = normalise(masks * 6 + images, "per_slice")[..., None]
    new_images, new_masks = augment(images, masks, level=level, seed=1, epoch=2)
    assert new_images.shape == images.shape
    assert new_masks.dtype == np.uint8
    assert np.allclose(new_images.mean(axis=(1, 2, 3)), 0, atol=1e-4)
    again, _ = augment(images, masks, level=level, seed=1, epoch=2)
    assert np.array_equal(again, new_images)
    other, _ = augment(images, masks, level=level, seed=1, epoch=3)
    assert not np.array_equal(other, new_images)
    if level == "basic":
        # Brightness still tells the disc: the mask went where the image went.
        held = [i for i in range(40) if new_masks[i].sum() > 20]
        inside = [float(new_images[i, ..., 0][new_masks[i] == 1].mean()) for i in held]
        outside = [float(new_images[i, ..., 0][new_masks[i] == 0].mean()) for i in held]
        assert np.min(np.array(inside) - np.array(outside)) > 1


def test_simulated_motion_blurs_the_slice_and_leaves_the_head_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    still = Strengths(rotation_deg=0, zoom=0, shift=0, gamma=0, bias=0, noise=0)
    monkeypatch.setitem(LEVELS, "still", still)
    monkeypatch.setitem(LEVELS, "moved", replace(still, motion=1.0))
    images, masks = discs(20, 64, 3)
    images = normalise(masks * 6 + images, "per_slice")[..., None]
    before, where = augment(images, masks, level="still", seed=1, epoch=2)
    after, same = augment(images, masks, level="moved", seed=1, epoch=2)
    assert np.array_equal(where, same)
    held = [index for index in range(20) if where[index].any()]
    change = np.abs(after - before).mean(axis=(1, 2, 3))
    assert change[held].min() > 0.05
    for index in held:
        inside = where[index] == 1
        assert after[index][inside].mean() > after[index][~inside].mean() + 1


def test_augmentation_level_none_and_unknown() -> None:
    images, masks = discs(2, 16, 0)
    same, _ = augment(images[..., None], masks, level="none", seed=0, epoch=0)
    assert np.array_equal(same[..., 0], images)
    with pytest.raises(UsageError, match="did you mean 'basic'"):
        augment(images[..., None], masks, level="basics", seed=0, epoch=0)
