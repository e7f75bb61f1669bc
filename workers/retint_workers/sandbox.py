"""Runs functions that open foreign files in child processes with limited memory and time.

A child serves many files, one at a time, because starting one costs more than a small photo. A child that dies, hangs
or runs out of memory loses only its own file and is replaced.
"""

import faulthandler
import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any, ParamSpec, TypeVar

import pyvips
import structlog

from retint.errors import MachineFault, OutOfMemory, Refused, WorkerLost
from retint.settings import Settings
from retint_workers import scratch
from retint_workers.beats import Background, Beat

P = ParamSpec("P")
T = TypeVar("T")
PRELOADED = [
    "numpy",
    "PIL.ImageCms",
    "lxml.etree",
    "pyvips",
    "retint_models.layers.rendering",
    "retint_workers.sandbox",
]
START_LIMIT_S = 120
"""How long a child may take to start: the first one waits until all that children need is imported."""
FILES_PER_CHILD = 500
"""A child is replaced after so many files, because the decoding libraries leak a little memory."""
BEAT_S = 1.0
"""Time between two beats while a child works."""
NO_LIMIT_MIB = 1 << 30
"""More memory than any machine has."""
VIPS_THREADS = 4
"""Upper limit for libvips' threads in a child: each holds buffers, and there are other children."""
OUT_OF_MEMORY_EXITS = {-signal.SIGKILL, -signal.SIGABRT, -signal.SIGTRAP}
"""Exit codes of a child without memory: killed by the kernel, or aborted by a library (GLib, LLVM)."""

OUTPUT_BYTES = 4000
"""Most bytes of what a child printed that are logged for one file, the last ones."""

ITEM, DONE, FAILED = range(3)
"""Kinds of answers that a child sends."""

log = structlog.get_logger()

_idle_children: list["Child"] = []


class Child:
    """A process that runs functions under limits."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._pipe, childs_end = context.Pipe()
        self._output, childs_output = context.Pipe(duplex=False)
        os.set_blocking(self._output.fileno(), False)
        ends = (childs_end, childs_output)
        self._process = context.Process(target=_serve, args=ends, name="retint-decoder", daemon=True)
        self._process.start()
        for end in ends:
            end.close()
        self.files = 0
        self._printed = b""

    def run(self, work: tuple[Callable[..., T], tuple[Any, ...]], memory_mib: int, timeout_s: float, beat: Beat) -> T:
        """Run a function in the child; call `beat` about once a second meanwhile.

        Raises:
            WorkerLost: the child died, or was killed at the timeout.
            OutOfMemory: it died for lack of memory.
            Exception: whatever the function raised, with the child's traceback as a note.
        """
        self._send(work, memory_mib)
        result: T = self._receive(timeout_s, beat)[1]
        return result

    def iterate(
        self, work: tuple[Callable[..., Iterator[T]], tuple[Any, ...]], memory_mib: int, timeout_s: float, beat: Beat
    ) -> Iterator[T]:
        """Run a generator in the child and yield its items; like `run`, with the timeout for each item."""
        self._send(work, memory_mib)
        while True:
            is_done, item = self._receive(timeout_s, beat)
            if is_done:
                return
            yield item

    def _send(self, work: tuple[Callable[..., Any], tuple[Any, ...]], memory_mib: int) -> None:
        self.files += 1
        try:
            self._pipe.send((work, memory_mib))
        except ConnectionError as error:
            raise self._explain_exit() from error

    def _receive(self, timeout_s: float, beat: Beat) -> tuple[bool, Any]:
        """Wait for the child's next answer: whether its work is done, and the item or result."""
        deadline = time.monotonic() + timeout_s
        try:
            while self._pipe not in wait([self._pipe, self._output], BEAT_S):
                self._read_output()
                beat()
                if time.monotonic() > deadline:
                    raise WorkerLost(f"Opening the file took longer than {timeout_s:g} seconds.")
            answer, value = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise self._explain_exit() from error
        finally:
            self._log_output()
        if answer == FAILED:
            raise value
        return answer == DONE, value

    def _read_output(self) -> None:
        """Read what the child and its libraries have printed, so that a full pipe does not stop them."""
        with suppress(BlockingIOError):
            while printed := os.read(self._output.fileno(), 1 << 16):
                self._printed = (self._printed + printed)[-OUTPUT_BYTES:]

    def _log_output(self) -> None:
        self._read_output()
        if self._printed:
            log.warning("child_printed", text=self._printed.decode(errors="replace").strip())
        self._printed = b""

    def kill(self) -> None:
        """Kill the process and wait for its end."""
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._output.close()

    def _explain_exit(self) -> WorkerLost | OutOfMemory:
        self._process.join()
        if self._process.exitcode in OUT_OF_MEMORY_EXITS:
            return OutOfMemory("There was not enough memory to open the file.")
        return WorkerLost(f"The process that opened the file died (exit {self._process.exitcode}).")


