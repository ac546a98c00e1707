"""What is known about ENet without importing a framework."""

from __future__ import annotations

from architectures.card import Card, Published

CARD = Card(
    title="ENet",
    summary=(
        "Bottlenecks with early downsampling, dilated and asymmetric convolutions, and a very"
        " small decoder."
    ),
    citation=(
        "Paszke, A., Chaurasia, A., Kim, S., Culurciello, E.: ENet: A Deep Neural Network "
        "Architecture for Real-Time Semantic Segmentation. arXiv:1606.02147, 2016."
    ),
    url="https://arxiv.org/abs/1606.02147",
    published=Published(
        normal_dice=95.42,
        normal_iou=91.54,
        challenging_dice=78.05,
        challenging_iou=69.0,
        gflops="0.975",
        trainable_parameters=362_838,
        latency_ms_mean=20.63,
        latency_ms_std=0.05,
    ),
    deviations=(
        "The decoder upsamples with nearest neighbours (original: max-unpooling with the "
        "saved places).",
    ),
)
