"""The order in which cells are measured."""

from __future__ import annotations

from harness.run.order import shuffled


def test_order_is_shuffled_by_the_seed_and_interleaved():
    cells = [(backend, n) for backend in ("torch", "keras", "flax") for n in range(9)]
    order = shuffled(cells, lambda cell: cell[0], seed=3)
    assert order == shuffled(cells, lambda cell: cell[0], seed=3)
    assert order != shuffled(cells, lambda cell: cell[0], seed=4)
    assert sorted(order) == sorted(cells)
    for start in range(0, 27, 3):
        assert {cell[0] for cell in order[start : start + 3]} == {"torch", "keras", "flax"}
