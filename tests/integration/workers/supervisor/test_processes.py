"""Supervised processes: their log files."""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from retint_workers.supervisor import processes
from retint_workers.supervisor.processes import SupervisedProcess

TALKING = """
import os, sys, structlog, threading, time
from retint import telemetry
from retint.settings import Settings
telemetry.configure(Settings(), "talker")
log, lock, numbers = structlog.get_logger(), threading.Lock(), iter(range(10**9))

def talk():
    while True:
        with lock:
            number = next(numbers)
            if number % 10:
                log.info("line", number=number)
            else:
                os.write(2, f"of a library number={number}\\n".encode())

for _ in range(3):
    threading.Thread(target=talk, daemon=True).start()
time.sleep(60)
"""


@pytest.fixture
def talker(tmp_path: Path) -> SupervisedProcess:
    return SupervisedProcess("talker", [sys.executable, "-c", TALKING], {}, tmp_path / "logs" / "talker.log")


def supervise_until(process: SupervisedProcess, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        process.keep_running()
        time.sleep(0.01)
        assert time.monotonic() < deadline


def numbers_in(files: list[Path]) -> list[int]:
    return [int(number) for file in files for number in re.findall(r"number=(\d+)", file.read_text())]


def test_a_log_file_is_renamed_at_its_size_and_loses_nothing_also_when_the_process_is_killed(
    talker: SupervisedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES", 50_000)
    monkeypatch.setattr(processes, "LOGS_KEPT", 1000)
    folder = talker.log_file.parent
    supervise_until(talker, lambda: len(list(folder.glob("*"))) > 20)
    assert talker.process
    talker.process.kill()
    talker.process.wait()
    files = sorted(folder.glob("talker.log.*"), key=lambda file: -int(file.suffix[1:]))
    numbers = numbers_in([*files, talker.log_file])
    assert sorted(numbers) == list(range(len(numbers)))
    assert min(file.stat().st_size for file in files) >= 50_000


def test_old_log_files_are_deleted(talker: SupervisedProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES", 5_000)
    monkeypatch.setattr(processes, "LOGS_KEPT", 3)
    folder = talker.log_file.parent

    def has_begun_again() -> bool:
        oldest = folder / "talker.log.3"
        return oldest.exists() and min(numbers_in([oldest]), default=0) > 1000

    supervise_until(talker, has_begun_again)
    assert talker.process
    talker.process.kill()
    talker.process.wait()
    assert {file.name for file in folder.iterdir()} <= {f"talker.log{suffix}" for suffix in ("", ".1", ".2", ".3")}
