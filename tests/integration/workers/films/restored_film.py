"""Runs a film through all four stages, in this process."""

from pathlib import Path
from typing import Any

from retint.recipes import Recipe
from retint.settings import Settings
from retint_workers.films import decide, ingest, render
from retint_workers.films.frame_renderer import RenderRequest


def restore(path: Path, recipe: Recipe, settings: Settings) -> tuple[dict[str, Any], Any]:
    """Run a film through all four stages; return what ingest found, and what render made."""
    folder = path.with_name(f"{path.name[:100]}.work")
    folder.mkdir()
    facts = ingest.ingest(path, recipe, settings).facts
    color, density = decide.decide(path, folder, facts, recipe, settings)
    return facts, render.render(RenderRequest(path, folder, facts, recipe, color, density), settings)
