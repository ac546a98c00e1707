"""What is known about ShuffleSeg without importing a framework."""

from __future__ import annotations

from architectures.card import Card, Published

CARD = Card(
    title="ShuffleSeg",
    summary="ShuffleNet as encoder and the FCN-8s decoder.",
    citation=(
        "Gamal, M., Siam, M., Abdel-Razek, M.: ShuffleSeg: Real-time Semantic Segmentation "
        "Network. arXiv:1803.03816, 2018."
    ),
    url="https://arxiv.org/abs/1803.03816",
    published=Published(
        normal_dice=91.34,
        normal_iou=85.05,
        challenging_dice=79.38,
        challenging_iou=70.35,
        gflops="0.374",
        trainable_parameters=940_722,
        latency_ms_mean=12.05,
        latency_ms_std=1.11,
    ),
    deviations=("One input channel, and no weights from ImageNet in the encoder.",),
)
