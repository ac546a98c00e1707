"""What is known about SegNet without importing a framework."""

from __future__ import annotations

from architectures.card import Card, Published

CARD = Card(
    title="SegNet",
    summary=(
        "VGG-16 as encoder and its mirror image as decoder, which puts maxima back where they"
        " were pooled from."
    ),
    citation=(
        "Badrinarayanan, V., Kendall, A., Cipolla, R.: SegNet: A Deep Convolutional "
        "Encoder-Decoder Architecture for Image Segmentation. IEEE Transactions on Pattern "
        "Analysis and Machine Intelligence 39(12), 2017."
    ),
    url="https://doi.org/10.1109/TPAMI.2016.2644615",
    published=Published(
        normal_dice=96.17,
        normal_iou=92.85,
        challenging_dice=88.95,
        challenging_iou=81.74,
        gflops="79.9",
        trainable_parameters=29_441_986,
        latency_ms_mean=10.16,
        latency_ms_std=0.18,
    ),
    deviations=("One input channel, and no weights from ImageNet in the encoder.",),
)
