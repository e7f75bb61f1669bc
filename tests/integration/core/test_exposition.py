"""The page of metrics, read with Prometheus' own parser."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from tests.integration.conftest import Site
from tests.scraping import scrape

from retint import exposition, fleets, metrics, totals
from retint.columns import new_id
from retint.errors import InvalidPhoto
from retint.jobs import changes
from retint.metrics import METRICS
from retint.store_tables import StoreIdentity, Sweep


def test_the_page_tells_what_waits_runs_ended_and_failed(site: Site) -> None:
    batch = site.add_batch()
    job_ids = site.add_many_jobs(6, batch)
    leases = site.claim(job_ids[:3])
    site.settle((leases[0], InvalidPhoto("This is not a photograph.")))
    with site.services.begin() as session:
        changes.cancel_job(session, batch.tenant_id, job_ids[5])
    figures = scrape(site.services)
    assert figures["retint_jobs", "ingest", "ready"] == 2
    assert figures["retint_jobs", "ingest", "running"] == 2
    assert figures["retint_ended_jobs", "cancelled"] == 1
    assert figures["retint_ended_jobs", "refused"] == 1
    assert figures["retint_ended_jobs", "restored"] == 0
    assert figures["retint_failed_jobs", "invalid_photo", "refused"] == 1
    assert figures["retint_oldest_seconds", "ingest"] >= 0
    assert figures["retint_quarantined_total", "ingest"] == 0, "shown before it is counted"
    assert figures["retint_attempts_total", "fault", "render"] == 0


def test_the_page_tells_who_works_and_who_leads(site: Site) -> None:
    with site.services.begin() as session:
        fleets.register_worker(session, "gpu", "host", 1, "a GPU", "1.0")
        fleets.set_wanted(session, "gpu", 3)
        fleets.acquire_lead(session, "dispatcher", "host-1", 5)
    figures = scrape(site.services)
    assert figures["retint_workers", "idle", "gpu"] == 1
    assert figures["retint_workers", "busy", "gpu"] == 0
    assert figures["retint_workers_wanted", "gpu"] == 3
    assert figures["retint_workers_in_trouble", "gpu"] == 0
    assert 3 < figures["retint_leader_lease_seconds", "host-1", "dispatcher"] <= 5


def test_the_page_tells_of_the_store(site: Site) -> None:
    store_id = new_id()
    with site.services.begin() as session:
        session.add(StoreIdentity(id=store_id, mark=3))
        session.add(Sweep(id=1, looked_at=1000, deleted=2, stopped="More than a small share would go."))
    figures = scrape(site.services)
    assert figures["retint_store_info", str(store_id)] == 1
    assert figures["retint_sweep_looked_at_files",] == 1000
    assert figures["retint_sweep_deleted_files",] == 2
    assert figures["retint_sweep_stopped",] == 1


def test_the_page_adds_up_what_processes_have_counted(site: Site) -> None:
    portal, worker = metrics.Counters(), metrics.Counters()
    for seconds in (0.02, 0.02, 0.3, 1000):
        portal.observe(metrics.REQUEST_SECONDS, seconds, "/")
        worker.observe(metrics.STAGE_SECONDS, seconds, "render")
    portal.count(metrics.REQUESTS, "GET", "/batches/<uuid:batch_id>", "200", n=2)
    worker.count(metrics.ATTEMPTS, "render", "done", n=7)
    of_other_versions = {"retint_gone_total": 1, "retint_attempts_total render": 1, "tallies_folded_to": 5}
    with site.services.begin() as session:
        totals.add(session, {**portal.snapshot(), **of_other_versions})
        totals.add(session, {metrics.ATTEMPTS.key("render", "done"): 1})
        worker_id = fleets.register_worker(session, "cpu", "host", 1, "cpu", "1.0")
        fleets.record_heartbeat(session, worker_id, "", worker.snapshot())
    figures = scrape(site.services)
    assert figures["retint_http_requests_total", "GET", "/batches/<uuid:batch_id>", "200"] == 2
    assert figures["retint_attempts_total", "done", "render"] == 8
    buckets = {name[1]: n for name, n in figures.items() if name[0] == "retint_http_request_seconds_bucket"}
    assert buckets == {
        **{"0.01": 0, "0.05": 2, "0.1": 2, "0.25": 2, "0.5": 3, "1": 3, "2.5": 3, "10": 3, "60": 3},
        "+Inf": 4,
    }
    assert figures["retint_http_request_seconds_count", "/"] == 4
    assert figures["retint_http_request_seconds_sum", "/"] == 1000.34
    assert figures["retint_store_errors_total",] == 0
    assert not [name for name in figures if "gone" in name[0] or "tallies" in name[0]]


def test_every_metric_is_on_the_page_with_its_kind_and_meaning(site: Site) -> None:
    with site.services.read() as session:
        text = exposition.render(session).decode()
    families: dict[str, Any] = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in METRICS.values():
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.text)


def test_counts_of_a_process_that_is_no_worker_are_reported_once(site: Site) -> None:
    site.services.counters.count(metrics.BUNDLES, "ingest", n=3)
    for _ in range(2):
        site.services.report_counts()
    assert scrape(site.services)["retint_bundles_sent_total", "ingest"] == 3
    site.services.counters.count(metrics.BUNDLES, "ingest")
    site.services.report_counts()
    assert scrape(site.services)["retint_bundles_sent_total", "ingest"] == 4
