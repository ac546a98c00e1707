"""Our metrics against DeepMind's surface-distance, MONAI, SimpleITK and brute force."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.metrics import slice_scores
from harness.metrics.contours import Spacing, contours, hausdorff_mm
from tests.oracles import oracle

Pair = tuple[NDArray[np.bool_], NDArray[np.bool_], Spacing]

SPACINGS: list[Spacing] = [(1.0, 1.0), (0.7, 1.3), (2.5, 0.5)]


def blob(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    """An ellipse with a ragged edge; it may touch the border of the image."""
    y, x = np.ogrid[:size, :size]
    centre = rng.uniform(0.2 * size, 0.8 * size, 2)
    radii = rng.uniform(0.08 * size, 0.4 * size, 2)
    distance = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2
    return distance + rng.normal(0, 0.15, (size, size)) < 1


def mask_pairs(count: int, size: int = 48) -> Iterator[Pair]:
    """Random pairs, neither mask empty: two blobs, a blob and its copy with errors, pure noise."""
    rng = np.random.default_rng(6)
    made = 0
    while made < count:
        reference = blob(rng, size)
        kind = made % 3
        if kind == 0:
            prediction = blob(rng, size)
        elif kind == 1:
            prediction = reference ^ (rng.random((size, size)) < 0.01)
        else:
            prediction = rng.random((size, size)) < rng.uniform(0.02, 0.5)
        if reference.any() and prediction.any():
            yield reference, prediction, SPACINGS[made % len(SPACINGS)]
            made += 1


def one_hot(mask: NDArray[np.bool_]):
    import torch

    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32))


@pytest.fixture(scope="module")
def deepmind():
    return oracle("surface_distance")


@pytest.fixture(scope="module")
def monai():
    return oracle("monai.metrics")


@pytest.fixture(scope="module")
def simpleitk():
    return oracle("SimpleITK")


# The packaged version still reads `scipy.ndimage.filters`, a name that SciPy is about to remove.
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("tolerance_mm", [0.5, 2.0])
def test_nsd_and_hd95_equal_deepminds(deepmind, tolerance_mm: float) -> None:
    for reference, prediction, spacing in mask_pairs(300):
        ours = slice_scores(reference, prediction, spacing, tolerance_mm)
        theirs = deepmind.compute_surface_distances(reference, prediction, spacing)
        expected = deepmind.compute_surface_dice_at_tolerance(theirs, tolerance_mm)
        assert ours.nsd == pytest.approx(expected, abs=1e-6)
        assert ours.hd95_mm == pytest.approx(
            deepmind.compute_robust_hausdorff(theirs, 95), abs=1e-6
        )
        assert ours.dice == pytest.approx(
            deepmind.compute_dice_coefficient(reference, prediction), abs=1e-12
        )


def test_dice_and_iou_equal_monais(monai) -> None:
    for reference, prediction, spacing in mask_pairs(100):
        ours = slice_scores(reference, prediction, spacing)
        truth, guess = one_hot(reference), one_hot(prediction)
        dice = monai.compute_dice(guess, truth)[0].numpy()
        iou = monai.compute_iou(guess, truth)[0].numpy()
        assert ours.dice == pytest.approx(dice[1], abs=1e-6)
        assert ours.iou == pytest.approx(iou[1], abs=1e-6)
        # The paper's figures are the means over both classes.
        assert ours.paper_dice == pytest.approx(dice.mean(), abs=1e-6)
        assert ours.paper_iou == pytest.approx(iou.mean(), abs=1e-6)


# MONAI counts lengths in float32, and converts NumPy arrays that it cannot write to.
@pytest.mark.filterwarnings("ignore")
def test_nsd_equals_monais_with_subvoxels(monai) -> None:
    for reference, prediction, spacing in mask_pairs(100):
        theirs = monai.compute_surface_dice(
            one_hot(prediction),
            one_hot(reference),
            class_thresholds=[2.0],
            spacing=spacing,
            use_subvoxels=True,
        )
        ours = slice_scores(reference, prediction, spacing, 2.0)
        assert ours.nsd == pytest.approx(float(theirs), abs=1e-5)


def edge_pixels(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Pixels of the mask with a background pixel (or the image's border) among their four."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inner)


def directed_mm(
    points: NDArray[np.intp], others: NDArray[np.intp], spacing: Spacing
) -> NDArray[np.float64]:
    """Brute force: each distance to the nearest of `others`."""
    steps = (points[:, None] - others[None]) * np.asarray(spacing)
    return np.sqrt((steps**2).sum(-1)).min(axis=1)


@pytest.mark.filterwarnings("ignore")
def test_hd95_differs_from_monais_only_by_its_definition(monai) -> None:
    """MONAI takes centres of edge pixels, unweighted, and interpolates between two of them.

    With the maximum in place of the percentile the two definitions can differ by no more than a
    pixel's diagonal, since each contour element lies half a diagonal from an edge pixel.
    """
    for reference, prediction, spacing in mask_pairs(100):
        edges = edge_pixels(reference), edge_pixels(prediction)
        there = directed_mm(edges[0], edges[1], spacing)
        back = directed_mm(edges[1], edges[0], spacing)
        theirs = monai.compute_hausdorff_distance(
            one_hot(prediction), one_hot(reference), percentile=95, spacing=spacing
        )
        by_definition = max(np.percentile(there, 95), np.percentile(back, 95))
        assert float(theirs) == pytest.approx(by_definition, abs=1e-4)
        ours = hausdorff_mm(contours(reference, prediction, spacing), 100)
        assert abs(ours - max(there.max(), back.max())) <= np.hypot(*spacing) + 1e-9


def test_overlap_equals_simpleitks(simpleitk) -> None:
    measure = simpleitk.LabelOverlapMeasuresImageFilter()
    for reference, prediction, spacing in mask_pairs(100):
        images = [simpleitk.GetImageFromArray(m.astype(np.uint8)) for m in (reference, prediction)]
        measure.Execute(*images[::-1])  # the second is what SimpleITK calls the target
        ours = slice_scores(reference, prediction, spacing)
        assert ours.dice == pytest.approx(measure.GetDiceCoefficient(), abs=1e-9)
        assert ours.iou == pytest.approx(measure.GetJaccardCoefficient(), abs=1e-9)
        assert ours.recall == pytest.approx(1 - measure.GetFalseNegativeError(), abs=1e-9)
        assert ours.precision == pytest.approx(1 - measure.GetFalseDiscoveryRate(), abs=1e-9)


def test_hausdorff_differs_from_simpleitks_only_by_its_definition(simpleitk) -> None:
    """SimpleITK measures between the filled masks, so what lies inside the other mask counts 0.

    Hence its maximum is the brute-force one between all pixels, and never above ours by more
    than a pixel's diagonal.
    """
    measure = simpleitk.HausdorffDistanceImageFilter()
    for reference, prediction, spacing in mask_pairs(60, size=24):
        images = [simpleitk.GetImageFromArray(m.astype(np.uint8)) for m in (reference, prediction)]
        for image in images:
            image.SetSpacing(spacing[::-1])
        measure.Execute(*images)
        filled = np.argwhere(reference), np.argwhere(prediction)
        there = directed_mm(filled[0], filled[1], spacing)
        back = directed_mm(filled[1], filled[0], spacing)
        brute = max(there.max(), back.max())
        assert measure.GetHausdorffDistance() == pytest.approx(brute, abs=1e-4)
        ours = hausdorff_mm(contours(reference, prediction, spacing), 100)
        assert measure.GetHausdorffDistance() <= ours + np.hypot(*spacing) + 1e-4


def brute_force(reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: Spacing):
    """Contour elements by walking over every 2×2 block; distances between all pairs."""
    sides = []
    for mask in (reference, prediction):
        padded = np.pad(mask, 1)
        places, lengths = [], []
        for y in range(padded.shape[0] - 1):
            for x in range(padded.shape[1] - 1):
                block = padded[y : y + 2, x : x + 2]
                filled = int(block.sum())
                if filled in (0, 4):
                    continue
                half = np.hypot(*spacing) / 2
                if filled != 2:
                    length = half
                elif block[0, 0] == block[1, 1]:
                    length = 2 * half
                else:
                    length = spacing[1] if block[0, 0] == block[0, 1] else spacing[0]
                places.append((y, x))
                lengths.append(length)
        sides.append((np.array(places), np.array(lengths)))
    (ours, our_lengths), (theirs, their_lengths) = sides
    return (directed_mm(ours, theirs, spacing), our_lengths), (
        directed_mm(theirs, ours, spacing),
        their_lengths,
    )


def test_nsd_and_hd95_equal_brute_force() -> None:
    for reference, prediction, spacing in mask_pairs(60, size=20):
        near, total, percentiles = 0.0, 0.0, []
        for distances, lengths in brute_force(reference, prediction, spacing):
            near += lengths[distances <= 2.0].sum()
            total += lengths.sum()
            order = np.argsort(distances)
            enough = np.cumsum(lengths[order]) >= 0.95 * lengths.sum() * (1 - 1e-12)
            percentiles.append(distances[order][enough][0])
        ours = slice_scores(reference, prediction, spacing, 2.0)
        assert ours.nsd == pytest.approx(near / total, abs=1e-9)
        assert ours.hd95_mm == pytest.approx(max(percentiles), abs=1e-9)
