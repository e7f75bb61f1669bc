"""Runs functions that open foreign files in child processes with limits.

A child serves many files, one at a time, because starting one costs as much as a small photo. A child that dies, hangs
or runs out of memory loses only its own file and is replaced.
"""

import atexit
import os
import pickle
import select
import signal
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, ParamSpec, TypeVar, get_args, get_type_hints

import structlog

from retint.errors import MachineFault, OutOfMemory, Refused, WorkerLost
from retint.settings import Settings
from retint_workers import scratch
from retint_workers.beats import Beat
from retint_workers.sandbox.access import Access
from retint_workers.sandbox.failures import Failure
from retint_workers.sandbox.forking import Forking
from retint_workers.sandbox.forkserver import STATUS
from retint_workers.sandbox.messages import MAX_BYTES, InvalidMessage, decode
from retint_workers.sandbox.pipes import BrokenMessage, MessagePipe, PipeClosed, TooSlow, Waiter
from retint_workers.sandbox.serving import DONE, FAILED, ITEM

P = ParamSpec("P")
T = TypeVar("T")
Work = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments."""

START_LIMIT_S = 240
"""How long a child may take to start: the first one waits until all that children need is imported and compiled."""
END_LIMIT_S = 30
"""How long a killed child may take to end."""
FILES_PER_CHILD = 500
"""A child is replaced after so many files, because the decoding libraries leak a little memory."""
MOST_IDLE = 2
"""Children that wait for work at once; another one must have access to other files."""
BEAT_S = 1.0
"""Time between two beats while a child works."""
BYTES_PER_PIXEL = 24
"""Size of the largest file that is made of a photo: four bands of 32 bits, with their pyramid, and some more."""
OUT_OF_MEMORY_EXITS = {-signal.SIGKILL, -signal.SIGABRT, -signal.SIGTRAP}
"""Exit codes of a child without memory: killed by the kernel, or aborted by a library (GLib, LLVM)."""

OUTPUT_BYTES = 4000
"""Most bytes of what a child printed that are logged for one file, the last ones."""
OUTPUT_READS = 64
"""Most reads of a child's output before its parent turns to something else."""

log = structlog.get_logger()

_forking = Forking()
_idle_children: list["Child"] = []


