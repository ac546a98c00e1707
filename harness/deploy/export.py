"""Export of a network for deployment, with proof that the file computes the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backends.contract import Array, Network
from backends.weights import digest
from harness.errors import EXIT_SOME_CELLS_FAILED, FetalbenchError
from harness.measuring.gates import TIE_SHARE
from harness.protocol import Input
from harness.records.provenance import fetalbench_version

# (p.) Greatest difference of logits, as a share of the greatest logit.
TOLERANCE = 1e-4
TRIALS = 3


class ExportDiffers(FetalbenchError):
    """The written file does not compute what the network computes."""

    exit_code = EXIT_SOME_CELLS_FAILED


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How one runtime's answers differ from the framework's, over the same images.

    `mask_pixels` counts pixels of the mask that differ, ties included.
    """

    runtime: str
    max_abs_logit_difference: float
    max_abs_logit: float
    mask_pixels: int
    pixels: int

    @property
    def within(self) -> bool:
        """Whether logits agree to the tolerance, and masks wherever logits are not tied."""
        allowed = TOLERANCE * self.max_abs_logit
        # A mask can only differ where rounding decides; such pixels are a tiny share.
        return (
            self.max_abs_logit_difference <= allowed and self.mask_pixels <= TIE_SHARE * self.pixels
        )


def trial_images(height: int, width: int) -> Array:
    """Images that an export is tried on: (3, height, width, 1) float32, normalised noise."""
    random = np.random.default_rng(20)
    return random.standard_normal((TRIALS, height, width, 1)).astype(np.float32)


def export(network: Network, name: str, chosen: Input, path: Path) -> list[Proof]:
    """Write `network` to `path` and prove it; returns a proof for each runtime.

    Raises `ExportDiffers`, with the file removed, if a runtime computes something else, and
    `Unsupported` if the exporter or a runtime is missing.
    """
    unproven = path.with_name(path.name + ".unproven")
    try:
        network.export(unproven, properties(network, name, chosen))
        proofs = prove(network, unproven)
        for proof in proofs:
            if not proof.within:
                raise ExportDiffers(
                    f"{path}: {proof.runtime} differs from the network by "
                    f"{proof.max_abs_logit_difference:.3g} in its logits and in "
                    f"{proof.mask_pixels} of {proof.pixels} mask pixels; nothing was written."
                )
        unproven.replace(path)
    finally:
        unproven.unlink(missing_ok=True)
    return proofs


def prove(network: Network, path: Path) -> list[Proof]:
    """Run the file and the network on the same images."""
    images = trial_images(network.height, network.width)
    expected = network.predict(images)
    masks = expected.argmax(-1)
    return [
        Proof(
            runtime=runtime,
            max_abs_logit_difference=float(np.abs(logits - expected).max()),
            max_abs_logit=float(np.abs(expected).max()),
            mask_pixels=int((logits.argmax(-1) != masks).sum()),
            pixels=masks.size,
        )
        for runtime, logits in network.run_exported(path, images).items()
    ]


def properties(network: Network, name: str, chosen: Input) -> dict[str, str]:
    """What whoever runs the file must know, as properties of the file."""
    size = f"{network.height}, {network.width}"
    return {
        "network": name,
        "fetalbench": fetalbench_version(),
        "weights_sha256": digest(network.weights()),
        "input": f"images (batch, 1, {size}) float32",
        "preprocessing": (
            f"one greyscale slice; fit to {network.height}×{network.width} by {chosen.fit}"
            f"{f' to pixels of {chosen.pixel_mm:g} mm' if chosen.pixel_mm else ''}; "
            f"normalise by {chosen.normalisation} (zero mean and unit deviation)"
        ),
        "output": f"logits (batch, {network.classes}, {size}) float32",
        "postprocessing": (
            "mask = arg-max over axis 1 (class 1 is brain), then undo the fit by "
            f"{chosen.fit} to the slice's own size"
        ),
        "intended_use": "research only; not a medical device",
    }
