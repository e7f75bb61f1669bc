"""In-flight windows: wider where workers empty them between two ticks, narrower where they stay full."""

from collections import Counter

from retint_workers.dispatch.windows import WIDEST, WINDOW, Windows

BUNDLE = 4
LIVE = Counter(cpu=1, gpu=1)


def fill(windows: Windows, left: int) -> int:
    """Run one tick that fills the window of `cpu`; `left` jobs are still in flight. Return the free places."""
    in_flight = Counter(cpu=left)
    windows.adapt(LIVE, in_flight)
    free = windows.count_free("cpu", LIVE, in_flight)
    windows.record_sent(free, free["cpu"])
    return free["cpu"]


def test_a_window_that_is_emptied_between_two_ticks_doubles_up_to_a_limit() -> None:
    windows = Windows(BUNDLE)
    sizes = [fill(windows, left=0) // BUNDLE for _ in range(6)]
    assert sizes == [WINDOW, 2 * WINDOW, 4 * WINDOW, 8 * WINDOW, WIDEST, WIDEST]


def test_a_window_that_stays_full_shrinks_again() -> None:
    windows = Windows(BUNDLE)
    for _ in range(3):
        fill(windows, left=0)
    assert fill(windows, left=4 * WINDOW * BUNDLE) == -2 * WINDOW * BUNDLE


def test_jobs_are_held_back_while_the_next_fleet_has_twice_its_window() -> None:
    in_flight = Counter(gpu=2 * WINDOW * BUNDLE)
    assert Windows(BUNDLE).count_free("cpu", LIVE, in_flight)["gpu"] == 0
