"""The portal as an ASGI application: sockets wait on the event loop, the Flask application runs in threads.

A thread is held only while Python has something to do, never while a client is to send or to take bytes. So a client
that stalls costs a socket and no more. What a view itself waits for is told in `retint_web.waiting`.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

from flask import Flask
from werkzeug.exceptions import HTTPException, RequestTimeout

from retint_web.server.environ import make_environ
from retint_web.uploads import Input
from retint_web.waiting import RESULTS, Wait

T = TypeVar("T")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CHUNK: Final = 1 << 18
"""Bytes that are handed to a thread, or taken from one, at a time."""
PIECE: Final = 1 << 16
"""Bytes that are written to a socket at a time; a client has to take so many within `worker.STALL_S`."""
WINDOW_S: Final = 30
WINDOW_BYTES: Final = 1 << 15
"""Bytes of a body that a client has to send in `WINDOW_S`; one that sends less is left."""
LINGER_S: Final = 10
LINGER_IDLE_S: Final = 2
LINGER_BYTES: Final = 64 << 20
"""How long after the answer, and how much of a body that nobody wants is still read and thrown away.

Many clients read the answer only after they have sent everything, and find the connection broken before. So does a
browser whose sign-in ended while it sends a file, and it has to hear so. It costs no thread and no disk."""


class Gone(Exception):
    """The client has closed the connection: nobody waits for an answer."""


class Answer:
    """What the application answers, with the first bytes of its body."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: Iterable[bytes]) -> None:
        self.status, self.headers = status, headers
        self._body, self._chunks = body, iter(body)
        try:
            self.first = self.read()
        except BaseException:
            self.close()
            raise

    def read(self) -> tuple[bytes, bool]:
        """Return the next bytes of the body, and whether there may be more."""
        chunks, size = [], 0
        for chunk in self._chunks:
            chunks.append(chunk)
            size += len(chunk)
            if size >= CHUNK:
                return b"".join(chunks), True
        return b"".join(chunks), False

    def close(self) -> None:
        """Free what the body holds."""
        if hasattr(self._body, "close"):
            self._body.close()


class Bridge:
    """The ASGI application.

    Args:
        app: the Flask application.
        threads: how many requests run at the same time, and how many pieces of files are moved beside them.
    """

    def __init__(self, app: Flask, threads: int) -> None:
        self.app = app
        self.pages = ThreadPoolExecutor(threads, "page")
        self.bytes = ThreadPoolExecutor(threads, "bytes")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await Exchange(self, make_environ(scope), receive, send).run_through()

    def pool_for(self, environ: dict[str, Any]) -> ThreadPoolExecutor:
        """Return the threads for a request: where the store is slow, pages are not."""
        with suppress(HTTPException):
            endpoint, _ = self.app.url_map.bind_to_environ(environ).match()
            if getattr(self.app.view_functions[endpoint], "moves_bytes", False):
                return self.bytes
        return self.pages


class Exchange:
    """One request and its answer. To the work of a view it is the connection (`waiting.Connection`)."""

    def __init__(self, bridge: Bridge, environ: dict[str, Any], receive: Receive, send: Send) -> None:
        self._bridge, self._environ, self._receive, self._send = bridge, environ, receive, send
        self._results: dict[str, Any] = {}
        self._ends: list[Callable[[], None]] = []
        self._answer: Answer | None = None
        self._context = contextvars.copy_context()
        self._has_body_left = "wsgi.input_terminated" in environ or environ.get("CONTENT_LENGTH", "0") != "0"
        environ[RESULTS] = self._results

    async def run_through(self) -> None:
        """Run the request, again after everything that its view waits for, and send the answer."""
        pool = self._bridge.pool_for(self._environ)
        try:
            while (wait := await self._run_in(pool, self._call)) is not None:
                await self._await(wait)
            if self._answer is not None:
                await self._send_answer(self._answer)
        except Gone:
            return
        finally:
            for end in self._ends:
                await self.run(end)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run what blocks in a thread."""
        return await self._run_in(self._bridge.bytes, function, *arguments)

    async def pour(self, write: Callable[[bytes], object]) -> None:
        """Read the body, and hand it on in chunks: all that comes, also where the client goes away.

        Raises:
            RequestTimeout: the client sends next to nothing.
        """
        now = asyncio.get_running_loop().time
        chunk, window = bytearray(), 0
        try:
            async with asyncio.timeout(WINDOW_S) as deadline:
                while self._has_body_left:
                    data = await self._receive_data()
                    chunk += data
                    window += len(data)
                    if len(chunk) >= CHUNK:
                        deadline.reschedule(None)  # the store's time is not the client's
                        whole, chunk = chunk, bytearray()
                        await self.run(write, bytes(whole))
                        window = WINDOW_BYTES
                    if window >= WINDOW_BYTES:
                        deadline.reschedule(now() + WINDOW_S)
                        window = 0
        except TimeoutError as error:
            raise RequestTimeout from error
        finally:
            if chunk:
                await self.run(write, bytes(chunk))

    async def _receive_data(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Gone
        self._has_body_left = message.get("more_body", False)
        return bytes(message.get("body", b""))

    async def _await(self, wait: Wait) -> None:
        self._ends.append(wait.work.end)
        try:
            self._results[wait.name] = await wait.work.run(self)
        except Gone:
            raise
        except Exception as error:  # noqa: BLE001  raised again where the view waits
            self._results[wait.name] = error

    def _call(self) -> Wait | None:
        """Call the application in a thread. Returns what it waits for; None if it has answered."""
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
            started[:] = [int(status[:3]), headers]
            return lambda _: None

        self._environ["wsgi.input"] = Input()
        try:
            body = self._bridge.app(self._environ, start_response)
        except Wait as wait:
            return wait
        finally:
            # What the view has bound, such as the request's id, is bound in all that follows.
            self._context = contextvars.copy_context()
        status, headers = started
        self._answer = Answer(status, headers, body)
        self._ends.append(self._answer.close)
        return None

    async def _send_answer(self, answer: Answer) -> None:
        headers = answer.headers + ([("Connection", "close")] if self._has_body_left else [])
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        data, more = answer.first
        while data or more:
            for start in range(0, len(data), PIECE):
                await self._send_body(data[start : start + PIECE])
            data, more = await self.run(answer.read) if more else (b"", False)
        if self._has_body_left:
            await self._linger()
        await self._send_body(b"", more=False)

    async def _send_body(self, data: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def _linger(self) -> None:
        left = LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while self._has_body_left and left > 0:
                    async with asyncio.timeout(LINGER_IDLE_S):
                        left -= len(await self._receive_data())

    async def _run_in(self, pool: ThreadPoolExecutor, function: Callable[..., T], *arguments: Any) -> T:
        running = pool.submit(self._context.copy().run, function, *arguments)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            # Nothing stops a thread, so what it works with must not be freed yet.
            if not running.cancelled():
                await asyncio.wait([asyncio.wrap_future(running)])
            raise
