"""A process of an installation under fault: `python -m tests.faults.entry_point [options] worker --fleet cpu`.

It runs the command `retint` as it is, or a worker with plain stages, which read and write the store and run no network.
What cannot be done to a process from outside is done here, around the product and not in it:

- `--at MOMENT` kills the process (SIGKILL) at a moment of its work, when that comes for the time `--count`; `--stop`
  stops it (SIGSTOP) instead, until the test lets it go on.
- A file in the folder `--switches` breaks a part of the machine for as long as it is there.
- `--clock SECONDS` sets the process's clock wrong.
"""

import argparse
import errno
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

REFUSED, BROKEN = b"refused", b"broken"
"""How a file begins that a plain stage refuses, or that shows a bug of it."""
PHOTO_S = 0.03
"""What a plain stage takes for a photo."""

MOMENTS = {
    "received": "a message is received, and nothing is claimed yet",
    "claimed": "the claim is committed, and the stage begins",
    "network": "a network runs",
    "stored": "a stage has put a file into the store, and no row names it",
    "committed": "the outcome is committed, and the next link of the chain is not sent",
    "sent": "the dispatcher has sent a bundle",
}

SWITCHES = ("disk-slow", "disk-broken", "disk-full", "device-broken", "device-full")
DISK_ERRORS = {"disk-broken": errno.EIO, "disk-full": errno.ENOSPC}
DISK_DELAY_S = 0.3


def main() -> None:
    """Run the process that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", action="store_true", help="plain stages instead of the real ones")
    parser.add_argument("--at", choices=MOMENTS)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--switches", type=Path)
    parser.add_argument("--clock", type=float, default=0.0)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.clock:
        shift_clock(options.clock)
    if options.switches:
        break_disk(options.switches)
        if "gpu" in options.command and not options.plain:
            break_device(options.switches)
    if options.at:
        WATCH[options.at](count_down(options.count, signal.SIGSTOP if options.stop else signal.SIGKILL))
    if options.plain and options.command[0] == "worker":
        run_plain_worker(options.command[-1])
        return
    from retint.command import cli

    sys.argv[1:] = options.command
    cli.main()


# --- plain stages -----------------------------------------------------------------------------------------------------


def run_plain_worker(fleet: str) -> None:
    """Run a worker that needs neither torch nor vips."""
    from retint import telemetry
    from retint.lifecycle import Stage
    from retint.services import Services
    from retint.settings import Settings
    from retint_workers.queue import app

    settings = Settings()
    telemetry.configure(settings, f"worker-{fleet}")
    app.run_worker(Services.connect(settings), fleet, dict.fromkeys(Stage, run_plain_stage), device="none")


def run_plain_stage(services: Any, leases: Sequence[Any], beat: Callable[[], bool]) -> Iterator[tuple[Any, Any]]:
    """Read each original, and write a file that only this stage makes of it."""
    from retint.errors import RetintError
    from retint.jobs.leases import Done
    from retint_workers.queue import transfers

    for lease in leases:
        if not beat():
            return
        try:
            key = transfers.start(lease, partial(make_plain_file, services.store, lease)).wait(beat)
        except RetintError as error:
            yield lease, error
            continue
        time.sleep(PHOTO_S)
        yield lease, Done({str(lease.stage): key}, {}, {"work": PHOTO_S})


def make_plain_file(store: Any, lease: Any, progress: Callable[[], None]) -> str:
    """Make a plain stage's file; return its key."""
    from retint.errors import InvalidPhoto

    with store.open(lease.original_key, progress=progress) as source:
        original = source.read()
    if original.startswith(BROKEN):
        raise RuntimeError("a bug")
    if original.startswith(REFUSED):
        raise InvalidPhoto("This is not a photograph.")
    sha256 = hashlib.sha256(original).hexdigest()
    key: str = lease.file_key("file")
    store.put(key, plain_file(lease.stage, sha256), progress=progress)
    return key


def plain_file(stage: str, sha256: str) -> bytes:
    """Return what a plain stage makes of an original."""
    return f"{stage} of {sha256}".encode()


# --- death at a moment ------------------------------------------------------------------------------------------------

Act = Callable[[], None]


def count_down(times: int, number: signal.Signals) -> Act:
    """Return a function whose nth call sends this process a signal."""
    left = iter(range(times - 1, -1, -1))

    def act() -> None:
        if next(left, None) == 0:
            os.kill(os.getpid(), number)

    return act


