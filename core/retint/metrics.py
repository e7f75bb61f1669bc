"""All metrics, and the counts that a process keeps of what it does.

Counts are numbers by name that only grow, so the counts of processes are added up whatever becomes of the processes:
`totals` keeps them in the database, `exposition` makes Prometheus' page of them. A histogram is kept as one count for
each bucket that was hit, and the sum of what was observed.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

SUM = "sum"
"""Name of the count that holds the sum of a histogram's observations."""
UNBOUNDED = "+Inf"
"""Name of a histogram's last bucket."""

Counts = dict[str, float]
"""Numbers by `Metric.key`."""


class Kind(StrEnum):
    """Kinds of metrics, as Prometheus names them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """A metric: its name and meaning, its labels, and for a histogram the upper bounds of its buckets."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def key(self, *values: str) -> str:
        """Return the name of a count: the metric's, and the values of its labels; for a histogram also the bucket."""
        return " ".join([self.name, *values])


METRICS: dict[str, Metric] = {}
"""All metrics by name, in the order of the page."""


def _define(kind: Kind, name: str, text: str, *labels: str, buckets: tuple[float, ...] = ()) -> Metric:
    METRICS[f"retint_{name}"] = metric = Metric(f"retint_{name}", kind, text, labels, buckets)
    return metric


# --- what the database knows ------------------------------------------------------------------------------------------

BUILD_INFO = _define(Kind.GAUGE, "build_info", "Always 1; the version of the portal that answers.", "version")
STORE_INFO = _define(Kind.GAUGE, "store_info", "Always 1; the identity of the store.", "store")
JOBS = _define(
    Kind.GAUGE, "jobs", "Jobs that are not ended, by stage and state; paused batches left out.", "stage", "state"
)
OLDEST = _define(Kind.GAUGE, "oldest_seconds", "How long the oldest waiting job of a stage has waited.", "stage")
ENDED = _define(
    Kind.GAUGE, "ended_jobs", "Jobs that were restored, refused or cancelled, or are in quarantine.", "state"
)
FAILED = _define(
    Kind.GAUGE,
    "failed_jobs",
    "The refused and the quarantined among them, by reason; refused tries of trials left out.",
    "reason_code",
    "state",
)
WORKERS = _define(Kind.GAUGE, "workers", "Live workers.", "fleet", "activity")
WANTED = _define(
    Kind.GAUGE, "workers_wanted", "Workers that a fleet should have: the operator's number, or the demand.", "fleet"
)
WORK = _define(
    Kind.GAUGE, "work_seconds", "A worker's time for all that waits and runs; paused batches left out.", "fleet"
)
SHORT = _define(
    Kind.GAUGE,
    "workers_short_seconds",
    "How long fewer workers have lived than are wanted; 0 where there are enough.",
    "fleet",
)
TROUBLED = _define(Kind.GAUGE, "workers_in_trouble", "Live workers that claim nothing; their page says why.", "fleet")
LEADER = _define(
    Kind.GAUGE, "leader_lease_seconds", "Rest of the lead's lease; negative where nobody leads.", "role", "holder"
)
BACKUP_AGE = _define(
    Kind.GAUGE, "backup_age_seconds", "Time since the newest whole backup was begun; absent where there was none."
)
SWEEP_SEEN = _define(Kind.GAUGE, "sweep_looked_at_files", "Files that this round of the sweep has looked at.")
SWEEP_DELETED = _define(Kind.GAUGE, "sweep_deleted_files", "Orphans that this round of the sweep has deleted.")
SWEEP_STOPPED = _define(Kind.GAUGE, "sweep_stopped", "1 where the sweep has stopped and waits for the operator.")
WEBHOOKS_DISABLED = _define(
    Kind.GAUGE, "webhooks_disabled", "Webhooks that were disabled, because their receivers take nothing."
)
OUTBOX_OLDEST = _define(
    Kind.GAUGE, "outbox_oldest_seconds", "Age of the oldest notification that is not told and that nobody holds back."
)
NEAR_QUOTA = _define(
    Kind.GAUGE, "institutions_near_quota", "Institutions that use so much of a quota.", "quota", "used"
)

# --- what processes count ---------------------------------------------------------------------------------------------

