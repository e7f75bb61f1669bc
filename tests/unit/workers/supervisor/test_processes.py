"""When the supervisor takes a process for hung: by the heartbeats of this process, and of no other."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from retint_workers import beats
from retint_workers.supervisor.processes import SupervisedProcess

LONG_AGO_S = beats.HANG_S + 5


@pytest.fixture
def process(tmp_path: Path) -> Iterator[SupervisedProcess]:
    """A process that runs and writes no heartbeat."""
    command = [sys.executable, "-c", "import time; time.sleep(300)"]
    made = SupervisedProcess("cpu-1", command, dict(os.environ), tmp_path / "log", tmp_path / "heartbeat")
    made.start()
    assert isinstance(made.process, subprocess.Popen)
    yield made
    made.process.kill()
    made.process.wait()


def set_beat(process: SupervisedProcess, seconds_ago: float) -> None:
    assert process.heartbeat
    process.heartbeat.touch()
    at_ns = time.monotonic_ns() - int(seconds_ago * 1e9)
    os.utime(process.heartbeat, ns=(at_ns, at_ns))


def test_a_process_without_heartbeats_hangs_after_a_while(process: SupervisedProcess) -> None:
    assert not process.is_hanging()
    process.started_at -= LONG_AGO_S
    assert process.is_hanging(), "it has not beaten since it was started"
    set_beat(process, 1)
    assert not process.is_hanging()
    set_beat(process, LONG_AGO_S)
    assert process.is_hanging()


def test_heartbeats_of_the_process_before_it_say_nothing(process: SupervisedProcess) -> None:
    set_beat(process, LONG_AGO_S)
    assert not process.is_hanging(), "it has just been started"


def test_a_process_that_has_ended_does_not_hang(process: SupervisedProcess) -> None:
    process.started_at -= LONG_AGO_S
    assert process.process
    process.process.kill()
    process.process.wait()
    assert not process.is_hanging()
