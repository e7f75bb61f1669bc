"""A store of each kind."""

from pathlib import Path
from typing import Any

import pytest

from retint.metrics import Counters
from retint.settings import Settings
from retint.stores import BlobStore, connect
from retint.stores.counted import CountedStore
from retint.stores.s3 import S3Store


@pytest.fixture(params=["directory", "s3", "counted"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    values = request.getfixturevalue("s3_settings") if request.param == "s3" else {}
    store = connect(Settings(data=tmp_path / "data", **values))
    store.prepare()
    return CountedStore(store, Counters()) if request.param == "counted" else store


@pytest.fixture
def s3(s3_settings: dict[str, Any]) -> S3Store:
    store = connect(Settings(**s3_settings))
    assert isinstance(store, S3Store)
    store.prepare()
    return store
