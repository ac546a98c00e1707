"""What a network is shown: pixels of a stated size, and how much of the brain lies outside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from harness.data.catalogue import Dataset
from harness.data.checking import CheckOptions, check_folder
from harness.data.description import DatasetMeta
from harness.data.fitting import fit, fit_masks, step_of, unfit, visible
from harness.data.preparation import prepare
from harness.data.visibility import outside_share, outside_shares, require_fit
from harness.data.writer import DatasetWriter, Stack
from harness.errors import DataError, UsageError
from harness.protocol import Input, Protocol, load_protocol, parse_protocol

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("FETALBENCH_REAL_DATA", ROOT / "../shared/data/mialsrtk")).parent


def disc(side: tuple[int, int], centre: tuple[float, float], radius: float, n: int = 3):
    """n masks of one disc; centre and radius in pixels."""
    rows, columns = np.mgrid[: side[0], : side[1]]
    inside = np.hypot(rows - centre[0], columns - centre[1]) <= radius
    return np.repeat(inside[None], n, axis=0).astype(np.uint8)


@pytest.mark.parametrize(
    ("side", "spacing"),
    [((320, 320), (1.125, 1.125)), ((256, 256), (1.0, 1.0)), ((180, 240), (1.6, 1.3))],
)
def test_resampled_masks_come_back(side: tuple[int, int], spacing: tuple[float, float]) -> None:
    masks = disc(side, (0.4 * side[0], 0.55 * side[1]), 40)
    step = step_of("resample", spacing, 2.0)
    fitted = fit_masks(masks, 192, 192, "resample", step)
    # One pixel is 2 mm, whatever it was.
    area = masks[0].sum() * spacing[0] * spacing[1]
    assert fitted[0].sum() * 4.0 == pytest.approx(area, rel=0.02)
    back = unfit(fitted, *side, "resample", step)
    assert back.dtype == np.uint8
    assert 2 * (back & masks).sum() / (back.sum() + masks.sum()) > 0.97
    smooth = unfit(fitted.astype(np.float32), *side, "resample", step) > 0.5
    assert 2 * (smooth & (masks > 0)).sum() / (smooth.sum() + masks.sum()) > 0.97


def test_resampling_keeps_means_and_pads_with_zeros() -> None:
    flat = np.full((1, 50, 60), 5, np.float32)
    step = step_of("resample", (1.0, 1.0), 0.5)
    fitted = fit(flat, 128, 128, "resample", step)
    assert np.allclose(fitted[0, 14:114, 4:124], 5)
    assert not fitted[0, :14].any()
    assert not fitted[0, :, 124:].any()
    same = np.random.default_rng(0).random((2, 64, 64)).astype(np.float32)
    assert np.array_equal(fit(same, 64, 64, "resample"), same)
    assert np.allclose(fit(same, 80, 80, "resample")[:, 8:72, 8:72], same, atol=1e-6)


def test_rows_beside_the_window_are_not_seen() -> None:
    assert visible(320, 128, "crop_pad").sum() == 128
    assert visible(100, 128, "crop_pad").all()
    assert visible(320, 128, "resample", 2 / 1.125).sum() == pytest.approx(256 / 1.125, abs=1)
    assert visible(320, 192, "resample", 2 / 1.125).all()
    assert visible(320, 64, "resize").all()


@pytest.mark.parametrize("fit_mode", ["crop_pad", "resample"])
def test_the_share_outside_is_what_the_way_back_loses(
    fit_mode: Literal["crop_pad", "resample"],
) -> None:
    masks = disc((256, 256), (60, 128), 45)
    pixel = 1.5 if fit_mode == "resample" else None
    window = Input(height=128, width=128, fit=fit_mode, pixel_mm=pixel)
    share = outside_share(masks, (1.1, 1.1), window)
    step = step_of(window.fit, (1.1, 1.1), pixel)
    back = unfit(fit_masks(masks, 128, 128, window.fit, step), 256, 256, window.fit, step)
    assert share == pytest.approx(1 - back.sum() / masks.sum(), abs=0.02)
    assert share > 0.05


def write(folder: Path, centres: dict[str, tuple[float, float]], sets: str = "") -> Dataset:
    meta = DatasetMeta(name="x", title="X", kind="bids", source="a test", licence="CC0-1.0")
    with DatasetWriter(folder, meta) as writer:
        for number, (name, centre) in enumerate(centres.items()):
            masks = disc((256, 256), centre, 40)
            noise = np.random.default_rng(number).random(masks.shape)
            writer.add_stack(
                Stack(
                    name=name,
                    subject=name,
                    set_name=sets or ("train", "normal")[number % 2],
                    images=noise + 3 * masks,
                    masks=masks,
                    spacing_mm=(1.0, 1.0),
                    thickness_mm=3.0,
                    affine=np.diag([1.0, 1.0, 3.0, 1.0]),
                    orientation="axial",
                )
            )
        return writer.finish()


def judge(dataset: Dataset, protocol: Protocol, *, evaluates: bool = True) -> list[str]:
    chosen = protocol.input, protocol.evaluation
    return require_fit(dataset.folder, dataset.meta, *chosen, evaluates=evaluates)


def of(protocol: Protocol) -> CheckOptions:
    share = protocol.evaluation.largest_outside_share
    return CheckOptions(window=protocol.input, largest_outside_share=share)


CENTRES = {"middle": (128.0, 128.0), "aside": (60.0, 128.0)}
NARROW = {"name": "narrow", "input": {"height": 128, "width": 128}}


def test_a_window_that_cuts_the_brain_is_refused(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", CENTRES)
    narrow = parse_protocol(NARROW, "narrow.toml")
    shares = outside_shares(dataset.folder, narrow.input)
    assert shares["middle"] == 0
    assert shares["aside"] == pytest.approx(0.46, abs=0.1)
    with pytest.raises(DataError, match=r'aside: \d+\.\d% of the brain.*"resample"'):
        judge(dataset, narrow)
    rows, fault = check_folder(dataset.folder, of(narrow))
    found = {row["stack"]: row["outside_window_percent"] for row in rows}
    assert found == {name: round(100 * share, 2) for name, share in shares.items()}
    assert "outside the 128×128 window" in fault
    loose = parse_protocol({**NARROW, "evaluation": {"largest_outside_share": 0.6}}, "x")
    (said,) = judge(dataset, loose)
    assert said.startswith("aside: ")
    whole = load_protocol("small_data")
    assert judge(dataset, whole) == []


@pytest.mark.parametrize("where", ["train", "val"])
def test_a_set_without_test_slices_is_refused(tmp_path: Path, where: str) -> None:
    dataset = write(tmp_path / "set", {"middle": (128.0, 128.0)}, where)
    with pytest.raises(DataError, match="--split NAME=normal"):
        judge(dataset, load_protocol("small_data"))
    small = load_protocol("small_data")
    assert judge(dataset, small, evaluates=False) == []


def test_slices_are_prepared_at_the_stated_size_of_pixels(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", CENTRES)
    chosen = load_protocol("small_data").input
    images, masks = prepare(dataset, dataset.slices, **chosen.model_dump(exclude={"classes"}))
    assert images.shape == (6, 192, 192, 1)
    assert masks.sum(axis=(1, 2)) * 4 == pytest.approx(np.pi * 40**2, rel=0.02)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"fit": "resample"}, "needs input.pixel_mm"),
        ({"fit": "crop_pad", "pixel_mm": 2.0}, "used by fit"),
        ({"fit": "resample", "pixel_mm": 0.0}, "pixel_mm"),
    ],
)
def test_a_protocol_states_its_pixels(given: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_protocol({"name": "x", "input": given}, "x.toml")


def test_new_keys_leave_the_hash_of_older_protocols_alone() -> None:
    plain = Protocol(name="x").hash
    refusing = parse_protocol({"name": "x", "evaluation": {"largest_outside_share": 0.5}}, "x")
    assert refusing.hash == plain
    sampled = [
        parse_protocol({"name": "x", "input": {"fit": "resample", "pixel_mm": size}}, "x").hash
        for size in (1.5, 2.0)
    ]
    assert len({plain, *sampled}) == 3
    # As records of the protocol `tiny` have carried it since they were published.
    assert load_protocol("tiny").hash.startswith(TINY)


TINY = "4647a6d40771e586"


@pytest.mark.skipif(
    not (REAL / "e2mip").is_dir(), reason=f"no real stacks at {REAL} (set FETALBENCH_REAL_DATA)"
)
def test_protocols_for_real_data_see_the_whole_brain_of_real_stacks() -> None:
    for name in ("mialsrtk", "e2mip"):
        rows, fault = check_folder(REAL / name, of(load_protocol("small_data")))
        assert {row["outside_window_percent"] for row in rows} == {0}
        assert fault == ""
    rows, fault = check_folder(REAL / "e2mip", of(parse_protocol(NARROW, "narrow.toml")))
    assert max(row["outside_window_percent"] for row in rows) == pytest.approx(40.6, abs=0.1)
    assert "40.6% of the brain" in fault
