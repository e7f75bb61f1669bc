"""How a view waits for the network without a thread.

A view that needs the request's body, or a file from another server, may wait for minutes. So it raises `Wait`; the
server awaits the work on its event loop, where waiting costs nothing, and then runs the request again from its
beginning. The second time `wait_for` returns what came of the work. All that a view checks before it waits (sign-in,
permission, size, whether the batch is open) is therefore checked before a byte is read. In turn a view changes nothing
before it has waited.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final, Protocol, TypeVar, cast

from flask import Flask, request

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

RESULTS: Final = "retint.results"
"""Where the server keeps in a request's environ what it has awaited: by name, a result or an exception."""
ENDS: Final = "retint.ends"
"""Where it keeps, on another server, what is to be called at the end of the request."""
CHUNK: Final = 1 << 18


class Connection(Protocol):
    """What work may use of the server."""

    async def pour(self, write: Callable[[bytes], object]) -> None:
        """Read the request's body to its end, and hand it on; `write` runs in a thread."""
        ...

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run what blocks in a thread."""
        ...


class Work(Protocol[T_co]):
    """Something that takes long because of the network."""

    async def run(self, connection: Connection) -> T_co:
        """Do it, and return the result. An exception is raised where the view waits."""
        ...

    def end(self) -> None:
        """Free everything; called when the request has ended, whatever came of it."""
        ...


class Wait(BaseException):
    """The view waits for `work`. No error, so it passes by what handles errors."""

    def __init__(self, name: str, work: Work[Any]) -> None:
        super().__init__(name)
        self.name, self.work = name, work


def wait_for(name: str, make: Callable[[], Work[T]]) -> T:
    """Return the result of the work that `make` returns; `name` tells it apart from the request's other work."""
    results = request.environ.get(RESULTS)
    if results is None:  # another server, such as Flask's test client
        work = make()
        request.environ.setdefault(ENDS, ExitStack()).callback(work.end)
        return asyncio.run(work.run(_Blocking()))
    if name not in results:
        raise Wait(name, make())
    if isinstance(results[name], Exception):
        raise results[name]
    return cast(T, results[name])


class _Blocking:
    """A server on which everything blocks."""

    async def pour(self, write: Callable[[bytes], object]) -> None:
        while data := request.stream.read(CHUNK):
            write(data)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments)


def configure(app: Flask) -> None:
    """Let requests of the test client end their work."""
    app.teardown_request(lambda _: request.environ.pop(ENDS, ExitStack()).close())
