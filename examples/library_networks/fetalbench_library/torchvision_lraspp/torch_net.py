"""torchvision's LRASPP, which takes three channels and returns a dict."""

from torch import Tensor, nn
from torchvision.models.segmentation import lraspp_mobilenet_v3_large


class Lraspp(nn.Module):
    """(n, 1, h, w) → logits (n, classes, h, w)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = lraspp_mobilenet_v3_large(num_classes=classes, weights_backbone=None)

    def forward(self, input: Tensor) -> Tensor:
        return self.net(input.expand(-1, 3, -1, -1))["out"]


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> Lraspp:  # noqa: ARG001
    """LRASPP; any multiple of 32 as `height` and `width`."""
    return Lraspp(classes)
