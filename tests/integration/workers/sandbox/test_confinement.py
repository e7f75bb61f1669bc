"""What a child cannot do: read secrets, reach the network, touch other files and processes, run programs."""

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests import photo_files

from retint.command import doctor
from retint.errors import OutOfMemory
from retint.recipes import parse
from retint.settings import Settings
from retint_workers import scratch
from retint_workers.beats import beat_for_nobody
from retint_workers.imaging.ingest import ingest
from retint_workers.sandbox import landlock
from retint_workers.sandbox.children import run_in_child
from retint_workers.sandbox.kernel import libc

SETTINGS = Settings()
SECRET = "postgresql://retint:hunter2@db/retint"

needs_landlock = pytest.mark.skipif(landlock.find_version() == 0, reason="this kernel has no Landlock")
needs_filter = pytest.mark.skipif(
    libc.prctl(21, 0, 0, 0, 0) < 0 and ctypes.get_errno() == errno.EINVAL, reason="this kernel has no seccomp"
)


# --- functions that the children run ---------------------------------------------------------------------------------


def read_environment(_: int) -> list[str]:
    own = Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")
    return [*own, *(f"{name}={value}" for name, value in os.environ.items())]


def list_descriptors(_: int) -> list[str]:
    opened = [path for path in Path("/proc/self/fd").iterdir() if os.path.lexists(path)]  # not the folder's own
    return sorted(str(path.readlink()) for path in opened)


def read_file(path: str, _: Path) -> int:
    return len(Path(path).read_bytes())


def write_file(path: str, _: Path) -> int:
    return Path(path).write_bytes(b"written")


def change_file(how: str, path: str, _: Path) -> None:
    changes: dict[str, Callable[[Path], object]] = {
        "delete": Path.unlink,
        "truncate": lambda file: os.truncate(file, 0),
        "mode": lambda file: file.chmod(0o777),
        "time": lambda file: os.utime(file, (0, 0)),
        "rename": lambda file: file.rename(file.with_name("moved")),
    }
    changes[how](Path(path))


def attempt(what: str) -> None:
    parent = os.getppid()
    buffer = ctypes.create_string_buffer(8)
    attempts: dict[str, Callable[[], object]] = {
        "internet": lambda: socket.socket(),
        "local socket": lambda: socket.socket(socket.AF_UNIX),
        "program": lambda: os.execv("/bin/true", ["true"]),
        "fork": os.fork,
        "subprocess": lambda: subprocess.run(["/bin/true"], check=True),
        "signal": lambda: os.kill(parent, 0),
        "all signals": lambda: os.kill(-1, 0),
        "limits of others": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE),
        "more memory": lambda: resource.setrlimit(resource.RLIMIT_DATA, (-1, -1)),
        "trace": lambda: check(libc.ptrace(16, parent, 0, 0)),
        "memory of others": lambda: check(libc.process_vm_readv(parent, buffer, 1, buffer, 1, 0)),
        "link": lambda: Path("link").symlink_to("/etc/passwd"),
        "memory without a file": lambda: os.memfd_create("x"),
        "root folder": lambda: os.chroot("/"),
        "other namespace": lambda: check(libc.unshare(0x10000000)),
        "io_uring": lambda: check(libc.syscall(425, 1, buffer)),
    }
    attempts[what]()


def check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def map_shared(mib: int) -> int:
    return len(mmap.mmap(-1, mib << 20))


def write_large(folder: Path, mib: int) -> int:
    with (folder / "large").open("wb") as file:
        file.truncate(mib << 20)
    return mib


