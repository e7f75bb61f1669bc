"""Metrics for Prometheus, made from the database."""

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy.orm import Session

from retint import fleets
from retint.jobs import tallies
from retint.lifecycle import FLEETS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of what `render` returns."""


def render(session: Session) -> bytes:
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
