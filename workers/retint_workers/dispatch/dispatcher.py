"""The loop that turns ready jobs into bundles, takes back what is lost, and keeps the broker's queue short.

Any number may run; one leads. It keeps nothing that must survive it: whoever takes over reads it from the database.
"""

import os
import signal
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from math import ceil

import structlog
from sqlalchemy.orm import Session

from retint import broker as brokers
from retint import fleets, jobs
from retint.broker import Broker
from retint.errors import QueueUnavailable, Transient
from retint.jobs import tallies
from retint.jobs.tallies import Load
from retint.lifecycle import FLEETS, QUEUES, STAGES, Stage, State
from retint.services import Services
from retint_workers.dispatch.sweep import sweep

ROLE = "dispatcher"
LEASE_S = 5.0
"""How long the lead lasts when the leader dies; it is renewed four times as often."""
WINDOW = 3
"""Bundles in flight for each live worker: one that runs, one that waits, one on its way."""
WIDEST = 32
"""The same where the workers have done with more than half of them from one tick to the next."""
DEAF_S = 20.0
"""A worker that idles for so long beside waiting messages is restarted; it should have noticed by itself."""
FOLD_S = 0.5
SWEEP_S = 3600.0
LONGEST_WAIT_S = 10.0
"""Between two tries while the database or the broker is away."""

IN_FLIGHT = (State.QUEUED, State.RUNNING)

log = structlog.get_logger()


@dataclass(frozen=True)
class Bundle:
    """Jobs of one batch at one stage that travel together."""

    stage: Stage
    priority: int
    job_ids: tuple[uuid.UUID, ...]


def run(services: Services, stop: threading.Event | None = None) -> None:
    """Dispatch until told to stop: by the event, or without one by SIGTERM or SIGINT."""
    if stop is None:
        stop = threading.Event()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda *_: stop.set())
    dispatcher = Dispatcher(services, brokers.connect(services.settings.broker_url))
    pause = tick_s = services.settings.tick_s
    while not stop.is_set():
        try:
            # Where work flows, the window is refilled sooner.
            pause = tick_s / 4 if dispatcher.tick() else tick_s
        except Transient as error:
            pause = min(2 * pause, LONGEST_WAIT_S)
            log.warning("dispatcher_waits", reason=error.message, seconds=round(pause, 2))
        stop.wait(pause)
    dispatcher.step_down()


