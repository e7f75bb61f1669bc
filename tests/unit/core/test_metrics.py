"""What a process counts."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from retint.metrics import ATTEMPTS, METRICS, STAGE_SECONDS, STORE_ERRORS, Counters, Kind


def test_counts_of_many_threads_add_up() -> None:
    counters = Counters()

    def work(_: int) -> None:
        for _ in range(1000):
            counters.count(STORE_ERRORS)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert counters.snapshot() == {"retint_store_errors_total": 8000}


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0, "0.05"), (0.05, "0.05"), (0.06, "0.1"), (7200, "7200"), (1e6, "+Inf")]
)
def test_an_observation_is_counted_in_the_smallest_bucket_that_holds_it(seconds: float, bucket: str) -> None:
    counters = Counters()
    counters.observe(STAGE_SECONDS, seconds, "render", n=2)
    assert counters.snapshot() == {
        f"retint_stage_seconds render {bucket}": 2,
        "retint_stage_seconds render sum": 2 * seconds,
    }


def test_counts_that_are_taken_are_not_counted_again() -> None:
    counters = Counters()
    counters.count(ATTEMPTS, "ingest", "done", n=5)
    assert counters.take() == {"retint_attempts_total ingest done": 5}
    counters.count(ATTEMPTS, "ingest", "done")
    assert counters.take() == {"retint_attempts_total ingest done": 1}
    assert counters.take() == counters.snapshot() == {}


def test_names_and_units_are_as_prometheus_asks() -> None:
    for name, metric in METRICS.items():
        assert name == metric.name
        assert name.endswith("_total") == (metric.kind is Kind.COUNTER), name
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM), name
        assert metric.buckets == tuple(sorted(metric.buckets)), name
        assert metric.text.endswith("."), name
