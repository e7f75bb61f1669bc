"""Gunicorn's log."""

from typing import Any

from gunicorn import glogging


class Logger(glogging.Logger):  # type: ignore[misc]
    """Writes what gunicorn has to say as every other line of the process (see `retint.telemetry`)."""

    def setup(self, cfg: Any) -> None:
        """Hand lines on to the root logger."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
