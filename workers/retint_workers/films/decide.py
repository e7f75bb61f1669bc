"""The stages colorize and defade for films: decisions as for a photo, for every frame, steady over time.

Each stage works in a folder that belongs to one film and one recipe. It writes segments of some frames, each complete
or absent, so an interrupted stage continues where it stopped when it is called again. Memory use does not grow with
the film. Foreign films are decoded in sandboxed child processes; only proxies leave them.
"""

import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from retint.errors import RetintError
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.beats import Beat
from retint_workers.films import color_film, density_zip, segments
from retint_workers.films.color_film import SEGMENT_FRAMES, SEGMENT_NAME, ColorFilmWriter
from retint_workers.films.decoder import Film
from retint_workers.films.frame_format import FrameFormat
from retint_workers.films.frames import FrameConverter
from retint_workers.films.ingest import ReportProgress, ignore_progress, report_and_go_on
from retint_workers.inference import colorize as colorizing
from retint_workers.inference import defade as defading
from retint_workers.sandbox.children import iterate_in_child

DEFADE_BATCH = 16
"""Scenes whose tone is decided together."""


def colorize(
    original: Path,
    folder: Path,
    facts: Mapping[str, Any],
    recipe: Recipe,
    settings: Settings,
    report_progress: ReportProgress = ignore_progress,
) -> Path | None:
    """Decide the color of every frame, smooth it over time, and write it as a color film; None if none is wanted.

    The record of the color film holds its color distribution consistency (CDC), and that of frame-by-frame decisions.

    Raises:
        NetworkUnavailable: the recipe's colorizer cannot be loaded here.
        Transient: the network failed on a frame.
    """
    output = folder / "color.mkv"
    if not colorizing.is_wanted(recipe, facts["kind"]):
        return None
    if output.exists():
        return output
    writer = ColorFilmWriter(folder, facts)
    frames = range(writer.next_frame, facts["frames"])
    keep_going = partial(report_and_go_on, report_progress, "Colorizing", frames.start)
    proxies = iterate_in_child(_read_proxies, settings, keep_going, original, frames, recipe.proxy_side)
    with closing(proxies):
        for first in frames[::SEGMENT_FRAMES]:
            keep_going = partial(report_and_go_on, report_progress, "Colorizing", first)
            layers = colorizing.colorize(islice(proxies, SEGMENT_FRAMES), recipe, settings, keep_going)
            writer.write_segment(layers, first)
    writer.finish(output, keep_going)
    return output


def count_colorized(folder: Path) -> int:
    """Return how many frames of a film have their color already."""
    return len(segments.list_complete(folder, SEGMENT_NAME)) * SEGMENT_FRAMES


def defade(
    original: Path,
    folder: Path,
    facts: Mapping[str, Any],
    recipe: Recipe,
    color: Path | None,
    settings: Settings,
    report_progress: ReportProgress = ignore_progress,
) -> Path | None:
    """Decide the tone of every scene by the frame in its middle; write a zip of density layers, None if not wanted.

    Raises:
        NetworkUnavailable: the recipe's defader cannot be loaded here.
        Transient: the network failed on a frame.
    """
    output = folder / "density.zip"
    if not defading.is_wanted(recipe):
        return None
    if output.exists():
        return output
    starts = facts["scenes"]
    middles = {(start + end) // 2 for start, end in zip(starts, [*starts[1:], facts["frames"]], strict=True)}
    keep_going = partial(report_and_go_on, report_progress, "Defading", 0)
    proxies = iterate_in_child(_read_proxies, settings, keep_going, original, middles, recipe.proxy_side)
    part = output.with_suffix(".part")
    with closing(proxies), zipfile.ZipFile(part, "w") as file:
        colors = _read_colors(color, middles, keep_going)
        pictures = (defading.make_input(proxy, layer) for proxy, layer in zip(proxies, colors, strict=True))
        for start, layer in zip(starts, _defade_in_batches(pictures, recipe, settings, keep_going), strict=True):
            if isinstance(layer, RetintError):
                raise layer
            file.writestr(density_zip.entry_name(start), layer.to_bytes())
    part.replace(output)
    return output


def _read_proxies(original: Path, wanted: Collection[int], proxy_side: int) -> Iterator[NDArray[Any]]:
    """Decode a film and yield the proxies of the wanted frames. Runs in a child process."""
    with Film(original) as film:
        converter = None
        for number, frame in enumerate(film.frames()):
            converter = converter or FrameConverter(FrameFormat.read(frame, film.stream))
            if number in wanted:
                yield converter.to_proxy(frame, proxy_side)


def _defade_in_batches(
    pictures: Iterator[NDArray[Any]], recipe: Recipe, settings: Settings, keep_going: Beat
) -> Iterator[DensityLayer | RetintError]:
    while batch := list(islice(pictures, DEFADE_BATCH)):
        yield from defading.defade(batch, recipe, settings, keep_going)


def _read_colors(color: Path | None, wanted: Collection[int], keep_going: Beat) -> Iterator[ColorLayer | None]:
    """Yield the color layers of the wanted frames, or None for each."""
    if color is None:
        yield from (None for _ in wanted)
        return
    for number, layer in enumerate(color_film.read_layers(color)):
        keep_going()  # a scene may be long
        if number in wanted:
            yield layer
