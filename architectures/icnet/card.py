"""What is known about ICNet without importing a framework."""

from __future__ import annotations

from architectures.card import Card, Published

CARD = Card(
    title="ICNet",
    summary=(
        "A cascade of three resolutions: a deep network sees the quarter-size image, shallow "
        "ones the larger sizes."
    ),
    citation=(
        "Zhao, H., Qi, X., Shen, X., Shi, J., Jia, J.: ICNet for Real-Time Semantic "
        "Segmentation on High-Resolution Images. ECCV, 2018."
    ),
    url="https://arxiv.org/abs/1704.08545",
    published=Published(
        normal_dice=85.43,
        normal_iou=77.0,
        challenging_dice=65.15,
        challenging_iou=58.0,
        gflops="1.81",
        trainable_parameters=6_710_914,
        latency_ms_mean=12.91,
        latency_ms_std=0.39,
    ),
    deviations=(
        "ReLU comes before batch normalisation.",
        "Trained with one loss at full size (original: cascade label guidance at three sizes).",
    ),
)
