"""The weights that ship with the package: RFBSNet, trained on the phantom alone, leg by leg.

    fetalbench data phantom --preset sim_to_real --seed 11 --brains FOLDER --out build/phantom
    python -m benchmarks.pretrained build/phantom --out build/pretrained

Those that ship are the mean of the weights after legs 1, 2 and 3, in half precision (a "soup",
Wortsman et al. 2022, arXiv:2203.05482): of the four it does best on the phantom's held-out
subjects. Legs 0 and 1 of the shipped weights were trained by an earlier form of this loop
(docs/phantom.md).

A leg is a number of images at one window and one course of the learning rate; it starts from the
averaged weights of the leg before it (`--first N --weights FILE`: from these). Windows first: they
teach what a brain looks like in few operations and not where in a slice it lies; whole slices at
the end teach what else a slice holds. No real slice is read. The best weights are chosen on the
phantom's set `normal`, whose subjects no leg trains on: its mean Dice, a slice without brain
counting 1 if left empty and 0 otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backends.contract import Array, Network, Runtime, TrainingOptions
from backends.weights import initial_values, read_arrays, to_bytes
from harness import registry
from harness.data.augmentation import augment
from harness.data.catalogue import open_dataset
from harness.data.preparation import prepare
from harness.data.windows import cut_windows

NETWORK = "rfbsnet"
SIDE = 128
PIXEL_MM = 2.0
SEED = 11
# Augmented at once: memory, and the grain in which images are counted.
CHUNK = 160
WARM_UP_STEPS = 40
# The average of the weights over the last steps: what is validated and kept.
AVERAGE_EVERY, AVERAGE_DECAY = 8, 0.97


@dataclass(frozen=True, kw_only=True)
class Leg:
    """`window` of 128 is the whole slice; the rate falls from `rate` to `last` along a cosine."""

    images: int
    window: int
    batch: int
    rate: float
    last: float
    level: str = "domain"


LEGS = (
    Leg(images=25_600, window=64, batch=8, rate=1e-3, last=1e-3, level="basic"),
    Leg(images=5_120, window=64, batch=8, rate=1e-3, last=5e-4),
    Leg(images=2_560, window=128, batch=8, rate=5e-4, last=5e-4),
    Leg(images=960, window=128, batch=8, rate=4e-4, last=1e-5),
)


class Slices:
    """Prepared slices: (n, 128, 128, 1) float32 and (n, 128, 128) uint8."""

    def __init__(self, folder: Path, most: int) -> None:
        """No more than `most` training slices are read: a short leg shows no more."""
        data = open_dataset(folder)
        fit = {"height": SIDE, "width": SIDE, "fit": "resample", "pixel_mm": PIXEL_MM}
        shown = data.rows("train")
        shown = shown.sample(min(most, len(shown)), random_state=SEED)
        self.images, self.masks = prepare(data, shown, normalisation="per_slice", **fit)
        rows = data.rows("normal")
        self.held_out, self.held_out_masks = prepare(data, rows, normalisation="per_slice", **fit)

    def shown(self, leg: Leg, chunk: int) -> tuple[Array, Array]:
        """A chunk of augmented windows, two of each slice if they are smaller than it."""
        repeats = 1 if leg.window == SIDE else 2
        order = np.random.default_rng([SEED, chunk]).permutation(len(self.images))
        chosen = order[: CHUNK // repeats]
        images, masks = augment(
            self.images[chosen], self.masks[chosen], level=leg.level, seed=SEED, epoch=chunk
        )
        if repeats == 1:
            return images, masks
        cuts = [
            cut_windows(images, masks, leg.window, seed=SEED + part, epoch=chunk)
            for part in range(repeats)
        ]
        return np.concatenate([c[0] for c in cuts]), np.concatenate([c[1] for c in cuts])

    def score(self, network: Network) -> tuple[float, float, float]:
        """On the held-out subjects: the score, brain Dice, and the share of false alarms."""
        truth = self.held_out_masks.astype(bool)
        guess = np.concatenate(
            [
                network.predict(self.held_out[start : start + 8]).argmax(axis=3) > 0
                for start in range(0, len(truth), 8)
            ]
        )
        brain = truth.any(axis=(1, 2))
        total = truth.sum(axis=(1, 2)) + guess.sum(axis=(1, 2))
        dice = np.where(total > 0, 2 * (truth & guess).sum(axis=(1, 2)) / np.maximum(total, 1), 1.0)
        return float(dice.mean()), float(dice[brain].mean()), float((dice[~brain] < 1).mean())


def run_leg(number: int, leg: Leg, slices: Slices, start: dict[str, Array], out: Path) -> Path:
    """Train one leg; returns the file of its best averaged weights."""
    backend = registry.load_backend("torch")(Runtime(threads=1))
    learner = registry.build(backend, NETWORK, height=leg.window, width=leg.window)
    judge = registry.build(backend, NETWORK, height=SIDE, width=SIDE)
    learner.set_weights(start)
    trainer = learner.trainer(TrainingOptions(loss="dice_ce", seed=SEED, batch_size=leg.batch))
    average = {name: value.astype(np.float64) for name, value in learner.weights().items()}
    steps, step, best = leg.images // leg.batch, 0, -1.0
    begun, path = time.monotonic(), out / f"leg-{number}.safetensors"
    for chunk in range(leg.images // CHUNK):
        images, masks = slices.shown(leg, 1000 * number + chunk)
        trainer.set_data(images, masks)
        trainer.start_epoch(1000 * number + chunk)
        order = np.random.default_rng([SEED, number, chunk]).permutation(len(images))
        for first in range(0, len(order), leg.batch):
            fall = 0.5 * (1 + np.cos(np.pi * step / steps))
            rate = (leg.last + (leg.rate - leg.last) * fall) * min(1, (step + 1) / WARM_UP_STEPS)
            trainer.step(order[first : first + leg.batch], rate)
            step += 1
            if step % AVERAGE_EVERY == 0:
                decay = min(AVERAGE_DECAY, 1 - AVERAGE_EVERY / (step + AVERAGE_EVERY))
                for name, value in learner.weights().items():
                    average[name] += (1 - decay) * (value - average[name])
        loss = float(trainer.losses().mean())
        line = f"leg {number}: {(chunk + 1) * CHUNK} images, {time.monotonic() - begun:.0f} s, "
        (out / "latest.safetensors").write_bytes(
            to_bytes({name: v.astype(np.float32) for name, v in average.items()})
        )
        if chunk % 8 == 7 or chunk + 1 == leg.images // CHUNK:
            judge.set_weights({name: v.astype(np.float32) for name, v in average.items()})
            score, dice, alarms = slices.score(judge)
            content = to_bytes(judge.weights())
            if score > best:
                best = score
                path.write_bytes(content)
            line += f"score {score:.3f} (Dice {dice:.3f}, false alarms {alarms:.2f}), "
        print(f"{line}loss {loss:.3f}", flush=True)
    return path


def ship(legs: Sequence[Path], out: Path) -> None:
    """Write the mean of the legs' weights in half precision, and print its sha256 for the card."""
    each = [read_arrays(path) for path in legs]
    mean = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
    content = to_bytes({name: value.astype(np.float16) for name, value in mean.items()})
    out.write_bytes(content)
    print(f"{out}: sha256 {hashlib.sha256(content).hexdigest()}")


def main() -> None:
    """Run the legs in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phantom", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/pretrained"))
    parser.add_argument("--first", type=int, default=0, help="leg to begin with")
    parser.add_argument("--last", type=int, default=len(LEGS) - 1)
    parser.add_argument("--weights", type=Path, help="begin from these")
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    legs = LEGS[wanted.first : wanted.last + 1]
    slices = Slices(wanted.phantom, max(leg.images for leg in legs))
    path = wanted.weights
    for number in range(wanted.first, wanted.last + 1):
        if path is None:
            backend = registry.load_backend("torch")(Runtime(threads=1))
            specs = registry.build(backend, NETWORK, height=SIDE, width=SIDE).weight_specs()
            weights = initial_values(specs, SEED, registry.network(NETWORK).card.he_normal)
        else:
            weights = read_arrays(path)
        path = run_leg(number, LEGS[number], slices, dict(weights), wanted.out)
    made = [wanted.out / f"leg-{number}.safetensors" for number in range(1, len(LEGS))]
    if all(leg.is_file() for leg in made):
        ship(made, wanted.out / f"{NETWORK}.safetensors")


if __name__ == "__main__":
    main()
