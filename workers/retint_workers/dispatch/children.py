"""A process that the leading dispatcher starts for work that must not slow its ticks, and that ends with it."""

import os
import signal
import subprocess
import sys

from retint import telemetry
from retint.services import Services
from retint.settings import Settings

END_S = 5.0
"""How long a process may take to end before it is killed: it may be killed at any time."""


class Child:
    """A module's `main`, run as a process of its own; at most one at a time."""

    def __init__(self, services: Services, module: str) -> None:
        self._environment = services.settings.environment()
        self._command = [sys.executable, "-m", module, str(os.getpid())]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(self._command, env=self._environment, stdin=subprocess.DEVNULL)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; return the exit status."""
        return self._process.wait(timeout_s) if self._process else 0

    def end(self) -> None:
        """End it, if it runs."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def connect_child(name: str) -> Services:
    """Connect, in the child, with the settings of its dispatcher; SIGTERM ends it at once."""
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: sys.exit())
    settings = Settings()
    telemetry.configure(settings, name)
    return Services.connect(settings, connections=1)
