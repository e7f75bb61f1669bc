"""The page of metrics for Prometheus, made from the database: so any portal can be scraped, and each shows all."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from sqlalchemy import select
from sqlalchemy.orm import Session

from retint import __version__, fleets, institutions, metrics, quotas, totals
from retint.columns import now
from retint.fleet_tables import Fleet
from retint.jobs import tallies
from retint.lifecycle import FINAL, FLEETS, STAGES, State
from retint.metrics import METRICS, SUM, UNBOUNDED, Counts, Kind, Metric
from retint.notifications import outbox
from retint.store_tables import StoreIdentity, Sweep
from retint.tables import Leader

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of what `render` returns."""

Values = dict[Metric, dict[tuple[str, ...], float]]
"""Numbers by metric and the values of its labels."""


def render(session: Session) -> bytes:
    """Render the metrics of all tenants."""
    values = _group_by_metric(totals.read(session))
    for measure in (
        _measure_jobs,
        _measure_workers,
        _measure_leaders,
        _measure_store,
        _measure_outbox,
        _measure_quotas,
    ):
        for metric, labels, value in measure(session):
            values.setdefault(metric, {})[labels] = value
    registry = CollectorRegistry()
    registry.register(_Collector(values))
    return generate_latest(registry)


class _Collector:
    """What prometheus_client asks for all metrics. One without values is listed all the same."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def collect(self) -> Iterable[Family]:
        for metric in METRICS.values():
            make = {Kind.COUNTER: _make_counter, Kind.GAUGE: _make_gauge, Kind.HISTOGRAM: _make_histogram}
            yield make[metric.kind](metric, self._values.get(metric, {}))


def _make_gauge(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Family:
    family = GaugeMetricFamily(metric.name, metric.text, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _make_counter(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Family:
    family = CounterMetricFamily(metric.name, metric.text, labels=metric.labels)
    values = {**dict.fromkeys(_from_the_start(metric), 0.0), **values}
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _from_the_start(metric: Metric) -> Iterable[tuple[str, ...]]:
    """List the labels of counters that are shown before anything was counted.

    Prometheus takes a counter's first value for its beginning: what is counted before is no increase, and no alert.
    """
    if metric in (metrics.ATTEMPTS, metrics.QUARANTINED):
        outcomes = ("done", "refused", "fault", "expired")
        return product(STAGES, outcomes) if metric is metrics.ATTEMPTS else ((stage,) for stage in STAGES)
    return () if metric.labels else [()]


def _make_histogram(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
    histograms: dict[tuple[str, ...], dict[str, float]] = {}
    for (*labels, bucket), value in values.items():
        histograms.setdefault(tuple(labels), {})[bucket] = value
    bounds = [*(f"{bound:g}" for bound in metric.buckets), UNBOUNDED]
    for label_values, counts in histograms.items():
        reached, buckets = 0.0, []
        for bound in bounds:
            reached += counts.get(bound, 0)
            buckets.append((bound, reached))
        family.add_metric(label_values, buckets, counts.get(SUM, 0))
    return family


def _group_by_metric(counts: Counts) -> Values:
    """Group counts by metric; those of another version, which this one does not know, are left out."""
    values: Values = {}
    for key, n in counts.items():
        name, *labels = key.split(" ")
        metric = METRICS.get(name)
        if metric and len(labels) == len(metric.labels) + (metric.kind is Kind.HISTOGRAM):
            values.setdefault(metric, {})[tuple(labels)] = n
    return values


# --- what the database knows ------------------------------------------------------------------------------------------

Measured = Iterator[tuple[Metric, tuple[str, ...], float]]


def _measure_jobs(session: Session) -> Measured:
    for depth in tallies.measure_depths(session):
        for state in ("ready", "queued", "running"):
            yield metrics.JOBS, (depth.stage, state), getattr(depth, state)
        yield metrics.OLDEST, (depth.stage,), depth.oldest_s
    ended = tallies.count_ended(session)
    for state in (*sorted(FINAL), State.QUARANTINED):
        yield metrics.ENDED, (state,), ended.get(state, 0)
    for group in tallies.group_failures(session, None):
        yield metrics.FAILED, (group.reason_code, group.state), group.count


def _measure_quotas(session: Session) -> Measured:
    """Count institutions by how near they are; no label names one, so however many there are, the page stays short."""
    shares = [institution.shares for institution in institutions.list_all(session)]
    for kind in (quotas.Kind.BYTES, quotas.Kind.IN_FLIGHT):
        for level in institutions.WARNINGS:
            near = sum(each.get(kind, 0.0) >= level for each in shares)
            yield metrics.NEAR_QUOTA, (kind, f"{level:.0%}"), near


def _measure_workers(session: Session) -> Measured:
    live, wanted = fleets.list_live(session), fleets.get_wanted(session)
    for fleet in FLEETS:
        workers = [worker for worker in live if worker.fleet == fleet]
        busy = sum(bool(worker.activity) for worker in workers)
        yield metrics.WORKERS, (fleet, "busy"), busy
        yield metrics.WORKERS, (fleet, "idle"), len(workers) - busy
        yield metrics.TROUBLED, (fleet,), sum(worker.trouble is not None for worker in workers)
        yield metrics.WANTED, (fleet,), wanted[fleet]
    at = session.scalars(select(now())).one()
    for row in session.scalars(select(Fleet)):
        yield metrics.WORK, (row.name,), (row.work or {}).get("seconds", 0.0)
        yield metrics.SHORT, (row.name,), (at - row.short_since).total_seconds() if row.short_since else 0.0


def _measure_leaders(session: Session) -> Measured:
    for row in session.execute(select(Leader.role, Leader.holder, Leader.until, now().label("at"))):
        yield metrics.LEADER, (row.role, row.holder), (row.until - row.at).total_seconds()


def _measure_store(session: Session) -> Measured:
    yield metrics.BUILD_INFO, (__version__,), 1
    for row in session.execute(select(StoreIdentity.id, StoreIdentity.backed_up_at, now().label("at"))):
        yield metrics.STORE_INFO, (str(row.id),), 1
        if row.backed_up_at:
            yield metrics.BACKUP_AGE, (), (row.at - row.backed_up_at).total_seconds()
    for sweep in session.scalars(select(Sweep)):
        yield metrics.SWEEP_SEEN, (), sweep.looked_at
        yield metrics.SWEEP_DELETED, (), sweep.deleted
        yield metrics.SWEEP_STOPPED, (), sweep.stopped is not None


def _measure_outbox(session: Session) -> Measured:
    yield metrics.WEBHOOKS_DISABLED, (), outbox.count_disabled(session)
    yield metrics.OUTBOX_OLDEST, (), outbox.measure_oldest_s(session)
