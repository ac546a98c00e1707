"""What is known about DFANet without importing a framework."""

from __future__ import annotations

from architectures.card import Card, Published

CARD = Card(
    title="DFANet",
    summary=(
        "Three light backbones in a row, each refining the features of the one before, "
        "aggregated in one decoder."
    ),
    citation=(
        "Li, H., Xiong, P., Fan, H., Sun, J.: DFANet: Deep Feature Aggregation for Real-Time "
        "Semantic Segmentation. CVPR, 2019."
    ),
    url="https://arxiv.org/abs/1904.02216",
    published=Published(
        normal_dice=78.59,
        normal_iou=69.19,
        challenging_dice=65.47,
        challenging_iou=57.97,
        gflops="0.248",
        trainable_parameters=418_354,
        latency_ms_mean=22.9,
        latency_ms_std=0.32,
    ),
    deviations=("One input channel, and no weights from ImageNet in the backbone.",),
)
