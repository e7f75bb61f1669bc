"""Whether this worker's machine is fit for work: a self-test, and what follows where it fails.

No fault of a machine is written as a fault of a photo. So before a fault is counted, the machine is tested: a machine
that fails is to blame, its jobs return to the queue uncounted, and its worker claims nothing until it passes. A photo
that fails on a sound machine is to blame itself.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import structlog

from retint import store_identity
from retint.errors import (
    DeviceFailed,
    DiskUnavailable,
    MachineFault,
    OutOfMemory,
    RetintError,
    StoreUnavailable,
    Transient,
)
from retint.jobs.leases import Done
from retint.services import Services
from retint.store_identity import WrongStore
from retint_workers import scratch
from retint_workers.beats import Background, Beat
from retint_workers.imaging import vips
from retint_workers.inference import devices
from retint_workers.queue.heartbeat import Heartbeat
from retint_workers.sandbox.children import run_in_own_child

Check = Callable[[Beat], None]
"""Proves that one part of the machine works; raises Transient where it does not. Beats while it waits."""

TEST_FILE_MIB = 16
ROOM_MIB, ROOM_SHARE = 256, 0.05
"""What a sound machine has left on the disk of its scratch files: so much, or this share of a smaller disk."""
MEMORY_MIB = 256
"""Memory that a sound machine has left."""
CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container of its limits."""
CHECK_LIMIT_S = 120
"""How long one check may take."""
TRUST_S = 5.0
"""How long a passed test is believed for faults of the same kind: many photos may fail at once."""
FAULTS_IN_DOUBT = 8
"""After so many faults in a row the machine is tested before the next claim."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
"""Pause between two tests of a machine that fails: doubled each time."""
WAIT_S = 0.2
"""Time between two looks of a worker in trouble at whether it should end."""

log = structlog.get_logger()


class Machine:
    """The machine of one worker.

    Args:
        heartbeat: the worker's.
        checks: what is tested before the first claim, after faults, and before the worker claims again.
        device_check: what is tested besides, except after faults that say nothing of the machine: it takes seconds.
        should_end: whether the worker was told to end, so that it stops waiting.
    """

    def __init__(
        self,
        heartbeat: Heartbeat,
        checks: Mapping[str, Check],
        device_check: Check | None = None,
        should_end: Callable[[], bool] = lambda: False,
    ) -> None:
        self.heartbeat = heartbeat
        self._checks = checks
        self._device_check = device_check
        self._should_end = should_end
        self._is_in_doubt = True
        self._faults_in_a_row = 0
        self._trusted_code = ""
        self._trusted_until = 0.0

    def is_to_blame(self, outcome: Done | RetintError, beat: Beat) -> bool:
        """Whether not the photo but the machine is to blame for how an attempt ended; tests it after a fault."""
        if not isinstance(outcome, Transient):
            self._faults_in_a_row = 0
            return False
        self._faults_in_a_row += 1
        self._is_in_doubt |= self._faults_in_a_row >= FAULTS_IN_DOUBT
        if isinstance(outcome, DeviceFailed):
            self.heartbeat.must_end = True
            self.heartbeat.may_continue = False
        if outcome.code == self._trusted_code and time.monotonic() < self._trusted_until:
            return False
        trouble = self._find_trouble(beat, with_device=isinstance(outcome, MachineFault))
        if trouble:
            self._is_in_doubt = True
            self.heartbeat.report_trouble(trouble)
            return True
        self._trusted_code, self._trusted_until = outcome.code, time.monotonic() + TRUST_S
        return False

    def wait_until_fit(self) -> bool:
        """Wait until the machine passes its test, if there is doubt about it; return whether the worker may go on.

        It may not if it was told to end meanwhile, or has lost its device.
        """
        pause_s = FIRST_PAUSE_S
        while self._is_in_doubt and not self._must_end():
            trouble = self._find_trouble(self.beat, with_device=True)
            self.heartbeat.report_trouble(trouble)
            if trouble is None:
                self._is_in_doubt = False
                self._faults_in_a_row = 0
            else:
                self._pause(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return not self._must_end()

    def _must_end(self) -> bool:
        return self.heartbeat.must_end or not self.heartbeat.may_continue or self._should_end()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._must_end():
            self.beat()
            time.sleep(WAIT_S)

    def beat(self) -> bool:
        """Beat while no job is in hand."""
        self.heartbeat.beat()
        return True

    def _find_trouble(self, beat: Beat, *, with_device: bool) -> str | None:
        """Test the machine; return what is wrong with it, a sentence, or None."""
        checks = dict(self._checks)
        if with_device and self._device_check:
            checks["device"] = self._device_check
        for name, check in checks.items():
            try:
                check(beat)
            except Transient as fault:
                log.warning("machine_fails", check=name, code=fault.code, reason=fault.message)
                return fault.message
        return None


def check_scratch(beat: Beat) -> None:
    """Prove that a scratch file can be written, read and deleted, and that there is room for more."""

    def write_and_read(_: object) -> None:
        content = os.urandom(1 << 20)
        with scratch.translate_errors(), scratch.open_folder() as folder:
            path = folder / "test"
            with path.open("wb") as file:
                for _ in range(TEST_FILE_MIB):
                    file.write(content)
            with path.open("rb") as file:
                is_same = all(file.read(len(content)) == content for _ in range(TEST_FILE_MIB))
            disk = shutil.disk_usage(folder)
        if not is_same:
            raise DiskUnavailable("This machine's disk returned other bytes than were written to it.")
        if disk.free < min(ROOM_MIB << 20, ROOM_SHARE * disk.total):
            left = f"{disk.free >> 20} MiB are left on the disk of its temporary folder"
            raise DiskUnavailable(f"This machine's disk is nearly full: {left}.", code="disk_full")

    limit = DiskUnavailable(f"This machine's disk did not answer within {CHECK_LIMIT_S} seconds.")
    Background(write_and_read, CHECK_LIMIT_S, limit).wait(beat)


def check_memory(_: Beat) -> None:
    """Prove that the machine, or the container, has some memory left."""
    available = psutil.virtual_memory().available
    with suppress(OSError, ValueError, StopIteration):  # no container, or one without a limit
        limit, used = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        cache = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        available = min(available, limit - used + cache)
    if available < MEMORY_MIB << 20:
        raise OutOfMemory(f"This machine has only {available >> 20} MiB of memory left.")


def make_store_check(services: Services) -> Check:
    """Make the check of the store: that it works, and that it is the one of the database."""

    def prove_store(_: object) -> None:
        services.store.check()
        try:
            store_identity.verify(services)
        except WrongStore as error:
            raise StoreUnavailable(error.message, code=error.code) from error

    def check(beat: Beat) -> None:
        limit = StoreUnavailable(f"The store did not answer within {CHECK_LIMIT_S} seconds.")
        Background(prove_store, CHECK_LIMIT_S, limit).wait(beat)

    return check


def check_device(device: str, beat: Beat) -> None:
    """Prove that a device works; a GPU in a process of its own, since one whose GPU failed can learn nothing of it."""
    if device.startswith("cuda"):
        run_in_own_child(devices.prove_device, CHECK_LIMIT_S, beat, device)
    else:
        devices.prove_device(device)


def check_imaging(beat: Beat) -> None:
    """Prove that the processes that open files start, and can encode and decode one."""
    run_in_own_child(vips.prove_imaging, CHECK_LIMIT_S, beat)
