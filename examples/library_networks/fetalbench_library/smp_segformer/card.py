"""What is known about SegFormer B0 (smp) without importing a framework."""

from __future__ import annotations

from architectures.card import Card

CARD = Card(
    title="SegFormer B0 (smp)",
    summary="SegFormer with the smallest Mix Transformer, of segmentation_models_pytorch.",
    citation="Xie et al., SegFormer, 2021",
    url="https://github.com/qubvel-org/segmentation_models.pytorch",
)
