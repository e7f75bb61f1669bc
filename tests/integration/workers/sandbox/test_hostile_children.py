"""Children that a file took over: what they send is not believed, and they cost their own file and nothing else."""

import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from retint.errors import DeviceFailed, InvalidPhoto, LeaseLost, RetintError, WorkerLost
from retint.settings import Settings
from retint_workers.beats import beat_for_nobody
from retint_workers.imaging.ingest import Ingested
from retint_workers.sandbox import children
from retint_workers.sandbox.children import iterate_in_child, run_in_child
from retint_workers.sandbox.failures import Failure
from retint_workers.sandbox.forkserver import FIRST_DESCRIPTOR
from retint_workers.sandbox.messages import MAX_BYTES, encode
from retint_workers.sandbox.pipes import HEADER
from retint_workers.sandbox.serving import DONE, FAILED, ITEM

SETTINGS = Settings(child_timeout_s=20)
IMPATIENT = Settings(child_timeout_s=2)


# --- functions that the children run ---------------------------------------------------------------------------------


def say(content: bytes, then_s: float) -> int:
    """Write bytes into the pipe, past the code that answers."""
    os.set_blocking(FIRST_DESCRIPTOR, True)
    view = memoryview(content)
    while view:
        view = view[os.write(FIRST_DESCRIPTOR, view) :]
    time.sleep(then_s)
    os._exit(0)


def say_forever(content: bytes) -> int:
    os.set_blocking(FIRST_DESCRIPTOR, True)
    while True:
        os.write(FIRST_DESCRIPTOR, content)


def print_forever(content: bytes) -> int:
    while True:
        os.write(2, content)


def answer_twice(first: bytes) -> int:
    os.set_blocking(FIRST_DESCRIPTOR, True)
    os.write(FIRST_DESCRIPTOR, HEADER.pack(len(first)) + first)
    return 2


def stop_reading(_: int) -> int:
    """Answer, and never take work again."""
    os.set_blocking(FIRST_DESCRIPTOR, True)
    answer = DONE + encode(1)
    os.write(FIRST_DESCRIPTOR, HEADER.pack(len(answer)) + answer)
    time.sleep(600)
    return 1


def give(value: Any) -> int:
    return value  # type: ignore[no-any-return]  # that it is no int is the point


def take(_: bytes) -> int:
    return 1


def find_path(name: str, folder: Path) -> Path:
    return folder / name


def find_link(folder: Path, target: str) -> Path:
    (folder / "link").symlink_to(target)
    return folder / "link"


def ingest_nothing(_: int) -> Ingested:
    return Ingested({"width": float("nan")}, b"")


def count(numbers: int) -> Iterator[int | str]:
    yield from range(numbers)


def fail_as(name: str) -> int:
    failure = FAILED + encode(Failure(name, "I am broken.", "broken", None, ""))
    return say(HEADER.pack(len(failure)) + failure, 30)


# --- tests ------------------------------------------------------------------------------------------------------------


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def framed(message: bytes) -> bytes:
    return HEADER.pack(len(message)) + message


