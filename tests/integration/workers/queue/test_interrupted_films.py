"""Films that are interrupted again and again: as long as they progress, no interruption counts for good."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from celery.worker import state
from tests import films
from tests.integration.conftest import Site
from tests.integration.workers.queue.sites import deposit, make_machine, run_bundle

from retint.errors import Transient
from retint.jobs import queueing
from retint.jobs.leases import AttemptEnd, Lease
from retint.lifecycle import FAULT_LIMIT, Outcome, Stage, State
from retint.services import Services
from retint_workers.beats import Beat
from retint_workers.films import color_film, decide
from retint_workers.queue import resuming, stages, tasks
from retint_workers.queue.tasks import RunStage

SEGMENTS, SEGMENT_FRAMES = 5, 4


class WorkerDied(BaseException):
    """Stands for the death of a worker; no code of ours catches it."""


@pytest.fixture
def film(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """An ingested film of some segments, whose colors are decided next."""
    monkeypatch.setattr(resuming, "UPLOAD_S", 0)
    for module in (color_film, decide):
        monkeypatch.setattr(module, "SEGMENT_FRAMES", SEGMENT_FRAMES)
    path = films.write(tmp_path / "film.mp4", films.two_scenes(SEGMENTS * SEGMENT_FRAMES))
    job_id = deposit(site, site.services, path, defader="keep")
    run_bundle(site.services, stages.run_ingest, [job_id])
    return job_id


def count_stored(services: Services) -> int:
    return sum(blob.key.endswith(".segment") for blob in services.store.list("tenants/"))


def die_at(segments: int) -> RunStage:
    """Make a stage that colorizes, and whose worker dies when so many segments are in the store."""

    def run(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
        looked_at = 0.0

        def beat_and_die() -> bool:
            nonlocal looked_at
            has_time = beat()
            if time.monotonic() - looked_at > 0.1:  # a network beats hundreds of times a second
                looked_at = time.monotonic()
                if count_stored(services) >= segments:
                    raise WorkerDied
            return has_time

        yield from stages.run_colorize(services, leases, beat_and_die)

    return run


def interrupt(site: Site, job_id: UUID, segments: int) -> None:
    """Let a worker die on the film; the dispatcher takes back what it had."""
    with pytest.raises(WorkerDied):
        run_bundle(site.services, die_at(segments), [job_id], Stage.COLORIZE)
    site.make_overdue([job_id])
    with site.services.begin() as session:
        assert sum(queueing.reclaim_expired(session).values()) == 1


def test_a_film_that_progresses_is_not_given_up_however_often_its_worker_dies(site: Site, film: UUID) -> None:
    for segments in range(1, SEGMENTS):
        interrupt(site, film, segments)
        assert (site.get_job(film).state, site.get_job(film).faults) == (State.READY, 1), segments
    run_bundle(site.services, stages.run_colorize, [film], Stage.COLORIZE)
    assert site.get_job(film).stage is Stage.DEFADE
    outcomes = [attempt.outcome for attempt in site.list_attempts(film)]
    assert outcomes == [Outcome.DONE, *[Outcome.EXPIRED] * (SEGMENTS - 1), Outcome.DONE]


def test_a_film_that_always_fails_at_the_same_place_is_quarantined(site: Site, film: UUID) -> None:
    for faults in range(1, FAULT_LIMIT + 1):
        interrupt(site, film, 2)
        assert site.get_job(film).faults == faults
    assert site.get_job(film).state is State.QUARANTINED


def test_faults_after_progress_count_from_one_and_a_bug_that_spoils_the_segments_is_no_progress(
    site: Site, film: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(site, film, 1)
    interrupt(site, film, 1)
    assert site.get_job(film).faults == 2

    def fail(fault: Exception) -> None:
        write_segment = color_film.ColorFilmWriter.write_segment

        def write_and_fail(*arguments: object) -> None:
            write_segment(*arguments)  # type: ignore[arg-type]
            if count_stored(site.services) >= 3:
                raise fault

        with monkeypatch.context() as patch:
            patch.setattr(color_film.ColorFilmWriter, "write_segment", write_and_fail)
            tasks.run_bundle(make_machine(site.services), Stage.COLORIZE, stages.run_colorize, [film])

    fail(Transient("The network failed.", code="network_failed"))
    assert (site.get_job(film).faults, count_stored(site.services)) == (1, 3)
    fail(ZeroDivisionError())
    assert (site.get_job(film).faults, count_stored(site.services)) == (2, 0)


def end_at(segments: int, monkeypatch: pytest.MonkeyPatch) -> RunStage:
    """Make a stage that colorizes, and whose worker is told to end when so many segments are in the store."""

    def run(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
        looked_at = 0.0

        def beat_and_tell() -> bool:
            nonlocal looked_at
            if time.monotonic() - looked_at > 0.1:
                looked_at = time.monotonic()
                if count_stored(services) >= segments:
                    monkeypatch.setattr(state, "should_stop", 0)
            return beat()

        yield from stages.run_colorize(services, leases, beat_and_tell)

    return run


def test_a_worker_that_is_told_to_end_gives_its_film_back_at_the_next_segment(
    site: Site, film: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        run_bundle(site.services, end_at(1, patch), [film], Stage.COLORIZE)
    assert (site.get_job(film).state, site.get_job(film).stage) == (State.READY, Stage.COLORIZE)
    assert site.get_job(film).faults == 0
    stored = count_stored(site.services)
    assert 1 <= stored < SEGMENTS
    run_bundle(site.services, stages.run_colorize, [film], Stage.COLORIZE)
    assert site.get_job(film).stage is Stage.DEFADE
    assert [attempt.outcome for attempt in site.list_attempts(film)] == [Outcome.DONE, Outcome.DONE]
