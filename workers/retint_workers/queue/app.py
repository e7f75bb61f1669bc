"""The Celery application as a worker runs it: one process, pool `solo`, one queue."""

import os
import time
import uuid
import warnings
from collections.abc import Mapping
from typing import Any

import structlog
from celery import Celery, bootsteps, signals
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from celery.worker import state

from retint import broker
from retint.broker import Broker
from retint.errors import QueueUnavailable
from retint.lifecycle import Stage
from retint.services import Services
from retint_workers.queue import tasks
from retint_workers.queue.heartbeat import BEAT_S, Presence

LISTEN_S = 2.0
"""Pause between two tests of whether this worker hears its queue."""

log = structlog.get_logger()


def make(services: Services, fleet: str, stages: Mapping[Stage, tasks.Work], device: str = "cpu") -> Celery:
    """Make the application of one worker: its fleet's tasks, its heartbeat.

    Args:
        services: what the process works with.
        fleet: the queue that it serves, `cpu` or `gpu`.
        stages: what runs each stage (see `tasks`); those of another fleet are left out.
        device: what administrators are told that it runs on.
    """
    link = broker.connect(services.settings.broker_url)
    presence = Presence(services, fleet, device)
    tasks.add_to(link.app, presence, stages)
    link.app.steps["worker"].add(_heartbeat(presence, link))
    return link.app


def work(services: Services, fleet: str, stages: Mapping[Stage, tasks.Work], device: str | None = None) -> None:
    """Run a worker until it is told to end: SIGTERM ends it after its bundle."""
    # Our own logging is set up already, and Celery shall leave it alone.
    signals.setup_logging.connect(_leave_logging_alone)
    # It warns of pickles from strangers; we take JSON only, and hostile files are opened elsewhere.
    warnings.simplefilter("ignore", SecurityWarning)
    warnings.simplefilter("ignore", CPendingDeprecationWarning)
    app = make(services, fleet, stages, device or _device(services, fleet))
    worker = app.Worker(
        hostname=f"{fleet}-{uuid.uuid4().hex}",
        pool="solo",
        concurrency=1,
        queues=[fleet],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()


def _leave_logging_alone(**_: Any) -> None:
    return None


def _device(services: Services, fleet: str) -> str:
    if fleet == "cpu":
        return f"cpu ({os.cpu_count()} cores)"
    from retint_workers.inference import loading

    device = loading.resolve_device(services.settings.device)
    if not device.startswith("cuda"):
        return f"{device} ({os.cpu_count()} cores)"
    import torch

    return str(torch.cuda.get_device_name(device))


def _heartbeat(presence: Presence, link: Broker) -> type[bootsteps.StartStopStep]:
    """Make the step that registers the worker and beats for it while it waits, from the loop that consumes."""

    class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
        requires = frozenset({"celery.worker.components:Timer"})
        timer: Any = None

        def start(self, worker: Any) -> None:
            presence.register()
            self.ear = Ear(presence, link)
            self.timer = worker.timer.call_repeatedly(BEAT_S / 4, self.beat)

        def beat(self) -> None:
            presence.beat()
            if not presence.may_go_on and state.should_stop is None:
                log.info("worker_restarts")
                state.should_stop = os.EX_OK
            self.ear.test()

        def stop(self, _: Any) -> None:
            if self.timer:
                self.timer.cancel()
            presence.end()

    return Heartbeat


class Ear:
    """Whether this worker hears its queue.

    One whose connection broke at the wrong moment, while a message was acknowledged or the next link sent, goes on
    without a word and receives nothing any more (celery#10302).
    """

    def __init__(self, presence: Presence, link: Broker) -> None:
        self.presence = presence
        self.link = link
        self._tested_at = time.monotonic()
        self._taken: int | None = None

    def test(self) -> None:
        """Compare what waits with what was taken, now and then; called only where this worker waits, too.

        Raises:
            ConnectionError: the broker is away, or messages waited twice in a row and none was taken: Celery's loop
                takes it as what it is, and connects again.
        """
        at = time.monotonic()
        if at - self._tested_at < LISTEN_S:
            return
        self._tested_at = at
        try:
            waits = self.link.depth()[self.presence.fleet] > 0
        except QueueUnavailable as error:
            raise ConnectionError(error.message) from error
        before, self._taken = self._taken, self.presence.taken if waits else None
        if waits and before == self.presence.taken:
            self._taken = None
            log.warning("worker_deaf")
            raise ConnectionError("Messages wait and none is received.")
