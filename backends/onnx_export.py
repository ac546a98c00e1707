"""A PyTorch network as an ONNX file: opset pinned, batch size free, height and width fixed.

ONNX is how a network leaves its framework: the deployment runtimes of `backends.runtimes` read it,
and so does whoever takes a network to a scanner.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from backends.errors import Unsupported

OPSET = 18
INPUT, OUTPUT = "images", "logits"

# The export of a deep network takes seconds, and a sweep over batch sizes asks for the same one.
_last: dict[str, bytes] = {}


def onnx_bytes(
    module: nn.Module, height: int, width: int, metadata: Mapping[str, str] | None = None
) -> bytes:
    """The module with its present weights, in inference mode, as the bytes of an ONNX file.

    Input `images` (batch, 1, height, width) float32, output `logits` (batch, classes, height,
    width) float32. `metadata` is added to the file's properties. Raises `Unsupported` if the
    exporter is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise Unsupported(
            "ONNX is not installed: pip install 'fetalbench[deploy]' brings it."
        ) from None
    key = _digest(module, height, width)
    if key not in _last:
        _last.clear()
        _last[key] = _export(module, height, width)
    if not metadata:
        return _last[key]
    model = onnx.load_from_string(_last[key])
    onnx.helper.set_model_props(model, dict(metadata))
    return model.SerializeToString()


def _digest(module: nn.Module, height: int, width: int) -> str:
    total = hashlib.sha256(f"{type(module).__qualname__} {height} {width}".encode())
    for name, value in module.state_dict().items():
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _export(module: nn.Module, height: int, width: int) -> bytes:
    plain = copy.deepcopy(module).cpu().eval()
    # Two images, not one: the exporter takes a size of one for a constant.
    example = torch.zeros((2, 1, height, width))
    with quiet(), torch.no_grad():
        # The exporter reads the older switch and insists that it says the same as the newer.
        torch.backends.cudnn.allow_tf32 = False
        program = torch.onnx.export(
            plain,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString()


@contextmanager
def quiet() -> Iterator[None]:
    """Without remarks of exporter and quantiser on packages and functions of their own."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
