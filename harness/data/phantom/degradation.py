"""Named physical harm to a slice, each with a strength from 0 (none) to 1 (hardly readable)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy import fft

from harness.data.phantom.shapes import Field


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """How much of each is done to one slice; `edge` says how near the brain's end it was taken."""

    motion: float = 0.0
    void: float = 0.0
    bias: float = 0.0
    noise: float = 0.0
    wrap: float = 0.0
    banding: float = 0.0
    edge: float = 0.0


NAMES = tuple(item.name for item in fields(Strengths))
# What a sweep may vary; `edge` is a place and is written down, not done.
SWEEPABLE = tuple(name for name in NAMES if name != "edge")


def wrapped_rows(strengths: Strengths, matrix: int) -> int:
    """Rows rendered beyond each end of the field of view, to be folded in."""
    return round(0.38 * strengths.wrap * matrix)


def degrade(
    signal: Field,
    strengths: Strengths,
    extra_rows: int,
    pixel_mm: float,
    rng: np.random.Generator,
) -> Field:
    """(matrix + 2 extra, matrix) ideal signal → (matrix, matrix) harmed signal, before noise.

    Rows are the phase-encoding direction. The random numbers drawn do not hang on the strengths,
    so a sweep of one strength leaves everything else of the slice as it was.
    """
    streams = rng.spawn(4)
    image = fold(signal, extra_rows)
    image = image * _bias_field(image.shape, strengths.bias, streams[0])
    image = image * _void_field(image.shape, strengths.void, streams[1])
    image = image * _bands(image.shape, strengths.banding, streams[2])
    return _move_within(image, strengths.motion, pixel_mm, streams[3])


def fold(signal: Field, extra_rows: int) -> Field:
    """Aliasing: rows beyond the field of view appear at its other end."""
    height = signal.shape[0] - 2 * extra_rows
    image = signal[extra_rows : extra_rows + height].copy()
    if extra_rows:
        # The receiver's filter lets the signal fade away from the edge of the field of view.
        fading = np.linspace(0, 1, extra_rows, dtype=np.float32)[:, None] ** 0.5
        image[-extra_rows:] += fading * signal[:extra_rows]
        image[:extra_rows] += fading[::-1] * signal[-extra_rows:]
    return image


def _grid(shape: tuple[int, ...]) -> tuple[Field, Field]:
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    return y, x


def _bias_field(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> Field:
    """Transmit inhomogeneity: exp of a random quadratic, up to about a factor of 4 across."""
    c = (rng.uniform(-1, 1, 5) * 1.1).astype(np.float32)
    if strength == 0:
        return np.ones(shape, dtype=np.float32)
    y, x = _grid(shape)
    shape_ = c[0] * y + c[1] * x + c[2] * y * y + c[3] * x * x + c[4] * x * y
    return np.exp(np.float32(strength) * (shape_ - shape_.mean()))


def _void_field(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> Field:
    """Spin history: the whole slice loses signal, and a soft region near the middle loses most."""
    centre, radii = rng.uniform(-0.3, 0.3, 2), rng.uniform(0.15, 0.45, 2)
    angle = rng.uniform(0, np.pi)
    whole = rng.uniform(0.1, 0.5)
    if strength == 0:
        return np.ones(shape, dtype=np.float32)
    y, x = _grid(shape)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dy, dx = y - np.float32(centre[0]), x - np.float32(centre[1])
    u = (cos * dx + sin * dy) / np.float32(radii[0])
    v = (cos * dy - sin * dx) / np.float32(radii[1])
    hole = np.exp(-((u * u + v * v) ** 2))
    return (1 - np.float32(strength * whole)) * (1 - np.float32(0.97 * strength) * hole)


def _bands(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> Field:
    """Dark curved bands, as off-resonance leaves in balanced steady-state images."""
    angle, offset = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    cycles, bend = rng.uniform(1.2, 3.0), rng.uniform(-1.5, 1.5, 2)
    if strength == 0:
        return np.ones(shape, dtype=np.float32)
    y, x = _grid(shape)
    phase = np.pi * cycles * (np.cos(angle) * x + np.sin(angle) * y) + offset
    phase = phase + bend[0] * x * x + bend[1] * y * y
    dark = np.cos(phase / 2) ** 8
    return (1 - np.float32(0.92 * strength) * dark).astype(np.float32)


def _move_within(image: Field, strength: float, pixel_mm: float, rng: np.random.Generator) -> Field:
    """Motion while the lines of k-space are read: each group of lines sees another place.

    Shifts are phase ramps on the lines, and lines read during the fastest motion are lost.
    Positions are taken relative to the centre of k-space, so the mask keeps its place.
    """
    groups = 8
    steps = rng.normal(0, 1, (groups, 2))
    lost = rng.random(groups)
    if strength == 0:
        return image
    path = np.cumsum(steps, axis=0) * 4.0 * strength / pixel_mm
    height, width = image.shape
    lines = fft.fftfreq(height)
    group = np.clip(((lines + 0.5) * groups).astype(int), 0, groups - 1)
    path = path - path[groups // 2]
    phase = lines[:, None] * path[group, 0][:, None]
    phase = phase + fft.fftfreq(width)[None, :] * path[group, 1][:, None]
    kept = np.where(lost < 0.5 * strength, 1 - 0.8 * strength, 1.0)
    kept[[groups // 2 - 1, groups // 2]] = 1.0  # without its centre nothing of the image is left
    k_space = np.asarray(fft.fft2(image)) * np.exp(-2j * np.pi * phase) * kept[group][:, None]
    return np.abs(np.asarray(fft.ifft2(k_space))).astype(np.float32)
