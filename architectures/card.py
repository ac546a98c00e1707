"""The card of a network: what is known of it without importing a framework."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Published:
    """Figures that the 2022 RFBSNet paper prints for a network (its Table 1).

    Dice and IoU are per cent, and are means of background and brain; the latency is at batch
    size 1 on the paper's GPU.
    """

    normal_dice: float
    normal_iou: float
    challenging_dice: float
    challenging_iou: float
    gflops: str  # as printed: the number of digits is part of the claim
    trainable_parameters: int
    latency_ms_mean: float
    latency_ms_std: float


@dataclass(frozen=True, kw_only=True)
class Card:
    """Name, source and deviations of one network.

    `he_normal` holds glob patterns of canonical weight names whose kernels start from a truncated
    He normal distribution; all other kernels start Glorot uniform (see `backends.weights`).
    `unused` holds those of weights that a library builds and its network never computes with.
    """

    title: str
    summary: str
    citation: str
    url: str
    published: Published | None = None
    deviations: tuple[str, ...] = ()
    he_normal: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
