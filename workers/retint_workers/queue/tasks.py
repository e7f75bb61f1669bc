"""One thin Celery task per stage: claim, run, settle. `retint.lifecycle` decides what happens to a job.

A stage is a function `(services, leases, beat) -> Iterator[(lease, outcome)]` (`RunStage`). It yields each lease as
its attempt ends, with `Done`, `Refused`, or a fault (any other RetintError). Any other exception is a bug: the photos
that are left are then run one by one, so that a bug costs only the photo that causes it.

`beat()` extends the leases, learns which of them are lost, and writes outcomes. Call it before each photo, and every
few seconds during a long one, from the loop that makes progress (calling it often costs nothing), never from a thread
that might outlive that loop (see `retint_workers.beats`). It returns whether there is time to start another photo. If
not, the stage ends, and the photos that it has not started go back to the queue, so that an urgent photo waits for
seconds and not for a whole bundle.

A job that is lost (cancelled, or expired while this process was stopped) has `lease.lost` set; the stage ends its work
on that job with LeaseLost, and goes on with the others. Nothing is written of it: its row is not this worker's any
more. What a fault says of the machine, `machine` finds out: where it is at fault, all leases go back to the queue.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import structlog
from celery import Celery, Task, signals
from celery.exceptions import Ignore
from sqlalchemy.orm import Session
from structlog.contextvars import bind_contextvars, bound_contextvars, unbind_contextvars

from retint import metrics
from retint.broker import task_name
from retint.demand import name_network
from retint.errors import LeaseLost, RetintError, Transient
from retint.jobs.leases import (
    AttemptEnd,
    Done,
    Lease,
    claim,
    classify,
    clear_faults,
    extend,
    list_held,
    position_after,
    release,
    settle,
)
from retint.lifecycle import QUEUES, Stage, State
from retint.services import Services
from retint_workers.beats import Beat
from retint_workers.queue.heartbeat import Heartbeat, is_told_to_end
from retint_workers.queue.machine import Machine

T = TypeVar("T")
RunStage = Callable[[Services, Sequence[Lease], Beat], Iterator[AttemptEnd]]

BUNDLE_S = 5.0
"""After this time a worker starts no further photo of its bundle."""
END_S = 45.0
"""A worker that was told to end gives back what it has not finished by then; whoever told it kills it later."""
FLUSH_S = 1.0
"""Outcomes are written about this often, and at the end of the bundle."""
CHECK_S = 2.0
"""Time between two looks at which jobs are still this worker's."""
RETRY_S = 0.5
"""Pause before the database is asked again."""

log = structlog.get_logger()


def register(app: Celery, machine: Machine, stages: Mapping[Stage, RunStage]) -> None:
    """Register the tasks of the worker's fleet with a Celery application."""

    signals.task_prerun.connect(_bind_bundle)
    signals.task_postrun.connect(_unbind_bundle)

    def make_task(stage: Stage, run_stage: RunStage) -> Callable[[Task, list[str]], None]:
        def task(_: Task, job_ids: list[str]) -> None:
            with bound_contextvars(stage=str(stage)):
                has_moved_on = run_bundle(machine, stage, run_stage, [UUID(job_id) for job_id in job_ids])
            if not has_moved_on:
                raise Ignore  # no job moved on: the rest of this chain would find nothing to claim

        return task

    for stage, run_stage in stages.items():
        if QUEUES[stage] == machine.heartbeat.fleet:
            app.task(name=task_name(stage), bind=True, ignore_result=True)(make_task(stage, run_stage))


def _bind_bundle(task: Task, **_: Any) -> None:
    """Name the bundle in all lines while a task runs, Celery's own included."""
    bind_contextvars(bundle_id=task.request.root_id)


def _unbind_bundle(**_: Any) -> None:
    unbind_contextvars("bundle_id")


