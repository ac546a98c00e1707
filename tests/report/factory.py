"""Writes a results folder with made-up figures, for tests of the page and of nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.measuring.summary import figures
from harness.records import store as records
from harness.records.schema import (
    CellKey,
    Cost,
    Latency,
    Machine,
    MemoryQuantity,
    PlanAccuracy,
    PlanSetScores,
    Provenance,
    Record,
    SetScores,
    Status,
    Training,
)

# network: (title, Dice on normal, Dice on challenging, forward ms at batch 1, parameters, GFLOPs)
NETWORKS = {
    "rfbsnet": ("RFBSNet", 0.951, 0.842, 12.0, 2_154_328, 5.3134),
    "unet": ("U-Net", 0.953, 0.850, 41.0, 34_512_258, 101.561),
    "segnet": ("SegNet", 0.938, 0.871, 35.0, 29_441_986, 79.818),
    "enet": ("ENet", 0.921, 0.775, 14.0, 362_838, 0.9361),
    "fast_scnn": ("Fast-SCNN", 0.862, 0.702, 5.2, 1_593_222, 0.5057),
    "dfanet": ("DFANet", 0.781, 0.641, 16.5, 418_354, 0.2383),
    "shuffleseg": ("ShuffleSeg", 0.891, 0.762, 7.7, 940_722, 0.3642),
    "shuffleseg_v2": ("ShuffleSeg V2", 0.896, 0.751, 9.1, 3_043_294, 1.1354),
    "icnet": ("ICNet", 0.846, 0.655, 10.3, 6_710_914, 1.7970),
}
PLANS = {"torch": "eager", "keras": "tf-function", "flax": "aot", "numpy": "numpy"}
SIDE = 64
SUBJECTS = {"normal": 8, "challenging": 6}
SLICES = 5
HASH = {"tiny": hashlib.sha256(b"tiny").hexdigest(), "data": hashlib.sha256(b"data").hexdigest()}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell to write; what is left out is made up from the network's name."""

    network: str
    backend: str = "torch"
    seed: int = 0
    title: str | None = None
    status: Status = "ok"
    reason: str | None = None
    weights_from: str | None = None
    machine: str = "cpu-2-cores"
    protocol: str = "tiny"
    protocol_hash: str = HASH["tiny"]
    dataset_hash: str = HASH["data"]
    profile: str = "quick"
    oom_from_batch: int | None = None
    rejected: dict[int, Status] = field(default_factory=dict)  # measured, then found not valid
    processes: int = 1
    process_spread: float = 0.01
    forward_ms: float | None = None
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    memory: dict[str, int] = field(default_factory=dict)  # bytes by name, beside the made-up ones
    plan: str | None = None
    precision: str = "float32"
    plan_loses: float | None = None  # Dice of the plan's own masks, if they were scored
    scores_kept: bool = False  # scored before it failed
    timed_only: bool = False  # neither trained nor scored, as `fetalbench measure` leaves it
    epochs: int = 12
    strength: str = "strength_motion"
    swept: bool = False  # slices of the challenging set differ in the strength of motion
    notes: list[str] = field(default_factory=list)
    dataset: dict[str, Any] = field(default_factory=dict)


def write_results(root: Path, cells: list[Cell]) -> Path:
    """Write the cells and the gallery beside them; return `root`."""
    for cell in cells:
        record, tables = make_record(cell)
        records.commit(root, record, tables)
        records.write_gallery(root, cell.machine, record.key, gallery_frame)
    return root


def grid() -> list[Cell]:
    """Nine networks in three backends, the floor, one failed cell and one absent one."""
    cells = [
        Cell(network=network, backend=backend, weights_from="torch")
        for network in NETWORKS
        for backend in ("torch", "keras", "flax")
        if (network, backend) not in {("dfanet", "flax"), ("unet", "flax"), ("segnet", "keras")}
    ]
    return [
        *cells,
        Cell(network="threshold", backend="numpy", title="Threshold (Otsu)"),
        Cell(
            network="segnet",
            backend="keras",
            status="oom",
            reason="The process used more than its limit of 4.0 GiB while training.",
        ),
        Cell(network="unet", backend="flax", oom_from_batch=8, weights_from="torch"),
    ]


def few() -> list[Cell]:
    """Three networks timed in four processes each, the floor, one lost to memory, three absent."""
    cells = [
        Cell(network=network, processes=4, seed=seed, profile="publish")
        for network in ("rfbsnet", "unet", "enet")
        for seed in (0, 1)
    ]
    return [
        *cells,
        Cell(network="rfbsnet", backend="flax", weights_from="torch"),
        Cell(network="segnet", status="oom", reason="No memory was left."),
        Cell(network="threshold", backend="numpy", title="Threshold (Otsu)"),
    ]