def kill_itself(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- tests ------------------------------------------------------------------------------------------------------------


def test_a_child_has_no_secrets_in_its_environment(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "from retint.settings import Settings\n"
        "from retint_workers.sandbox.children import run_in_child\n"
        "from retint_workers.beats import beat_for_nobody\n"
        "from tests.integration.workers.sandbox.test_confinement import read_environment\n"
        "if __name__ == '__main__':\n"
        "    print('\\n'.join(run_in_child(read_environment, Settings(), beat_for_nobody, 1)))\n"
    )
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    secrets = {"RETINT_DATABASE_URL": SECRET, "RETINT_S3_SECRET": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, "X": SECRET}
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, **secrets, "PYTHONPATH": path, "VIPS_CONCURRENCY": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "hunter2" not in done.stdout
    assert "RETINT" not in done.stdout
    assert "VIPS_CONCURRENCY=3" in done.stdout, "what libraries are told stays"


def test_a_child_has_its_pipes_and_nothing_else_open(tmp_path: Path) -> None:
    with (tmp_path / "a file of the worker").open("w"), socket.socket():
        opened = run_in_child(list_descriptors, SETTINGS, beat_for_nobody, 1)
    kinds = sorted(name.split(":")[0] for name in opened)
    assert kinds == ["/dev/null", "pipe", "pipe", "socket"]


@needs_landlock
def test_a_child_reads_its_file_and_libraries_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    original, neighbour = tmp_path / "original", tmp_path / "neighbour"
    for path in (original, neighbour):
        path.write_text("text")
    assert run_in_child(read_file, SETTINGS, beat_for_nobody, str(original), original) == 4
    assert run_in_child(read_file, SETTINGS, beat_for_nobody, os.__file__, original) > 0
    for other in (neighbour, "/etc/passwd", f"/proc/{os.getpid()}/environ", f"/proc/{os.getppid()}/maps", __file__):
        with pytest.raises(PermissionError):
            run_in_child(read_file, SETTINGS, beat_for_nobody, str(other), original)


@needs_landlock
def test_a_child_writes_to_its_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert run_in_child(write_file, SETTINGS, beat_for_nobody, str(folder / "new"), folder) == 7
    for other in (tmp_path / "new", Path("/tmp/retint-test"), Path(landlock.__file__).with_suffix(".pyc")):
        with pytest.raises(PermissionError):
            run_in_child(write_file, SETTINGS, beat_for_nobody, str(other), folder)


@needs_landlock
@needs_filter
@pytest.mark.parametrize("how", ["delete", "truncate", "mode", "time", "rename"])
def test_a_child_cannot_change_the_original(how: str, tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.write_text("text")
    before = original.stat()
    with pytest.raises(PermissionError):
        run_in_child(change_file, SETTINGS, beat_for_nobody, how, str(original), original)
    after = original.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_size) == (before.st_mode, before.st_mtime_ns, before.st_size)


@needs_landlock
def test_a_file_that_took_the_place_of_another_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "original"
    for text in ("text", "other text"):
        path.unlink(missing_ok=True)
        path.write_text(text)
        assert run_in_child(read_file, SETTINGS, beat_for_nobody, str(path), path) == len(text)


def test_one_child_serves_all_files_of_a_scratch_root(tmp_path: Path) -> None:
    pids = set()
    with scratch.open_root(tmp_path):
        for _ in range(5):
            with scratch.open_folder(tmp_path) as folder:
                pids.add(run_in_child(identify, SETTINGS, beat_for_nobody, folder))
    assert len(pids) == 1


def identify(folder: Path) -> int:
    (folder / "work").touch()
    return os.getpid()


@needs_filter
@pytest.mark.parametrize(
    "what",
    [
        "internet",
        "local socket",
        "program",
        "fork",
        "subprocess",
        "signal",
        "all signals",
        "limits of others",
        "more memory",
        "trace",
        "memory of others",
        "link",
        "memory without a file",
        "root folder",
        "other namespace",
        "io_uring",
    ],
)
def test_a_child_is_not_permitted(what: str) -> None:
    with pytest.raises((OSError, ValueError), match=r"not permitted|not allowed|current limit|Permission denied"):
        run_in_child(attempt, SETTINGS, beat_for_nobody, what)


def test_shared_memory_and_large_files_have_limits(tmp_path: Path) -> None:
    tight = Settings(child_memory_mib=512, pixel_limit_mp=1)
    with pytest.raises(OutOfMemory):
        run_in_child(map_shared, tight, beat_for_nobody, 100)
    with pytest.raises(OSError, match="too large"):
        run_in_child(write_large, tight, beat_for_nobody, tmp_path, 100)
    assert run_in_child(write_large, tight, beat_for_nobody, tmp_path, 10) == 10


def test_photos_are_ingested_without_compiling_anything(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo_files.encode_photo("JPEG"))
    with capture_logs() as lines:
        ingest(path, parse({}), SETTINGS)
    assert lines == []


def test_doctor_says_what_is_active() -> None:
    [check] = doctor._check_sandbox()
    assert check.ok
    assert check.finding.startswith("no secrets, limits of memory, time and file size")
    if landlock.find_version():
        assert "files by Landlock" in check.finding.split(";")[0]
