"""The dispatcher: sends ready jobs in bundles, takes back lost ones, and keeps the broker's queue short.

Any number of dispatchers may run; one leads. It keeps no state that must survive it: whoever takes over reads it from
the database.
"""

import os
import signal
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection
from math import ceil
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from retint import demand, fleets, metrics, totals
from retint.broker import Broker
from retint.errors import QueueUnavailable, Transient
from retint.jobs import long_moves, queueing, tallies
from retint.jobs.tallies import Load
from retint.lifecycle import FLEETS, QUEUES, Outcome, State
from retint.services import Services
from retint_workers import beats
from retint_workers.dispatch.bundles import Bundle, BundleChooser
from retint_workers.dispatch.news import News
from retint_workers.dispatch.pace import Pace
from retint_workers.dispatch.pods import PodCosts
from retint_workers.dispatch.sweep import SweepProcess
from retint_workers.dispatch.turns import Turns
from retint_workers.dispatch.windows import Windows, count_in_flight, count_urgent

ROLE = "dispatcher"
LEASE_S = 5.0
"""How long the lead lasts after the leader dies; it is renewed four times as often."""
IDLE_S = 20.0
"""A worker that is idle for so long while messages wait is restarted; it should have noticed by itself."""
ASSESS_S = 2.0
"""Time between two assessments of the demand."""
FOLD_S = 0.5
"""Time between two folds of the tallies."""
LONGEST_PAUSE_S = 10.0
"""Longest pause between two ticks while the database or the broker is away."""

log = structlog.get_logger()


def run(services: Services, stop: threading.Event | None = None, heartbeat: Path | None = None) -> None:
    """Dispatch until the event is set; without an event, until SIGTERM or SIGINT.

    Args:
        services: what the process works with.
        stop: ends it.
        heartbeat: a file that tells of each round (`beats.write_beat`), for those who watch the process.
    """
    if stop is None:
        stop = threading.Event()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda *_: stop.set())
    dispatcher = None
    pause = tick_s = services.settings.tick_s
    while not stop.is_set():
        try:
            dispatcher = dispatcher or Dispatcher(services, services.connect_broker())
            # While bundles are sent, the window is refilled sooner.
            pause = tick_s / 4 if dispatcher.tick() else tick_s
        except Transient as error:
            pause = min(2 * pause, LONGEST_PAUSE_S)
            log.warning("dispatcher_waits", reason=error.message, seconds=round(pause, 2))
        if heartbeat:
            beats.write_beat(heartbeat)
        stop.wait(pause)
    if dispatcher:
        dispatcher.step_down()


