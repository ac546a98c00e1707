"""What is known about BasicUNet (MONAI) without importing a framework."""

from __future__ import annotations

from architectures.card import Card

CARD = Card(
    title="BasicUNet (MONAI)",
    summary="MONAI's BasicUNet with its defaults: instance normalisation, leaky ReLU.",
    citation="Cardoso et al., MONAI, 2022",
    url="https://monai.io",
)
