"""Orphans are deleted; what a row names, or may still name, is not."""

import uuid
from datetime import timedelta

from tests.integration.conftest import House

from retint.jobs import queueing
from retint.jobs.leases import Done, Lease
from retint.tables import Photo
from retint_workers.dispatch.sweep import sweep

AT_ONCE = timedelta(seconds=-1)


def put_blob(house: House, key: str) -> str:
    house.services.store.put(key, b"bytes")
    return key


def list_keys(house: House) -> set[str]:
    return {blob.key for blob in house.services.store.list("tenants/")}


def sweep_all(house: House, age: timedelta, *, dry_run: bool = False) -> set[str]:
    return {key for chunk in sweep(house.services, age, dry_run=dry_run) for key in chunk}


def settle_done(house: House, lease: Lease) -> str:
    key = put_blob(house, lease.file_key("proxy.png"))
    house.settle((lease, Done({"proxy": key})))
    return key


def test_only_old_files_that_no_row_names_are_deleted(house: House) -> None:
    house.services.store.prepare()
    [expired] = house.claim(house.deposit("a"), lease_s=-1)
    orphan = put_blob(house, expired.file_key("proxy.png"))
    with house.services.begin() as session:
        queueing.reclaim_expired(session)
    [again] = house.claim([expired.job_id])
    [running] = house.claim(house.deposit("b"))
    kept = {
        settle_done(house, again),
        put_blob(house, running.file_key("proxy.png")),
        put_blob(house, running.original_key),
        put_blob(house, "tenants/notes.txt"),
    }
    orphans = {orphan, put_blob(house, Photo(id=uuid.uuid4(), tenant_id=running.tenant_id).original_key)}
    assert sweep_all(house, timedelta(days=1)) == set()
    assert sweep_all(house, AT_ONCE, dry_run=True) == orphans
    assert list_keys(house) == kept | orphans
    assert sweep_all(house, AT_ONCE) == orphans
    assert list_keys(house) == kept
    assert sweep_all(house, AT_ONCE) == set()
