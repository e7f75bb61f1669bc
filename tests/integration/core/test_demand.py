"""The demand of a fleet as the dispatcher assesses it and others read it."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update
from tests.integration.conftest import Site

from retint import demand, fleets
from retint.columns import now
from retint.demand import DemandUnknown, Rule, Speeds
from retint.errors import InvalidRequest
from retint.fleet_tables import Fleet
from retint.jobs import tallies
from retint.lifecycle import Mode, Stage, State
from retint.settings import Driver
from retint.tables import Job


def assess(site: Site, **live: int) -> None:
    with site.services.begin() as session:
        speeds = Speeds({("ingest", ""): 60.0}, {("colorize", "compact"): 0.5})
        demand.assess(session, site.services.settings, tallies.list_loads(session), speeds, live)


def read(site: Site, fleet: str, **settings: object) -> demand.Demand:
    with site.services.read() as session:
        return demand.read(session, site.services.settings.model_copy(update=settings))[fleet]


def test_a_fleet_that_nobody_has_set_has_one_worker_and_on_a_cluster_what_it_needs(site: Site) -> None:
    assert (read(site, "gpu").wanted, read(site, "gpu").rule) == (1, Rule.FIXED)
    on_a_cluster = {"fleet_driver": Driver.KUBERNETES, "most_gpu_workers": 4}
    assert (read(site, "gpu", **on_a_cluster).wanted, read(site, "gpu", **on_a_cluster).limits.most) == (0, 4)
    assert read(site, "cpu", **on_a_cluster).wanted == 1


def test_the_first_photo_of_the_morning_wants_a_worker_of_each_fleet(site: Site) -> None:
    with site.services.begin() as session:
        fleets.set_limits(session, "cpu", 0, 8)
        fleets.set_limits(session, "gpu", 0, 8)
    assess(site)
    assert (read(site, "cpu").wanted, read(site, "gpu").wanted) == (0, 0)
    site.add_jobs("a.jpg")
    assess(site)
    assert (read(site, "cpu").rule, read(site, "gpu").rule) == (Rule.WORK, Rule.COMING)
    assert read(site, "gpu").wanted == 1
    assert read(site, "gpu").short_since is not None
    assess(site, cpu=1, gpu=1)
    assert read(site, "gpu").short_since is None


def test_workers_that_never_come_are_told_as_missing(site: Site) -> None:
    with site.services.begin() as session:
        fleets.set_limits(session, "gpu", 2, 8)
    assess(site)
    assert not read(site, "gpu").is_unmet
    with site.services.begin() as session:
        session.execute(update(Fleet).values(short_since=now(-demand.UNMET_S - 1)))
    assess(site, gpu=1)
    assert read(site, "gpu").is_unmet
    assess(site, gpu=2)
    assert not read(site, "gpu").is_unmet


def test_a_film_is_counted_by_the_frames_that_ingest_found(site: Site) -> None:
    with site.services.begin() as session:
        fleets.set_limits(session, "gpu", 0, 100, wait_s=100)
    [job_id] = site.add_jobs("film.mp4")
    with site.services.begin() as session:
        session.execute(
            update(Job).where(Job.id == job_id).values(stage=Stage.COLORIZE, state=State.READY, frames=2000)
        )
        assert session.scalar(select(Job.phase).where(Job.id == job_id)) == "ready_colorize"
    assess(site)
    found = read(site, "gpu")
    assert found.work.seconds == pytest.approx(1000)
    assert (found.wanted, found.work.films) == (1, 1), "no two workers share a film"


def test_the_operators_number_counts_at_once_and_limits_are_refused_that_contradict(site: Site) -> None:
    with site.services.begin() as session:
        fleets.set_limits(session, "gpu", 1, 5, wait_s=60)
    assess(site)
    with site.services.begin() as session:
        fleets.set_wanted(session, "gpu", 3)
        assert fleets.get_wanted(session)["gpu"] == 3
        with pytest.raises(InvalidRequest, match="larger than the most"):
            fleets.set_limits(session, "gpu", 3, 2)
    assess(site)
    assert (read(site, "gpu").limits.mode, read(site, "gpu").wanted) == (Mode.FIXED, 3)
    with site.services.begin() as session:
        fleets.set_limits(session, "gpu", 2, 5)
    assess(site)
    with site.services.begin() as session:
        assert fleets.get_wanted(session)["gpu"] == 3, "fewer only after a while"
    assert read(site, "gpu").limits.wait_s == 60


def test_an_old_assessment_is_not_scaled_by(site: Site) -> None:
    with site.services.begin() as session:
        fleets.set_limits(session, "gpu", 1, 5)
    assess(site)
    found = read(site, "gpu")
    assert found.assessed_at
    assert demand.require_fresh(found, found.assessed_at) == found
    with pytest.raises(DemandUnknown):
        demand.require_fresh(found, found.assessed_at + timedelta(seconds=demand.STALE_S + 1))