def run_bundle(machine: Machine, stage: Stage, run_stage: RunStage, job_ids: Sequence[UUID]) -> bool:
    """Run a stage on the jobs of a bundle that can be claimed; return whether a job moved on to the next stage."""
    heartbeat = machine.heartbeat
    heartbeat.messages_received += 1
    services = heartbeat.services
    if not machine.wait_until_fit():  # the dispatcher sends the bundle again after its deadline
        return False
    try:
        with services.begin() as session:
            leases = claim(session, stage, job_ids, heartbeat.worker_id, services.settings.lease_s)
    except Transient as error:  # as above
        log.warning("bundle_dropped", jobs=len(job_ids), reason=error.message)
        return False
    log.info("bundle_claimed", sent=len(job_ids), jobs=[str(lease.job_id) for lease in leases])
    if not leases:
        return False
    for lease in leases:
        services.counters.observe(metrics.CLAIM_WAIT, lease.waited_s, stage)
    held = HeldLeases(heartbeat, leases)
    common = {name: leases[0].log_fields[name] for name in ("tenant_id", "batch_id")}
    with bound_contextvars(**common), heartbeat.busy_with(f"{stage} × {len(leases)}"):
        with closing(yield_outcomes(run_stage, services, leases, held.beat)) as outcomes:
            _take_outcomes(machine, held, outcomes)
        held.close()
    return held.has_moved_on


def _take_outcomes(machine: Machine, held: "HeldLeases", outcomes: Iterator[AttemptEnd]) -> None:
    """Take outcomes until all are there, or the machine is to blame for one: then it runs no further photo."""
    for lease, outcome in outcomes:
        try:
            with bound_contextvars(**lease.log_fields):
                is_to_blame = machine.is_to_blame(outcome, held.beat)
        except LeaseLost:  # all of them, while the machine was tested
            return
        if is_to_blame:
            return
        held.add_outcome(lease, outcome)


def yield_outcomes(
    run_stage: RunStage, services: Services, leases: Sequence[Lease], beat: Beat
) -> Generator[AttemptEnd, None, None]:
    """Run a stage and yield one outcome per lease, whatever the stage does; when time is up, at least one.

    A worker that was told to end may have none: it has begun no photo.
    """
    left = {lease.job_id: lease for lease in leases}
    fault: RetintError = Transient("The stage ended without an outcome for this photo.", code="bug")
    try:
        for lease, outcome in run_stage(services, leases, beat):
            if left.pop(lease.job_id, None):
                yield lease, outcome
        if (len(left) < len(leases) or is_told_to_end()) and not beat():
            return
    except (Transient, LeaseLost) as error:
        fault = error
    except Exception as error:
        alone = leases[0].log_fields if len(leases) == 1 else {}
        log.exception("stage_failed", jobs=[str(job_id) for job_id in left], **alone)
        if len(leases) > 1:
            yield from _run_singly(run_stage, services, list(left.values()), beat)
            return
        fault = Transient(f"An unexpected error occurred ({type(error).__name__}).", code="bug")
        fault.__cause__ = error
    yield from [(lease, fault) for lease in left.values()]


