"""Settings for films without a server, and films through all stages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retint.recipes import Recipe
from retint.settings import Settings
from retint_workers.films import decide, ingest, render
from retint_workers.films.frame_renderer import RenderRequest

Restore = Callable[[Path, Recipe], tuple[dict[str, Any], Any]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, device="cpu", child_timeout_s=60)


@pytest.fixture
def restore(settings: Settings) -> Restore:
    """A function that runs a film through all four stages; it gives what ingest found, and what render made."""

    def run(path: Path, recipe: Recipe) -> tuple[dict[str, Any], Any]:
        folder = path.with_name(f"{path.name[:100]}.work")
        folder.mkdir()
        facts = ingest.ingest(path, recipe, settings).facts
        color = decide.colorize(path, folder, facts, recipe, settings)
        density = decide.defade(path, folder, facts, recipe, color, settings)
        return facts, render.render(RenderRequest(path, folder, facts, recipe, color, density), settings)

    return run
