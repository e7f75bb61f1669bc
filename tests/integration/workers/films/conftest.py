"""Settings for films without a server."""

from pathlib import Path

import pytest

from retint.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, device="cpu", child_timeout_s=60)
