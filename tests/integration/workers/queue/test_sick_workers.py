"""Real workers on a machine that fails: they say so, claim nothing, go on when it is sound, and can be ended."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.integration.conftest import Processes, Site
from tests.servers import Server

from retint import fleets
from retint.lifecycle import Outcome, State
from retint.tables import Worker
from retint_workers import beats, scratch

MakeProcesses = Callable[[Site], Processes]


def list_troubles(site: Site) -> dict[str, str | None]:
    with site.services.begin() as session:
        return {worker.fleet: worker.trouble for worker in fleets.list_live(session)}


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 48 MiB for the temporary files of the processes that are started."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount the small disk that this test fills")
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_worker_whose_disk_is_full_claims_nothing_until_there_is_room(
    sqlite_site: Site, make_processes: MakeProcesses, small_disk: Path
) -> None:
    (small_disk / "filler").write_bytes(bytes(40 << 20))
    processes = make_processes(sqlite_site)
    processes.start_all()
    sqlite_site.wait_until(
        lambda: (
            list_troubles(sqlite_site)
            == dict.fromkeys(("cpu", "gpu"), "This machine's disk is full (No space left on device).")
        )
    )
    job_ids = sqlite_site.add_many_jobs(4)
    time.sleep(2)
    assert sqlite_site.count_states(job_ids) == {State.READY: 4}, "the dispatcher sends nothing to workers in trouble"
    (small_disk / "filler").unlink()
    sqlite_site.wait_for(job_ids)
    assert list_troubles(sqlite_site) == {"cpu": None, "gpu": None}
    assert {outcome for _, outcome in sqlite_site.count_outcomes(job_ids)} == {Outcome.DONE}


def test_scratch_files_stay_on_the_disk_that_was_named_though_it_is_full(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    with suppress(OSError), (small_disk / "filler").open("wb") as filler:
        while True:
            filler.write(bytes(1 << 20))
            filler.flush()
    with scratch.open_folder() as folder:
        assert folder.is_relative_to(small_disk)


@pytest.mark.parametrize("when", ["at its start", "at work"])
def test_a_worker_in_trouble_can_be_ended(sqlite_site: Site, make_processes: MakeProcesses, when: str) -> None:
    store = sqlite_site.settings.data / "store"
    processes = make_processes(sqlite_site)
    if when == "at its start":
        store.rename(store.with_name("elsewhere"))
        worker = processes.start("worker", "cpu")
    else:
        worker = processes.start("worker", "cpu")
        sqlite_site.wait_until(lambda: list_troubles(sqlite_site) == {"cpu": None})
        store.rename(store.with_name("elsewhere"))
        processes.start("dispatcher")
        job_ids = sqlite_site.add_jobs("fault@ingest", "another")
    sqlite_site.wait_until(lambda: "is its disk mounted" in str(list_troubles(sqlite_site).get("cpu")))
    if when == "at work":
        sqlite_site.wait_until(lambda: State.RUNNING not in sqlite_site.count_states(job_ids))
        assert sqlite_site.list_attempts(job_ids[0]) == []
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 0
    assert list_troubles(sqlite_site) == {}


def test_a_worker_clears_what_dead_ones_left(
    sqlite_site: Site, make_processes: MakeProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    left = temporary / f"{scratch.PREFIX}left"
    left.mkdir(parents=True)
    (left / "original").write_bytes(b"half")
    monkeypatch.setenv("TMPDIR", str(temporary))
    make_processes(sqlite_site).start("worker", "cpu")
    sqlite_site.wait_until(lambda: "cpu" in list_troubles(sqlite_site))
    assert not left.exists()


def test_a_worker_beats_while_the_broker_is_away(
    sqlite_site: Site, make_processes: MakeProcesses, valkey_server: Server
) -> None:
    make_processes(sqlite_site).start("worker", "cpu")
    sqlite_site.wait_until(lambda: "cpu" in list_troubles(sqlite_site))

    def last_beat() -> float:
        with sqlite_site.services.begin() as session:
            [worker] = session.query(Worker).all()
            return worker.heartbeat_at.timestamp()

    valkey_server.kill()
    try:
        time.sleep(2)
        before = last_beat()
        sqlite_site.wait_until(lambda: last_beat() > before + 4, timeout_s=40)
    finally:
        valkey_server.start()


def test_whoever_watches_a_worker_is_told_whether_it_makes_progress(
    sqlite_site: Site, tmp_path: Path, make_processes: MakeProcesses
) -> None:
    heartbeat = tmp_path / "heartbeat"
    environment = sqlite_site.settings.environment()

    def ask() -> tuple[int, str]:
        command = [sys.executable, "-m", "retint", "worker-alive", "--heartbeat", str(heartbeat)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout + done.stderr

    assert ask() == (1, "There was no heartbeat yet.\n")
    processes = make_processes(sqlite_site)
    command = [sys.executable, "-m", "retint", "worker", "--fleet", "cpu", "--heartbeat", str(heartbeat)]
    with (tmp_path / "log").open("wb") as sink:
        worker = subprocess.Popen(command, stdout=sink, stderr=sink, env=environment)
    processes.running.append(worker)
    sqlite_site.wait_until(lambda: ask()[0] == 0)
    silent_since = time.monotonic_ns() - int((beats.HANG_S + 1) * 1e9)
    worker.send_signal(signal.SIGSTOP)
    os.utime(heartbeat, ns=(silent_since, silent_since))
    status, said = ask()
    assert (status, said[:17]) == (1, "No heartbeat for ")
    worker.send_signal(signal.SIGCONT)
    sqlite_site.wait_until(lambda: ask()[0] == 0)


def test_a_worker_that_hangs_ends_itself_and_says_where(
    sqlite_site: Site, make_processes: MakeProcesses, tmp_path: Path
) -> None:
    processes = make_processes(sqlite_site)
    processes.start("dispatcher")
    worker = processes.start("worker", "cpu", "5")
    [stuck] = sqlite_site.add_jobs("hang@ingest")
    sqlite_site.wait_for([stuck], State.RUNNING)
    assert worker.wait(timeout=60) != 0
    assert "trivial.py" in (tmp_path / "1-worker-cpu-5.log").read_text(), "the stack is in the log"
    sqlite_site.wait_until(lambda: sqlite_site.get_job(stuck).faults == 1)
