"""One thin task a stage: claim, run, settle. It decides nothing; what happens to a job is `retint.lifecycle`'s.

A stage is `(services, leases, beat) -> Iterator[(lease, outcome)]`. It yields each lease as it ends, with `Done`,
`Refused`, or a fault (any other RetintError). Whatever else it raises is a bug: the photos that are left are run one by
one, so that it costs no photo but its own.

`beat()` keeps the leases and writes the outcomes: call it before each photo, and every few seconds while one takes
long, from the loop that makes progress (it costs nothing when called too often), never from a thread that would
outlive it. It tells whether there is time to begin another photo. Where there is none a stage ends, and what it left
goes back to the queue, so that what is urgent waits for seconds and not for a bundle.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import structlog
from celery import Celery, Task
from celery.exceptions import Ignore
from sqlalchemy.orm import Session

from retint import jobs
from retint.broker import task_name
from retint.errors import RetintError, Transient
from retint.jobs import Done, Ended, Lease
from retint.lifecycle import QUEUES, Stage
from retint.services import Services
from retint_workers.queue.heartbeat import Presence

T = TypeVar("T")
Beat = Callable[[], bool]
Work = Callable[[Services, Sequence[Lease], Beat], Iterator[Ended]]

TURN_S = 5.0
"""After so long a worker begins no photo more of its bundle."""
FLUSH_S = 1.0
"""Outcomes are written about this often, and at the end of the bundle."""
RETRY_S = 0.5
"""Pause before the database is asked again."""

log = structlog.get_logger()


def add_to(app: Celery, presence: Presence, stages: Mapping[Stage, Work]) -> None:
    """Give a Celery application the tasks of its fleet's stages."""

    def task(stage: Stage, work: Work) -> Callable[[Task, list[str]], None]:
        def run_bundle(_: Task, job_ids: list[str]) -> None:
            if not run(presence, stage, work, [UUID(job_id) for job_id in job_ids]):
                raise Ignore  # nothing moved on: the rest of this chain would find nothing to claim

        return run_bundle

    for stage, work in stages.items():
        if QUEUES[stage] == presence.fleet:
            app.task(name=task_name(stage), bind=True, ignore_result=True)(task(stage, work))


def run(presence: Presence, stage: Stage, work: Work, job_ids: Sequence[UUID]) -> bool:
    """Run a stage on what can be claimed of a bundle; tells whether a job moved on to the next stage."""
    presence.taken += 1
    services = presence.services
    try:
        with services.begin() as session:
            leases = jobs.claim(session, stage, job_ids, presence.worker_id, services.settings.lease_s)
    except Transient as error:  # the deadline sends the bundle again
        log.warning("bundle_dropped", stage=stage, jobs=len(job_ids), reason=error.message)
        return False
    if len(leases) < len(job_ids):
        log.info("bundle_claimed_in_part", stage=stage, sent=len(job_ids), claimed=len(leases))
    if not leases:
        return False
    bundle = Bundle(presence, leases)
    with presence.at_work(f"{stage} × {len(leases)}"):
        for lease, outcome in outcomes(work, services, leases, bundle.beat):
            bundle.end(lease, outcome)
        bundle.close()
    return bundle.moved_on


def outcomes(work: Work, services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[Ended]:
    """Yield one outcome for each lease, whatever the stage does; where time is up, for one at least."""
    left = {lease.job_id: lease for lease in leases}
    fault: RetintError = Transient("The stage ended without a word on this photo.", code="bug")
    try:
        for lease, outcome in work(services, leases, beat):
            if left.pop(lease.job_id, None):
                yield lease, outcome
        if len(left) < len(leases) and not beat():
            return
    except Transient as error:
        fault = error
    except Exception as error:
        log.exception("stage_failed", stage=leases[0].stage, jobs=[str(job_id) for job_id in left])
        if len(leases) > 1:
            yield from _one_by_one(work, services, list(left.values()), beat)
            return
        fault = Transient(f"Something unforeseen ({type(error).__name__}).", code="bug")
        fault.__cause__ = error
    yield from [(lease, fault) for lease in left.values()]


def _one_by_one(work: Work, services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[Ended]:
    """Find the photo that a bundle failed for, and spare the others."""

    def patiently() -> bool:
        beat()
        return True

    for lease in leases:
        yield from outcomes(work, services, [lease], patiently)
        if not beat():
            return


class Bundle:
    """The leases of one task while it runs them: kept alive, settled as they end."""

    def __init__(self, presence: Presence, leases: Sequence[Lease]) -> None:
        self.presence = presence
        self.services = presence.services
        self.moved_on = False
        self._held = {lease.job_id: lease for lease in leases}
        self._ended: list[Ended] = []
        self._began_at = self._extended_at = self._flushed_at = time.monotonic()

    def beat(self) -> bool:
        """Say that there is progress; tells whether to begin another photo."""
        self.presence.beat()
        at = time.monotonic()
        if at - self._flushed_at > FLUSH_S:
            self._flush()
        if at - self._extended_at > self.services.settings.lease_s / 4:
            self._extend(at)
        return at - self._began_at < TURN_S

    def _extend(self, at: float) -> None:
        try:
            with self.services.begin() as session:
                jobs.extend(session, list(self._held.values()), self.services.settings.lease_s)
            self._extended_at = at
        except Transient as error:
            log.warning("leases_not_extended", reason=error.message)

    def end(self, lease: Lease, outcome: Done | RetintError) -> None:
        """Take down how an attempt ended."""
        self._ended.append((lease, outcome))

    def close(self) -> None:
        """Write the last outcomes, and give back what was not begun."""
        self._flush()
        if self._held:
            given = self._write(partial(jobs.give_back, leases=list(self._held.values())))
            log.info("photos_given_back", held=len(self._held), given=given)

    def _flush(self) -> None:
        settings = self.services.settings
        settle = partial(jobs.settle, ended=self._ended, backoff_s=settings.backoff_s, requeue_s=settings.requeue_s)
        if self._ended:
            self._note(self._write(settle))
        self._ended.clear()
        self._flushed_at = time.monotonic()

    def _write(self, change: Callable[[Session], T]) -> T | None:
        """Change the database; while it is away, try until the leases ran out."""
        while True:
            try:
                with self.services.begin() as session:
                    return change(session)
            except Transient as error:
                if time.monotonic() - self._extended_at > self.services.settings.lease_s:
                    return None
                log.warning("outcomes_wait", jobs=len(self._ended), reason=error.message)
                time.sleep(RETRY_S)

    def _note(self, written: set[UUID] | None) -> None:
        """Take down what was settled, and say it."""
        for lease, outcome in self._ended:
            self._held.pop(lease.job_id, None)
            if written is None:
                log.error("outcome_dropped", **_names(lease))
            elif lease.job_id not in written:
                log.warning("lease_lost", **_names(lease))
            elif isinstance(outcome, Done):
                self.moved_on |= lease.stage.next is not None
            else:
                log.warning("attempt_failed", code=outcome.code, reason=outcome.message, **_names(lease))
        ended, stage = len(self._ended), self._ended[0][0].stage
        log.info("outcomes_written", stage=stage, ended=ended, written=len(written or ()))


def _names(lease: Lease) -> dict[str, Any]:
    """Name an attempt in a line of the log."""
    return {
        "batch_id": str(lease.batch_id),
        "job_id": str(lease.job_id),
        "stage": lease.stage,
        "attempt": lease.attempt,
    }