def gallery_frame() -> pd.DataFrame:
    """The images and reference masks of all slices, as `gallery.parquet` holds them."""
    rows = []
    for set_name, subject, stack, index in _slices():
        mask, rng = _disc(set_name, subject, index), np.random.default_rng(index)
        image = np.where(mask, 150, 45) + rng.normal(0, 14, (SIDE, SIDE))
        image += 70 * np.hypot(*(np.indices((SIDE, SIDE)) / SIDE - 0.5))
        rows.append(
            {
                "set": set_name,
                "subject": subject,
                "stack": stack,
                "slice": index,
                "height": SIDE,
                "width": SIDE,
                "image": np.clip(image, 0, 255).astype(np.uint8).tobytes(),
                "mask": np.packbits(mask).tobytes(),
            }
        )
    return pd.DataFrame(rows)


def _slices() -> list[tuple[str, str, str, int]]:
    return [
        (set_name, f"{set_name[0]}{subject:02d}", f"{set_name[0]}{subject:02d}_run-1", index)
        for set_name, count in SUBJECTS.items()
        for subject in range(1, count + 1)
        for index in range(SLICES)
    ]


def _disc(set_name: str, subject: str, index: int) -> np.ndarray:
    """The reference brain; the first slice of each stack holds none."""
    number = int(subject[1:])
    y, x = np.indices((SIDE, SIDE))
    centre_y, centre_x = 30 + number % 4, 29 + number % 5
    radius = 0 if index == 0 else 9 + 3 * index
    wobble = 1 + (0.18 if set_name == "challenging" else 0.06) * np.sin(
        3 * np.arctan2(y - centre_y, x - centre_x) + number
    )
    return np.hypot((y - centre_y) / 0.85, x - centre_x) < radius * wobble


