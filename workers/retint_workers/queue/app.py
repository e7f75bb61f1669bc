"""The Celery application of a worker process: pool `solo`, one queue."""

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
from retint_workers.queue.heartbeat import BEAT_S, Heartbeat

PROBE_S = 2.0
"""Time between two checks of whether this worker receives messages."""

log = structlog.get_logger()


def make_app(services: Services, fleet: str, stages: Mapping[Stage, tasks.RunStage], device: str = "cpu") -> Celery:
    """Make a worker's Celery application, with its fleet's tasks and its heartbeat.

    Args:
        services: what the process works with.
        fleet: the queue that it serves, `cpu` or `gpu`.
        stages: what runs each stage (see `tasks`); stages of another fleet are left out.
        device: shown to administrators.
    """
    connection = broker.connect(services.settings.broker_url)
    heartbeat = Heartbeat(services, fleet, device)
    tasks.register(connection.app, heartbeat, stages)
    connection.app.steps["worker"].add(_make_heartbeat_step(heartbeat, connection))
    return connection.app


def run_worker(
    services: Services, fleet: str, stages: Mapping[Stage, tasks.RunStage], device: str | None = None
) -> None:
    """Run a worker until SIGTERM, which ends it after its bundle."""
    # Our own logging is set up already; Celery must not replace it.
    signals.setup_logging.connect(_keep_logging)
    # Celery warns that root may receive pickles; we accept JSON only, and open hostile files in the sandbox.
    warnings.simplefilter("ignore", SecurityWarning)
    warnings.simplefilter("ignore", CPendingDeprecationWarning)
    app = make_app(services, fleet, stages, device or _describe_device(services, fleet))
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


def _keep_logging(**_: Any) -> None:
    return None


def _describe_device(services: Services, fleet: str) -> str:
    if fleet == "cpu":
        return f"cpu ({os.cpu_count()} cores)"
    from retint_workers.inference import loading

    device = loading.resolve_device(services.settings.device)
    if not device.startswith("cuda"):
        return f"{device} ({os.cpu_count()} cores)"
    import torch

    return str(torch.cuda.get_device_name(device))


def _make_heartbeat_step(heartbeat: Heartbeat, connection: Broker) -> type[bootsteps.StartStopStep]:
    """Make the step that registers the worker, and beats while it waits, from the loop that consumes messages."""

    class HeartbeatStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
        requires = frozenset({"celery.worker.components:Timer"})
        timer: Any = None

        def start(self, worker: Any) -> None:
            heartbeat.register()
            self.probe = QueueProbe(heartbeat, connection)
            self.timer = worker.timer.call_repeatedly(BEAT_S / 4, self.beat)

        def beat(self) -> None:
            heartbeat.beat()
            if not heartbeat.may_continue and state.should_stop is None:
                log.info("worker_restarts")
                state.should_stop = os.EX_OK
            self.probe.check()

        def stop(self, _: Any) -> None:
            if self.timer:
                self.timer.cancel()
            heartbeat.end()

    return HeartbeatStep


class QueueProbe:
    """Checks whether this worker still receives messages from its queue.

    A worker whose connection broke at the wrong moment (while a message was acknowledged or the next link was sent)
    runs on without an error and receives nothing any more (celery#10302).
    """

    def __init__(self, heartbeat: Heartbeat, connection: Broker) -> None:
        self._heartbeat = heartbeat
        self._connection = connection
        self._checked_at = time.monotonic()
        self._received_before: int | None = None
        """Messages received at the last check, if messages waited then."""

    def check(self) -> None:
        """Compare the queue's depth with what was received, every `PROBE_S`; call it only while the worker is idle.

        Raises:
            ConnectionError: the broker is away, or messages waited at two checks in a row and none was received:
                Celery's loop handles it as a lost connection, and connects again.
        """
        at = time.monotonic()
        if at - self._checked_at < PROBE_S:
            return
        self._checked_at = at
        try:
            has_messages = self._connection.count_messages()[self._heartbeat.fleet] > 0
        except QueueUnavailable as error:
            raise ConnectionError(error.message) from error
        received = self._heartbeat.messages_received
        before, self._received_before = self._received_before, received if has_messages else None
        if has_messages and before == received:
            self._received_before = None
            log.warning("worker_receives_nothing")
            raise ConnectionError("Messages wait in the queue and none is received.")