def watch_messages(act: Act) -> None:
    from celery import signals

    signals.task_prerun.connect(lambda **_: act(), weak=False)


def watch_stages(act: Act) -> None:
    from retint_workers.queue import app

    run_worker = app.run_worker

    def run(services: Any, fleet: str, stages: Any, *arguments: Any, **named: Any) -> None:
        watched = {stage: _act_before(run_stage, act) for stage, run_stage in stages.items()}
        run_worker(services, fleet, watched, *arguments, **named)

    app.run_worker = run


def _act_before(run_stage: Callable[..., Iterator[Any]], act: Act) -> Callable[..., Iterator[Any]]:
    def run(*arguments: Any) -> Iterator[Any]:
        act()
        yield from run_stage(*arguments)

    return run


def watch_networks(act: Act) -> None:
    from celery import signals
    from torch.nn.modules.module import register_module_forward_pre_hook

    # From the first task on: networks that are loaded and tried before do not count.
    signals.task_prerun.connect(lambda **_: register_module_forward_pre_hook(lambda *_: act()), weak=False)


def watch_store(act: Act) -> None:
    from retint.stores.directory import DirectoryStore
    from retint.stores.s3 import S3Store

    for store in (DirectoryStore, S3Store):
        _act_after_put(store, act)


def _act_after_put(store: Any, act: Act) -> None:
    put = store.put

    def put_and_act(self: Any, key: str, *arguments: Any, **named: Any) -> None:
        put(self, key, *arguments, **named)
        if "/jobs/" in key:
            act()

    store.put = put_and_act


def watch_commits(act: Act) -> None:
    from sqlalchemy import Engine, event
    from sqlalchemy.orm import Session

    written: list[str] = []

    @event.listens_for(Engine, "after_cursor_execute")
    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("INSERT INTO attempts"):
            written.append(statement)

    @event.listens_for(Session, "after_commit")
    def after_commit(_: Session) -> None:
        if written:
            written.clear()
            act()


def watch_sends(act: Act) -> None:
    from retint.broker import Broker

    send = Broker.send

    def send_and_act(*arguments: Any, **named: Any) -> Any:
        sent = send(*arguments, **named)
        act()
        return sent

    Broker.send = send_and_act  # type: ignore[method-assign]


WATCH: dict[str, Callable[[Act], None]] = {
    "received": watch_messages,
    "claimed": watch_stages,
    "network": watch_networks,
    "stored": watch_store,
    "committed": watch_commits,
    "sent": watch_sends,
}

# --- a machine that breaks --------------------------------------------------------------------------------------------


def break_disk(switches: Path) -> None:
    """Let `fsync` be slow, or fail, while a switch is on: there the errors of a disk reach a program."""
    fsync = os.fsync

    def fsync_on_bad_disk(fd: Any) -> None:
        for switch, number in DISK_ERRORS.items():
            if (switches / switch).exists():
                raise OSError(number, os.strerror(number))
        if (switches / "disk-slow").exists():
            time.sleep(DISK_DELAY_S)
        fsync(fd)

    os.fsync = fsync_on_bad_disk


def break_device(switches: Path) -> None:
    """Let every network fail while a switch is on: for want of memory, or as on a broken device.

    As with CUDA, a process that has met a broken device never recovers.
    """
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    met: list[bool] = []

    def run_on_bad_device(*_: Any) -> None:
        if (switches / "device-full").exists():
            raise torch.OutOfMemoryError("CUDA out of memory")
        if met or (switches / "device-broken").exists():
            met.append(True)
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    register_module_forward_pre_hook(run_on_bad_device)


def shift_clock(seconds: float) -> None:
    """Let this process's clock be wrong. To be called before anything else is imported."""
    import datetime

    true_time, true_datetime = time.time, datetime.datetime
    shift = datetime.timedelta(seconds=seconds)

    class ShiftedDatetime(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return true_datetime.now(tz) + shift

        @classmethod
        def utcnow(cls) -> Any:
            return true_datetime.now(datetime.UTC).replace(tzinfo=None) + shift

    time.time = lambda: true_time() + seconds
    datetime.datetime = ShiftedDatetime  # type: ignore[misc]


if __name__ == "__main__":
    main()
