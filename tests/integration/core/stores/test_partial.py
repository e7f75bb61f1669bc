"""Blobs that several writers write, one after the other: the contract of BlobStore, kept by both implementations."""

import json
from contextlib import closing
from dataclasses import asdict

import pytest
from tests.integration.core.stores.blobs import KEY, LARGE, read

from retint.errors import NotFound
from retint.stores import NOTHING, BlobStore, Partial
from retint.stores.s3 import S3Store


def list_keys(store: BlobStore) -> list[str]:
    return [blob.key for blob in store.list("")]


@pytest.mark.parametrize("sizes", [(3,), (3, 5), (9 << 20, 1 << 20, 10 << 20), (20 << 20,), (8 << 20, 4 << 20)])
def test_one_writer_goes_on_where_another_has_ended(store: BlobStore, sizes: tuple[int, ...]) -> None:
    so_far, start = NOTHING, 0
    for size in sizes:
        writer = store.write(KEY, so_far=so_far)
        writer.write(LARGE[start : start + size])
        so_far = Partial.from_json(json.loads(json.dumps(asdict(writer.keep()))))
        writer.close()
        start += size
        assert so_far.size == start
        assert KEY not in list_keys(store), "nobody sees it before it is whole"
    writer = store.write(KEY, so_far=so_far)
    writer.commit()
    assert read(store) == LARGE[:start]
    assert list_keys(store) == [KEY], "nothing is left of what was kept on the way"


def test_what_is_written_after_it_was_kept_counts_from_the_next_time_on(store: BlobStore) -> None:
    writer = store.write(KEY)
    writer.write(LARGE[:10])
    kept = writer.keep()
    writer.write(LARGE[10 : 9 << 20])
    later = writer.keep(rest=False)
    writer.close()
    assert (kept.size, later.size) == (10, store_part(store, 9 << 20))
    for so_far in (later, kept):  # whoever could not write down the later one still has the earlier
        again = store.write(KEY, so_far=so_far)
        again.write(LARGE[so_far.size : 12 << 20])
        if so_far is later:
            again.close()
    again.commit()
    assert read(store) == LARGE[: 12 << 20]


def store_part(store: BlobStore, size: int) -> int:
    """Return how much of so many bytes is kept without a rest: a directory has no parts."""
    inner = getattr(store, "_store", store)
    return size - size % (8 << 20) if isinstance(inner, S3Store) else size


def test_a_writer_that_is_taken_over_changes_nothing_any_more(store: BlobStore) -> None:
    first = store.write(KEY)
    first.write(LARGE[: 9 << 20])
    so_far = first.keep()
    second = store.write(KEY, so_far=so_far)
    first.write(b"late")
    second.write(LARGE[9 << 20 :])
    first.write(b"later")
    second.commit()
    first.write(b"too late")
    first.close()
    assert read(store) == LARGE


@pytest.mark.parametrize("size", [3, 8 << 20, 9 << 20])
def test_what_was_kept_can_be_discarded_and_is_gone(store: BlobStore, size: int) -> None:
    writer = store.write(KEY)
    writer.write(LARGE[:size])
    so_far = writer.keep()
    writer.close()
    store.write(KEY, so_far=so_far).discard()
    assert list_keys(store) == []
    with pytest.raises(NotFound), closing(store.write(KEY, so_far=so_far)) as gone:
        gone.write(LARGE)  # a service says so only when it is asked
