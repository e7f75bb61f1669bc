"""Opens foreign files in a child process that has little memory, little time, and nothing to lose.

A child serves many files, one at a time, because starting one costs more than a small photo. One that dies, hangs or
runs out of memory takes only its own file with it and is replaced.
"""

import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, ParamSpec, TypeVar

import pyvips

from retint.errors import OutOfMemory, Refused, WorkerLost
from retint.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
Beat = Callable[[], object]

PRELOADED = [
    "numpy",
    "PIL.ImageCms",
    "lxml.etree",
    "pyvips",
    "retint_models.layers.rendering",
    "retint_workers.sandbox",
]
FILES_PER_CHILD = 500
"""Then a child is replaced, because the libraries that decode leak a little."""
PULSE_S = 1.0
THREADS = 4
"""The most that libvips may use in a child: each holds buffers, and there are other children."""
STARVED = {-signal.SIGKILL, -signal.SIGABRT, -signal.SIGTRAP}
"""How a child ends that gets no memory: by the kernel, or by a library (GLib, LLVM) that cannot go on without."""

STEP, DONE, FAILED = range(3)
"""What a child says of what it sends."""

_idle: list["Child"] = []


class Child:
    """A process that runs functions for us under limits."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="retint-decoder", daemon=True)
        self._process.start()
        theirs.close()
        self.files = 0

    def run(self, work: tuple[Callable[..., T], tuple[Any, ...]], memory_mib: int, timeout_s: float, beat: Beat) -> T:
        """Run a function there, and beat about once a second while it runs.

        Raises:
            WorkerLost: the child died, or was killed because its time was over.
            OutOfMemory: it died of want of memory.
            Exception: what the function raised, with the child's traceback as a note.
        """
        self._ask(work, memory_mib)
        result: T = self._answer(timeout_s, beat)[1]
        return result

    def steps(
        self, work: tuple[Callable[..., Iterator[T]], tuple[Any, ...]], memory_mib: int, timeout_s: float, beat: Beat
    ) -> Iterator[T]:
        """Run a generator there; as `run`, with the time for each step."""
        self._ask(work, memory_mib)
        while True:
            is_over, step = self._answer(timeout_s, beat)
            if is_over:
                return
            yield step

    def _ask(self, work: tuple[Callable[..., Any], tuple[Any, ...]], memory_mib: int) -> None:
        self.files += 1
        try:
            self._pipe.send((work, memory_mib))
        except ConnectionError as error:
            raise self._loss() from error

    def _answer(self, timeout_s: float, beat: Beat) -> tuple[bool, Any]:
        """Wait for what the child says next: whether it has done its work, and what came of it."""
        deadline = time.monotonic() + timeout_s
        try:
            while not self._pipe.poll(PULSE_S):
                beat()
                if time.monotonic() > deadline:
                    raise WorkerLost(f"Opening the file took longer than {timeout_s:g} seconds.")
            said, outcome = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise self._loss() from error
        if said == FAILED:
            raise outcome
        return said == DONE, outcome

    def kill(self) -> None:
        """End the process now."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _loss(self) -> WorkerLost | OutOfMemory:
        self._process.join()
        if self._process.exitcode in STARVED:
            return OutOfMemory("There was not enough memory to open the file.")
        return WorkerLost(f"The process that opened the file died (exit {self._process.exitcode}).")


def guarded(function: Callable[P, T], settings: Settings, beat: Beat, *args: P.args, **none: P.kwargs) -> T:
    """Run a function of a foreign file in a child process and return its result.

    Args:
        function: a module's own function; it and its arguments and result cross a process border.
        settings: the child's memory and time.
        beat: called about once a second while the child works; what it raises ends the child.
        args: the function's.
        none: there are no keyword arguments.

    Raises:
        Refused: as the function.
        OutOfMemory: the function needs more than `settings.child_memory_mib`.
        WorkerLost: the child died, or needed more than `settings.child_timeout_s`.
    """
    child = _idle.pop() if _idle else Child()
    try:
        result = child.run((function, args), settings.child_memory_mib, settings.child_timeout_s, beat)
    except Refused:
        _keep(child)
        raise
    except BaseException:
        child.kill()
        raise
    _keep(child)
    return result


def guarded_steps(
    function: Callable[P, Iterator[T]], settings: Settings, beat: Beat, *args: P.args, **none: P.kwargs
) -> Generator[T, None, None]:
    """Run a generator of a foreign file in a child process; what it yields is yielded here.

    The child waits until what it yielded is wanted. `settings.child_timeout_s` is the time for each step: a film may
    take hours, but no frame may. Otherwise as `guarded`.
    """
    child = _idle.pop() if _idle else Child()
    try:
        yield from child.steps((function, args), settings.child_memory_mib, settings.child_timeout_s, beat)
    except Refused:
        _keep(child)
        raise
    except BaseException:  # GeneratorExit too: nobody wants the rest
        child.kill()
        raise
    _keep(child)


def _keep(child: Child) -> None:
    if child.files < FILES_PER_CHILD:
        _idle.append(child)
    else:
        child.kill()


def _serve(pipe: Connection) -> None:
    """The child's life: take work, answer, until nobody is there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; our parent decides
    Thread(target=_follow_parent, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pyvips.cache_set_max(0)  # no file comes twice
    pyvips.concurrency_set(min(pyvips.concurrency_get(), THREADS))
    while True:
        try:
            (function, args), memory_mib = pipe.recv()
            resource.setrlimit(resource.RLIMIT_DATA, (memory_mib << 20, resource.RLIM_INFINITY))
            answer = DONE, function(*args)
            if isinstance(answer[1], Iterator):
                for step in answer[1]:
                    pipe.send((STEP, step))
                answer = DONE, None
        except EOFError:
            return
        except MemoryError as error:
            answer = FAILED, OutOfMemory(f"There was not enough memory to open the file ({error}).")
        except Exception as error:  # noqa: BLE001  the parent decides what it means
            error.add_note("In the child process:\n" + traceback.format_exc())
            answer = FAILED, error
        pipe.send(answer)


def _follow_parent() -> None:
    """Die with the worker at once: nobody is left who could want the photo."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
