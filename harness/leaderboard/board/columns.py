"""The columns of the leaderboard: what each is called, its unit, and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from harness.leaderboard.board.titles import SET_TITLES, SETS

MISSING = "–"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column. `label` is the short header below its group, `title` describes it in full.

    `shown` is the default choice, `published` marks figures that the paper printed, and `interval`
    names what the ends of its values' intervals enclose, if they have any.
    """

    key: str
    group: str
    label: str
    title: str
    better: Literal["higher", "lower"] | None = None
    shown: bool = False
    published: bool = False
    interval: str = ""


@dataclass(frozen=True, kw_only=True)
class Value:
    """One value of a row. `number` is in the column's unit; if it is None, `note` says why.

    `interval` is a 95 % interval in the same unit, `below` a second, smaller line.
    """

    number: float | None
    text: str
    note: str = ""
    interval: tuple[float, float] | None = None
    below: str = ""


def absent(note: str = "", text: str = MISSING) -> Value:
    """An unknown value, with the reason."""
    return Value(number=None, text=text, note=note)


def rounded(number: float | None, digits: int, note: str = "", none: str = "") -> Value:
    """A number with fixed digits and thousands separators; None becomes an absent value."""
    if number is None:
        return absent(none or note)
    return Value(number=number, text=f"{number:,.{digits}f}", note=note)


def significant(number: float | None, note: str = "", none: str = "") -> Value:
    """A positive number with three significant digits, never in exponent form."""
    if number is None:
        return absent(none or note)
    digits = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3
    return rounded(number, digits, note)


def per_cent(fraction: float | None, note: str = "", none: str = "") -> Value:
    """A fraction as per cent, with two digits as in the paper."""
    return rounded(None if fraction is None else 100 * fraction, 2, note, none)


def _accuracy(set_name: str) -> list[Column]:
    title = SET_TITLES[set_name]
    where = f"{title.lower()} set"

    def column(name: str, label: str, text: str, **options: Any) -> Column:
        return Column(
            key=f"{set_name}_{name}", group=title, label=label, title=f"{text}, {where}", **options
        )

    normal = set_name == "normal"
    brain = "mean over slices with brain"
    return [
        column("rank", "Rank", "Rank by mean Dice over subjects within the backend, with its 95 % "
               "interval and tiers", better="lower", shown=normal, interval="rank over resampled "
               "subjects"),
        column("subject_dice", "Dice %", "Dice of the brain, mean over subjects; each false alarm "
               "counts as one more slice with Dice 0. This is what ranks", better="higher",
               shown=True, interval="mean over subjects"),
        column("dice", "Dice, with brain %", f"Dice of the brain, {brain}", better="higher"),
        column("iou", "IoU %", f"IoU of the brain, {brain}", better="higher"),
        column("nsd", "NSD %", f"Surface Dice at the protocol's tolerance, {brain}",
               better="higher"),
        column("hd95_mm", "HD95 mm", f"95th-percentile Hausdorff distance, {brain}",
               better="lower"),
        column("hd95_mm_median", "HD95, median mm", "95th-percentile Hausdorff distance, median "
               "over slices with brain, with its quartiles: what a few far-off masks do not move",
               better="lower"),
        column("missed", "Missed", "Slices with brain in which none was found", better="lower",
               shown=True),
        column("false_alarm", "False alarms", "Slices without brain in which one was found",
               better="lower", shown=True),
        column("sensitivity", "Sensitivity %", "Share of the slices with brain in which one was "
               "found, with its exact interval over slices", better="higher", interval="share of "
               "slices"),
        column("specificity", "Specificity %", "Share of the slices without brain in which none "
               "was found, with its exact interval over slices", better="higher",
               interval="share of slices"),
        column("volume_dice", "Dice, volumes %", "Dice of each stack's pooled voxels, mean over "
               "stacks, then over subjects", better="higher"),
        column("dice_all", "Dice, all slices %", "Dice of the brain, mean over all slices",
               better="higher"),
        column("nsd_all", "NSD, all slices %", "Surface Dice, mean over all slices",
               better="higher"),
        column("hd95_mm_all", "HD95, all slices mm", "95th-percentile Hausdorff distance, mean "
               "over all slices; a false alarm counts as the image's diagonal", better="lower"),
        column("paper_dice", "aDice %", "Mean of background and brain Dice, as in the paper",
               better="higher"),
        column("published_dice", "aDice % (paper)", "Dice printed in the paper", published=True),
        column("paper_iou", "aIoU %", "Mean of background and brain IoU, as in the paper",
               better="higher"),
        column("published_iou", "aIoU % (paper)", "IoU printed in the paper", published=True),
    ]  # fmt: skip


