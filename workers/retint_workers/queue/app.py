"""The Celery application of a worker process: pool `solo`, one queue."""

import os
import signal
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from celery import Celery, bootsteps, signals
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from celery.worker import state
from celery.worker.consumer import Consumer

from retint import store_identity
from retint.broker import Broker
from retint.errors import QueueUnavailable
from retint.lifecycle import Stage
from retint.services import Services
from retint_workers import scratch
from retint_workers.beats import Beat
from retint_workers.inference import devices
from retint_workers.queue import machine as machines
from retint_workers.queue import tasks, zooms
from retint_workers.queue.heartbeat import BEAT_S, Heartbeat, is_told_to_end
from retint_workers.queue.machine import Machine

PROBE_S = 2.0
"""Time between two checks of whether this worker receives messages."""

log = structlog.get_logger()


def make_app(machine: Machine, stages: Mapping[Stage, tasks.RunStage]) -> Celery:
    """Make a worker's Celery application, with its fleet's tasks and its heartbeat; stages of others are left out."""
    connection = machine.heartbeat.services.connect_broker()
    tasks.register(connection.app, machine, stages)
    zooms.register(connection.app, machine)
    connection.app.steps["worker"].add(_make_heartbeat_step(machine, connection))
    return connection.app


def run_worker(
    services: Services,
    fleet: str,
    stages: Mapping[Stage, tasks.RunStage],
    device: str | None = None,
    *,
    heartbeat_file: Path | None = None,
    prepare: Callable[[Beat], object] = lambda _: None,
) -> None:
    """Run a worker until SIGTERM, which ends it after its bundle.

    Args:
        services: what the process works with.
        fleet: the queue that it serves, `cpu` or `gpu`.
        stages: what runs each stage (see `tasks`).
        device: shown to administrators; by default it is found out, and tested with the machine.
        heartbeat_file: see `Heartbeat`.
        prepare: called with a beat before the first bundle, on a sound machine.

    Raises:
        DeviceFailed: this machine has no such device as the settings ask for.
        WrongStore: database and store do not belong together.
        RetintError: raised by `prepare`.
    """
    _quiet_celery()
    scratch.clear_leftovers()
    store_identity.verify_at_start(services)
    machine = _make_machine(services, fleet, device, heartbeat_file)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # until Celery takes it over
    try:
        machine.heartbeat.register()
        machine.wait_until_fit()
        with machine.heartbeat.busy_with("getting ready"):  # who is idle while messages wait is restarted
            prepare(machine.beat)
        with scratch.open_root():
            _make_worker(machine, fleet, stages).start()
    finally:
        machine.heartbeat.end()


def _make_worker(machine: Machine, fleet: str, stages: Mapping[Stage, tasks.RunStage]) -> Any:
    """Make Celery's worker of one process, without all by which workers talk to each other."""
    return make_app(machine, stages).Worker(
        hostname=f"{fleet}-{uuid.uuid4().hex}",
        pool="solo",
        concurrency=1,
        queues=[fleet],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
        consumer_cls=_make_consumer(machine.heartbeat),
    )


def _make_machine(services: Services, fleet: str, device: str | None, heartbeat_file: Path | None) -> Machine:
    """Make the machine of this process, with the checks of its fleet; none of a device that is only named."""
    device_check: machines.Check | None = None
    if device is None and fleet == "cpu":
        device, device_check = f"cpu ({os.cpu_count()} cores)", machines.check_imaging
    elif device is None:
        device = devices.describe_device(services.settings.device)
        device_check = partial(machines.check_device, devices.resolve_device(services.settings.device))
    checks = {
        "disk": machines.check_scratch,
        "memory": machines.check_memory,
        "store": machines.make_store_check(services),
    }
    heartbeat = Heartbeat(services, fleet, device, heartbeat_file, ends_when_hung=True)
    return Machine(heartbeat, checks, device_check, should_end=is_told_to_end)


def _quiet_celery() -> None:
    """Keep our own logging, and silence what Celery says of pickles: we accept JSON only."""
    signals.setup_logging.connect(_keep_logging)
    warnings.simplefilter("ignore", SecurityWarning)
    warnings.simplefilter("ignore", CPendingDeprecationWarning)


def _keep_logging(**_: Any) -> None:
    return None


def _make_heartbeat_step(machine: Machine, connection: Broker) -> type[bootsteps.StartStopStep]:
    """Make the step that beats while the worker waits, from the loop that consumes messages."""
    heartbeat = machine.heartbeat

    class HeartbeatStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
        requires = frozenset({"celery.worker.components:Timer"})
        timer: Any = None

        def start(self, worker: Any) -> None:
            self.probe = QueueProbe(heartbeat, connection)
            self.timer = worker.timer.call_repeatedly(BEAT_S / 4, self.beat)

        def beat(self) -> None:
            heartbeat.beat()
            machine.wait_until_fit()  # meanwhile no message is taken from a worker that is sound
            if not heartbeat.may_continue and state.should_stop is None:
                log.info("worker_restarts")
                state.should_stop = os.EX_OK
            self.probe.check()

        def stop(self, _: Any) -> None:
            if self.timer:
                self.timer.cancel()

    return HeartbeatStep


def _make_consumer(heartbeat: Heartbeat) -> type[Consumer]:
    """Make Celery's consumer, which beats while it waits for the broker, too: that may take longer than a hang."""

    def beat() -> None:
        heartbeat.beat()
        state.maybe_shutdown()

    def explain(error: Exception, seconds: float) -> None:
        log.warning("broker_away", reason=type(error).__name__, seconds=seconds)

    class BeatingConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
        def ensure_connected(self, connection: Any) -> Any:
            connected = connection.ensure_connection(explain, callback=beat)
            self.first_connection_attempt = False
            return connected

    return BeatingConsumer


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
