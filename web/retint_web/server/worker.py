"""Gunicorn's ASGI worker, with an end to connections that stall."""

import asyncio
import socket
import struct
from typing import Any, Final

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

STALL_S: Final = 60
"""How long a client may take nothing of what waits to be sent to it."""


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """A connection. Gunicorn itself limits neither the time of its first request's head, nor that of an answer."""

    def connection_made(self, transport: Any) -> None:
        """Begin, and give the head of the first request as long as gunicorn gives that of all others."""
        self._stalled: asyncio.TimerHandle | None = None
        self._is_lost = False
        super().connection_made(transport)
        self.worker.connections.add(self)
        self._arm_keepalive_timer()
        if len(self.worker.connections) > self.cfg.worker_connections:
            transport.abort()

    def pause_writing(self) -> None:
        """Note that more waits than the client takes."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Note that the client has taken most of it."""
        super().resume_writing()
        if not self._closed:
            self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._is_lost = True  # what is still to be closed after it has no socket any more
        self._stop_watching()
        self.worker.connections.discard(self)
        super().connection_lost(exc)

    def close_if_idle(self) -> None:
        """Close a connection that waits for its next request."""
        if self._awaiting_request:
            self._keepalive_timeout()

    def _close_transport(self) -> None:
        super()._close_transport()
        self._watch()  # what waits is still sent

    def _watch(self) -> None:
        self._stop_watching()
        if not self._is_lost:
            self._stalled = self.worker.loop.call_later(STALL_S, self._abort)

    def _abort(self) -> None:
        # Without the option, the system would hold megabytes for as long as the client likes.
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _stop_watching(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """A process of the portal."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.connections: set[Protocol] = set()

    async def _serve(self) -> None:
        gasgi.ASGIProtocol = Protocol  # gunicorn has no setting for it
        await super()._serve()

    async def _shutdown(self) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        await super()._shutdown()
