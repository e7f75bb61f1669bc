"""What the tests of stores put, and how they read it back."""

import os

from retint.stores import BlobStore

KEY = "tenants/0190/photos/01/original"
LARGE = os.urandom(20 << 20)
"""More than two parts."""


def read(store: BlobStore, key: str = KEY, start: int = 0, stop: int | None = None) -> bytes:
    with store.open(key, start, stop) as blob:
        return blob.read()
