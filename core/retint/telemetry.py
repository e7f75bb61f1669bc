"""Logging of a process with structlog, and the metrics for Prometheus."""

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
"""Content type of what `render_metrics` returns."""

WARNINGS_ONLY = ("celery", "kombu", "amqp", "botocore", "boto3", "s3transfer", "urllib3", "httpx", "alembic", "PIL")
"""Libraries that log warnings and errors only."""


def configure(settings: Settings, process: str) -> None:
    """Set up logging for a whole process, libraries included: to standard error, one line an event.

    Args:
        settings: JSON lines or text.
        process: name of the process, written in every line.
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
            # The default prints the variables of every frame, passwords and tokens among them.
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
    for name in WARNINGS_ONLY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)


def render_metrics(session: Session) -> bytes:
    """Render metrics of all tenants for Prometheus. They come from the database, so any portal can be scraped."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"retint_{name}", text, labels, registry=registry)

    jobs = gauge("jobs", "Jobs that are not ended, by stage and state; paused batches left out.", "stage", "state")
    oldest = gauge("oldest_seconds", "How long the oldest waiting job of a stage has waited.", "stage")
    for depth in tallies.measure_depths(session):
        for state in ("ready", "queued", "running"):
            jobs.labels(depth.stage, state).set(getattr(depth, state))
        oldest.labels(depth.stage).set(depth.oldest_s)

    failed = gauge("failed_jobs", "Jobs that were refused or quarantined, by reason.", "reason_code", "state")
    for group in tallies.group_failures(session, None):
        failed.labels(group.reason_code, group.state).set(group.count)

    workers = gauge("workers", "Live workers.", "fleet", "activity")
    wanted = gauge("workers_wanted", "Workers that the administrator wants.", "fleet")
    live = fleets.list_live(session)
    for fleet in FLEETS:
        for activity in ("busy", "idle"):
            matching = [
                worker for worker in live if worker.fleet == fleet and bool(worker.activity) == (activity == "busy")
            ]
            workers.labels(fleet, activity).set(len(matching))
        wanted.labels(fleet).set(fleets.get_wanted(session)[fleet])
    return generate_latest(registry)
