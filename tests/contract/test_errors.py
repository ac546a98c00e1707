"""What frameworks say when the device is full, or lost."""

from __future__ import annotations

import pytest

from backends.errors import is_out_of_memory, is_sticky

FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB.",
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes.",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "OOM when allocating tensor with shape[32,64,256,256]",
    "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
)
LOST = (
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: device-side assert triggered",
    "INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
    "CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
)


@pytest.mark.parametrize("text", FULL)
def test_a_full_device_is_out_of_memory_and_can_be_used_again(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert not is_sticky(RuntimeError(text))


@pytest.mark.parametrize("text", LOST)
def test_a_lost_device_is_not_out_of_memory(text: str) -> None:
    assert is_sticky(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError(text))


def test_a_mistake_of_the_network_costs_no_process() -> None:
    for text in ("mat1 and mat2 shapes cannot be multiplied", "kernel not found"):
        assert not is_sticky(RuntimeError(text))
        assert not is_out_of_memory(RuntimeError(text))
