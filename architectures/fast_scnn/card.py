"""What is known about Fast-SCNN without importing a framework."""

from __future__ import annotations

from architectures.card import Card, Published

CARD = Card(
    title="Fast-SCNN",
    summary=(
        "Two branches that share a learned downsampling, of depthwise separable convolutions "
        "and inverted bottlenecks."
    ),
    citation=(
        "Poudel, R. P. K., Liwicki, S., Cipolla, R.: Fast-SCNN: Fast Semantic Segmentation "
        "Network. BMVC, 2019."
    ),
    url="https://arxiv.org/abs/1902.04502",
    published=Published(
        normal_dice=86.87,
        normal_iou=78.81,
        challenging_dice=69.34,
        challenging_iou=60.8,
        gflops="0.517",
        trainable_parameters=1_593_222,
        latency_ms_mean=5.74,
        latency_ms_std=0.09,
    ),
    deviations=(
        "The pyramid pools with windows of 1/8, 2/8 and 4/8 of the map (original: into 1, 2, "
        "3 and 6 bins a side).",
    ),
)
