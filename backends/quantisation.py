"""An ONNX network in 8-bit integers: quantised after training, its ranges found on a few images.

The result is ONNX again, with pairs of QuantizeLinear and DequantizeLinear (QDQ) around what a
runtime may compute in integers: ONNX Runtime, OpenVINO and TensorRT read the same form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backends.contract import Array
from backends.errors import Unsupported
from backends.onnx_export import INPUT, quiet

# Calibrating a deep network takes a minute, and a sweep over batch sizes asks for the same one.
_last: dict[str, bytes] = {}


def quantised(model: bytes, images: Array, *, symmetric: bool = False) -> bytes:
    """The ONNX network with 8-bit weights and activations, as the bytes of a QDQ file.

    `images` (n, 1, height, width) float32 give the ranges of the activations, the least and the
    greatest value of each. Weights have a scale for each output channel. With `symmetric` all
    zeros are 0, as TensorRT wants it. Else activations are unsigned with a zero of their own, and
    weights use 7 of the 8 bits: what a processor without VNNI adds up in 16 bits then fits.
    Raises `Unsupported` if ONNX Runtime is not installed.
    """
    try:
        import onnxruntime.quantization  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise Unsupported(
            "ONNX Runtime is not installed: pip install 'fetalbench[deploy]' brings it."
        ) from None
    key = hashlib.sha256(model + images.tobytes() + bytes([symmetric])).hexdigest()
    if key not in _last:
        _last.clear()
        with TemporaryDirectory() as folder, quiet():
            _last[key] = _quantise(model, images, Path(folder), symmetric=symmetric)
    return _last[key]


def _quantise(model: bytes, images: Array, folder: Path, *, symmetric: bool) -> bytes:
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, folded, made = (folder / f"{name}.onnx" for name in ("plain", "folded", "quantised"))
    plain.write_bytes(model)
    # Batch normalisation goes into the convolutions before their ranges are found.
    quant_pre_process(str(plain), str(folded), skip_symbolic_shape=True)
    quantize_static(
        str(folded),
        str(made),
        _reader(images),
        quant_format=QuantFormat.QDQ,
        calibrate_method=CalibrationMethod.MinMax,
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=not symmetric,
        extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True},
    )
    return made.read_bytes()


def _reader(images: Array) -> Any:
    """The images, one at a time, as the quantiser asks for them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds: Iterator[dict[str, Array]] = (
                {INPUT: images[place : place + 1]} for place in range(len(images))
            )

        def get_next(self) -> dict[str, Array] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            return next(self._feeds, None)

    return Reader()
