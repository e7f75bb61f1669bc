"""How many workers a fleet should have: by seconds of work, between limits, out at once and in slowly."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.workers.dispatch.loads import make_load

from retint.demand import SCALE_IN_S, Decision, FilmLoad, Limits, Rule, Speeds, Work, decide, measure_work
from retint.lifecycle import Mode, Stage, State

START = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(Mode.AUTOMATIC, wanted=1, least=0, most=10, wait_s=300, cap=1000)
SPEEDS = Speeds({("colorize", "compact"): 0.5, ("render", ""): 2.0}, {("colorize", "compact"): 0.1})


def needed(seconds: float, limits: Limits = LIMITS, before: Decision = Decision()) -> Decision:  # noqa: B008
    return decide(Work(seconds, waiting=int(seconds > 0)), limits, before, START)


def test_work_is_measured_in_the_seconds_of_its_stage_and_network() -> None:
    colorize = make_load(stage=Stage.COLORIZE)
    work = measure_work([colorize, replace(colorize, state=State.RUNNING, n=16)], [], SPEEDS)["gpu"]
    assert (work.seconds, work.waiting, work.running) == (1016 * 0.5, 1000, 16)
    assert measure_work([make_load(stage=Stage.COLORIZE, colorizer="artistic")], [], SPEEDS)["gpu"].seconds == 1000


def test_a_paused_batch_counts_only_where_it_runs() -> None:
    paused = replace(make_load(stage=Stage.COLORIZE), paused=True)
    work = measure_work([paused, replace(paused, state=State.RUNNING, n=4)], [], SPEEDS)
    assert work["gpu"].seconds == 2.0
    assert work["cpu"].coming == 4


def test_a_film_counts_by_its_length() -> None:
    load = replace(make_load(stage=Stage.COLORIZE), state=State.RUNNING, n=3)
    film = FilmLoad(load.batch_id, Stage.COLORIZE, State.RUNNING, n=2, frames=50_000)
    work = measure_work([load], [film], SPEEDS)["gpu"]
    assert work.seconds == pytest.approx(5000 + 0.5)
    assert work.film_seconds == pytest.approx(5000)
    assert (work.films, work.running_films) == (2, 2)
    assert decide(work, LIMITS, Decision(), START).demand == 3, (
        "no two workers share a film, and the photo has one, too"
    )


def test_what_is_at_a_stage_before_is_coming() -> None:
    work = measure_work([make_load()], [], SPEEDS)
    assert (work["gpu"].waiting, work["gpu"].coming) == (0, 1000)
    assert work["cpu"].coming == 0
    assert decide(work["gpu"], LIMITS, Decision(), START) == Decision(1, Rule.COMING)


@pytest.mark.parametrize(("seconds", "wanted"), [(0, 0), (1, 1), (300, 1), (301, 2), (2999, 10)])
def test_as_many_workers_as_do_the_work_while_it_may_wait(seconds: float, wanted: int) -> None:
    assert needed(seconds).demand == wanted


def test_limits_hold_and_say_which_of_them_decided() -> None:
    assert needed(9000) == Decision(10, Rule.MOST)
    assert needed(9000, replace(LIMITS, cap=4)) == Decision(4, Rule.MOST)
    assert needed(0, replace(LIMITS, least=2)) == Decision(2, Rule.LEAST)
    assert needed(0, replace(LIMITS, least=2, cap=1)) == Decision(1, Rule.LEAST)
    fixed = replace(LIMITS, mode=Mode.FIXED, wanted=7)
    assert needed(9000, fixed) == Decision(7, Rule.FIXED)
    assert needed(9000, replace(fixed, cap=5)) == Decision(5, Rule.MOST)


def test_a_running_film_keeps_its_worker() -> None:
    films = Work(100, running=3, film_seconds=100, films=3, running_films=3)
    assert decide(films, LIMITS, Decision(), START) == Decision(3, Rule.FILMS)
    assert decide(replace(films, seconds=101), LIMITS, Decision(), START).demand == 4, "films starve no photo"
    waiting = replace(films, film_seconds=600, seconds=600, running_films=0)
    assert decide(waiting, LIMITS, Decision(), START) == Decision(2, Rule.WORK), "short ones may share"


def follow(seconds: Iterator[float] | list[float], step_s: float = 30) -> list[int]:
    """Decide again and again, every `step_s` seconds; return the demands."""
    decision, demands = Decision(), []
    for number, each in enumerate(seconds):
        work = Work(each, waiting=int(each > 0))
        decision = decide(work, LIMITS, decision, START + timedelta(seconds=number * step_s))
        demands.append(decision.demand)
    return demands


def test_more_are_wanted_at_once_and_fewer_only_after_a_while() -> None:
    demands = follow([3000, *[600] * 12, *[0] * 22])
    assert demands[0] == 10
    assert demands.index(2) == 1 + SCALE_IN_S / 30
    assert demands[-1] == 0


def test_a_gap_between_two_bundles_takes_no_worker_away() -> None:
    assert set(follow([3000, 0, 0, 3000, 0, 2000, 0, 3000, 0] * 10)[1:]) == {10}


def test_only_as_many_stay_as_the_last_while_needed() -> None:
    assert follow([3000, 300, 300, 1500, *[300] * 8])[-1] == 5


def test_the_operators_lower_limit_counts_at_once() -> None:
    assert needed(0, replace(LIMITS, most=3), Decision(9, Rule.WORK)).demand == 3


@given(
    work=st.lists(st.floats(0, 1e7), min_size=1, max_size=60),
    least=st.integers(0, 20),
    most=st.integers(0, 20),
    cap=st.integers(0, 20),
)
def test_whatever_happens_the_demand_is_within_the_limits(work: list[float], least: int, most: int, cap: int) -> None:
    limits, decision = replace(LIMITS, least=min(least, most), most=most, cap=cap), Decision()
    for number, seconds in enumerate(work):
        load = Work(seconds, waiting=int(seconds > 0))
        decision = decide(load, limits, decision, START + timedelta(seconds=45 * number))
        assert min(limits.least, cap) <= decision.demand <= min(most, cap)
        assert decision.demand >= min(seconds / limits.wait_s, most, cap)
