"""What is known about U-Net ResNet-18 (smp) without importing a framework."""

from __future__ import annotations

from architectures.card import Card

CARD = Card(
    title="U-Net ResNet-18 (smp)",
    summary="U-Net with a ResNet-18 encoder, of segmentation_models_pytorch.",
    citation="Ronneberger et al., 2015; He et al., 2016",
    url="https://github.com/qubvel-org/segmentation_models.pytorch",
)
