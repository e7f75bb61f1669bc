"""The pipe between parent and child: a message is its length, then its bytes."""

import select
import socket
import struct
import time
from collections.abc import Callable

HEADER = struct.Struct(">Q")
CHUNK_BYTES = 1 << 20


class PipeClosed(Exception):
    """The other end is closed."""


class BrokenMessage(Exception):
    """A message is longer than any may be."""


class TooSlow(Exception):
    """A message took longer than it may."""


class MessagePipe:
    """One end of the pipe.

    Args:
        connection: a connected socket.
        limit: most bytes of a message that is received.
    """

    def __init__(self, connection: socket.socket, limit: int) -> None:
        self._socket = connection
        self._limit = limit
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor, for `select`."""
        return self._socket.fileno()

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come that nobody has received, not even the end."""
        return not select.select([self], [], [], 0)[0]

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def send(self, message: bytes, waiter: "Waiter") -> None:
        """Send a message.

        Raises:
            PipeClosed: the other end is closed.
            TooSlow: the other end does not take it.
        """
        for part in (HEADER.pack(len(message)), message):
            view = memoryview(part)
            while view:
                waiter.wait_until_writable(self.fileno())
                try:
                    view = view[self._socket.send(view[:CHUNK_BYTES]) :]
                except OSError as error:
                    raise PipeClosed from error

    def receive(self, waiter: "Waiter") -> bytearray:
        """Receive a message. It takes no more memory than has arrived of it.

        Raises:
            PipeClosed: the other end is closed.
            TooSlow: it does not come.
            BrokenMessage: it is too long.
        """
        (size,) = HEADER.unpack(self._receive_bytes(HEADER.size, waiter))
        if size > self._limit:
            raise BrokenMessage(f"{size} bytes")
        return self._receive_bytes(size, waiter)

    def _receive_bytes(self, size: int, waiter: "Waiter") -> bytearray:
        received = bytearray()
        while len(received) < size:
            waiter.wait_until_readable(self.fileno())
            try:
                part = self._socket.recv(min(CHUNK_BYTES, size - len(received)))
            except OSError as error:
                raise PipeClosed from error
            if not part:
                raise PipeClosed
            received += part
        return received


class Waiter:
    """Waits for a pipe, up to a deadline.

    Args:
        limit_s: seconds from now until the deadline; None for none.
        interval_s: time between two calls of `meanwhile`.
        meanwhile: called while the pipe is not ready.
        also: another descriptor; `meanwhile` is called as soon as it can be read.
    """

    def __init__(
        self,
        limit_s: float | None = None,
        interval_s: float | None = None,
        meanwhile: Callable[[], object] = lambda: None,
        also: int | None = None,
    ) -> None:
        self._deadline = None if limit_s is None else time.monotonic() + limit_s
        self._interval_s = interval_s
        self._meanwhile = meanwhile
        self._also = [] if also is None else [also]

    def wait_until_readable(self, descriptor: int) -> None:
        """Wait for something to receive.

        Raises:
            TooSlow: the deadline has passed.
        """
        while descriptor not in select.select([*self._also, descriptor], [], [], self._interval_s)[0]:
            self._pass_time()

    def wait_until_writable(self, descriptor: int) -> None:
        """Wait for room to send; raises as above."""
        while not select.select(self._also, [descriptor], [], self._interval_s)[1]:
            self._pass_time()

    def _pass_time(self) -> None:
        self._meanwhile()
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TooSlow
