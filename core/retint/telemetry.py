"""Logging of a process with structlog: one line an event, which names what it concerns.

What a line names is bound once, where it becomes known: the request by the portal, the lease by a worker. Fields that
are bound with `structlog.contextvars` belong to the thread at hand; `name_process` binds fields for all threads.
File names, bytes of photographs and secrets are never logged.
"""

import faulthandler
import logging
import os
import sys
import traceback
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from types import TracebackType
from typing import Any

import structlog

from retint.settings import Settings

WARNINGS_ONLY = ("celery", "kombu", "amqp", "botocore", "boto3", "s3transfer", "urllib3", "httpx", "alembic", "PIL")
"""Libraries that log warnings and errors only."""

_process_fields: dict[str, Any] = {}
"""What every line of this process names."""


def configure(settings: Settings, process: str) -> None:
    """Set up logging for a whole process, libraries and Python's warnings included: one line an event.

    Args:
        settings: the file, or standard error; JSON lines or text.
        process: name of the process, written in every line.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _add_process_fields,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _LogFile(settings.log_file, encoding="utf-8") if settings.log_file else logging.StreamHandler(sys.stderr)
    renderer = structlog.processors.JSONRenderer() if settings.log_json else _make_text_renderer()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(_format_exception),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in WARNINGS_ONLY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    # A crash within a library leaves the stack of every thread on standard error.
    faulthandler.enable()
    _process_fields.clear()
    name_process(process=process)


def name_process(**fields: Any) -> None:
    """Add fields to every line of this process, in all its threads."""
    _process_fields.update(fields)


class _LogFile(WatchedFileHandler):
    """A log file that others may rename at any time: the next line begins a new one.

    Standard output and standard error follow: what a library prints and what a crash leaves there lands in the file.
    """

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        for standard in (sys.stdout, sys.stderr):
            standard.flush()
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
        return stream


def _make_text_renderer() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())


def _add_process_fields(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    for name, value in _process_fields.items():
        event.setdefault(name, value)
    return event


def _format_exception(
    exc_info: tuple[type[BaseException], BaseException, TracebackType | None],
) -> str:
    """Format a traceback, without the values of variables, and without the rows that PostgreSQL quotes."""
    text = "".join(traceback.format_exception(*exc_info)).rstrip()
    error: BaseException | None = exc_info[1]
    while error is not None:
        if detail := getattr(getattr(error, "diag", None), "message_detail", None):
            text = text.replace(detail, "…")
        error = error.__cause__ or error.__context__
    return text
