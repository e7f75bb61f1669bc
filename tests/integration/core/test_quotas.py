"""Quotas are exact whoever deposits at the same time, on each database."""

import io
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select, update
from tests.integration.conftest import Site

from retint import accounts, batches, institutions, known_files, photos, quotas, recipes, uploads
from retint.columns import now
from retint.errors import Refused
from retint.jobs import changes, long_moves, tallies
from retint.jobs.long_moves import Selection
from retint.lifecycle import State
from retint.photos import Stream
from retint.quota_tables import Quota
from retint.quotas import Kind, Limits, QuotaExceeded
from retint.tables import Batch, Job, Photo, Upload
from retint.uploads import Receiver

KIB = 1024


def limit(site: Site, tenant: str = "museum", **limits: Any) -> uuid.UUID:
    tenant_id = site.get_tenant(tenant)
    with site.services.begin() as session:
        quotas.set_limits(session, tenant_id, Limits(**limits))
    return tenant_id


def read(site: Site, tenant_id: uuid.UUID) -> Quota:
    with site.services.read() as session:
        return quotas.read(session, tenant_id)


def used(site: Site, tenant_id: uuid.UUID) -> tuple[int, int, int]:
    quota = read(site, tenant_id)
    return quota.photos, quota.kept_bytes, quota.reserved_bytes


def assert_exact(site: Site) -> None:
    with site.services.read() as session:
        assert institutions.recount(session) == []


def store(site: Site, tenant_id: uuid.UUID, size: int) -> Photo:
    data = io.BytesIO(uuid.uuid4().bytes + bytes(size - 16))
    return photos.store_original(site.services, tenant_id, Stream(data))


def count_all(site: Site, table: type[Any]) -> int:
    with site.services.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def attempt(call: Callable[[], object]) -> QuotaExceeded | None:
    try:
        call()
    except QuotaExceeded as error:
        return error
    return None


def run_at_once(threads: int, call: Callable[[], object]) -> list[QuotaExceeded]:
    """Call something in many threads at once; return the refusals."""
    with ThreadPoolExecutor(threads) as pool:
        return [error for error in pool.map(lambda _: attempt(call), range(threads)) if error]


def test_sixteen_uploads_at_the_edge_never_exceed_together(site: Site) -> None:
    tenant_id = limit(site, most_bytes=50 * KIB)
    refused = run_at_once(16, lambda: uploads.open(site.services, tenant_id, 10 * KIB))
    assert len(refused) == 11
    assert count_all(site, Upload) == 5
    assert used(site, tenant_id) == (0, 0, 50 * KIB)
    assert {(error.status, error.shortage.limit, error.shortage.needs) for error in refused} == {
        (413, 50 * KIB, 10 * KIB)
    }
    assert_exact(site)


def test_sixteen_plain_deposits_at_the_edge_never_exceed_together(site: Site) -> None:
    tenant_id = limit(site, most_bytes=5 * KIB)
    refused = run_at_once(16, lambda: store(site, tenant_id, KIB))
    assert len(refused) == 11
    assert used(site, tenant_id) == (5, 5 * KIB, 0)
    # What was refused left nothing behind.
    assert sum(1 for _ in site.services.store.list("tenants/")) == 5
    assert_exact(site)


def test_an_upload_is_counted_once_from_its_opening_to_its_photo(site: Site) -> None:
    tenant_id = limit(site, most_bytes=10 * KIB)
    upload = uploads.open(site.services, tenant_id, 10 * KIB)
    assert used(site, tenant_id) == (0, 0, 10 * KIB)
    assert attempt(lambda: store(site, tenant_id, KIB)) is not None
    limit(site, most_bytes=KIB)  # lowered below the use: what is open goes on
    receiver = Receiver(site.services, upload)
    receiver.write(uuid.uuid4().bytes * 640)
    assert receiver.finish().photo_id == upload.id
    assert used(site, tenant_id) == (1, 10 * KIB, 0)
    assert_exact(site)
    uploads.end(site.services, tenant_id, upload.id)
    assert used(site, tenant_id) == (1, 10 * KIB, 0)


