"""TensorRT by ONNX Runtime: it reads and writes the memory of a GPU, given by address.

Building an engine takes minutes. Engines are kept by content: one folder for the bytes of the
network, the versions and the card, and in it one for each batch size, beside what all of them have
learned of the card's kernels (the timing cache).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.errors import Unsupported, is_out_of_memory
from backends.plans import ENGINES, FRESH_ENGINES
from backends.runtimes import missing, versions

PROVIDER = "TensorrtExecutionProvider"


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Images (n, 1, h, w) and logits (n, classes, h, w) on the GPU: addresses and shapes."""

    images: int
    logits: int
    shape: tuple[int, ...]
    classes: int


def open_tensorrt(model: bytes, where: Addresses, device: str) -> Callable[[], None]:
    """A run of TensorRT from images to logits, both float32 at these addresses.

    `device` names the card. Raises `Unsupported` if ONNX Runtime lacks TensorRT, or if TensorRT
    would leave the network, or a part of it, to another provider.
    """
    try:
        import onnxruntime
    except ImportError:
        raise missing("ONNX Runtime") from None
    with contextlib.suppress(ImportError):
        importlib.import_module("tensorrt")  # brings the libraries that the provider looks for
    if PROVIDER not in onnxruntime.get_available_providers():
        raise Unsupported(
            "ONNX Runtime has no TensorRT here: in the PyTorch environment of a GPU box "
            "pip install 'fetalbench[tensorrt]' brings it."
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.add_free_dimension_override_by_name("batch", where.shape[0])
    # What TensorRT does not take would run elsewhere, and the figure would not be TensorRT's.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    settings = engine_options(model, where.shape[0], device)
    try:
        session = onnxruntime.InferenceSession(
            model, sess_options=options, providers=[(PROVIDER, settings)]
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise
        line = str(error).strip().partition("\n")[0]
        raise Unsupported(f"TensorRT does not run all of this network: {line}") from error
    if PROVIDER not in session.get_providers():
        raise Unsupported(
            "ONNX Runtime could not start TensorRT and fell back to "
            f"{', '.join(session.get_providers())}: compare the versions of CUDA, TensorRT and "
            "onnxruntime-gpu."
        )
    return _bound(session, where)


def _bound(session: Any, where: Addresses) -> Callable[[], None]:
    binding = session.io_binding()
    outputs = (where.shape[0], where.classes, *where.shape[2:])
    kind = ("cuda", 0, "float32")
    binding.bind_input(session.get_inputs()[0].name, *kind, where.shape, where.images)
    binding.bind_output(session.get_outputs()[0].name, *kind, outputs, where.logits)
    return lambda: session.run_with_iobinding(binding)


def engine_options(model: bytes, batch: int, device: str) -> dict[str, str]:
    """The provider's options: where engines of this content and batch size are kept, if anywhere.

    Makes the folder; if engines are to be fresh, one that is there already is deleted.
    """
    root = os.environ.get(ENGINES, "")
    if not root:
        return {}
    content = hashlib.sha256(model + repr((sorted(versions().items()), device)).encode())
    folder = Path(root) / content.hexdigest()[:32]
    engines = folder / f"batch-{batch}"
    if os.environ.get(FRESH_ENGINES):
        shutil.rmtree(folder if batch == 1 else engines, ignore_errors=True)
    engines.mkdir(parents=True, exist_ok=True)
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }
