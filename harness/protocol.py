"""Protocols: what is run, as strict TOML with a hash.

A protocol is a file of `harness/protocols/`, named without its suffix, or any path. Its hash covers
everything that can change a figure; the grid (which networks, backends and seeds) and the limits
do not, so that a network added later stands in the same table.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from backends import plans
from backends.errors import BackendError, SizeError, did_you_mean, require_size
from harness import registry
from harness.data.augmentation_levels import strengths_of
from harness.errors import RecordError, UsageError, unknown
from harness.registry import check_name

# Beyond these a number is a slip: what it asks for fits into no memory, or into no generator.
LARGEST_SIDE = 4096
LARGEST_BATCH = 65_536
LARGEST_SEED = 2**32 - 1
FOLDER = Path(__file__).parent / "protocols"

Item = TypeVar("Item")
# TOML knows arrays only. Their items are as strict as everything else.
List = Annotated[
    tuple[Item, ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
]
Augmentation = Literal["none", "basic", "strong", "domain"]
Precision = Literal["float32", "tf32", "bfloat16"]


class Section(BaseModel):
    """A table of the protocol; unknown keys are errors, and so are numbers written as text."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, strict=True)


class Input(Section):
    """What a network sees."""

    height: int = Field(default=256, le=LARGEST_SIDE, description="pixels; a multiple of 64")
    width: int = Field(default=256, le=LARGEST_SIDE, description="pixels; a multiple of 64")
    classes: int = Field(
        default=2, ge=2, le=255, description="class 0 is background, class 1 the brain"
    )
    fit: Literal["crop_pad", "resize", "resample"] = Field(
        default="crop_pad",
        description="how a slice comes to this size; resample makes pixels of pixel_mm first",
    )
    pixel_mm: float | None = Field(
        default=None, gt=0.1, le=10, description='size of a pixel that fit = "resample" makes'
    )
    normalisation: Literal["per_slice", "per_body", "per_pixel_std"] = Field(
        default="per_slice",
        description="a slice by its own mean and deviation, or those of the body in it; "
        "per_pixel_std: as the paper's code",
    )


class TrainingSettings(Section):
    """How weights are found. The learning rate is `learning_rate × decay^(step ÷ decay_steps)`."""

    loss: Literal["dice", "dice_ce"] = Field(
        default="dice", description="dice_ce adds cross-entropy to the Dice loss"
    )
    learning_rate: float = Field(
        default=1e-4, gt=0, description="at the first step; `fetalbench tune` finds one per network"
    )
    decay: float = Field(
        default=0.9, gt=0, le=1, description="factor of the rate after every decay_steps"
    )
    decay_steps: int = Field(default=2000, ge=1, description="steps at one rate")
    epochs: int = Field(default=100, ge=1, description="passes over the training slices")
    batch_size: int = Field(default=8, ge=2, le=LARGEST_BATCH, description="slices per step")
    validation_share: float = Field(
        default=0.2, gt=0, lt=1, description="of the training set, if the data has no set val"
    )
    validation_by: Literal["subject", "slice"] = Field(
        default="subject", description="what is split off; slices only if there is one subject"
    )
    augmentation: Augmentation = Field(
        default="none", description="changes of the training slices, drawn for each epoch"
    )
    strengths: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="replace some of the augmentation level's, by name"
    )
    window: int = Field(
        default=0,
        ge=0,
        description="pixels a side of the windows of slices that are trained on; 0: whole slices",
    )
    batch_norm: Literal["running", "recalibrated"] = Field(
        default="running",
        description="recalibrated: plain means over slices after each epoch, for short trainings",
    )
    precision: Precision = Field(
        default="float32",
        description="what training multiplies in; weights, losses and statistics stay float32",
    )
    weights_from: Literal["own", "torch"] = Field(
        default="own", description="torch: trained once there and carried to other frameworks"
    )


class Evaluation(Section):
    """Which test sets are scored, and how."""

    sets: List[Literal["normal", "challenging"]] = Field(
        default=("normal", "challenging"), min_length=1, description="test sets that are scored"
    )
    nsd_tolerance_mm: float = Field(
        default=2.0, gt=0, description="distance within which surfaces agree"
    )
    batch_size: int = Field(
        default=8, ge=1, le=LARGEST_BATCH, description="slices at a time; changes no score"
    )
    largest_outside_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="of a stack's brain that may lie outside the window, else refused",
    )


