"""Bundles take a moment at their slowest stage, whatever network runs."""

from tests.unit.workers.dispatch.loads import make_load

from retint.lifecycle import Stage
from retint.metrics import STAGE_SECONDS, Counters
from retint_workers.dispatch.pace import FIRST_SIZE, Pace


def count(counters: Counters, colorize_s: float, colorizer: str = "compact") -> None:
    for stage, network in (("ingest", ""), ("defade", "compact-defade"), ("render", "")):
        counters.observe(STAGE_SECONDS, 0.01, stage, network, n=50)
    counters.observe(STAGE_SECONDS, colorize_s, "colorize", colorizer, n=50)


def test_a_bundle_of_unknown_time_is_small() -> None:
    assert Pace().size(make_load(), 64) == FIRST_SIZE
    assert Pace().size(make_load(), 4) == 4


def test_a_bundle_has_as_many_photos_as_its_slowest_stage_runs_in_a_moment() -> None:
    counters, pace = Counters(), Pace()
    count(counters, 0.25)
    pace.measure(counters.snapshot())
    assert pace.size(make_load(), 64) == pace.size(make_load(stage=Stage.COLORIZE), 64) == 8
    assert pace.size(make_load(stage=Stage.RENDER), 64) == 64
    assert not pace.is_due


def test_a_heavy_network_gets_single_photos_and_a_light_one_beside_it_does_not() -> None:
    counters, pace = Counters(), Pace()
    count(counters, 0.01)
    count(counters, 30.0, "artistic")
    pace.measure(counters.snapshot())
    assert pace.size(make_load(colorizer="artistic"), 64) == 1
    assert pace.size(make_load(), 64) == 64


def test_the_newest_photos_weigh_most() -> None:
    counters, pace = Counters(), Pace()
    count(counters, 2.0)
    pace.measure(counters.snapshot())
    for _ in range(9):
        count(counters, 0.01)
        pace.measure(counters.snapshot())
    assert pace.size(make_load(), 64) == 64