def run_in_child(function: Callable[P, T], settings: Settings, beat: Beat, *args: P.args, **no_keywords: P.kwargs) -> T:
    """Run a function in a child process and return its result.

    Args:
        function: defined at the top of a module; it, its arguments and its result are pickled.
        settings: the child's limits of memory and time.
        beat: called about once a second while the child starts and works; what it raises ends the child.
        args: the function's arguments.
        no_keywords: must be empty; only there for the type checker.

    Raises:
        Refused: raised by the function.
        OutOfMemory: the function needs more than `settings.child_memory_mib`.
        WorkerLost: the child died, or needed more than `settings.child_timeout_s`.
        MachineFault: no child could be started.
    """
    child = _idle_children.pop() if _idle_children else _start_child(beat)
    try:
        result = child.run((function, args), settings.child_memory_mib, settings.child_timeout_s, beat)
    except Refused:
        _make_idle(child)
        raise
    except BaseException:
        child.kill()
        raise
    _make_idle(child)
    return result


def iterate_in_child(
    function: Callable[P, Iterator[T]], settings: Settings, beat: Beat, *args: P.args, **no_keywords: P.kwargs
) -> Generator[T, None, None]:
    """Run a generator function in a child process and yield its items.

    The child waits until its last item is taken. `settings.child_timeout_s` limits each item: a film may take hours, a
    frame may not. Otherwise like `run_in_child`.
    """
    child = _idle_children.pop() if _idle_children else _start_child(beat)
    try:
        yield from child.iterate((function, args), settings.child_memory_mib, settings.child_timeout_s, beat)
    except Refused:
        _make_idle(child)
        raise
    except BaseException:  # GeneratorExit too: nobody takes the remaining items
        child.kill()
        raise
    _make_idle(child)


def run_in_own_child(function: Callable[P, T], timeout_s: float, beat: Beat, *args: P.args, **_: P.kwargs) -> T:
    """Run a function, one of ours on no foreign file, in a child of its own that serves nothing else.

    Like `run_in_child`, but without a limit of memory.
    """
    child = _start_child(beat)
    try:
        return child.run((function, args), NO_LIMIT_MIB, timeout_s, beat)
    finally:
        child.kill()


def _start_child(beat: Beat) -> Child:
    stalled = MachineFault(f"A process that opens files did not start within {START_LIMIT_S} seconds.")
    try:
        return Background(lambda _: Child(), START_LIMIT_S, stalled).wait(beat)
    except (OSError, EOFError) as error:
        raise MachineFault(f"A process that opens files could not be started ({error}).") from error


def _make_idle(child: Child) -> None:
    """Keep a child for the next file, or end it when it has served its share."""
    if child.files < FILES_PER_CHILD:
        _idle_children.append(child)
    else:
        child.kill()


def _serve(pipe: Connection, output: Connection) -> None:
    """Run in the child: take work and answer until the parent closes the pipe; the parent logs what is printed."""
    for standard in (1, 2):
        os.dup2(output.fileno(), standard)
    output.close()
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    Thread(target=_exit_with_parent, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pyvips.cache_set_max(0)  # no file is opened twice
    pyvips.concurrency_set(min(pyvips.concurrency_get(), VIPS_THREADS))
    while True:
        try:
            (function, args), memory_mib = pipe.recv()
            resource.setrlimit(resource.RLIMIT_DATA, (memory_mib << 20, resource.RLIM_INFINITY))
            with scratch.translate_errors():
                answer = DONE, function(*args)
                if isinstance(answer[1], Iterator):
                    for item in answer[1]:
                        pipe.send((ITEM, item))
                    answer = DONE, None
        except EOFError:
            return
        except MemoryError as error:
            answer = FAILED, OutOfMemory(f"There was not enough memory to open the file ({error}).")
        except Exception as error:  # noqa: BLE001  raised again in the parent
            error.add_note("In the child process:\n" + traceback.format_exc())
            answer = FAILED, error
        pipe.send(answer)


def _exit_with_parent() -> None:
    """Exit as soon as the worker dies: nobody waits for the photo any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
