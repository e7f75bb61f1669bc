"""What a store counts."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.core.stores.blobs import KEY, LARGE

from retint.errors import StoreUnavailable
from retint.metrics import STORE_BYTES, STORE_ERRORS, Counters
from retint.settings import Settings
from retint.stores import BlobStore, connect
from retint.stores.counted import CountedStore

Use = Callable[[BlobStore, Path], object]


def write_in_parts(store: BlobStore, _: Path) -> None:
    writer = store.write(KEY)
    writer.write(LARGE[:1000])
    writer.write(LARGE[1000:])
    writer.commit()


def read_part(store: BlobStore, _: Path) -> None:
    with store.open(KEY, 0, 1000) as blob:
        blob.read()


USES: dict[str, tuple[Use, str, int]] = {
    "put bytes": (lambda store, _: store.put(KEY, LARGE), "written", len(LARGE)),
    "put a file": (lambda store, path: store.put(KEY, path), "written", len(LARGE)),
    "put a stream": (lambda store, _: store.put(KEY, io.BytesIO(LARGE)), "written", len(LARGE)),
    "write": (write_in_parts, "written", len(LARGE)),
    "fetch": (lambda store, path: store.fetch(KEY, path), "read", len(LARGE)),
    "open": (read_part, "read", 1000),
}


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def counted(tmp_path: Path, counters: Counters) -> CountedStore:
    store = CountedStore(connect(Settings(data=tmp_path / "data")), counters)
    store.prepare()
    store.put(KEY, LARGE)
    counters.take()
    return store


@pytest.mark.parametrize("name", USES)
def test_bytes_count_once_whatever_way_they_go(
    counted: CountedStore, counters: Counters, tmp_path: Path, name: str
) -> None:
    use, direction, size = USES[name]
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    use(counted, path)
    assert counters.snapshot() == {STORE_BYTES.key(direction): size}


@pytest.mark.parametrize("name", [*USES, "size", "list", "check"])
def test_what_a_store_does_not_answer_counts_as_an_error(
    counted: CountedStore, counters: Counters, tmp_path: Path, name: str
) -> None:
    shutil.rmtree(tmp_path / "data" / "store")
    (tmp_path / "data" / "store").write_text("no folder")
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    others: dict[str, Use] = {
        "size": lambda store, _: store.size(KEY),
        "list": lambda store, _: list(store.list("tenants/")),
        "check": lambda store, _: store.check(),
    }
    use = USES[name][0] if name in USES else others[name]
    with pytest.raises(StoreUnavailable):
        use(counted, path)
    assert counters.snapshot() == {STORE_ERRORS.key(): 1}
