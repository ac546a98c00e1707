"""What is known about PlainConvUNet (nnU-Net) without importing a framework."""

from __future__ import annotations

from architectures.card import Card

CARD = Card(
    title="PlainConvUNet (nnU-Net)",
    summary="nnU-Net's plain U-Net with four stages, instance normalisation.",
    citation="Isensee et al., nnU-Net, 2021",
    url="https://github.com/MIC-DKFZ/dynamic-network-architectures",
    # Heads for deep supervision, which is off.
    unused=("decoder.seg_layers.0.*", "decoder.seg_layers.1.*"),
)