class Measuring(Section):
    """What is timed. An empty `plans` means each backend's default plan, which evaluation uses."""

    profile: Literal["quick", "publish", "mlperf"] = Field(
        default="quick", description="how many queries and seconds; quick is never published"
    )
    batches: List[Annotated[int, Field(ge=1, le=LARGEST_BATCH)]] = Field(
        default=(1,), min_length=1, description="batch sizes"
    )
    quantities: List[Literal["forward", "end_to_end"]] = Field(
        default=("forward", "end_to_end"),
        min_length=1,
        description="device to device; host image to host mask",
    )
    plans: dict[str, List[str]] = Field(
        default_factory=dict, description="execution plans by backend; none: its default plan"
    )
    threads: int = Field(default=0, ge=0, description="of each framework; 0: one per usable core")
    order_seed: int = Field(default=0, description="draws the order in which cells are measured")


class Grid(Section):
    """Which cells; empty means all that the registry knows."""

    networks: List[str] = Field(default=(), description="empty: all that the registry knows")
    backends: List[str] = Field(default=(), description="empty: one per framework")
    seeds: List[Annotated[int, Field(ge=0, le=LARGEST_SEED)]] = Field(
        default=(0,), min_length=1, description="trainings of each network; the lowest is timed"
    )
    first: List[str] = Field(
        default=(), description="networks that are trained and measured before the others"
    )


class Limits(Section):
    """What a cell may take, and whether one process may serve several cells."""

    cell_seconds: float = Field(
        default=3600, gt=0, description="for training with scoring, and for each measurement"
    )
    stalled_seconds: float = Field(
        default=1800,
        gt=0,
        description="a worker that has done no epoch, batch or query for so long is ended",
    )
    memory_gb: float = Field(
        default=0, ge=0, description="of a worker; 0: nine tenths of the machine's"
    )
    share_process: bool = Field(
        default=False, description="cells of a framework share one process; quick, not published"
    )
    requires_gpu: bool = Field(default=False, description="refused without one unless forced")


class Protocol(Section):
    """A resolved protocol."""

    name: str = Field(description="lower-case letters, digits, '.', '_' and '-'")
    description: str = Field(default="", description="one line, for people")
    input: Input = Input()
    training: TrainingSettings = TrainingSettings()
    evaluation: Evaluation = Evaluation()
    measuring: Measuring = Measuring()
    grid: Grid = Grid()
    limits: Limits = Limits()
    networks: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="settings of [training] for one network alone"
    )

    def training_of(self, network: str) -> TrainingSettings:
        """The training settings of one network, overrides applied."""
        return TrainingSettings(**(self.training.model_dump() | self.networks.get(network, {})))

    def with_own_weights(self) -> Protocol:
        """The same protocol, every backend training by itself."""
        training = self.training.model_copy(update={"weights_from": "own"})
        return self.model_copy(update={"training": training})

    def with_measuring(self, measuring: dict[str, Any], size: str = "") -> Protocol:
        """The same protocol with other measuring settings and, as HEIGHTxWIDTH, another size.

        Raises `UsageError`.
        """
        data = self.model_dump()
        data["measuring"] |= measuring
        if size:
            height, width = parse_size(size)
            data["input"] |= {"height": height, "width": width}
        return parse_protocol(data, self.name)

    @property
    def hash(self) -> str:
        """sha256 over all that can change a figure."""
        content = self.model_dump(mode="json", exclude={"description", "grid", "limits"})
        # What is measured beside a figure does not change it, as with the grid.
        for which in ("plans", "batches", "quantities", "order_seed"):
            del content["measuring"][which]
        for which in ("strengths", "window"):
            # Records from before these keys came in keep their hash.
            if not content["training"][which]:
                del content["training"][which]
        if self.training.precision == "float32":
            del content["training"]["precision"]
        # A refusal changes no figure, nor does the size of pixels that nothing is resampled to.
        del content["evaluation"]["largest_outside_share"]
        if self.input.pixel_mm is None:
            del content["input"]["pixel_mm"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """(height, width) of `HEIGHTxWIDTH`. Raises `UsageError`, which names the option."""
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):
        raise UsageError(f"{option} {text!r}: expected HEIGHTxWIDTH such as 256x256.")
    return int(sides[0]), int(sides[1])


def available() -> list[str]:
    """Names of the protocols that come with fetalbench."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_protocol(name_or_path: str) -> Protocol:
    """Load a protocol by name or path. Raises `UsageError` with file, key and nearest key."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = FOLDER / f"{name_or_path}.toml"
        if not path.is_file():
            raise unknown("protocol", name_or_path, available())
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not TOML ({error}).") from None
    except RecursionError:
        raise UsageError(f"{path}: is nested too deeply.") from None
    return parse_protocol(data, str(path))