class Dispatcher:
    """One that leads, or stands by."""

    def __init__(self, services: Services, broker: Broker) -> None:
        self.services = services
        self.broker = broker
        self.turns = {fleet: Turns() for fleet in FLEETS}
        self.windows = dict.fromkeys(FLEETS, WINDOW)
        self._filled: set[str] = set()
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._leads_until = self._folded_at = 0.0
        self._renewed_at = float("-inf")
        self._folded = 0
        self._swept_at = time.monotonic()
        self._sweeping: Iterator[object] = iter(())

    def tick(self) -> int:
        """Do once all that is due, and tell how many bundles were sent; nothing where another leads.

        Raises:
            Transient: the database or the broker did not answer; nothing is lost, and the next tick does it.
        """
        if not self._leads():
            return 0
        self._reclaim()
        self._fold()
        self._sweep()
        self._resend()
        return self._fill()

    def step_down(self) -> None:
        """Give the lead back."""
        try:
            with self.services.begin() as session:
                fleets.step_down(session, ROLE, self._name)
        except Transient as error:
            log.warning("lead_not_returned", reason=error.message)

    def _leads(self) -> bool:
        at = time.monotonic()
        if at - self._renewed_at > LEASE_S / 4:
            with self.services.begin() as session:
                leads = fleets.lead(session, ROLE, self._name, LEASE_S)
            if leads and at > self._leads_until:
                log.info("dispatcher_leads", name=self._name)
                self._folded = 0
            self._renewed_at = at
            self._leads_until = at + LEASE_S if leads else 0.0
        return at < self._leads_until

    def _reclaim(self) -> None:
        # Looked at first: on SQLite a write keeps all others waiting.
        with self.services.read() as session:
            if not jobs.has_expired(session):
                return
        with self.services.begin() as session:
            log.warning("leases_expired", jobs=jobs.reclaim(session))

    def _fold(self) -> None:
        if time.monotonic() - self._folded_at < FOLD_S:
            return
        with self.services.begin() as session:
            self._folded = tallies.fold(session, self._folded)
            fleets.bury(session)
        self._folded_at = time.monotonic()

    def _sweep(self) -> None:
        """Go one step on, so that no tick has to wait for a whole store."""
        if time.monotonic() - self._swept_at > SWEEP_S:
            self._sweeping = sweep(self.services)
            self._swept_at = time.monotonic()
        try:
            next(self._sweeping, None)
        except Transient as error:
            log.warning("sweep_ended", reason=error.message)

    def _resend(self) -> None:
        """Return to ready what was sent and is lost; see that what waits is received."""
        if not self.broker.is_intact():
            with self.services.begin() as session:
                released = jobs.release(session, None)
            log.warning("broker_was_emptied", released=released)
            return
        with self.services.read() as session:
            late = dict(jobs.overdue(session))
        if not late:
            return
        waiting = self.broker.waiting() & late.keys()
        settings = self.services.settings
        with self.services.begin() as session:
            released = jobs.release(session, late.keys() - waiting)
            jobs.postpone(session, waiting, settings.requeue_s)
            deaf = [
                worker_id
                for fleet in {QUEUES[late[job_id]] for job_id in waiting}
                for worker_id in fleets.restart_idle(session, fleet, max(DEAF_S, settings.requeue_s))
            ]
        if released:
            log.warning("messages_lost", jobs=released)
        if deaf:
            log.warning("workers_deaf", workers=[str(worker_id) for worker_id in deaf])

    def _fill(self) -> int:
        """Send what the workers have room for; tells how many bundles."""
        with self.services.read() as session:
            live = Counter(worker.fleet for worker in fleets.live(session))
            loads = tallies.loads(session)
        if not any(load.state is State.READY and live[QUEUES[load.stage]] for load in loads):
            return 0
        self._adapt(live, loads)
        with self.services.begin() as session:
            bundles = [
                bundle for fleet in FLEETS if live[fleet] for bundle in self._choose(session, fleet, live, loads)
            ]
        unsent = list(bundles)
        try:
            while unsent:
                self.broker.send(unsent[0].stage, unsent[0].job_ids, unsent[0].priority)
                del unsent[0]
        except QueueUnavailable:
            self._unqueue(unsent)
            raise
        if bundles:
            log.info("bundles_sent", bundles=len(bundles), jobs=sum(len(bundle.job_ids) for bundle in bundles))
        return len(bundles)

    def _unqueue(self, bundles: Collection[Bundle]) -> None:
        with self.services.begin() as session:
            jobs.release(session, [job_id for bundle in bundles for job_id in bundle.job_ids])

    def _choose(self, session: Session, fleet: str, live: Counter[str], loads: list[Load]) -> Iterator[Bundle]:
        """Queue the jobs that are next for a fleet, and yield them as bundles."""
        settings = self.services.settings
        limits = self._limits(fleet, live, loads)
        room = before = min(limits.values())
        ready = [
            load for load in loads if load.state is State.READY and not load.paused and QUEUES[load.stage] == fleet
        ]
        size = min(settings.bundle_size, ceil(sum(load.n for load in ready) / (2 * live[fleet])))
        turns = self.turns[fleet]
        waiting = turns.start(ready)
        express = _express(fleet, loads)
        while waiting:
            tenant_id = turns.next(waiting)
            load = waiting[tenant_id][0]
            limit = min(size, room)
            if room <= 0:
                # No room: what is urgent overtakes, a bundle of each tenant at a time and in its turn.
                limit = min(size, settings.bundle_size - express[tenant_id])
                if load.priority == 0 or limit <= 0 or turns.is_ahead(tenant_id, settings.bundle_size):
                    del waiting[tenant_id]
                    continue
            taken = jobs.queue(session, load.batch_id, load.stage, limit, settings.requeue_s)
            if len(taken) < limit:  # the rest of it waits for its time to come
                waiting[tenant_id].pop(0)
                if not waiting[tenant_id]:
                    del waiting[tenant_id]
            turns.serve(tenant_id, len(taken) / load.weight)
            room -= len(taken)
            express[tenant_id] += len(taken) if load.priority else 0
            yield from _bundles(load, taken)
        self._filled |= {name for name, limit in limits.items() if limit - (before - room) <= 0}

    def _adapt(self, live: Counter[str], loads: list[Load]) -> None:
        """Widen the windows that stopped us although they were emptied since, narrow those that stay full."""
        in_flight = _in_flight(loads)
        for fleet, window in self.windows.items():
            wanted = window * self.services.settings.bundle_size * max(1, live[fleet])
            if fleet in self._filled and in_flight[fleet] < wanted / 2:
                self.windows[fleet] = min(2 * window, WIDEST)
            elif in_flight[fleet] >= wanted:
                self.windows[fleet] = max(window // 2, WINDOW)
        self._filled.clear()

    def _limits(self, fleet: str, live: Counter[str], loads: list[Load]) -> dict[str, int]:
        """Tell how many jobs more each fleet can take: the one that they go to now, and the one that is next."""
        in_flight = _in_flight(loads)
        limits = {}
        for name, window in self.windows.items():
            bundles = window * live[name] if name == fleet else 2 * window * max(1, live[name])
            limits[name] = bundles * self.services.settings.bundle_size - in_flight[name]
        return limits


def _in_flight(loads: list[Load]) -> Counter[str]:
    """Count what each fleet has in flight."""
    in_flight = Counter[str]()
    for load in loads:
        if load.state in IN_FLIGHT:
            in_flight[QUEUES[load.stage]] += load.n
    return in_flight


def _express(fleet: str, loads: list[Load]) -> Counter[uuid.UUID]:
    """Count what each tenant has in flight that is urgent."""
    express = Counter[uuid.UUID]()
    for load in loads:
        if load.priority and load.state in IN_FLIGHT and QUEUES[load.stage] == fleet:
            express[load.tenant_id] += load.n
    return express


def _bundles(load: Load, taken: list[tuple[uuid.UUID, int]]) -> Iterator[Bundle]:
    """Bundle jobs. What failed before travels alone: if it takes its worker down, it takes no other photo along."""
    together = tuple(job_id for job_id, tries in taken if not tries)
    alone = [(job_id,) for job_id, tries in taken if tries]
    for job_ids in [together, *alone] if together else alone:
        yield Bundle(load.stage, load.priority, job_ids)


@dataclass
class Turns:
    """Weighted turns of the tenants on one fleet (start-time fair queueing, Goyal et al. 1996).

    Who was served least is next. Who comes back after a while starts where the others are: idle time is no credit.
    """

    served: dict[uuid.UUID, float] = field(default_factory=dict)
    """Jobs sent by tenant, divided by the tenant's weight."""
    time: float = 0.0
    """What the one who was served last had been served before."""

    def start(self, ready: list[Load]) -> dict[uuid.UUID, list[Load]]:
        """Sort what is ready: by tenant; inside a tenant by priority, then age, then what is nearest to its end."""
        waiting: dict[uuid.UUID, list[Load]] = {}
        for load in sorted(ready, key=lambda load: (-load.priority, load.created_at, -STAGES.index(load.stage))):
            waiting.setdefault(load.tenant_id, []).append(load)
        self.served = {tenant_id: self.served.get(tenant_id, self.time) for tenant_id in waiting}
        return waiting

    def next(self, waiting: Collection[uuid.UUID]) -> uuid.UUID:
        """Tell whose turn it is."""
        return min(waiting, key=self.served.__getitem__)

    def is_ahead(self, tenant_id: uuid.UUID, slack: float) -> bool:
        """Whether a tenant was served more than another that has something ready, by more than the slack."""
        return self.served[tenant_id] > min(self.served.values()) + slack

    def serve(self, tenant_id: uuid.UUID, share: float) -> None:
        """Take down that a tenant was served."""
        self.time = self.served[tenant_id]
        self.served[tenant_id] += share