def test_the_same_bytes_again_free_what_they_reserved(site: Site) -> None:
    tenant_id = limit(site, most_bytes=100 * KIB)
    data = uuid.uuid4().bytes * 64
    for _ in range(2):
        upload = uploads.open(site.services, tenant_id, len(data))
        receiver = Receiver(site.services, upload)
        receiver.write(data)
        receiver.finish()
        assert_exact(site)
    assert used(site, tenant_id) == (1, KIB, 0)


def test_a_reservation_comes_free_when_it_is_given_up_or_expires(site: Site) -> None:
    tenant_id = limit(site, most_bytes=10 * KIB)
    given_up, forgotten = (uploads.open(site.services, tenant_id, 5 * KIB) for _ in range(2))
    assert attempt(lambda: uploads.open(site.services, tenant_id, 1)) is not None
    uploads.end(site.services, tenant_id, given_up.id)
    assert used(site, tenant_id) == (0, 0, 5 * KIB)
    with site.services.begin() as session:
        session.execute(update(Upload).where(Upload.id == forgotten.id).values(expires_at=now(-1.0)))
    assert uploads.expire(site.services) == 1
    assert used(site, tenant_id) == (0, 0, 0)
    assert_exact(site)


def test_a_process_that_dies_between_photo_and_upload_counts_once(site: Site) -> None:
    """The photo's row is there, the upload does not know it yet: the bytes are kept, and reserved no more."""
    tenant_id = limit(site, most_bytes=10 * KIB)
    upload = uploads.open(site.services, tenant_id, KIB)
    site.services.store.put(Photo(id=upload.id, tenant_id=tenant_id).original_key, bytes(KIB))
    photos.adopt_original(site.services, tenant_id, upload.id)
    assert used(site, tenant_id) == (1, KIB, 0)
    assert_exact(site)
    uploads.end(site.services, tenant_id, upload.id)
    assert used(site, tenant_id) == (1, KIB, 0)
    assert_exact(site)


def test_another_institutions_use_is_its_own(site: Site) -> None:
    mine, other = limit(site, most_bytes=KIB), limit(site, "archive", most_bytes=KIB)
    store(site, other, KIB)
    store(site, mine, KIB)
    assert used(site, mine) == used(site, other) == (1, KIB, 0)


def test_without_a_quota_nothing_is_refused_and_all_is_counted(site: Site) -> None:
    tenant_id = site.get_tenant("museum")
    assert used(site, tenant_id) == (0, 0, 0)
    store(site, tenant_id, KIB)
    uploads.open(site.services, tenant_id, 1 << 30)
    assert used(site, tenant_id) == (1, KIB, 1 << 30)
    assert_exact(site)


def test_a_wrong_count_is_found_and_mended(site: Site) -> None:
    tenant_id = limit(site)
    store(site, tenant_id, KIB)
    with site.services.begin() as session:
        session.execute(update(Quota).values(kept_bytes=77, photos=3))
    with site.services.read() as session:
        [wrong] = institutions.recount(session)
    assert (wrong.name, wrong.kept_bytes, wrong.real_kept_bytes, wrong.photos, wrong.real_photos) == (
        "museum", 77, KIB, 3, 1,
    )  # fmt: skip
    with site.services.begin() as session:
        institutions.mend_counts(session, tenant_id)
    assert used(site, tenant_id) == (1, KIB, 0)


def test_sixteen_who_add_photos_never_exceed_what_may_be_in_flight(site: Site) -> None:
    batch = site.add_batch()
    limit(site, most_in_flight=5)

    def add() -> None:
        site.add_jobs(uuid.uuid4().hex, batch=batch)

    refused = run_at_once(16, add)
    assert len(refused) == 11
    assert count_all(site, Job) == 5
    assert {(error.status, error.shortage.kind) for error in refused} == {(409, Kind.IN_FLIGHT)}