def test_a_pickle_from_a_child_is_never_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "unpickled"
    bomb = pickle.dumps(Bomb(mark))
    for content in (bomb, framed(bomb), framed(DONE + bomb), framed(FAILED + bomb), framed(ITEM + bomb)):
        with pytest.raises(WorkerLost):
            run_in_child(say, IMPATIENT, beat_for_nobody, content, 600.0)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 100,
        HEADER.pack((1 << 64) - 1),
        HEADER.pack(MAX_BYTES),
        HEADER.pack(0),
        framed(DONE),
        framed(DONE + b"\0" * 8),
        framed(DONE + (1 << 40).to_bytes(8, "big") + b"1"),
        framed(DONE + (200_000).to_bytes(8, "big") + b"[" * 200_000),
        framed(DONE + (1_000_000).to_bytes(8, "big") + b"1" * 1_000_000),
        framed(DONE + encode("text")),
        framed(DONE + encode([1])),
        framed(DONE + encode(1) + b"more"),
        framed(ITEM + encode(1)),
        framed(b"x" + encode(1)),
        framed(FAILED + encode("text")),
    ],
    ids=repr,
)
def test_what_makes_no_sense_costs_the_child_and_its_file(content: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(WorkerLost):
        run_in_child(say, IMPATIENT, beat_for_nobody, content, 600.0)
    assert time.monotonic() - started < 15
    assert run_in_child(take, SETTINGS, beat_for_nobody, b"") == 1


@pytest.mark.parametrize("work", [say_forever, print_forever])
def test_gigabytes_end_at_the_time_limit_and_fill_no_memory(work: Any) -> None:
    before = psutil.Process().memory_info().rss
    peak = []

    def beat() -> bool:
        peak.append(psutil.Process().memory_info().rss)
        return True

    content = b"x" * (1 << 20) if work is print_forever else HEADER.pack(MAX_BYTES) + bytes(1 << 20)
    with capture_logs(), pytest.raises(WorkerLost):
        run_in_child(work, IMPATIENT, beat, content)
    assert max(peak, default=before) - before < 3 * MAX_BYTES
    assert run_in_child(take, SETTINGS, beat_for_nobody, b"") == 1


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_file_s() -> None:
    assert run_in_child(answer_twice, SETTINGS, beat_for_nobody, DONE + encode(7)) == 7
    deadline = time.monotonic() + 20
    while children._idle_children[-1].is_fit and time.monotonic() < deadline:
        time.sleep(0.01)
    assert run_in_child(take, SETTINGS, beat_for_nobody, b"") == 1


def test_a_child_that_takes_no_work_is_given_up_at_the_time_limit() -> None:
    run_in_child(stop_reading, IMPATIENT, beat_for_nobody, 1)
    child = children._idle_children[-1]
    with pytest.raises(WorkerLost):
        run_in_child(take, IMPATIENT, beat_for_nobody, bytes(32 << 20))
    assert child not in children._idle_children


@pytest.mark.parametrize("value", ["1", 1.5, None, True, [1], {"a": 1}, b"1", 1 << 70, Path("/")])
def test_a_value_of_another_type_than_the_function_promises_is_refused(value: Any) -> None:
    with pytest.raises((WorkerLost, TypeError, ValueError)):
        run_in_child(give, SETTINGS, beat_for_nobody, value)


def test_numbers_that_are_none_and_items_of_other_types_are_refused() -> None:
    with pytest.raises((WorkerLost, ValueError)):
        run_in_child(ingest_nothing, SETTINGS, beat_for_nobody, 1)
    assert list(iterate_in_child(count, SETTINGS, beat_for_nobody, 3)) == [0, 1, 2]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_a_path_outside_the_file_s_folder_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(WorkerLost):
        run_in_child(find_path, SETTINGS, beat_for_nobody, name, folder)
    assert run_in_child(find_path, SETTINGS, beat_for_nobody, "a", folder) == folder / "a"


def test_a_link_to_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises((WorkerLost, PermissionError)):
        run_in_child(find_link, SETTINGS, beat_for_nobody, tmp_path, "/etc/passwd")


@pytest.mark.parametrize("name", ["LeaseLost", "DeviceFailed", "SystemExit", "KeyboardInterrupt", "Bomb", "__import__"])
def test_a_child_may_not_say_that_the_device_failed_or_the_lease_is_lost(name: str) -> None:
    with pytest.raises(Exception, match="I am broken") as error:
        run_in_child(fail_as, SETTINGS, beat_for_nobody, name)
    assert not isinstance(error.value, DeviceFailed | LeaseLost | RetintError)


def test_a_child_may_refuse_the_file() -> None:
    with pytest.raises(InvalidPhoto, match="I am broken") as refusal:
        run_in_child(fail_as, SETTINGS, beat_for_nobody, "InvalidPhoto")
    assert refusal.value.code == "broken"
