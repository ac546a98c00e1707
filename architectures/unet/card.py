"""What is known about U-Net without importing a framework."""

from __future__ import annotations

from architectures.card import Card, Published

CARD = Card(
    title="U-Net",
    summary=(
        "Encoder and decoder of five levels with a skip connection at each, the reference of "
        "medical segmentation."
    ),
    citation=(
        "Ronneberger, O., Fischer, P., Brox, T.: U-Net: Convolutional Networks for Biomedical"
        " Image Segmentation. MICCAI, 2015."
    ),
    url="https://doi.org/10.1007/978-3-319-24574-4_28",
    published=Published(
        normal_dice=97.93,
        normal_iou=96.02,
        challenging_dice=85.81,
        challenging_iou=77.63,
        gflops="102",
        trainable_parameters=34_512_258,
        latency_ms_mean=9.82,
        latency_ms_std=0.04,
    ),
    deviations=(
        "Convolutions are padded, so that the output has the size of the input and skips are "
        "not cropped.",
        "Upsampling is a transposed convolution 3×3 (original: 2×2).",
        "Dropout of 0.3 at every level (original: at the end of the contracting path).",
    ),
    he_normal=("encoder.*.kernel", "bottleneck.*.kernel", "decoder.*.block.*.kernel"),
)