def test_known_files_are_taken_as_far_as_there_is_room_and_later_the_rest(site: Site) -> None:
    tenant_id = limit(site, most_in_flight=3)
    batch = site.add_batch()
    names = {f"{number}.tif": store(site, tenant_id, KIB).sha256 for number in range(5)}

    def add() -> known_files.Added:
        with site.services.begin() as session:
            return known_files.add(session, tenant_id, batch.id, [*names.items(), ("unknown.tif", "0" * 64)])

    added = add()
    assert [job is not None for job in added.jobs] == [True, True, True, False, False, False]
    assert added.left_out is not None
    assert added.left_out.numbers["left_out"] == 2
    assert "2 of these files are left out" in added.left_out.message
    assert add().left_out is not None  # the same again: those that are there are not new
    with site.services.begin() as session:
        session.execute(update(Job).values(state=State.RESTORED))
    again = add()
    assert (again.left_out, sum(job is not None for job in again.jobs)) == (None, 5)
    assert count_all(site, Job) == 5


def test_what_is_in_flight_is_exact_before_and_after_tallies_are_folded(site: Site) -> None:
    tenant_id = site.get_tenant("museum")
    jobs = site.add_many_jobs(7)
    site.add_many_jobs(2, site.add_batch("archive"))
    for _ in range(2):
        with site.services.begin() as session:
            assert tallies.count_in_flight(session, tenant_id) == 7
            tallies.fold(session)
    site.claim(jobs[:2])
    with site.services.begin() as session:
        changes.cancel(session, Job.id.in_(jobs[4:]))
        assert tallies.count_in_flight(session, tenant_id) == 4


def test_photos_are_run_again_only_as_far_as_there_is_room(site: Site) -> None:
    batch = site.add_batch()
    old = site.add_many_jobs(5, batch, State.REFUSED)
    limit(site, most_in_flight=2)
    with site.services.begin() as session:
        move_id = long_moves.run_again(session, batch.tenant_id, batch.id, Selection(State.REFUSED))
    for moved in (2, 4, 5):
        move = long_moves.carry_out(site.services, move_id)
        assert (move.moved, move.ended_at is None) == (moved, moved < 5)
        if left := [job_id for job_id in old if site.get_job(job_id).replaced_by is None]:
            with pytest.raises(QuotaExceeded), site.services.begin() as session:
                changes.replace_job(session, batch.tenant_id, left[0])
        with site.services.begin() as session:
            session.execute(update(Job).where(Job.state == State.READY).values(state=State.RESTORED))


def test_only_a_new_batch_is_refused_for_its_priority(site: Site) -> None:
    tenant_id = site.get_tenant("museum")

    def open_batch(key: str, priority: int) -> Batch:
        with site.services.begin() as session:
            recipe = recipes.parse({})
            return batches.open(session, tenant_id, "Box", recipe, priority=priority, idempotency_key=key)

    opened = open_batch("first", 8)
    limit(site, highest_priority=4)
    assert open_batch("first", 8).id == opened.id
    with pytest.raises(QuotaExceeded, match="priorities up to 4, not for 5") as refused:
        open_batch("second", 5)
    assert refused.value.status == 403
    assert open_batch("second", 4).priority == 4
    with site.services.read() as session:
        assert quotas.cap_priority(session, tenant_id, 8) == 4


@pytest.mark.parametrize("wrong", [{"most_bytes": -1}, {"highest_priority": 10}, {"per_minute": 0}])
def test_numbers_that_cannot_be_are_refused(site: Site, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="a number from"):
        limit(site, **wrong)


def test_a_refusal_says_what_is_used_and_whom_to_ask(site: Site) -> None:
    tenant_id = limit(site, most_bytes=5 * 10**9)
    with site.services.begin() as session:
        accounts.create_user(session, site.get_tenant("house"), "jo@house.example", is_operator=True)
    uploads.open(site.services, tenant_id, 4 * 10**9)
    with pytest.raises(QuotaExceeded) as refused:
        uploads.open(site.services, tenant_id, 2 * 10**9)
    assert refused.value.message == (
        "The quota of your institution is reached: it may keep 5,000.0 MB of originals,"
        " 4,000.0 MB are kept or reserved,"
        " and this needs 2,000.0 MB. Ask the operator of this portal for more: jo@house.example."
    )
