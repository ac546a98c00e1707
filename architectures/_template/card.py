"""What is known about Template without importing a framework."""

from __future__ import annotations

from architectures.card import Card

CARD = Card(
    title="Template",
    # One sentence for the leaderboard.
    summary="Two convolutions at half size, and one transposed convolution back up.",
    # Whose network it is, and where it is described.
    citation="Unpublished.",
    url="https://example.org/template",
    # What differs from that description, one sentence each.
    deviations=(),
    # Patterns of weight names whose kernels start from He's normal distribution, as
    # "stem.*.kernel"; all other kernels start Glorot uniform. The harness draws the values.
    he_normal=(),
)
