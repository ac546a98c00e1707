"""The order of the work: a page made of what is done is worth reading early."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from harness import registry
from harness.records.schema import CellKey

Item = TypeVar("Item")


def by_worth(keys: Sequence[CellKey], first: Collection[str]) -> list[CellKey]:
    """Cells in the order of training: a whole seed before the next, the lowest first.

    Within a seed backends keep the registry's order, since weights that others carry come first,
    and the networks `first` come before the others.
    """
    backends = registry.backend_names()

    def place(key: CellKey) -> tuple[int, int, bool]:
        return key.seed, backends.index(key.backend), key.network not in first

    return sorted(keys, key=place)


def stages(
    units: Sequence[Item],
    is_default: Callable[[Item], bool],
    is_first: Callable[[Item], bool],
) -> list[list[Item]]:
    """What is measured in three stages, each to its end before the next.

    Default plans of all networks, the other plans of the networks that come first, the rest. The
    figures that a page compares first so come from one stretch of time.
    """
    default, leading, rest = [], [], []
    for unit in units:
        (default if is_default(unit) else leading if is_first(unit) else rest).append(unit)
    return [stage for stage in (default, leading, rest) if stage]


def shuffled(cells: Sequence[Item], group: Callable[[Item], str], seed: int) -> list[Item]:
    """Cells in an order drawn from the seed, interleaved between groups (backends).

    Drift of the machine then falls on all backends alike. The same seed gives the same order.
    """
    drawn = random.Random(seed)
    queues: dict[str, list[Item]] = {}
    for cell in cells:
        queues.setdefault(group(cell), []).append(cell)
    for queue in queues.values():
        drawn.shuffle(queue)
    order: list[Item] = []
    while queues:
        names = list(queues)
        drawn.shuffle(names)
        order += [queues[name].pop() for name in names]
        queues = {name: queue for name, queue in queues.items() if queue}
    return order
