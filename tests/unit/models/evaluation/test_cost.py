"""The cost of a judgement."""

import mmap

from retint_models.evaluation.cost import measure_cost


def test_memory_and_seconds_of_a_block_are_its_own() -> None:
    with measure_cost() as cost, mmap.mmap(-1, 60_000_000) as memory:  # malloc may have as much at hand
        memory[::4096] = b"1" * len(range(0, 60_000_000, 4096))
    assert 50 < cost.megabytes < 200
    with measure_cost() as cost:
        pass
    assert cost.megabytes < 20
    assert cost.seconds < 5
