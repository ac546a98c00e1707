"""What a record says of one cell: the schema behind every `record.json`.

Sizes are bytes, times as named, Dice and IoU fractions (0–1). Unknown values are null and have a
reason beside them; a value is never 0 for want of knowledge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 2
# How the reason of a record begins whose training and evaluation are sound: it may have scores.
WHILE_MEASURING = "while measuring: "

Status = Literal[
    "ok",
    "oom",
    "timeout",
    "crashed",
    "invalid",
    "diverged",
    "unsupported",
    "not_implemented",
]
Quantity = Literal["forward", "end_to_end"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
# Means of many slices may miss 1 by a last bit.
Fraction = Annotated[float, Field(ge=0, le=1 + 1e-9)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(ge=0)]
# How the note of a record begins whose plans were timed and not scored.
NOT_SCORED = "the accuracy of the plans was not scored: "


class Strict(BaseModel):
    """Unknown keys and non-finite numbers are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class CellKey(Strict):
    """What tells a cell from every other: network, backend, dataset, protocol, seed."""

    model_config = ConfigDict(frozen=True)

    network: Name
    backend: Name
    dataset: Name
    dataset_hash: Sha256 = Field(description="sha256 of the slice table and all arrays")
    protocol: Name
    protocol_hash: Sha256 = Field(description="sha256 of the resolved protocol")
    seed: Count


class Machine(Strict):
    """The hardware, without user or host name."""

    name: Name = Field(description="folder below results/; names the hardware, not the host")
    processor: str
    cores: int = Field(description="cores that this process may use")
    memory_bytes: int
    gpu: str | None = None
    system: str


class Provenance(Strict):
    """Where a record comes from."""

    fetalbench: str
    git_commit: str | None
    git_dirty: bool | None
    python: str
    versions: dict[str, str]
    environment: dict[str, str] = Field(description="environment variables that matter")
    machine: Machine


class Cost(Strict):
    """Parameters and operations of one inference at batch size 1 (measuring, 16–18).

    Operations are null if one of them has no rule for counting.
    """

    height: int
    width: int
    trainable_parameters: int
    other_parameters: int
    macs: int | None = None
    flops: int | None = Field(
        default=None, description="2 per multiply-add of (transposed) convolutions and matrices"
    )
    other_ops: int | None = Field(
        default=None, description="elementwise, normalisation, pooling and resizing"
    )
    paper_convention_gflops: float | None = Field(
        default=None, description="as TensorFlow's profiler counts"
    )


class Training(Strict):
    """How the weights came about."""

    weights_from: str = Field(description="the backend that trained them")
    loss: str
    precision: str = Field(
        default="float32", description="of the products; weights and losses are always float32"
    )
    epochs: int
    steps: int
    best_epoch: int
    best_validation_dice: Fraction
    train_slices: int
    validation_slices: int
    seconds: float
    images_per_second: float | None = Field(description="median over epochs but the first")
    weights_sha256: Sha256
    resumed_from_epoch: int = 0
    deterministic: bool | None = Field(
        default=None, description="whether the framework was kept to deterministic operations"
    )


class SetScores(Strict):
    """Means over one test set; the rows behind them are in slices.parquet."""

    slices: Count
    slices_with_brain: Count
    stacks: Count
    subjects: Count
    dice: Fraction = Field(description="brain, mean over slices with brain")
    dice_median: Fraction
    iou: Fraction
    dice_all: Fraction = Field(description="brain, mean over all slices (empty masks by the table)")
    iou_all: Fraction
    paper_dice: Fraction = Field(description="mean of background's and brain's Dice, all slices")
    paper_iou: Fraction
    subject_dice: Fraction = Field(description="slice → stack → subject means of brain Dice")
    missed: Count
    false_alarm: Count
    empty_agreed: Count
    nsd: Fraction | None = None
    hd95_mm: Positive | None = None


class MemoryQuantity(Strict):
    """Bytes under one name, or null with the reason."""

    bytes: int | None
    reason: str | None = None


class Condition(Strict):
    """What tells a latency of a cell from every other: plan, precision, quantity, batch size."""

    model_config = ConfigDict(frozen=True)

    plan: str
    precision: str
    quantity: Quantity
    batch: int

    def mask(self, samples: pd.DataFrame) -> pd.Series:
        """Which rows of latency.parquet are raw samples under this condition (boolean)."""
        return (
            (samples["plan"] == self.plan)
            & (samples["precision"] == self.precision)
            & (samples["quantity"] == self.quantity)
            & (samples["batch"] == self.batch)
        )


