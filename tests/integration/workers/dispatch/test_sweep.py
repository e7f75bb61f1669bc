"""Orphans are deleted; what a row names, or may still name, is not."""

import uuid
from datetime import timedelta

from tests.integration.conftest import Site

from retint.jobs import queueing
from retint.jobs.leases import Done, Lease
from retint.tables import Photo
from retint_workers.dispatch.sweep import sweep

AT_ONCE = timedelta(seconds=-1)


def put_blob(site: Site, key: str) -> str:
    site.services.store.put(key, b"bytes")
    return key


def list_keys(site: Site) -> set[str]:
    return {blob.key for blob in site.services.store.list("tenants/")}


def sweep_all(site: Site, age: timedelta, *, dry_run: bool = False) -> set[str]:
    return {key for chunk in sweep(site.services, age, dry_run=dry_run) for key in chunk}


def settle_done(site: Site, lease: Lease) -> str:
    key = put_blob(site, lease.file_key("proxy.png"))
    site.settle((lease, Done({"proxy": key})))
    return key


def test_only_old_files_that_no_row_names_are_deleted(site: Site) -> None:
    site.services.store.prepare()
    [expired] = site.claim(site.add_jobs("a"), lease_s=-1)
    orphan = put_blob(site, expired.file_key("proxy.png"))
    with site.services.begin() as session:
        queueing.reclaim_expired(session)
    [again] = site.claim([expired.job_id])
    [running] = site.claim(site.add_jobs("b"))
    kept = {
        settle_done(site, again),
        put_blob(site, running.file_key("proxy.png")),
        put_blob(site, running.original_key),
        put_blob(site, "tenants/notes.txt"),
    }
    orphans = {orphan, put_blob(site, Photo(id=uuid.uuid4(), tenant_id=running.tenant_id).original_key)}
    assert sweep_all(site, timedelta(days=1)) == set()
    assert sweep_all(site, AT_ONCE, dry_run=True) == orphans
    assert list_keys(site) == kept | orphans
    assert sweep_all(site, AT_ONCE) == orphans
    assert list_keys(site) == kept
    assert sweep_all(site, AT_ONCE) == set()
