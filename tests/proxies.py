"""A TCP proxy before a real server, which a test makes slow, silent or gone, or lets answer with errors of its own."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

from tests.servers import find_free_ports

CHUNK = 1 << 16


class Proxy:
    """A proxy on a port of its own; it forwards everything until a `with` block says otherwise.

    Attributes:
        port: where clients connect.
    """

    def __init__(self, target: int) -> None:
        [self.port] = find_free_ports(1)
        self._target = target
        self._delay_s = 0.0
        self._answer: bytes | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._prepare())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the port and every connection."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def slow(self, delay_s: float) -> Iterator[None]:
        """Delay everything that is sent, in both directions."""
        self._delay_s = delay_s
        yield
        self._delay_s = 0.0

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Keep connections and forward nothing; then forward everything that was sent meanwhile."""
        self._call(self._flowing.clear)
        yield
        self._call(self._flowing.set)

    @contextmanager
    def lost(self) -> Iterator[None]:
        """Keep connections and never forward anything again; only connections that are made after the block work.

        A firewall that forgets its connections does so, and tells nobody.
        """
        self._call(self._flowing.clear)
        yield
        self._call(self._open_gate)

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Cut every connection and refuse new ones."""
        self._run(self._stop())
        yield
        self._run(self._listen())

    @contextmanager
    def answering(self, status: str) -> Iterator[None]:
        """Answer every HTTP request with this status, such as `500 Internal Server Error`."""
        self._answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        self._run(self._cut())
        yield
        self._answer = None

    def switch_to(self, target: int) -> None:
        """Cut every connection; new ones go to another server."""
        self._target = target
        self._run(self._cut())

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    def _call(self, change: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(change)

    def _open_gate(self) -> None:
        """Let new connections flow, whatever the old ones wait for."""
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def _prepare(self) -> None:
        self._open_gate()
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _stop(self) -> None:
        self._server.close()
        await self._cut()

    async def _end(self) -> None:
        await self._stop()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            await (self._forward if self._answer is None else self._refuse)(reader, writer)
        self._open.discard(writer)
        writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_connection("127.0.0.1", self._target)
        self._open.add(before)
        try:
            flowing = self._flowing
            await asyncio.gather(self._pump(reader, before, flowing), self._pump(behind, writer, flowing))
        finally:
            self._open.discard(before)
            before.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        while data := await reader.read(CHUNK):
            await asyncio.sleep(self._delay_s)
            await flowing.wait()
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = head.partition(b"content-length:")
        if b"100-continue" not in head:
            await reader.readexactly(int(length.split(b"\r\n")[0] or 0))
        writer.write(self._answer or b"")
        await writer.drain()
        writer.write_eof()