class Latency(Strict):
    """A summary of raw samples in latency.parquet, recomputable from them to the bit."""

    plan: str
    default: bool = Field(default=False, description="the plan that evaluation uses")
    precision: str
    quantity: Quantity
    batch: int
    profile: str
    status: Status
    reason: str | None = Field(default=None, description="why status is not ok")
    doubts: list[str] = Field(default_factory=list, description="why it is not publishable")
    remarks: list[str] = Field(default_factory=list, description="what else is worth knowing")
    growth: list[str] = Field(default_factory=list, description="what is odd beside other batches")
    processes: Count = Field(default=0, description="fresh processes whose samples are good")
    failures: Count = Field(
        default=0, description="runs in a row that were invalid for the same reason by one code"
    )
    failed_code: str | None = Field(default=None, description="sha256 of that code")
    queries: Count = 0
    median_ms: Positive | None = None
    p90_ms: Positive | None = Field(default=None, description="MLPerf's early-stopping estimate")
    p90_reason: str | None = None
    p99_ms: Positive | None = Field(default=None, description="MLPerf's early-stopping estimate")
    p99_reason: str | None = None
    mean_ms: Positive | None = Field(default=None, description="of the first 100, as in the paper")
    std_ms: Positive | None = Field(default=None, description="of the first 100, as in the paper")
    first_call_ms: Positive | None = None
    compile_ms: Positive | None = None
    synchronise_ms: Positive | None = Field(
        default=None, description="part of each query: waiting for a device that is idle already"
    )
    steady: bool | None = None
    deterministic: bool | None = Field(
        default=None, description="whether the process kept to deterministic operations"
    )
    publishable: bool = False
    memory: dict[str, MemoryQuantity] = Field(
        default_factory=dict, description="peaks of the first process, by name"
    )

    @property
    def condition(self) -> Condition:
        """What was measured, as one value."""
        return Condition(
            plan=self.plan, precision=self.precision, quantity=self.quantity, batch=self.batch
        )


class PlanSetScores(Strict):
    """The masks of one plan on one test set beside the reference's, on the original grid.

    Dice is what ranks: mean over subjects with brain, each false alarm one more slice with Dice 0.
    """

    slices: int
    subjects: int
    dice: float
    reference_dice: float
    difference: float = Field(description="mean over subjects of the plan's minus the reference's")
    difference_low: float | None = Field(description="95 % interval over subjects, paired")
    difference_high: float | None = None
    difference_reason: str | None = Field(default=None, description="why there is no interval")
    changed_share: float = Field(description="pixels that differ from the reference's masks")


class PlanAccuracy(Strict):
    """What one plan's masks are worth, over whole test sets; its rows are in plan_slices.parquet.

    The reference is the same network with the same weights, computed in float64.
    """

    plan: str
    precision: str
    status: Status
    reason: str | None = Field(default=None, description="why status is not ok")
    quantity: Quantity = Field(description="the query that gave the masks, as it is timed")
    batch: int
    weights_sha256: str = Field(description="the weights that the plan ran with")
    sets: dict[str, PlanSetScores] = Field(default_factory=dict)


class Stream(Strict):
    """One deadline test; the response of every slice is in stream.parquet."""

    plan: str
    preset: str
    deadline_ms: float
    seed: int
    slices: int
    missed: int
    missed_share: float
    missed_share_upper: float = Field(description="exact one-sided 95 % bound (Clopper–Pearson)")
    median_ms: float
    worst_ms: float
    p99_ms: float | None
    p99_reason: str | None
    cold_start_ms: float = Field(description="from the start of the process to the first mask")
    recovery_slices: int | None = Field(description="after a stall, until one is in time again")
    doubts: list[str] = Field(default_factory=list)


class FileEntry(Strict):
    """A file beside the record."""

    sha256: Sha256
    bytes: Count


class Record(Strict):
    """One cell: what was asked, what came out, and where it comes from."""

    schema_version: int = SCHEMA_VERSION
    digest: Sha256 | None = Field(
        default=None, description="sha256 of the rest as canonical JSON; null before schema 2"
    )
    key: CellKey
    status: Status
    reason: str | None = Field(default=None, description="one sentence if status is not ok")
    created_at: str = Field(description="UTC, ISO 8601")
    seconds: float | None = Field(default=None, description="wall time of the cell")
    title: str = Field(description="the network's name as its card writes it")
    command: str = Field(description="repeats this cell")
    protocol: dict[str, Any] = Field(description="the resolved protocol")
    dataset: dict[str, Any] = Field(description="name, title, counts per set, exclusions")
    provenance: Provenance
    cost: Cost | None = None
    cost_reason: str | None = None
    training: Training | None = None
    scores: dict[str, SetScores] = Field(default_factory=dict)
    latency: list[Latency] = Field(default_factory=list)
    accuracy: list[PlanAccuracy] = Field(
        default_factory=list, description="of each plan that was timed; empty if none was scored"
    )
    streams: list[Stream] = Field(default_factory=list)
    memory: dict[str, MemoryQuantity] = Field(default_factory=dict)
    files: dict[str, FileEntry] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


if __name__ == "__main__":
    import json

    print(json.dumps(Record.model_json_schema(), indent=1, ensure_ascii=False))