class Child:
    """A process that runs functions under limits.

    Args:
        access: what it may reach.
        module: one that its work needs.
    """

    def __init__(self, access: Access, module: str) -> None:
        self.access = access
        self.files = 0
        self._printed = b""
        self._has_started = False
        with ExitStack() as undo:
            folder = undo.enter_context(scratch.open_folder(apart=True))
            connection, childs_connection = socket.socketpair()
            undo.enter_context(connection)
            self._output, childs_output = os.pipe()
            self._status, childs_status = os.pipe()
            for descriptor in (self._output, self._status):
                undo.callback(os.close, descriptor)
            os.set_blocking(self._output, False)
            with childs_connection, os.fdopen(childs_output), os.fdopen(childs_status):
                ends = (childs_connection.fileno(), childs_output, childs_status)
                self._number = _forking.fork(access.with_folder(folder), module, str(folder), ends)
            self._modules = _forking.modules
            self._pipe = MessagePipe(connection, MAX_BYTES)
            self._open = undo.pop_all()

    def wait_until_started(self, beat: Beat) -> None:
        """Wait until the child has confined itself; call `beat` meanwhile.

        Raises:
            MachineFault: it could not be started.
        """
        beat()
        try:
            self._exchange(self._pipe.receive, START_LIMIT_S, beat)
        except (WorkerLost, OutOfMemory) as error:
            raise MachineFault(f"A process that opens files could not be started. {error.message}") from error
        self._has_started = True

    def can_run(self, function: Callable[..., Any], access: Access) -> bool:
        """Whether it may reach what is asked for; and it loads no modules, which would take longer than a new child."""
        return self.access.covers(access) and function.__module__ in self._modules

    @property
    def is_fit(self) -> bool:
        """Whether it lives and says nothing unasked."""
        return self._pipe.is_silent and not select.select([self._status], [], [], 0)[0]

    def run(self, work: Work, timeout_s: float, beat: Beat) -> Any:
        """Run a function in the child; call `beat` about once a second meanwhile.

        Raises:
            WorkerLost: the child died, was killed at the timeout, or answered something else than the function does.
            OutOfMemory: it died for lack of memory.
            Exception: whatever the function raised, with the child's traceback as a note.
        """
        kind = get_type_hints(work[0])["return"]
        self._send(work, timeout_s, beat)
        return self._receive({DONE: kind}, timeout_s, beat)[1]

    def iterate(self, work: Work, timeout_s: float, beat: Beat) -> Iterator[Any]:
        """Run a generator in the child and yield its items; like `run`, with the timeout for each item."""
        (kind,) = get_args(get_type_hints(work[0])["return"])
        self._send(work, timeout_s, beat)
        while True:
            answer, item = self._receive({ITEM: kind, DONE: NoneType}, timeout_s, beat)
            if answer == DONE:
                return
            yield item

    def _send(self, work: Work, timeout_s: float, beat: Beat) -> None:
        self.files += 1
        self._exchange(partial(self._pipe.send, pickle.dumps(work)), timeout_s, beat)

    def _receive(self, kinds: Mapping[bytes, Any], timeout_s: float, beat: Beat) -> tuple[bytes, Any]:
        """Wait for the child's next answer, one of some sorts; return its sort, and the value of the type for it."""
        try:
            message = self._exchange(self._pipe.receive, timeout_s, beat)
        finally:
            self._log_output()
        answer = bytes(message[:1])
        try:
            if answer == FAILED:
                failure = decode(message[1:], Failure, ())
                raise failure.to_error(is_trusted=self.access.is_trusted)
            if answer not in kinds:
                raise InvalidMessage(f"an answer {answer!r} is not due")
            return answer, decode(message[1:], kinds[answer], self.access.folders)
        except InvalidMessage as error:
            log.warning("child_not_understood", reason=str(error)[:OUTPUT_BYTES])
            raise _wrong_answer() from error

    def _exchange(self, move: Callable[[Waiter], T], timeout_s: float, beat: Beat) -> T:
        """Send or receive, and beat meanwhile."""

        def meanwhile() -> None:
            self._read_output()
            beat()

        try:
            return move(Waiter(timeout_s, BEAT_S, meanwhile, also=self._output))
        except TooSlow as error:
            raise WorkerLost(f"Opening the file took longer than {timeout_s:g} seconds.") from error
        except BrokenMessage as error:
            raise _wrong_answer() from error
        except PipeClosed as error:
            raise self._explain_exit() from error

    def _read_output(self) -> None:
        """Read what the child and its libraries have printed, so that a full pipe does not stop them."""
        with suppress(BlockingIOError):
            for _ in range(OUTPUT_READS):
                printed = os.read(self._output, 1 << 16)
                if not printed:
                    return
                self._printed = (self._printed + printed)[-OUTPUT_BYTES:]

    def _log_output(self) -> None:
        self._read_output()
        if self._printed:
            log.warning("child_printed", text=self._printed.decode(errors="replace").strip())
        self._printed = b""

    def kill(self) -> None:
        """Kill the process, and wait for its end if it has started."""
        _forking.kill(self._number)
        if self._has_started:
            self._wait_for_end()
        self._open.close()

    def _wait_for_end(self) -> int | None:
        """Wait until the process has ended; return its exit code, or None where nobody knows it."""
        if not select.select([self._status], [], [], END_LIMIT_S)[0]:
            return None
        status = os.read(self._status, STATUS.size)
        return int(STATUS.unpack(status)[0]) if len(status) == STATUS.size else None

    def _explain_exit(self) -> WorkerLost | OutOfMemory:
        code = self._wait_for_end()
        if code in OUT_OF_MEMORY_EXITS:
            return OutOfMemory("There was not enough memory to open the file.")
        return WorkerLost(f"The process that opened the file died (exit {code}).")