def _run_singly(run_stage: RunStage, services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Run each photo alone, after one of them failed for a bug."""

    def beat_without_limit() -> bool:
        beat()
        return True

    for lease in leases:
        yield from yield_outcomes(run_stage, services, [lease], beat_without_limit)
        if not beat():
            return


class HeldLeases:
    """The leases of one bundle while its task runs: extended by `beat`, settled as their attempts end.

    Attributes:
        has_moved_on: whether a job was settled to its next stage.
    """

    def __init__(self, heartbeat: Heartbeat, leases: Sequence[Lease]) -> None:
        self.has_moved_on = False
        self._heartbeat = heartbeat
        self._services = heartbeat.services
        self._held = {lease.job_id: lease for lease in leases}
        self._has_lost = False
        self._ended: list[AttemptEnd] = []
        self._started_at = self._extended_at = self._checked_at = self._flushed_at = time.monotonic()
        self._outcome_at = self._started_at
        self._told_to_end_at: float | None = None

    def beat(self) -> bool:
        """Report progress, look after the leases and write outcomes where due; return whether to start another photo.

        Raises:
            LeaseLost: all jobs that the bundle still had were lost, or are given back: the worker has to end.
        """
        self._heartbeat.beat()
        at = time.monotonic()
        if at - self._flushed_at > FLUSH_S:
            self._flush()
        is_due = at - self._checked_at > min(CHECK_S, self._services.settings.lease_s / 4)
        if is_due or any(lease.faults and lease.progressed.is_set() for lease in self._held.values()):
            self._look_after_leases(at)
        if self._has_lost and not self._held:
            raise LeaseLost("All photos of the bundle were lost.")
        if is_told_to_end():
            self._told_to_end_at = self._told_to_end_at or at
            if at - self._told_to_end_at > END_S:
                raise LeaseLost("The worker was told to end; another one does this.")
            return False
        return at - self._started_at < BUNDLE_S and not self._heartbeat.must_end

    def _look_after_leases(self, at: float) -> None:
        """Find out which jobs are still held; extend their leases, and write that some progressed, where due."""
        self._checked_at = at
        lease_s = self._services.settings.lease_s
        leases = list(self._held.values())
        advanced = [lease for lease in leases if lease.faults and lease.progressed.is_set()]
        is_due = bool(advanced) or at - self._extended_at > lease_s / 4
        try:
            with self._services.begin() if is_due else self._services.read() as session:
                held = extend(session, leases, lease_s) if is_due else list_held(session, leases)
                if advanced:
                    clear_faults(session, advanced)
        except Transient as error:
            log.warning("leases_not_extended", reason=error.message)
            return
        if is_due:
            self._extended_at = at
        self._held.update({lease.job_id: replace(lease, faults=0) for lease in advanced})
        for lease in leases:
            if lease.job_id not in held:
                self._note_lost(lease)
                lease.lost.set()
                del self._held[lease.job_id]
                self._has_lost = True

    def add_outcome(self, lease: Lease, outcome: Done | RetintError) -> None:
        """Keep how an attempt ended, until the next flush; nothing of a job that was lost."""
        before, self._outcome_at = self._outcome_at, time.monotonic()
        if lease.lost.is_set() or isinstance(outcome, LeaseLost):
            return
        self._observe(lease, outcome, self._outcome_at - before)
        self._ended.append((replace(lease, faults=0) if lease.progressed.is_set() else lease, outcome))

    def _observe(self, lease: Lease, outcome: Done | RetintError, seconds: float) -> None:
        """Count how long an attempt took: a photo's, or a film's by its frames."""
        network = name_network(lease.stage, lease.recipe)
        found = outcome.facts if isinstance(outcome, Done) else {}
        facts = lease.facts.get(Stage.INGEST, found)
        if not facts.get("film"):
            self._services.counters.observe(metrics.STAGE_SECONDS, seconds, lease.stage, network)
        elif isinstance(outcome, Done) and (frames := facts.get("frames")):
            self._services.counters.observe(metrics.FRAME_SECONDS, seconds / frames, lease.stage, network, n=frames)

    def close(self) -> None:
        """Write the last outcomes, and release the leases of photos that were not started."""
        self._flush()
        if self._held:
            released = self._write(partial(release, leases=list(self._held.values())))
            log.info("leases_released", held=len(self._held), released=released)

    def _flush(self) -> None:
        settings = self._services.settings
        write_ends = partial(settle, ends=self._ended, backoff_s=settings.backoff_s, requeue_s=settings.requeue_s)
        if self._ended:
            self._release_settled(self._write(write_ends))
        self._ended.clear()
        self._flushed_at = time.monotonic()

    def _write(self, change: Callable[[Session], T]) -> T | None:
        """Change the database; without a database, try again until the leases have expired, then return None."""
        while True:
            try:
                with self._services.begin() as session:
                    return change(session)
            except Transient as error:
                if time.monotonic() - self._extended_at > self._services.settings.lease_s:
                    return None
                log.warning("outcomes_wait", jobs=len(self._ended), reason=error.message)
                self._heartbeat.beat()
                time.sleep(RETRY_S)

    def _release_settled(self, written: set[UUID] | None) -> None:
        """Drop the leases that have ended, and log how; `written` are the jobs whose outcome the database took."""
        for lease, outcome in self._ended:
            self._held.pop(lease.job_id, None)
            if written is None:
                log.error("outcome_dropped", **lease.log_fields)
            elif lease.job_id not in written:
                if not lease.lost.is_set():
                    self._note_lost(lease)
            else:
                self._note_end(lease, outcome)
        log.info("outcomes_written", ended=len(self._ended), written=len(written or ()))

    def _note_end(self, lease: Lease, outcome: Done | RetintError) -> None:
        counters = self._services.counters
        counters.count(metrics.ATTEMPTS, lease.stage, classify(outcome))
        if isinstance(outcome, Done):
            self.has_moved_on |= lease.stage.next is not None
        else:
            counters.count(metrics.FAULTS, lease.stage, outcome.code)
            if position_after(lease, outcome).state is State.QUARANTINED:
                counters.count(metrics.QUARANTINED, lease.stage)
            log.warning("attempt_failed", code=outcome.code, reason=outcome.message, **lease.log_fields)

    def _note_lost(self, lease: Lease) -> None:
        self._services.counters.count(metrics.LEASES_LOST, lease.stage)
        log.warning("lease_lost", **lease.log_fields)