ATTEMPTS = _define(
    Kind.COUNTER, "attempts_total", "Attempts that ended: done, refused, fault or expired.", "stage", "outcome"
)
FAULTS = _define(
    Kind.COUNTER,
    "attempts_failed_total",
    "Attempts that ended in a refusal or a fault, by its reason.",
    "stage",
    "reason_code",
)
QUARANTINED = _define(
    Kind.COUNTER, "quarantined_total", "Jobs that went into quarantine: their last fault was one too many.", "stage"
)
STAGE_SECONDS = _define(
    Kind.HISTOGRAM,
    "stage_seconds",
    "A worker's time for one attempt: since it claimed the bundle, or since the attempt before.",
    "stage",
    "network",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
)
FRAME_SECONDS = _define(
    Kind.HISTOGRAM,
    "film_frame_seconds",
    "A worker's time for one frame of a film; films are in no other histogram of a stage's time.",
    "stage",
    "network",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
CLAIM_WAIT = _define(
    Kind.HISTOGRAM,
    "claim_wait_seconds",
    "How long jobs waited for a worker, from when they could run to the claim.",
    "stage",
    buckets=(0.25, 1, 5, 15, 60, 300, 1800, 7200, 43200, 86400),
)
LEASES_LOST = _define(
    Kind.COUNTER, "leases_lost_total", "Attempts whose lease ended while the worker was at work.", "stage"
)
ZOOMS = _define(
    Kind.COUNTER,
    "zooms_total",
    "Zooms that a worker was asked for: made, there already, refused or fault.",
    "outcome",
)
ZOOM_SECONDS = _define(
    Kind.HISTOGRAM,
    "zoom_seconds",
    "A worker's time for making one zoom.",
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
STORE_BYTES = _define(
    Kind.COUNTER, "store_bytes_total", "Bytes that were read from and written to the store.", "direction"
)
STORE_ERRORS = _define(Kind.COUNTER, "store_errors_total", "Requests that the store did not answer.")
DATABASE_ERRORS = _define(Kind.COUNTER, "database_errors_total", "Transactions that the database did not answer.")
BUNDLES = _define(Kind.COUNTER, "bundles_sent_total", "Bundles that the dispatcher sent.", "stage")
BUNDLED_JOBS = _define(Kind.COUNTER, "bundled_jobs_total", "Jobs in the bundles that the dispatcher sent.", "stage")
MESSAGES_LOST = _define(Kind.COUNTER, "messages_lost_total", "Jobs whose message was lost, to be sent again.")
DELIVERIES = _define(
    Kind.COUNTER,
    "deliveries_total",
    "Tries to tell a webhook, or to send an e-mail: delivered, failed, or given up after the last try.",
    "channel",
    "outcome",
)
LEADS_TAKEN = _define(Kind.COUNTER, "leads_taken_total", "How often a dispatcher became the leader.")
REQUESTS = _define(
    Kind.COUNTER, "http_requests_total", "Requests that the portal answered.", "method", "route", "status"
)
REQUEST_ERRORS = _define(
    Kind.COUNTER, "http_errors_total", "Requests that the portal answered with an error of its own: 500 or above."
)
REQUEST_SECONDS = _define(
    Kind.HISTOGRAM,
    "http_request_seconds",
    "Time until the portal's answer begins.",
    "route",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)

QUOTA_REFUSALS = _define(Kind.COUNTER, "quota_refusals_total", "Requests that were beyond a quota.", "quota")
RATE_LIMITED = _define(
    Kind.COUNTER, "rate_limited_total", "Requests that were one too many, by what was counted.", "by"
)
RATES_UNKNOWN = _define(
    Kind.COUNTER, "rates_unknown_total", "How often requests passed uncounted because Redis did not answer."
)


class Counters:
    """The counts of one process; any thread may count."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._lock = threading.Lock()

    def count(self, metric: Metric, *values: str, n: float = 1) -> None:
        """Add to a counter with these values of its labels."""
        self.add({metric.key(*values): n})

    def observe(self, metric: Metric, value: float, *values: str, n: int = 1) -> None:
        """Add n equal observations to a histogram."""
        position = bisect_left(metric.buckets, value)
        bucket = f"{metric.buckets[position]:g}" if position < len(metric.buckets) else UNBOUNDED
        self.add({metric.key(*values, bucket): n, metric.key(*values, SUM): n * value})

    def add(self, counts: Mapping[str, float]) -> None:
        """Add counts."""
        with self._lock:
            self._counts.update(counts)

    def snapshot(self) -> Counts:
        """Return all counts so far."""
        with self._lock:
            return dict(self._counts)

    def take(self) -> Counts:
        """Return all counts so far, and begin again."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return dict(counts)
