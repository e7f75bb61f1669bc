"""Orphans are deleted; what a row names, or may still name, is not."""

import uuid
from datetime import timedelta

from tests.integration.conftest import House

from retint import jobs
from retint.jobs import Done, Lease
from retint.tables import Photo
from retint_workers.dispatch.sweep import sweep

AT_ONCE = timedelta(seconds=-1)


def put(house: House, key: str) -> str:
    house.services.store.put(key, b"bytes")
    return key


def left(house: House) -> set[str]:
    return {blob.key for blob in house.services.store.list("tenants/")}


def swept(house: House, age: timedelta, *, dry_run: bool = False) -> set[str]:
    return {key for chunk in sweep(house.services, age, dry_run=dry_run) for key in chunk}


def settled(house: House, lease: Lease) -> str:
    key = put(house, lease.file_key("proxy.png"))
    house.settle((lease, Done({"proxy": key})))
    return key


def test_only_old_files_that_no_row_names_are_deleted(house: House) -> None:
    house.services.store.prepare()
    [expired] = house.claim(house.deposit("a"), lease_s=-1)
    orphan = put(house, expired.file_key("proxy.png"))
    with house.services.begin() as session:
        jobs.reclaim(session)
    [again] = house.claim([expired.job_id])
    [running] = house.claim(house.deposit("b"))
    kept = {
        settled(house, again),
        put(house, running.file_key("proxy.png")),
        put(house, running.original_key),
        put(house, "tenants/notes.txt"),
    }
    orphans = {orphan, put(house, Photo(id=uuid.uuid4(), tenant_id=running.tenant_id).original_key)}
    assert swept(house, timedelta(days=1)) == set()
    assert swept(house, AT_ONCE, dry_run=True) == orphans
    assert left(house) == kept | orphans
    assert swept(house, AT_ONCE) == orphans
    assert left(house) == kept
    assert swept(house, AT_ONCE) == set()
