"""What a phantom data set holds: subjects, stacks and slices of each set, and their geometry."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.errors import UsageError, unknown

# Strengths of a sweep, so that a curve can be drawn over them.
LEAST_LEVELS = 3


@dataclass(frozen=True, kw_only=True)
class SetSize:
    """How much one set holds; stacks and slices are spread evenly, the first get the rest."""

    subjects: int
    stacks: int
    slices: int


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A data set's sizes. Ranges are drawn from uniformly; `matrix` is the side in pixels."""

    name: str
    title: str
    matrix: int
    spacing_mm: tuple[float, float]
    thickness_mm: tuple[float, float]
    sets: dict[str, SetSize]
    # Distance between slice middles as a multiple of the thickness; None spreads over the brain.
    gap_factor: float | None = 1.1
    # A stack's length as a multiple of the brain's, if it is spread over the brain.
    coverage: tuple[float, float] = (1.3, 1.3)
    # How far a stack's contrast may lie from physics, 0–1.
    contrast: float = 0.0
    # The most harm of each kind, 0–1, to the tenth of slices that suffer any; not in `challenging`.
    harm: float = 0.3


PRESETS = {
    "tiny": Preset(
        name="tiny",
        title="Phantom, tiny: 64×64, for continuous integration and a first look",
        matrix=64,
        spacing_mm=(3.2, 4.6),
        thickness_mm=(3.5, 5.0),
        gap_factor=None,
        # With fewer than 11 subjects no pair of nine networks could be told apart after correction
        # for the 36 comparisons.
        sets={
            "train": SetSize(subjects=14, stacks=28, slices=280),
            "normal": SetSize(subjects=12, stacks=12, slices=72),
            "challenging": SetSize(subjects=12, stacks=12, slices=72),
        },
    ),
    "paper": Preset(
        name="paper",
        title="Phantom in the paper's numbers: 256×256, 23 sessions to train on",
        matrix=256,
        spacing_mm=(1.0, 1.25),
        thickness_mm=(2.0, 4.0),
        sets={
            "train": SetSize(subjects=23, stacks=131, slices=3496),
            "normal": SetSize(subjects=2, stacks=17, slices=840),
            "challenging": SetSize(subjects=1, stacks=4, slices=136),
        },
    ),
    "study": Preset(
        name="study",
        title="Phantom with test subjects enough for statistics on subjects",
        matrix=256,
        spacing_mm=(1.0, 1.25),
        thickness_mm=(2.0, 4.0),
        gap_factor=None,
        sets={
            "train": SetSize(subjects=60, stacks=180, slices=2160),
            "normal": SetSize(subjects=30, stacks=60, slices=720),
            "challenging": SetSize(subjects=30, stacks=60, slices=720),
        },
    ),
    "sim_to_real": Preset(
        name="sim_to_real",
        title="Phantom to train on for real stacks: many subjects, any contrast, 2 mm",
        matrix=128,
        spacing_mm=(1.8, 2.2),
        thickness_mm=(2.0, 4.5),
        gap_factor=None,
        # Stacks reach well beyond the brain: most of what a scanner shows is not brain.
        coverage=(1.1, 1.8),
        contrast=0.35,
        harm=0.7,
        sets={
            "train": SetSize(subjects=450, stacks=450, slices=3600),
            "normal": SetSize(subjects=12, stacks=12, slices=120),
        },
    ),
}


def find_preset(name: str) -> Preset:
    """The preset of that name. Raises `UsageError` with the nearest name."""
    if name not in PRESETS:
        raise unknown("phantom preset", name, PRESETS)
    return PRESETS[name]


def spread(total: int, parts: int) -> list[int]:
    """`total` in `parts` whole shares that differ by one at most."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def with_matrix(preset: Preset, matrix: int) -> Preset:
    """The preset on another grid: more or fewer pixels, the same field of view."""
    if not 16 <= matrix <= 1024:
        raise UsageError(f"--matrix {matrix}: expected 16 to 1024 pixels a side.")
    factor = preset.matrix / matrix
    low, high = preset.spacing_mm
    return replace(preset, matrix=matrix, spacing_mm=(low * factor, high * factor))