def parse_protocol(data: dict[str, Any], source: str) -> Protocol:
    """Check a protocol given as tables. Raises `UsageError`."""
    try:
        protocol = Protocol.model_validate(data)
        for network in protocol.networks:
            try:
                protocol.training_of(network)
            except ValidationError as error:
                raise UsageError(
                    _sentence(error, source, TrainingSettings, f"networks.{network}")
                ) from None
    except ValidationError as error:
        raise UsageError(_sentence(error, source, Protocol)) from None
    check_name(protocol.name, "protocol")
    _check_augmentation(protocol, source)
    _check_fit(protocol.input, source)
    try:
        _check_names(protocol)
        require_size(protocol.input.height, protocol.input.width)
        _check_windows(protocol)
    except (UsageError, SizeError) as error:
        raise UsageError(f"{source}: {error}") from None
    return protocol


def _check_fit(chosen: Input, source: str) -> None:
    """Raise `UsageError` if a size of pixels is missing, or given and not used."""
    if chosen.fit == "resample" and chosen.pixel_mm is None:
        raise UsageError(
            f'{source}: input.fit = "resample" needs input.pixel_mm, the size of a pixel in mm.'
        )
    if chosen.fit != "resample" and chosen.pixel_mm is not None:
        raise UsageError(
            f'{source}: input.pixel_mm is used by fit = "resample" only, and fit is {chosen.fit}.'
        )


def recorded(tables: dict[str, Any], source: str) -> Protocol:
    """The protocol of a record, whose file is `source`. Raises `RecordError`."""
    try:
        return Protocol.model_validate(tables)
    except ValidationError as error:
        raise RecordError(
            f"{_sentence(error, f'{source}: protocol', Protocol).rstrip('.')}; run the cell again, "
            "or upgrade fetalbench if a newer one wrote it."
        ) from None


def _check_names(protocol: Protocol) -> None:
    """Raise `UsageError` for an unknown network, backend or plan.

    A misspelt name in [networks] or measuring.plans would change nothing and go unnoticed.
    """
    for name in protocol.grid.networks:
        registry.network_name(name)
    for name in protocol.grid.backends:
        registry.backend(name)
    exact = [("networks", name, registry.network_name(name)) for name in protocol.networks]
    exact += [("grid.first", name, registry.network_name(name)) for name in protocol.grid.first]
    chosen = protocol.measuring.plans
    exact += [("measuring.plans", name, registry.backend(name)) for name in chosen]
    for table, name, known in exact:
        if name != known:
            raise UsageError(f"{table}: {name!r} is called {known!r} here.")
    for backend, keys in chosen.items():
        for key in keys:
            try:
                plans.require(key, plans.PLANS.get(backend, ()))
            except BackendError as error:
                raise UsageError(f"measuring.plans.{backend}: {error}") from None


def _check_windows(protocol: Protocol) -> None:
    """Raise `UsageError` or `SizeError` for windows larger than slices, or of a wrong size."""
    smaller = min(protocol.input.height, protocol.input.width)
    for training in (protocol.training, *map(protocol.training_of, protocol.networks)):
        if training.window > smaller:
            raise UsageError(f"training.window = {training.window}: slices are {smaller} pixels.")
        if training.window:
            require_size(training.window, training.window)


def _check_augmentation(protocol: Protocol, source: str) -> None:
    levels = [protocol.training, *map(protocol.training_of, protocol.networks)]
    for training in levels:
        if training.augmentation == "none":
            if training.strengths:
                raise UsageError(
                    f"{source}: training.strengths change an augmentation, and there is none: "
                    'write augmentation = "domain" or another level.'
                )
        else:
            try:
                strengths_of(training.augmentation, training.strengths)
            except UsageError as error:
                raise UsageError(f"{source}: training.strengths: {error}") from None
    if protocol.input.normalisation != "per_pixel_std":
        return
    if any(training.augmentation != "none" for training in levels):
        raise UsageError(
            f"{source}: training.augmentation leaves slices normalised one by one, but the test "
            f"sets would be normalised {protocol.input.normalisation}: write augmentation = "
            '"none" or normalisation = "per_slice".'
        )


def _sentence(error: ValidationError, source: str, model: type[Section], prefix: str = "") -> str:
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    where = ".".join([prefix, *parts] if prefix else parts)
    if first["type"] == "missing":
        return f"{source}: {where} is missing."
    if first["type"] != "extra_forbidden":
        message = first["msg"].lower().replace("tuple", "array")
        wrong = f"{source}: {where}: {message} (got {first['input']!r})"
        expected = re.findall(r"'([^']+)'", first.get("ctx", {}).get("expected", ""))
        return (
            f"{wrong}; {did_you_mean(str(first['input']), expected)}" if expected else f"{wrong}."
        )
    for part in parts[:-1]:
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)
        model = annotation
    return f"{source}: unknown key {where!r}: {did_you_mean(parts[-1], model.model_fields)}"
