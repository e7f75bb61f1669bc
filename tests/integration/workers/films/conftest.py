"""Settings for films without a server, and films through all stages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.workers.films import restored_film

from retint.recipes import Recipe
from retint.settings import Settings

Restore = Callable[[Path, Recipe], tuple[dict[str, Any], Any]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, device="cpu", child_timeout_s=60)


@pytest.fixture
def restore(settings: Settings) -> Restore:
    """A function that runs a film through all four stages; it gives what ingest found, and what render made."""

    return lambda path, recipe: restored_film.restore(path, recipe, settings)
