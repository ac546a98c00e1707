"""Windows of slices to train on."""

from __future__ import annotations

import numpy as np

from harness.data.windows import cut_windows


def test_windows_show_image_and_mask_of_one_place() -> None:
    masks = np.zeros((40, 64, 96), dtype=np.uint8)
    masks[:20, 2:18, 70:90] = 1
    images = np.arange(masks.size, dtype=np.float32).reshape(*masks.shape, 1)
    cut, cut_masks = cut_windows(images, masks, 32, seed=1, epoch=0)
    assert cut.shape == (40, 32, 32, 1)
    for index in range(40):
        place = np.unravel_index(int(cut[index, 0, 0, 0]), masks.shape)
        assert place[0] == index
        top, left = place[1:]
        whole = images[index, top : top + 32, left : left + 32]
        assert np.array_equal(cut[index], whole)
        assert np.array_equal(cut_masks[index], masks[index, top : top + 32, left : left + 32])


def test_windows_hold_brain_anywhere_and_change_with_the_epoch() -> None:
    masks = np.zeros((60, 96, 96), dtype=np.uint8)
    masks[:, 40:56, 40:56] = 1
    images = np.zeros((*masks.shape, 1), dtype=np.float32)
    _, cut = cut_windows(images, masks, 64, seed=1, epoch=0)
    held = cut.any(axis=(1, 2))
    assert held.mean() > 0.7
    rows = [np.flatnonzero(mask.any(axis=1)).mean() for mask in cut[held]]
    assert np.ptp(rows) > 20
    _, again = cut_windows(images, masks, 64, seed=1, epoch=0)
    _, other = cut_windows(images, masks, 64, seed=1, epoch=1)
    assert np.array_equal(cut, again)
    assert not np.array_equal(cut, other)
