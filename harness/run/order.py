"""The order in which cells are measured."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


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
