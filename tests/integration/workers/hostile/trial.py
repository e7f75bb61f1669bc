"""Tries files as a worker does: ingest, then render, in a child process; every file has one end."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retint.errors import Refused
from retint.recipes import parse
from retint.settings import Settings
from retint_workers import scratch
from retint_workers.films import decoder, frame_renderer
from retint_workers.films import ingest as film_ingest
from retint_workers.films import render as film_render
from retint_workers.imaging import ingest, render

RECIPE = parse({"colorizer": "keep", "defader": "keep"})
SETTINGS = Settings(child_timeout_s=60)


@dataclass(frozen=True)
class End:
    """How a file ended: `restored`, `refused` with a sentence, or with an error that is no refusal."""

    name: str
    kind: str
    text: str
    seconds: float


def try_files(files: Iterable[tuple[str, bytes]]) -> Iterator[End]:
    """Try files one after the other."""
    with scratch.open_root() as root:
        for name, content in files:
            with scratch.open_folder() as folder:
                original = folder / name.replace("/", "_")
                original.write_bytes(content)
                yield try_file(name, original, folder)
        assert not list(root.iterdir())


def try_file(name: str, original: Path, folder: Path) -> End:
    started = time.monotonic()
    try:
        run = restore_film if decoder.is_film(original) else restore_photo
        run(original, folder)
        kind, text = "restored", ""
    except Refused as refusal:
        kind, text = "refused", refusal.message
    except Exception as error:  # noqa: BLE001  whatever it is, the test says it
        notes = "\n".join(getattr(error, "__notes__", []))
        kind, text = type(error).__name__, f"{error}\n{notes}"
    return End(name, kind, text, time.monotonic() - started)


def restore_photo(original: Path, folder: Path) -> None:
    facts = ingest.ingest(original, RECIPE, SETTINGS).facts
    request = render.RenderRequest(
        original=original, folder=folder, facts=facts, recipe=RECIPE, color=None, density=None
    )
    render.render(request, SETTINGS)


def restore_film(original: Path, folder: Path) -> None:
    facts = film_ingest.ingest(original, RECIPE, SETTINGS, limit_gp=SETTINGS.film_limit_gp).facts
    request = frame_renderer.RenderRequest(original, folder, facts, RECIPE, None, None)
    film_render.render(request, SETTINGS, with_previews=False)
