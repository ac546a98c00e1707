"""`check` names what people get wrong in a network of their own, once and in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from backends.contract import Network, Runtime, TrainingOptions
from backends.torch_backend import TorchBackend
from backends.weights import starting_values
from harness.checks import examination, random_weights

SIDE = examination.SIDE


class Net(nn.Module):
    """A sound network; its children each have one fault."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, classes, 1)

    def features(self, input: Tensor) -> Tensor:
        return functional.relu(self.norm(self.stem(input)))

    def forward(self, input: Tensor) -> Tensor:
        return self.head(self.features(input))


class Softmax(Net):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).softmax(1)


class LogSoftmax(Net):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).log_softmax(1)


class Sigmoid(Net):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).sigmoid()


class Hidden(Net):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        torch.manual_seed(0)
        self.blocks = [nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)]

    def forward(self, input: Tensor) -> Tensor:
        x = self.features(input)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Remembering(Net):
    last: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        x = self.features(input)
        last, self.last = self.last, x.detach().mean()
        return self.head(x if last is None else x + 0.1 * last)


class AlwaysTraining(Net):
    def train(self, mode: bool = True) -> AlwaysTraining:
        super().train(mode)
        self.norm.train()
        return self


class ChannelsLast(Net):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 3, 1, 2))


class ChannelsLastOutput(Net):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).permute(0, 2, 3, 1)


class Half(Net):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.half()


class HalfOutput(Net):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).half()


class Dictionary(Net):
    def forward(self, input: Tensor) -> Any:
        return {"out": super().forward(input), "aux": input}


def failed(kind: type[Net]) -> dict[str, str]:
    backend = TorchBackend(Runtime(threads=1))
    built: list[Network] = []

    def build(**size: int) -> Network:
        return backend.build(lambda *, classes, **_: kind(classes), **size)

    def home() -> Network:
        if not built:
            built.append(build(height=SIDE, width=SIDE, classes=2))
        return built[0]

    def trainer() -> Any:
        size = random_weights.batch_size(SIDE, SIDE)
        options = TrainingOptions(
            loss="dice_ce", seed=0, batch_size=size, adam_epsilon=1.0, dropout=False
        )
        return home().trainer(options)

    try:
        weights = random_weights.draw(home(), 0)
    except Exception:  # as the worker does: what is too broken to draw for is examined without
        weights = starting_values(home(), 0) if kind is not Half else {}
    examined = examination.Implementation(
        backend=backend, build=build, home=home, trainer=trainer, weights=weights
    )
    rows = list(examination.findings(examined))
    assert [row.what for row in rows] == list(examination.EXAMINATIONS)
    return {row.what: row.detail for row in rows if row.verdict == "failed"}


def test_a_sound_network_passes() -> None:
    assert failed(Net) == {}


@pytest.mark.parametrize(
    ("kind", "what", "sentence"),
    [
        (Softmax, "logits, not probabilities", "that of a softmax"),
        (LogSoftmax, "logits, not probabilities", "that of a log-softmax"),
        (Sigmoid, "logits, not probabilities", "as a sigmoid's"),
        (Hidden, "an optimiser sees all", "'blocks[0].bias' and 3 more"),
        (Remembering, "no state between calls", "keeps state between calls"),
        (AlwaysTraining, "no state between calls", "'norm.mean' changes in inference"),
        (ChannelsLastOutput, "shapes of the logits", "(n, classes, height, width)"),
    ],
)
def test_a_fault_is_named(kind: type[Net], what: str, sentence: str) -> None:
    assert sentence in failed(kind)[what]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (ChannelsLast, "PyTorch's images are (n, 1, height, width)"),
        (Half, "'stem.weight' is float16: build the network in float32"),
        (HalfOutput, "returns float16 from float32 images"),
        (Dictionary, "returns a dict of out, aux, expected one tensor"),
    ],
)
def test_what_does_not_run_is_one_clear_message(kind: type[Net], sentence: str) -> None:
    (message,) = set(failed(kind).values())
    assert sentence in message
    assert "\n" not in message
