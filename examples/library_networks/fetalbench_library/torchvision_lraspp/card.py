"""What is known about LRASPP MobileNetV3 (torchvision) without importing a framework."""

from __future__ import annotations

from architectures.card import Card

CARD = Card(
    title="LRASPP MobileNetV3 (torchvision)",
    summary="Lite R-ASPP on MobileNetV3-Large, of torchvision.",
    citation="Howard et al., Searching for MobileNetV3, 2019",
    url="https://pytorch.org/vision",
)