def _latency() -> list[Column]:
    columns = []
    for quantity, title, text in (
        ("end_to_end", "End to end", "image on the host to mask on the host"),
        ("forward", "Forward", "image on the device to logits on the device"),
    ):
        for key, label, name in (
            ("p50_ms", "p50 ms", "Median latency"),
            ("p90_ms", "p90 ms", "90th-percentile latency (MLPerf's early-stopping estimate)"),
        ):
            columns.append(
                Column(
                    key=f"{quantity}_{key}",
                    group=title,
                    label=label,
                    title=f"{name}, batch 1, {text}",
                    better="lower",
                    shown=quantity == "end_to_end",
                    interval="median over processes" if key == "p50_ms" else "",
                )
            )
    group = columns[-1].group
    return [
        *columns,
        Column(key="forward_mean_ms", group=group, label="mean ms",
               title="Mean forward latency at batch 1, the paper's quantity", better="lower"),
        Column(key="published_latency_ms", group=group, label="mean ms (paper)",
               title="Mean latency printed in the paper, on its own GPU", published=True),
        Column(key="first_call_ms", group=group, label="First call ms",
               title="First forward call, including start-up", better="lower"),
        Column(key="compile_ms", group=group, label="Compile ms",
               title="Compilation before the first call", better="lower"),
    ]  # fmt: skip


def _plan_accuracy() -> list[Column]:
    group = "The plan's own masks"
    columns = []
    for set_name in SETS:
        where = f"{SET_TITLES[set_name].lower()} set"
        columns += [
            Column(key=f"plan_{set_name}_difference", group=group, shown=True,
                   label=f"Dice, change in points ({set_name})",
                   title="Dice of the masks that the timed plan gives minus that in float64, mean "
                   f"over subjects, {where}", interval="paired difference over subjects"),
            Column(key=f"plan_{set_name}_dice", group=group, better="higher",
                   label=f"Dice % ({set_name})", title="Dice of the masks that the timed plan "
                   f"gives, mean over subjects, false alarms counted, {where}"),
            Column(key=f"plan_{set_name}_changed", group=group,
                   label=f"Pixels changed % ({set_name})", title="Share of pixels that the plan's "
                   f"masks and those in float64 do not share, original grid, {where}"),
        ]  # fmt: skip
    return columns


# What a run needs is a peak; the weights alone are a fraction of it.
WEIGHTS_MIB = "parameters_mib"
MEMORY = {
    "device_peak_bytes": ("GPU peak MiB", "Peak memory of the process on the GPU"),
    "reserved_peak_bytes": ("Reserved MiB", "Peak of the framework's memory pool"),
    "allocated_peak_bytes": ("Allocated MiB", "Peak of the live tensors, by the framework"),
    "rss_peak_bytes": ("Host peak MiB", "Peak host memory, without that of the imports"),
    "parameters_bytes": ("Parameters MiB", "Memory of the weights"),
}

_COST = [
    Column(key="parameters", group="Cost", label="Parameters", title="Trainable parameters",
           better="lower"),
    Column(key="published_parameters", group="Cost", label="Parameters (paper)",
           title="Trainable parameters printed in the paper", published=True),
    Column(key="gflops", group="Cost", label="GFLOPs", better="lower",
           title="2 per multiply-add in convolutions, at the protocol's input size"),
    Column(key="paper_convention_gflops", group="Cost", label="GFLOPs, paper's count",
           title="Operations as TensorFlow's profiler counts them, at the protocol's input size",
           better="lower"),
    Column(key="published_gflops", group="Cost", label="GFLOPs (paper)", published=True,
           title="Operations printed in the paper, at 256×256"),
    *(
        Column(key=key.removesuffix("_bytes") + "_mib", group="Cost", label=label, title=title,
               better="lower")
        for key, (label, title) in MEMORY.items()
    ),
]  # fmt: skip

COLUMNS: tuple[Column, ...] = (
    *(column for set_name in SETS for column in _accuracy(set_name)),
    *_latency(),
    *_plan_accuracy(),
    *_COST,
)
