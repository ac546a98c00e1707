"""The engine that Keras computes with here: its settings, versions, device and memory."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import keras

from backends.contract import Array, Bytes, Runtime
from backends.errors import BackendError, Unsupported, require_device

ENGINE: str = keras.backend.backend()
TENSORFLOW = ENGINE == "tensorflow"
# Keras itself does not import TensorFlow on another engine, and neither may we.
tf: Any = import_module("tensorflow") if TENSORFLOW else None

_jax_compilations = 0


# PyTorch allows no dot in the name of a parameter, which Keras makes of the layer's name.
_DOT = ":" if ENGINE == "torch" else "."


def layer_name(path: str) -> str:
    """The name that a layer of this canonical path has in Keras."""
    return path.replace(".", _DOT)


def canonical_path(name: str) -> str:
    """The canonical path of a layer of this name."""
    return name.replace(_DOT, ".")


def start(runtime: Runtime) -> None:
    """Apply device, threads and determinism to the engine, and float32 without TF32.

    Raises `NoDevice` if a GPU is asked for and not seen, and `BackendError` if the
    engine has computed already with other settings.
    """
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_dtype_policy("float32")
    {"tensorflow": _start_tensorflow, "jax": _start_jax, "torch": _start_torch}[ENGINE](runtime)


def require_tensorflow(wish: str) -> None:
    """Raise `Unsupported` on the other two engines."""
    if not TENSORFLOW:
        raise Unsupported(
            f"Keras on {ENGINE} does not {wish} here: use the backend 'keras' (TensorFlow)."
        )


def float64() -> AbstractContextManager[Any]:
    """A context in which arrays may be float64: JAX makes them float32 unless told otherwise."""
    return import_module("jax").enable_x64(True) if ENGINE == "jax" else nullcontext()


def to_numpy(tensor: Any) -> Array:
    """The values of a tensor or variable of the engine, on the host."""
    # NumPy 2 warns of Keras' own way to read a TensorFlow tensor.
    convert: Any = keras.ops.convert_to_numpy
    return tensor.numpy() if TENSORFLOW else convert(tensor)


def versions() -> dict[str, str]:
    """Keras, its engine, and the CUDA that TensorFlow was built with."""
    found = {"keras": keras.__version__, ENGINE: import_module(ENGINE).__version__}
    if TENSORFLOW:
        built = tf.sysconfig.get_build_info()
        names = {"cuda": "cuda_version", "cudnn": "cudnn_version"}
        found |= {key: built[name] for key, name in names.items() if name in built}
    return found


def memory(device: str) -> dict[str, Bytes]:
    """TensorFlow's own peak on a GPU; it tells nothing of its pool, or of a CPU."""
    quantities = ("allocated_peak_bytes", "reserved_peak_bytes")
    if not TENSORFLOW or device == "cpu":
        reason = f"Keras on {ENGINE} reports no memory of the {device}"
        return {quantity: Bytes(bytes=None, reason=reason) for quantity in quantities}
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    pool = Bytes(bytes=None, reason="TensorFlow does not report the size of its pool")
    return dict(zip(quantities, (Bytes(bytes=peak), pool), strict=True))


def forget_memory_peaks(device: str) -> bool:
    """Restart TensorFlow's peak; False if it keeps none."""
    if not TENSORFLOW or device == "cpu":
        return False
    tf.config.experimental.reset_memory_stats("GPU:0")
    return True


def predict_compilations(model: keras.Model) -> int:
    """Compilations behind `model.predict` so far; PyTorch compiles nothing."""
    if TENSORFLOW:
        function: Any = model.predict_function  # made by the first call of `predict`
        return function.experimental_get_tracing_count() if function is not None else 0
    return _jax_compilations


def _start_tensorflow(runtime: Runtime) -> None:
    gpus = tf.config.list_physical_devices("GPU")
    require_device("TensorFlow", runtime.device, runtime.device == "cpu" or bool(gpus))
    try:
        if runtime.device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        for gpu in gpus if runtime.device == "cuda" else []:
            tf.config.experimental.set_memory_growth(gpu, True)
        if runtime.threads:
            tf.config.threading.set_intra_op_parallelism_threads(runtime.threads)
            # One operation at a time, as in the other frameworks: more would share the same cores.
            tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise BackendError(f"TensorFlow has started with other settings already: {error}") from None
    tf.get_logger().setLevel("ERROR")  # it warns of several networks in one process as retracing
    if runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(False)


def _start_jax(runtime: Runtime) -> None:
    # JAX takes its number of threads from the environment of the process only.
    import jax

    jax.config.update("jax_platforms", runtime.device)
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        platform_name = jax.devices()[0].platform
    except (RuntimeError, AssertionError) as error:  # the latter without a CUDA plugin
        platform_name = str(error).partition("\n")[0] or "none"
    wanted = "gpu" if runtime.device == "cuda" else "cpu"
    require_device("JAX", runtime.device, platform_name == wanted, f"found: {platform_name}")

    def count(event: str, duration_secs: float, **_: Any) -> None:  # noqa: ARG001
        global _jax_compilations
        _jax_compilations += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(count)


def _start_torch(runtime: Runtime) -> None:
    import torch

    seen = runtime.device == "cpu" or torch.cuda.is_available()
    require_device("PyTorch", runtime.device, seen)
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    torch.use_deterministic_algorithms(runtime.deterministic, warn_only=True)
    torch.backends.cudnn.allow_tf32 = False
    # Entered for the life of the process: Keras would take a GPU wherever it sees one.
    keras.device("gpu:0" if runtime.device == "cuda" else "cpu:0").__enter__()
