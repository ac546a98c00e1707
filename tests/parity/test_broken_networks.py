"""Networks of other packages that are broken in one framework: each has its row, and its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.plugins import fetalbench, install

CARD = """
from architectures.card import Card
CARD = Card(title="Odd", summary="Odd.", citation="None.", url="https://example.org")
"""
PLAIN = "from architectures.{}.{}_net import build\n"
# What happens to the logits of the template in PyTorch.
HOOKED = """
from architectures._template import torch_net
from torch.nn import functional

def build(**values):
    network = torch_net.build(**values)
    network.register_forward_hook(lambda layer, given, x: {})
    return network
"""
RAISING = """
def build(**values):
    raise RuntimeError("no such layer")
"""
# The same in Flax.
WRAPPED = """
import jax
from architectures._template import flax_net

class Odd(flax_net.Template):
    def __call__(self, x):
        x = super().__call__(x)
        return {}

def build(*, classes, **sides):
    return Odd(classes)
"""
# PyTorch's own habit at stride 2: a row on either side, where SAME pads one after.
PADDED = """
from architectures.fast_scnn import torch_net

def build(**values):
    network = torch_net.build(**values)
    network.get_submodule("down.0.depthwise")._padding = lambda size, axis: (1, 1)
    return network
"""
# (PyTorch, Flax) by network.
NETWORKS = {
    "sound_net": (PLAIN.format("_template", "torch"), PLAIN.format("_template", "flax")),
    "nan_net": (HOOKED.format("x * float('nan')"), PLAIN.format("_template", "flax")),
    "half_net": (PLAIN.format("_template", "torch"), WRAPPED.format("x[:, ::2, ::2]")),
    # An activation that nobody counts.
    "gelu_net": (
        HOOKED.format("functional.gelu(x)"),
        WRAPPED.format("jax.nn.gelu(x, approximate=False)"),
    ),
    "crash_net": (RAISING, PLAIN.format("_template", "flax")),
    "padded_net": (PADDED, PLAIN.format("fast_scnn", "flax")),
}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one package with all of them is installed."""
    folder = tmp_path_factory.mktemp("broken")
    package = folder / "package"
    points, names = [], []
    for name, (torch_net, flax_net) in NETWORKS.items():
        own = package / f"odd_{name}"
        own.mkdir(parents=True)
        (own / "__init__.py").write_text('"""Odd."""\n')
        (own / "card.py").write_text(CARD)
        (own / "torch_net.py").write_text(torch_net)
        (own / "flax_net.py").write_text(flax_net)
        points.append(f'{name} = "odd_{name}"')
        names.append(f"odd_{name}")
    (package / "odd_sound_net" / "keras_net.py").write_text(PLAIN.format("_template", "keras"))
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "odd"\nversion = "0.1.0"\n'
        '[project.entry-points."fetalbench.architectures"]\n' + "\n".join(points) + "\n"
        f"[tool.setuptools]\npackages = {json.dumps(names)}\n"
    )
    install(package, folder / "site")
    return folder / "site"


