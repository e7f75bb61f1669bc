"""The way to the fork server: starts it, and asks it for children."""

import atexit
import itertools
import os
import pickle
import socket
import subprocess
import sys
import threading
from contextlib import suppress

from retint.settings import library_environment
from retint_workers.sandbox.access import Access

END_LIMIT_S = 10


class Forking:
    """The fork server of this process; it is started when it is needed, and again when it died.

    Attributes:
        modules: those that the server has loaded, so that every further child has them.
    """

    def __init__(self) -> None:
        self.modules: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = 0

    def fork(self, access: Access, module: str, folder: str, ends: tuple[int, int, int]) -> int:
        """Ask for a child that has these ends of its connection, output and status; return its number.

        Raises:
            OSError: there is no server, and none can be started.
        """
        with self._lock:
            number = next(self._numbers)
            request = pickle.dumps((number, access, module, folder))
            try:
                socket.send_fds(self._ensure_server(), [request], ends)
            except ConnectionError:
                self._stop()
                socket.send_fds(self._ensure_server(), [request], ends)
            self.modules |= {module}
            return number

    def kill(self, number: int) -> None:
        """Ask that a child be killed; without a server it is dead."""
        with self._lock, suppress(OSError):
            if self._control:
                self._control.send(pickle.dumps(number))

    def _ensure_server(self) -> socket.socket:
        if self._control is None or self._owner != os.getpid():
            self._owner, self.modules = os.getpid(), frozenset()
            self._control, servers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with servers_end:
                self._server = subprocess.Popen(
                    [sys.executable, "-P", "-m", "retint_workers.sandbox.forkserver", str(servers_end.fileno())],
                    env=library_environment(),
                    stdin=subprocess.DEVNULL,
                    pass_fds=[servers_end.fileno()],
                )
            atexit.register(self._stop)
        return self._control

    def _stop(self) -> None:
        """Close the socket, which ends the server and its children."""
        if self._control and self._server and self._owner == os.getpid():
            self._control.close()
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(END_LIMIT_S)
            self._control = self._server = None
