"""What holds in every test of this room."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def _nothing_is_compiled_in_children() -> Iterator[None]:
    """Compiling takes seconds and 100 MB, and a child forgets what it compiled."""
    with capture_logs() as lines:
        yield
    told = [line["text"] for line in lines if line["event"] == "child_printed" and "numba compiled" in line["text"]]
    assert not told