def asked(
    site: Path, cwd: Path, *words: str, backends: str = "torch,flax", code: int = 1
) -> list[Row]:
    """The rows of a command as strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    done = fetalbench(*words, "--backends", backends, "--json", site=site, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout, parse_constant=refuse)


@pytest.fixture(scope="module")
def compared(site: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    names = "sound_net,nan_net,half_net,crash_net"
    cwd = tmp_path_factory.mktemp("compared")
    return asked(site, cwd, "parity", "--networks", names, "--size", "64x64")


def rows_of(compared: list[Row], name: str) -> list[Row]:
    return [row for row in compared if row["network"] == name]


def test_a_sound_network_has_its_rows_beside_broken_ones(compared: list[Row]) -> None:
    own = rows_of(compared, "sound_net")
    assert [row["quantity"] for row in own] == [
        *["logits"] * 2,
        "loss",
        "gradient",
        "weights after a step",
    ]
    for row in own:
        assert row["within"]
        assert row["reason"] == ""
        assert row["rule"]


def test_nan_is_never_within(compared: list[Row]) -> None:
    own = rows_of(compared, "nan_net")
    assert {row["quantity"] for row in own} == {
        "logits",
        "loss",
        "gradient",
        "weights after a step",
    }
    for row in own:
        assert not row["within"]
        assert row["max_abs_diff"] is None
        assert "values of torch are NaN or infinite" in row["reason"]


def test_a_wrong_shape_is_a_row_with_its_reason(compared: list[Row]) -> None:
    logits = [row for row in rows_of(compared, "half_net") if row["quantity"] == "logits"]
    assert len(logits) == 2
    for row in logits:
        assert not row["within"]
        assert row["max_abs_diff"] is None
    assert logits[0]["reason"] == "torch gives shape (8, 64, 64, 2), flax (8, 32, 32, 2)"


def test_a_network_that_does_not_build_is_a_row_with_its_sentence(compared: list[Row]) -> None:
    for row in rows_of(compared, "crash_net"):
        assert not row["within"]
        assert row["max_abs_diff"] is None
        assert "RuntimeError: no such layer" in row["reason"]


def test_a_wrong_padding_is_found_and_its_layer_named(site: Path, tmp_path: Path) -> None:
    words = ("parity", "--networks", "padded_net", "--size", "64x64", "--no-training")
    for row in asked(site, tmp_path, *words):
        assert not row["within"]
        assert row["layer"] == "down.0.depthwise"


def test_cost_counts_the_others(site: Path, tmp_path: Path) -> None:
    rows = asked(site, tmp_path, "cost", "--networks", "crash_net,sound_net")
    cells = {(row["network"], row["backend"]): row for row in rows}
    broken = cells.pop(("crash_net", "torch"))
    assert "RuntimeError: no such layer" in broken["reason"]
    assert broken["flops"] is None
    assert broken["trainable_parameters"] is None
    assert len(cells) == 3
    for row in cells.values():
        assert row["reason"] == ""
        assert row["flops"] > 0


@pytest.mark.slow  # three frameworks compile another network: 20 s
def test_an_operation_without_a_count_hides_no_parity(site: Path, tmp_path: Path) -> None:
    rows = asked(site, tmp_path, "check", "gelu_net", code=0)
    found = {row["what"]: row["verdict"] for row in rows if "→" in row["backend"]}
    assert set(found) == {
        "parity: logits",
        "parity: loss",
        "parity: gradient",
        "parity: weights after a step",
    }
    assert {row["verdict"] for row in rows} == {"passed"}


def test_check_says_why_it_compared_nothing(site: Path, tmp_path: Path) -> None:
    rows = asked(site, tmp_path, "check", "crash_net")
    (parity,) = [row for row in rows if row["what"] == "parity"]
    assert parity["verdict"] == "skipped"
    assert "what failed above" in parity["detail"]
    failed = [row["detail"] for row in rows if row["verdict"] == "failed"]
    assert any("RuntimeError: no such layer" in detail for detail in failed)
    alone = asked(site, tmp_path, "check", "sound_net", backends="torch", code=0)
    (parity,) = [row for row in alone if row["what"] == "parity"]
    assert parity["verdict"] == "skipped"
    assert "nothing to compare" in parity["detail"]


@pytest.mark.slow  # three frameworks compile another network: 20 s
def test_the_order_of_the_frameworks_does_not_matter(site: Path, tmp_path: Path) -> None:
    """An engine that does not train can stand first, even if there are statistics to draw."""
    words = ("parity", "--networks", "sound_net", "--size", "64x64")
    rows = asked(site, tmp_path, *words, backends="keras-jax,torch", code=0)
    assert [(row["source"], row["target"]) for row in rows] == [
        ("keras-jax", "torch"),
        ("torch", "keras-jax"),
    ]
    words = ("check", "sound_net")
    rows = asked(site, tmp_path, *words, backends="keras-jax,torch", code=0)
    assert sum("→" in row["backend"] for row in rows) == 2
