"""Logs and metrics: structlog set up for a process, and what Prometheus is told."""

import logging
import sys
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy.orm import Session

from retint import fleets
from retint.jobs import tallies
from retint.lifecycle import FLEETS
from retint.settings import Settings

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of what `metrics` writes."""

TOO_CHATTY = ("celery", "kombu", "amqp", "botocore", "boto3", "s3transfer", "urllib3", "httpx", "alembic", "PIL")
"""Libraries whose warnings alone are of interest."""


def configure(settings: Settings, process: str) -> None:
    """Set up logging for a whole process: to standard error, one line an event, also what libraries log.

    Args:
        settings: JSON lines or text.
        process: the process's name, in every line.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderers: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.log_json
        else [
            # The default would print every frame's variables: passwords and tokens among them.
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in TOO_CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)


def metrics(session: Session) -> bytes:
    """Write what the whole house does, for Prometheus: read from the database, so that any one portal may be asked."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"retint_{name}", text, labels, registry=registry)

    standing = gauge("jobs", "Jobs that are not ended, by stage and state; paused batches left out.", "stage", "state")
    oldest = gauge("oldest_seconds", "How long the oldest waiting job of a stage has waited.", "stage")
    for depth in tallies.depths(session):
        for state in ("ready", "queued", "running"):
            standing.labels(depth.stage, state).set(getattr(depth, state))
        oldest.labels(depth.stage).set(depth.oldest_s)

    failed = gauge("failed_jobs", "Jobs that were refused or quarantined, by reason.", "reason_code", "state")
    for group in tallies.failures(session, None):
        failed.labels(group.reason_code, group.state).set(group.count)

    workers = gauge("workers", "Live workers.", "fleet", "activity")
    wanted = gauge("workers_wanted", "Workers that the administrator wants.", "fleet")
    live = fleets.live(session)
    for fleet in FLEETS:
        for activity in ("busy", "idle"):
            matching = [
                worker for worker in live if worker.fleet == fleet and bool(worker.activity) == (activity == "busy")
            ]
            workers.labels(fleet, activity).set(len(matching))
        wanted.labels(fleet).set(fleets.wanted(session)[fleet])
    return generate_latest(registry)
