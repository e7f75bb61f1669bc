"""Metrics for Prometheus."""

from prometheus_client.parser import text_string_to_metric_families
from tests.integration.conftest import Site

from retint import exposition, fleets
from retint.errors import InvalidPhoto


def test_the_figures_tell_what_waits_runs_and_failed(site: Site) -> None:
    leases = site.claim(site.add_many_jobs(5)[:3])
    site.settle((leases[0], InvalidPhoto("This is not a photograph.")))
    with site.services.begin() as session:
        fleets.register_worker(session, "gpu", "host", 1, "a GPU", "1.0")
        fleets.set_wanted(session, "gpu", 3)
        text = exposition.render(session).decode()
    figures = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert figures["retint_jobs", "ingest", "ready"] == 2
    assert figures["retint_jobs", "ingest", "running"] == 2
    assert figures["retint_failed_jobs", "invalid_photo", "refused"] == 1
    assert figures["retint_workers", "idle", "gpu"] == 1
    assert figures["retint_workers_wanted", "gpu"] == 3
    assert figures["retint_oldest_seconds", "ingest"] >= 0
