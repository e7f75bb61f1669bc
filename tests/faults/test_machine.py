"""A worker's machine"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.faults.installation import Installation
from tests.faults.report import fault

from retint.lifecycle import Outcome, Stage
from retint.tables import Attempt

PHOTOS = 8
MANY = 24
CLOCK_S = 600
MIB = 1 << 20


@fault(
    "worker out of memory",
    made="every allocation of a network on the `gpu` worker fails, for 8 s",
    promise="no photo is at fault; the worker claims nothing until there is memory again",
)
def test_a_worker_without_memory_claims_nothing(real_installation: Installation) -> None:
    real_installation.start_worker("cpu")
    real_installation.start("dispatcher")
    starved = real_installation.start_worker("gpu")
    real_installation.deposit(PHOTOS)
    real_installation.wait_for_done(PHOTOS + 2)
    with real_installation.switched_on("device-full", starved):
        real_installation.deposit(PHOTOS)
        real_installation.hold(8)
    real_installation.over()
    real_installation.wait_until_ended()
    assert not real_installation.count_outcomes()[Outcome.FAULT]
    real_installation.recover()


@fault(
    "worker out of disk",
    made="the disk of the `cpu` worker's temporary files is filled to the last byte, for 10 s",
    promise="no photo is at fault; the worker claims nothing until there is room again",
)
def test_a_worker_without_disk_claims_nothing(real_installation: Installation, small_disk: Path) -> None:
    real_installation.start_worker("gpu")
    real_installation.start("dispatcher")
    real_installation.start_worker("cpu", TMPDIR=str(small_disk))
    real_installation.deposit(PHOTOS)
    real_installation.wait_for_done(2)
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(MIB))
    assert not shutil.disk_usage(small_disk).free
    real_installation.hold(10)
    ballast.unlink()
    real_installation.over()
    real_installation.recover()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    if os.getuid() != 0:
        pytest.skip("a small disk can only be made by root")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@fault(
    "worker with a broken device",
    made="every network of one of two workers fails in milliseconds, with an error of CUDA",
    promise="no photo is at fault; the broken worker ends and claims nothing, the sound one does the work",
)
def test_a_broken_device_is_no_black_hole(real_installation: Installation) -> None:
    broken = real_installation.start_worker("gpu")
    real_installation.start_worker("gpu")
    real_installation.start_worker("cpu")
    real_installation.start("dispatcher")
    real_installation.deposit(PHOTOS)
    real_installation.wait_for_done(PHOTOS + 2)
    with real_installation.switched_on("device-broken", broken):
        real_installation.deposit(2 * PHOTOS)
        real_installation.over()
        real_installation.wait_until_ended()
    assert not real_installation.count_outcomes()[Outcome.FAULT]
    real_installation.recover(killed=broken.restarts)


@fault(
    "clocks wrong",
    made="the clock of the `cpu` worker is ten minutes fast, that of the `gpu` worker ten minutes slow",
    promise="the database's clock decides: no lease is lost, none is kept too long",
)
def test_a_wrong_clock_changes_nothing(installation: Installation) -> None:
    fast = installation.start_worker("cpu", options=["--clock", str(CLOCK_S)])
    installation.start_worker("gpu", options=["--clock", str(-CLOCK_S)])
    installation.start("dispatcher")
    installation.deposit(MANY)
    installation.wait_for_done(MANY)
    fast.kill()
    installation.wait_for_death(fast)
    installation.recover(killed=1, remark="the fast one was killed")
    with installation.site.services.read() as session:
        attempts = session.scalars(select(Attempt).where(Attempt.stage == Stage.INGEST)).all()
    assert all(0 <= attempt.seconds < 60 for attempt in attempts)
