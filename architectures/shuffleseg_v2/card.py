"""What is known about ShuffleSeg V2 without importing a framework."""

from __future__ import annotations

from architectures.card import Card, Published

CARD = Card(
    title="ShuffleSeg V2",
    summary=(
        "Units of ShuffleNet V2 with a wide working branch as encoder, and the FCN-8s decoder"
        " of ShuffleSeg."
    ),
    citation=(
        "Ma, N., Zhang, X., Zheng, H.-T., Sun, J.: ShuffleNet V2: Practical Guidelines for "
        "Efficient CNN Architecture Design. ECCV, 2018."
    ),
    url="https://doi.org/10.1007/978-3-030-01264-9_8",
    published=Published(
        normal_dice=89.97,
        normal_iou=83.05,
        challenging_dice=77.36,
        challenging_iou=68.26,
        gflops="1.15",
        trainable_parameters=3_043_294,
        latency_ms_mean=8.64,
        latency_ms_std=0.25,
    ),
    deviations=(
        "ShuffleNet V2 classifies; the decoder is that of ShuffleSeg.",
        "The working branch is as wide as the stage (original: half as wide).",
    ),
)
