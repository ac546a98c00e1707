"""Weights for which no pooling that remembers places has a window near a tie.

A network that unpools (SegNet) puts each value back at the place of its maximum. Where the two
greatest values of a window are equal to rounding, the place is chance: a framework that sums in
another order moves an activation by a pixel, with all that lies around it, and nothing is wrong.
Among the four million windows of two 256×256 images about six were such, so that no two frameworks
would ever agree. The kernels in front of each pooling are therefore redrawn until, on the very
images that are compared, the greatest value of every window leads by many times the rounding.
Places are then the same in every right implementation, and the common rule holds for all pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.contract import Array, Network, Operation
from backends.errors import Unsupported

# What the greatest value must lead by, of the root mean square of the layer and for each
# convolution from the image to it: rounding errors add up. Measured at 256×256, outputs of PyTorch
# and Flax differ by 1.1e-5 at most behind 2 convolutions and by 5.1e-5 behind 13, their standard
# deviations are 4e-7 and 5e-6.
LEAD = 5e-6
# A kernel moves by this share; much more than a lead, and little enough to keep what was drawn.
SHARE = 0.02
MOST_ROUNDS = 60


def untie(
    network: Network, weights: dict[str, Array], images: Array, random: np.random.Generator
) -> bool:
    """Redraw kernels, in place, until no window of `images` is near a tie.

    Returns whether the network unpools; for all others nothing is done. The weights are left in the
    network. Raises `Unsupported` if ties remain, which happens to no network of the tree.
    """
    try:
        operations = network.operations()
    except Unsupported:
        return False
    if not any(operation.kind == "max_unpool" for operation in operations):
        return False
    if any(spec.native for spec in network.weight_specs()):
        return True  # in one framework only: there is nothing to compare it with
    named = {name.rpartition(".")[0] for name in weights}
    pools = [place for place, o in enumerate(operations) if o.kind == "max_pool"]
    for pool in pools:
        _untie_one(network, weights, images, operations[:pool], named, random)
    return True


def _untie_one(
    network: Network,
    weights: dict[str, Array],
    images: Array,
    before: Sequence[Operation],
    named: set[str],
    random: np.random.Generator,
) -> None:
    rectified = before[-1].kind == "relu"
    layer = before[-2 if rectified else -1].name
    convolutions = [o.name for o in before if o.kind == "conv" and o.name in named]
    for _ in range(MOST_ROUNDS):
        network.set_weights(weights)
        values = network.activations(images).get(layer)
        if values is None or values.shape[-1] != weights[f"{convolutions[-1]}.kernel"].shape[-1]:
            return  # not convolution, normalisation, pooling: compared as it is
        channels = tied_channels(values, len(convolutions), rectified=rectified)
        if not channels.any():
            return
        name = f"{convolutions[-1]}.kernel"
        kernel = weights[name].copy()
        shape = kernel[..., channels].shape
        kernel[..., channels] *= (1 + SHARE * random.standard_normal(shape)).astype(np.float32)
        weights[name] = kernel
    raise Unsupported(
        f"the windows behind layer {layer!r} stay near a tie: draw with another seed."
    )


def tied_channels(values: Array, depth: int, *, rectified: bool) -> Array:
    """(channels,) bool: those with a 2×2 window of (n, h, w, c) whose maximum hardly leads.

    `depth` is the number of convolutions before. Where a ReLU follows, negative values stand as
    zeros: a window that is closed by the lead is a tie of exact zeros, whose place is the first by
    the rule; but one that is about to open, or hardly open, is near a tie.
    """
    seen = np.maximum(values, 0) if rectified else values
    lead = np.float32(LEAD * depth * np.sqrt(np.mean(np.square(seen, dtype=np.float64))))
    a, b, c, d = (values[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
    upper, lower = np.maximum(a, b), np.maximum(c, d)
    # The second of the four is the lesser winner, or whom the greater one beat.
    beaten = np.where(upper > lower, np.minimum(a, b), np.minimum(c, d))
    second = np.maximum(np.minimum(upper, lower), beaten)
    greatest = np.maximum(upper, lower)
    if rectified:
        second = np.maximum(second, 0)
    tied = (greatest - second < lead) & ((greatest > -lead) | (not rectified))
    return np.logical_or.reduce(tied, axis=(0, 1, 2))
