"""Weights files of the wrong kind, and the starting values that the harness draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from backends.contract import WeightSpec
from backends.errors import WeightsError
from backends.weights import initial_value, initial_values, read_weights, require_weights_file

SPEC = WeightSpec(name="head.kernel", shape=(1, 1, 2, 2), trainable=True)


@pytest.mark.parametrize(
    ("dtype", "name", "size"),
    [("BF16", "(BF16|bfloat16)", 2), ("F16", "float16", 2), ("F64", "float64", 8)],
)
def test_another_dtype_is_named(tmp_path: Path, dtype: str, name: str, size: int) -> None:
    path = tmp_path / "half.safetensors"
    entry = {"dtype": dtype, "shape": [1, 1, 2, 2], "data_offsets": [0, 4 * size]}
    header = json.dumps({"head.kernel": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 * size))
    with pytest.raises(WeightsError, match=f"half.safetensors.*{name}.*expected float32"):
        read_weights(path, [SPEC])


@pytest.mark.parametrize("he", [False, True])
def test_kernels_have_the_spread_of_their_rule(he: bool) -> None:
    """Glorot uniform, or He normal cut at two standard deviations with its variance corrected."""
    spec = WeightSpec(name="a.conv.kernel", shape=(3, 3, 40, 80), trainable=True)
    value = initial_value(spec, 0, ("a.*.kernel",) if he else ("b.*.kernel",))
    fan_in, fan_out = 9 * 40, 9 * 80
    variance = 2 / fan_in if he else 2 / (fan_in + fan_out)
    limit = 2 / 0.8796 * np.sqrt(variance) if he else np.sqrt(3 * variance)
    assert value.dtype == np.float32
    assert value.std() == pytest.approx(np.sqrt(variance), rel=0.02)
    assert abs(value.mean()) < 4 * np.sqrt(variance / value.size)
    assert 0.99 * limit < abs(value).max() <= 1.0001 * limit
    # Cut and not clipped, and a normal has more in its middle half than a uniform one.
    assert (abs(value) > 0.999 * limit).mean() < 0.01
    assert (abs(value) < limit / 2).mean() == pytest.approx(0.715 if he else 0.5, abs=0.01)


def test_a_start_hangs_on_seed_and_name_alone() -> None:
    other = WeightSpec(name="tail.kernel", shape=SPEC.shape, trainable=True)
    both, alone = initial_values([other, SPEC], 1), initial_values([SPEC], 1)
    assert np.array_equal(both["head.kernel"], alone["head.kernel"])
    assert not np.array_equal(both["head.kernel"], both["tail.kernel"])
    assert not np.array_equal(alone["head.kernel"], initial_values([SPEC], 2)["head.kernel"])


@pytest.mark.parametrize(
    ("own", "start"),
    [("gamma", 1), ("variance", 1), ("mean", 0), ("beta", 0), ("bias", 0), ("alpha", 0)],
)
def test_what_is_no_kernel_starts_neutral(own: str, start: int) -> None:
    spec = WeightSpec(name=f"a.{own}", shape=(3,), trainable=True)
    assert initial_value(spec, 0, ("*",)).tolist() == [start] * 3


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "no such file; train first or name another"),
        (b"", "not a safetensors file"),
        (b"no safetensors file", "not a safetensors file"),
        (save({"a": np.zeros(9, np.float32)})[:-4], "not a safetensors file"),
        (save({}), "holds no weights"),
    ],
    ids=["missing", "empty", "text", "cut off", "no tensor"],
)
def test_a_file_that_holds_no_weights_is_refused(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "net.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=sentence) as caught:
        require_weights_file(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.exit_code == 3


def test_a_folder_is_not_a_weights_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot be read|not a safetensors file"):
        require_weights_file(tmp_path)


def test_a_weights_file_is_let_through(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(save({"a": np.zeros(9, np.float32)}))
    require_weights_file(path)
