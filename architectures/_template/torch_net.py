"""Template in PyTorch: layers and forward only."""

from __future__ import annotations

from torch import Tensor, nn

from backends.torch_layers import Conv, ConvNormReLU, ConvTranspose


class Template(nn.Module):
    """Half the size, and back. The names of the attributes name the weights everywhere."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        # Layers of backends.torch_layers pad as all frameworks here do; PyTorch's own pad
        # differently at stride 2.
        self.stem = ConvNormReLU(1, 8, 3, stride=2)
        self.middle = ConvNormReLU(8, 8, 3)
        self.upsample = ConvTranspose(8, 8, 3, stride=2)
        self.head = Conv(8, classes, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 1, h, w) → logits (n, classes, h, w)."""
        return self.head(self.upsample(self.middle(self.stem(input))))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> Template:  # noqa: ARG001
    """Template; any multiple of 64 as `height` and `width`."""
    return Template(classes)