def _wrong_answer() -> WorkerLost:
    return WorkerLost("The process that opened the file gave an answer that makes no sense.")


def run_in_child(function: Callable[P, T], settings: Settings, beat: Beat, *args: P.args, **no_keywords: P.kwargs) -> T:
    """Run a function in a child process and return its result.

    Args:
        function: defined at the top of a module. Its result must be of the type that its annotation says, and made of
            what `messages` can hold. The paths among its arguments are all that it can reach (see `access`).
        settings: the child's limits.
        beat: called about once a second while the child starts and works; what it raises ends the child.
        args: the function's arguments.
        no_keywords: must be empty; only there for the type checker.

    Raises:
        Refused: raised by the function.
        OutOfMemory: the function needs more than `settings.child_memory_mib`.
        WorkerLost: the child died, needed more than `settings.child_timeout_s`, or gave a senseless answer.
        MachineFault: no child could be started.
    """
    access = Access.to_paths(
        args,
        memory_mib=settings.child_memory_mib,
        file_bytes=settings.pixel_limit_mp * 1_000_000 * BYTES_PER_PIXEL,
    )
    child = _take_child(access, function, beat)
    with _returning(child):
        result: T = child.run((function, args), settings.child_timeout_s, beat)
    return result


def iterate_in_child(
    function: Callable[P, Iterator[T]], settings: Settings, beat: Beat, *args: P.args, **no_keywords: P.kwargs
) -> Generator[T, None, None]:
    """Run a generator function in a child process and yield its items.

    The child waits until its last item is taken. `settings.child_timeout_s` limits each item: a film may take hours, a
    frame may not. Nothing limits the size of its files. Otherwise like `run_in_child`.
    """
    access = Access.to_paths(args, memory_mib=settings.child_memory_mib, file_bytes=None)
    child = _take_child(access, function, beat)
    with _returning(child):
        yield from child.iterate((function, args), settings.child_timeout_s, beat)


def run_in_own_child(function: Callable[P, T], timeout_s: float, beat: Beat, *args: P.args, **_: P.kwargs) -> T:
    """Run a function, one of ours on no foreign file, in a child of its own that serves nothing else.

    Like `run_in_child`, but only the time is limited.
    """
    child = _start_child(Access(current=Path.cwd(), is_trusted=True), function.__module__, beat)
    try:
        result: T = child.run((function, args), timeout_s, beat)
        return result
    finally:
        child.kill()


def _take_child(access: Access, function: Callable[..., Any], beat: Beat) -> Child:
    """Return an idle child that can reach all that is asked for, or start one."""
    for child in reversed(_idle_children):
        if child.can_run(function, access):
            _idle_children.remove(child)
            if child.is_fit:
                return child
            child.kill()
    return _start_child(access, function.__module__, beat)


def _start_child(access: Access, module: str, beat: Beat) -> Child:
    try:
        child = Child(access, module)
    except OSError as error:
        raise MachineFault(f"A process that opens files could not be started ({error}).") from error
    try:
        child.wait_until_started(beat)
    except BaseException:
        child.kill()
        raise
    return child


@contextmanager
def _returning(child: Child) -> Iterator[None]:
    """Keep a child for the next file if it did its work, else kill it."""
    try:
        yield
    except Refused:
        _make_idle(child)
        raise
    except BaseException:  # GeneratorExit too: nobody takes the remaining items
        child.kill()
        raise
    _make_idle(child)


def _make_idle(child: Child) -> None:
    """Keep a child for the next file, or end it when it has served its share, or too many wait."""
    if child.files >= FILES_PER_CHILD:
        child.kill()
        return
    _idle_children.append(child)
    if len(_idle_children) > MOST_IDLE:
        _idle_children.pop(0).kill()


def _end_idle_children() -> None:
    while _idle_children:
        _idle_children.pop().kill()


atexit.register(_end_idle_children)
