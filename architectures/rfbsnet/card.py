"""What is known about RFBSNet without importing a framework."""

from __future__ import annotations

from architectures.card import Card, Published

CARD = Card(
    title="RFBSNet",
    summary=(
        "A small U-Net at half size beside a shallow branch, made for segmenting the fetal "
        "brain as the scanner delivers slices."
    ),
    citation=(
        "Faghihpirayesh, R., Karimi, D., Erdoğmuş, D., Gholipour, A.: Deep Learning Framework"
        " for Real-time Fetal Brain Segmentation in MRI. PIPPI workshop at MICCAI, 2022."
    ),
    url="https://doi.org/10.1007/978-3-031-17117-8_6",
    published=Published(
        normal_dice=97.99,
        normal_iou=96.12,
        challenging_dice=84.04,
        challenging_iou=75.5,
        gflops="5.32",
        trainable_parameters=2_154_328,
        latency_ms_mean=3.36,
        latency_ms_std=0.02,
    ),
    he_normal=(
        "deep.encoder.*.kernel",
        "deep.bottleneck.*.kernel",
        "deep.decoder.*.block.*.kernel",
    ),
)
