"""The levels of augmentation: how far each kind of change goes. No array is touched here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from harness.errors import UsageError, unknown


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """How far a level goes. Angles in degrees, shift as a share of the field of view."""

    rotation_deg: float
    zoom: float
    shift: float
    gamma: float
    bias: float
    noise: float
    elastic: float = 0.0  # smooth displacement, as a share of the field of view
    # Shares of slices of which …
    remap: float = 0.0  # the intensities go through a random curve
    contrast: float = 0.0  # brain and surroundings go through curves of their own
    structures: float = 0.0  # the surroundings are covered by sharp random shapes
    organs: float = 0.0  # the surroundings become a few smooth regions with sharp edges
    decoys: float = 0.0  # round things of the brain's size lie beside it
    vanish: float = 0.0  # the brain is covered, so that the slice holds none
    frame: float = 0.0  # the sides are cut off or air
    resolution: float = 0.0  # there are fewer pixels
    blur: float = 0.0  # the edges are blurred
    motion: float = 0.0  # the fetus moves between k-space segments


LEVELS = {
    "basic": Strengths(rotation_deg=15, zoom=0.15, shift=0.06, gamma=0.3, bias=0.2, noise=0.03),
    "strong": Strengths(
        rotation_deg=45,
        zoom=0.35,
        shift=0.12,
        gamma=0.6,
        bias=0.5,
        noise=0.12,
        remap=0.5,
        motion=0.2,
    ),
    "domain": Strengths(
        rotation_deg=45,
        zoom=0.5,
        shift=0.25,
        elastic=0.02,
        gamma=0.5,
        bias=0.5,
        noise=0.06,
        remap=0.15,
        contrast=0.2,
        structures=0.2,
        organs=0.3,
        decoys=0.3,
        vanish=0.06,
        frame=0.3,
        resolution=0.25,
        blur=0.3,
        motion=0.15,
    ),
}


def strengths_of(level: str, replaced: Mapping[str, float]) -> Strengths:
    """A level's strengths with some replaced. Raises `UsageError` with the nearest name."""
    if level not in LEVELS:
        raise unknown("augmentation level", level, ["none", *LEVELS])
    known = [item.name for item in fields(Strengths)]
    for name, value in replaced.items():
        if name not in known:
            raise unknown("augmentation strength", name, known)
        if value < 0:
            raise UsageError(f"augmentation strength {name} = {value:g}: expected 0 or more.")
    return replace(LEVELS[level], **replaced)