def make_record(cell: Cell) -> tuple[Record, dict[str, pd.DataFrame]]:
    """The record of a cell and the tables beside it."""
    seed = int(hashlib.sha256(f"{cell.network}{cell.seed}".encode()).hexdigest()[:8], 16)
    rng = np.random.default_rng(seed)
    ok = cell.status == "ok"
    facts = NETWORKS.get(cell.network, (cell.title, 0.42, 0.31, 1.1, 0, 0.0))
    title = cell.title or str(facts[0])
    scored = ok or cell.scores_kept
    slices = _scores(rng, float(facts[1]), float(facts[2])) if scored else None
    if slices is not None and cell.swept:
        harmed = slices["set"] == "challenging"
        slices[cell.strength] = np.where(harmed, slices["slice"] / (SLICES - 1), 0.0)
        slices["strength_bias"] = 0.0
        # The first slice, of strength 0, holds no brain: a stack without harm has the others.
        unharmed = slices[harmed & (slices["slice"] > 0)].assign(**{cell.strength: 0.0})
        unharmed["stack"] += "_unharmed"
        slices = pd.concat([slices, unharmed], ignore_index=True)
    latency = _latency(cell, rng, cell.forward_ms or float(facts[3])) if ok else []
    samples = _samples(cell, latency)
    latency = [_with_figures(entry, samples) for entry in latency]
    parameters = int(facts[4])
    gflops = float(facts[5])
    record = Record(
        key=CellKey(
            network=cell.network,
            backend=cell.backend,
            dataset="phantom-tiny",
            dataset_hash=cell.dataset_hash,
            protocol=cell.protocol,
            protocol_hash=cell.protocol_hash,
            seed=cell.seed,
        ),
        status=cell.status,
        reason=cell.reason,
        created_at="2026-11-22T10:00:00Z",
        seconds=41.5 + int(hashlib.sha256(repr(cell).encode()).hexdigest()[:6], 16) / 1e6,
        title=title,
        command=(
            f"fetalbench run {cell.network} --backend {cell.backend} --protocol {cell.protocol} "
            f"--data datasets/phantom-tiny --seed {cell.seed}"
        ),
        protocol={
            "name": cell.protocol,
            "input": {"height": SIDE, "width": SIDE, "fit": "crop_pad"},
            "training": {"loss": "dice_ce", "epochs": 12, "batch_size": 8},
        },
        dataset={
            "name": "phantom-tiny",
            "title": "Tiny phantom",
            "kind": "phantom",
            "sets": {
                "train": {"slices": 240, "slices_with_brain": 190, "stacks": 20, "subjects": 10},
                **{
                    name: {
                        "slices": count * SLICES,
                        "slices_with_brain": count * (SLICES - 1),
                        "stacks": count,
                        "subjects": count,
                    }
                    for name, count in SUBJECTS.items()
                },
            },
            "excluded": [],
            "warnings": [],
            **cell.dataset,
        },
        provenance=Provenance(
            fetalbench="0.1.0",
            git_commit="0123456789abcdef0123456789abcdef01234567",
            git_dirty=False,
            python="3.11.7",
            versions={cell.backend: "1.2.3", "numpy": "2.4.0"},
            environment={"OMP_NUM_THREADS": "2"},
            machine=Machine(
                name=cell.machine,
                processor="Example CPU @ 2.60GHz",
                cores=2,
                memory_bytes=24 * 2**30,
                system="Linux",
            ),
        ),
        cost=Cost(
            height=SIDE,
            width=SIDE,
            trainable_parameters=parameters,
            other_parameters=0,
            macs=int(gflops * 5e8),
            flops=int(gflops * 1e9),
            other_ops=1000,
            paper_convention_gflops=gflops * 1.005,
        )
        if ok
        else None,
        training=Training(
            weights_from=cell.weights_from or cell.backend,
            loss="dice_ce",
            epochs=cell.epochs,
            steps=360,
            best_epoch=9,
            best_validation_dice=0.93,
            train_slices=192,
            validation_slices=48,
            seconds=30.0,
            images_per_second=88.0,
            weights_sha256=hashlib.sha256(cell.network.encode()).hexdigest(),
        )
        if ok and cell.network in NETWORKS and not cell.timed_only
        else None,
        scores=_summaries(slices) if slices is not None and not cell.timed_only else {},
        latency=latency,
        accuracy=_plan_accuracy(cell),
        memory={
            "rss_peak_bytes": MemoryQuantity(bytes=(180 + parameters // 40_000) * 2**20),
            "device_peak_bytes": MemoryQuantity(bytes=None, reason="This machine has no GPU."),
            **{name: MemoryQuantity(bytes=size) for name, size in cell.memory.items()},
        }
        if ok
        else {},
        notes=cell.notes,
    )
    return record, {} if slices is None else _tables(cell, slices, samples)


def _scores(rng: np.random.Generator, normal: float, hard: float) -> pd.DataFrame:
    rows = []
    for set_name, subject, stack, index in _slices():
        mean = normal if set_name == "normal" else hard
        person = np.random.default_rng(int(subject[1:])).normal(0, 0.02)
        dice = float(np.clip(mean + person + rng.normal(0, 0.03), 0, 0.999))
        pixels = int(_disc(set_name, subject, index).sum())
        case = "scored"
        if not pixels:
            case = "empty_agreed" if mean > 0.7 else "false_alarm"
            dice = 1.0 if mean > 0.7 else 0.0
        elif rng.random() < (1 - mean) / 8:
            case, dice = "missed", 0.0
        iou = dice / (2 - dice)
        rows.append(
            {
                "set": set_name,
                "subject": subject,
                "stack": stack,
                "slice": index,
                "dice": dice,
                "iou": iou,
                "paper_dice": (dice + 0.99) / 2,
                "paper_iou": (iou + 0.98) / 2,
                "nsd": min(1.0, dice * 1.02),
                "hd95_mm": 1 + 40 * (1 - dice),
                "precision": dice,
                "recall": dice,
                "case": case,
                "brain_pixels": pixels,
                "predicted_pixels": 50 if case == "false_alarm" else int(pixels * dice),
            }
        )
    return pd.DataFrame(rows)


def _summaries(slices: pd.DataFrame) -> dict[str, SetScores]:
    scores = {}
    for set_name, rows in slices.groupby("set"):
        brain = rows[rows["brain_pixels"] > 0]
        counts = rows["case"].value_counts()
        scores[str(set_name)] = SetScores(
            slices=len(rows),
            slices_with_brain=len(brain),
            stacks=rows["stack"].nunique(),
            subjects=rows["subject"].nunique(),
            dice=brain["dice"].mean(),
            dice_median=brain["dice"].median(),
            iou=brain["iou"].mean(),
            dice_all=rows["dice"].mean(),
            iou_all=rows["iou"].mean(),
            paper_dice=rows["paper_dice"].mean(),
            paper_iou=rows["paper_iou"].mean(),
            subject_dice=brain.groupby("subject")["dice"].mean().mean(),
            missed=int(counts.get("missed", 0)),
            false_alarm=int(counts.get("false_alarm", 0)),
            empty_agreed=int(counts.get("empty_agreed", 0)),
            nsd=brain["nsd"].mean(),
            hd95_mm=brain["hd95_mm"].mean(),
        )
    return scores


def _plan_accuracy(cell: Cell) -> list[PlanAccuracy]:
    if cell.plan_loses is None:
        return []
    scores = PlanSetScores(
        slices=40,
        subjects=8,
        dice=0.9 - cell.plan_loses,
        reference_dice=0.9,
        difference=-cell.plan_loses,
        difference_low=-cell.plan_loses - 0.01,
        difference_high=-cell.plan_loses + 0.01,
        changed_share=0.02,
    )
    entry = PlanAccuracy(
        plan=cell.plan or PLANS[cell.backend],
        precision=cell.precision,
        status="ok",
        quantity="end_to_end",
        batch=1,
        weights_sha256="0" * 64,
        sets=dict.fromkeys(SUBJECTS, scores),
    )
    return [entry]


def _latency(cell: Cell, rng: np.random.Generator, forward_ms: float) -> list[Latency]:
    factor = {"torch": 1.0, "keras": 1.4, "flax": 1.2, "numpy": 1.0}[cell.backend]
    found = []
    for quantity, extra in (("forward", 1.0), ("end_to_end", 1.15)):
        for batch in cell.batches if cell.backend != "numpy" else (1,):
            common: dict[str, Any] = {
                "plan": cell.plan or PLANS[cell.backend],
                "precision": cell.precision,
                "quantity": quantity,
                "batch": batch,
                "profile": cell.profile,
                "publishable": cell.profile != "quick",
            }
            if cell.oom_from_batch and batch >= cell.oom_from_batch:
                reason = f"The network does not fit into memory at batch size {batch}."
                found.append(Latency(**common, status="oom", reason=reason))
                continue
            status = cell.rejected.get(batch, "ok")
            common["publishable"] = status == "ok" and cell.profile != "quick"
            median = forward_ms * factor * extra * batch**0.85 * (1 + 0.02 * rng.random())
            found.append(
                Latency(
                    **common,
                    status=status,
                    reason=None if status == "ok" else "The GPU was throttled by its heat.",
                    queries=64,
                    median_ms=median,
                    p90_ms=median * 1.12,
                    mean_ms=median * 1.03,
                    std_ms=median * 0.05,
                    first_call_ms=median * 9,
                    compile_ms=None if cell.backend == "torch" else 812.0,
                    steady=True,
                )
            )
    return found


def _samples(cell: Cell, latency: list[Latency]) -> pd.DataFrame:
    rows = [
        {
            "plan": entry.plan,
            "precision": entry.precision,
            "quantity": entry.quantity,
            "batch": entry.batch,
            "process": process,
            "query": query,
            # Processes differ by a per cent, less than any two networks do.
            "latency_ns": int(
                (entry.median_ms or 0)
                * 1e6
                * (1 + 0.002 * (query - 32) + cell.process_spread * process)
            ),
        }
        for entry in latency
        if entry.median_ms
        for process in range(cell.processes)
        for query in range(64)
    ]
    return pd.DataFrame(rows)


def _with_figures(entry: Latency, samples: pd.DataFrame) -> Latency:
    if entry.median_ms is None:
        return entry
    rows = samples[entry.condition.mask(samples)]
    return entry.model_copy(update=figures(rows["latency_ns"].to_numpy()))


def _tables(cell: Cell, slices: pd.DataFrame, samples: pd.DataFrame) -> dict[str, pd.DataFrame]:
    tables = {"slices.parquet": slices}
    predictions = slices[["set", "stack", "slice"]].copy()
    predictions["height"] = predictions["width"] = SIDE
    shifts = ((1 - slices["dice"]) * 30).astype(int)
    predictions["mask"] = [
        np.packbits(
            np.roll(_disc(row["set"], row["subject"], row["slice"]), shift, axis=1)
            & (row["case"] != "missed")
        ).tobytes()
        for (_, row), shift in zip(slices.iterrows(), shifts, strict=True)
    ]
    tables["predictions.parquet"] = predictions
    tables["latency.parquet"] = samples
    if cell.network in NETWORKS:
        epochs = np.arange(1, 13)
        tables["history.parquet"] = pd.DataFrame(
            {
                "epoch": epochs,
                "learning_rate": 1e-3,
                "train_loss": 1.1 * np.exp(-epochs / 4) + 0.1,
                "validation_dice": 0.93 * (1 - np.exp(-epochs / 3)),
                "seconds": 2.5,
            }
        )
    return tables
