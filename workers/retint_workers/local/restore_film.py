"""Runs the four stages on a film, without a server, in a folder that lets an interrupted run continue."""

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retint.digests import hash_file
from retint.errors import InvalidRequest, Refused
from retint.names import NAME_BYTES, shorten
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.types import Order
from retint_models.networks import registry
from retint_workers.films import decide, ingest, render, segments
from retint_workers.films.frame_renderer import RenderRequest


@contextmanager
def open_work_folder(file: Path, out: Path, recipe: Recipe, settings: Settings) -> Iterator[Path]:
    """Provide the folder of a film's work so far; remove it when the film is done or refused.

    Raises:
        InvalidRequest: another process restores this film.
    """
    networks = [name for name in (recipe.colorizer, recipe.defader) if name != "keep"]
    weights = [registry.card(name, settings.weights).sha256 for name in networks]
    key = hashlib.sha256("\n".join([hash_file(file), recipe.hash, Order.TONE_FIRST, *weights]).encode()).hexdigest()
    folder = out / f".{shorten(file.name, NAME_BYTES - 18)}.{key[:16]}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InvalidRequest(f"Another process restores {file} into {out} already.") from error
        try:
            yield folder
        except Refused:
            shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


def run_stages(
    file: Path,
    folder: Path,
    recipe: Recipe,
    settings: Settings,
    report_progress: Callable[[str, int, int | None], object],
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Run the pipeline on a film: return the files of layers and result, and figures for the report.

    Args:
        file: the film.
        folder: from `open_work_folder`.
        recipe: what to do.
        settings: limits and device.
        report_progress: called every few frames with the name of the step, the frames it has done, and the number of
            frames if it is known.
    """
    started = time.monotonic()
    facts = _ingest_once(file, folder, recipe, settings, report_progress)
    frames, already_colorized = facts["frames"], decide.count_colorized(folder)

    def report(step: str, done: int) -> None:
        report_progress(step, done, frames)

    color, density = decide.decide(file, folder, facts, recipe, settings, report)
    request = RenderRequest(file, folder, facts, recipe, color, density)
    rendered = render.render(request, settings, report, with_previews=False)
    layers = {"color": color, "density": density}
    figures = {
        "frames": frames,
        "scenes": len(facts["scenes"]),
        "ms_per_frame": round(1000 * (time.monotonic() - started) / max(1, frames - already_colorized), 1),
        "cdc": rendered.facts.get("cdc"),
        "cdc_frame_by_frame": rendered.facts.get("cdc_frame_by_frame"),
        "notes": [*rendered.facts["notes"], *filter(None, [rendered.facts["colorless"]])],
    }
    return rendered.files | {name: path for name, path in layers.items() if path}, figures


def _ingest_once(
    file: Path,
    folder: Path,
    recipe: Recipe,
    settings: Settings,
    report_progress: Callable[[str, int, int | None], object],
) -> dict[str, Any]:
    """Return the facts of an earlier run's ingest, or run it."""
    path = folder / "facts.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    facts = ingest.ingest(file, recipe, settings, lambda step, done: report_progress(step, done, None)).facts
    segments.write_atomically(path, json.dumps(facts).encode())
    return facts