class Dispatcher:
    """One dispatcher, which leads or stands by."""

    def __init__(self, services: Services, broker: Broker) -> None:
        self.services = services
        self.broker = broker
        self._turns = {fleet: Turns() for fleet in FLEETS}
        self._windows = Windows(services.settings.bundle_size)
        self._pace = Pace()
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._leads_until = self._folded_at = self._assessed_at = 0.0
        self._lead_renewed_at = float("-inf")
        self._sweep = SweepProcess(services)
        self._news = News(services)
        self._pods = PodCosts(services)

    def tick(self) -> int:
        """Do all that is due once, and return how many bundles were sent; does nothing while another one leads.

        Raises:
            Transient: the database or the broker did not answer; nothing is lost, and the next tick does it.
        """
        if not self._is_leader():
            self._sweep.end()
            self._news.end()
            self._pods.end()
            return 0
        self._reclaim_expired()
        self._fold_tallies()
        self._carry_on_long_moves()
        self._sweep.keep_running()
        self._news.keep_delivering()
        self._pods.keep()
        self._unqueue_lost()
        return self._send_bundles()

    def step_down(self) -> None:
        """Give up the lead, so that a standby takes over at once."""
        self._sweep.end()
        self._news.end()
        self._pods.end()
        try:
            with self.services.begin() as session:
                fleets.release_lead(session, ROLE, self._name)
        except Transient as error:
            log.warning("lead_not_given_up", reason=error.message)

    def _is_leader(self) -> bool:
        """Renew the lead when due; return whether this dispatcher has it."""
        at = time.monotonic()
        if at - self._lead_renewed_at > LEASE_S / 4:
            with self.services.begin() as session:
                leads = fleets.acquire_lead(session, ROLE, self._name, LEASE_S)
            if leads and at > self._leads_until:
                log.info("dispatcher_leads", name=self._name)
                self.services.counters.count(metrics.LEADS_TAKEN)
            self._lead_renewed_at = at
            self._leads_until = at + LEASE_S if leads else 0.0
        return at < self._leads_until

    def _reclaim_expired(self) -> None:
        # Read first: on SQLite a write blocks all other writers.
        with self.services.read() as session:
            if not queueing.has_expired(session):
                return
        with self.services.begin() as session:
            expired = queueing.reclaim_expired(session)
        log.warning("leases_expired", jobs=expired.total())
        for (stage, state), n in expired.items():
            self.services.counters.count(metrics.ATTEMPTS, stage, Outcome.EXPIRED, n=n)
            if state is State.QUARANTINED:
                self.services.counters.count(metrics.QUARANTINED, stage, n=n)

    def _fold_tallies(self) -> None:
        if time.monotonic() - self._folded_at < FOLD_S:
            return
        with self.services.begin() as session:
            has_more = tallies.fold(session)
            fleets.end_silent(session)
        if not has_more:
            self._folded_at = time.monotonic()

    def _carry_on_long_moves(self) -> None:
        """Move the next jobs of what people asked of many."""
        with self.services.read() as session:
            moves = long_moves.list_open(session)
        for move_id in moves:
            with self.services.begin() as session:
                long_moves.advance(session, move_id)

    def _unqueue_lost(self) -> None:
        """Return jobs to ready whose message is lost; restart workers that do not receive theirs."""
        if not self.broker.is_intact():
            with self.services.begin() as session:
                unqueued = queueing.unqueue(session, None)
            log.warning("broker_lost_its_contents", jobs=unqueued)
            self.services.counters.count(metrics.MESSAGES_LOST, n=unqueued)
            return
        with self.services.read() as session:
            overdue = dict(queueing.list_overdue(session))
        if not overdue:
            return
        waiting = self.broker.list_waiting_jobs() & overdue.keys()
        settings = self.services.settings
        with self.services.begin() as session:
            unqueued = queueing.unqueue(session, overdue.keys() - waiting)
            queueing.extend_deadlines(session, waiting, settings.requeue_s)
            restarted = [
                worker_id
                for fleet in {QUEUES[overdue[job_id]] for job_id in waiting}
                for worker_id in fleets.restart_idle(session, fleet, max(IDLE_S, settings.requeue_s))
            ]
        if unqueued:
            log.warning("messages_lost", jobs=unqueued)
            self.services.counters.count(metrics.MESSAGES_LOST, n=unqueued)
        if restarted:
            log.warning("workers_receive_nothing", workers=[str(worker_id) for worker_id in restarted])

    def _send_bundles(self) -> int:
        """Send what the workers have room for; return the number of bundles."""
        with self.services.read() as session:
            live = Counter(worker.fleet for worker in fleets.list_live(session) if worker.trouble is None)
            loads = tallies.list_loads(session)
            if self._pace.is_due:
                self._pace.measure(totals.read(session))
        self._news.look(loads)
        self._assess_demand(loads, live)
        if not any(load.state is State.READY and live[QUEUES[load.stage]] for load in loads):
            return 0
        self._windows.bundle_sizes = self._measure_bundles(loads)
        self._windows.adapt(live, count_in_flight(loads))
        with self.services.begin() as session:
            bundles = [
                bundle for fleet in FLEETS if live[fleet] for bundle in self._choose(session, fleet, live, loads)
            ]
        unsent = list(bundles)
        try:
            while unsent:
                self._send(unsent[0])
                del unsent[0]
        except QueueUnavailable:
            self._unqueue(unsent)
            raise
        return len(bundles)

    def _assess_demand(self, loads: Collection[Load], live: Counter[str]) -> None:
        """Write how many workers the fleets should have now."""
        if time.monotonic() - self._assessed_at < ASSESS_S:
            return
        with self.services.begin() as session:
            demand.assess(session, self.services.settings, loads, self._pace.speeds, live)
        self._assessed_at = time.monotonic()

    def _send(self, bundle: Bundle) -> None:
        bundle_id = self.broker.send(bundle.stage, bundle.job_ids, bundle.priority)
        log.info(
            "bundle_sent",
            bundle_id=bundle_id,
            tenant_id=str(bundle.tenant_id),
            batch_id=str(bundle.batch_id),
            stage=bundle.stage,
            jobs=len(bundle.job_ids),
        )
        self.services.counters.count(metrics.BUNDLES, bundle.stage)
        self.services.counters.count(metrics.BUNDLED_JOBS, bundle.stage, n=len(bundle.job_ids))

    def _measure_bundles(self, loads: Collection[Load]) -> dict[str, int]:
        """Return the size of the largest bundle of each fleet."""
        most = self.services.settings.bundle_size
        sizes: dict[str, list[int]] = {fleet: [] for fleet in FLEETS}
        for load in loads:
            sizes[QUEUES[load.stage]].append(self._pace.size(load, most))
        return {fleet: max(found, default=most) for fleet, found in sizes.items()}

    def _choose(self, session: Session, fleet: str, live: Counter[str], loads: Collection[Load]) -> list[Bundle]:
        """Mark the next jobs of a fleet as queued, and return them as bundles: small ones while little is ready."""
        settings = self.services.settings
        free = self._windows.count_free(fleet, live, count_in_flight(loads))
        ready = [
            load for load in loads if load.state is State.READY and not load.paused and QUEUES[load.stage] == fleet
        ]
        fair = ceil(sum(load.n for load in ready) / (2 * live[fleet]))
        chooser = BundleChooser(
            session=session,
            settings=settings,
            turns=self._turns[fleet],
            room=min(free.values()),
            sizes=lambda load: self._pace.size(load, min(settings.bundle_size, fair)),
            urgent=count_urgent(fleet, loads),
        )
        bundles = list(chooser.choose(ready))
        self._windows.record_sent(free, sum(len(bundle.job_ids) for bundle in bundles))
        return bundles

    def _unqueue(self, bundles: Collection[Bundle]) -> None:
        """Return the jobs of bundles that could not be sent to ready."""
        with self.services.begin() as session:
            queueing.unqueue(session, [job_id for bundle in bundles for job_id in bundle.job_ids])
