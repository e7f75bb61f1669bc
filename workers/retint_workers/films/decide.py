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
from retint.recipes import Recipe, choose_proxy_side
from retint.settings import Settings
from retint_models.layers.rendering import colorize_proxy, repair_proxy
from retint_models.layers.types import DensityLayer, Order, set_order
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


def decide(
    original: Path,
    folder: Path,
    facts: Mapping[str, Any],
    recipe: Recipe,
    settings: Settings,
    report_progress: ReportProgress = ignore_progress,
) -> tuple[Path | None, Path | None]:
    """Decide the tone of every scene, then the color of every frame through it; None for what is not wanted.

    Returns:
        The color film and the zip of density layers, as from `colorize` and `defade`.

    Raises:
        NetworkUnavailable: a network of the recipe cannot be loaded here.
        Transient: a network failed on a frame.
    """
    density = None
    if defading.is_wanted(recipe, facts["kind"]):
        density = defade(original, folder, facts, recipe, None, settings, report_progress)
    color = None
    if colorizing.is_wanted(recipe, facts["kind"]):
        color = colorize(original, folder, facts, recipe, density, settings, report_progress)
    return color, density


def colorize(
    original: Path,
    folder: Path,
    facts: Mapping[str, Any],
    recipe: Recipe,
    density: Path | None,
    settings: Settings,
    report_progress: ReportProgress = ignore_progress,
) -> Path:
    """Decide the color of every frame, smooth it over time, and write it as a color film.

    The colorizer looks at the frames with their scene's repair applied. The record of the color film holds its color
    distribution consistency (CDC), and that of frame-by-frame decisions.

    Raises:
        NetworkUnavailable: the recipe's colorizer cannot be loaded here.
        Transient: the network failed on a frame.
    """
    output = folder / "color.mkv"
    if output.exists():
        return output
    writer = ColorFilmWriter(folder, facts)
    frames = range(writer.next_frame, facts["frames"])
    keep_going = partial(report_and_go_on, report_progress, "Colorizing", frames.start)
    proxies = iterate_in_child(_read_proxies, settings, keep_going, original, frames, recipe)
    repaired = _repair_proxies(proxies, density, frames.start) if density else proxies
    with closing(proxies):
        for first in frames[::SEGMENT_FRAMES]:
            keep_going = partial(report_and_go_on, report_progress, "Colorizing", first)
            layers = colorizing.colorize(islice(repaired, SEGMENT_FRAMES), recipe, settings, keep_going)
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
) -> Path:
    """Decide the tone of every scene by the frame in its middle; write a zip of density layers.

    Args:
        original: the film.
        folder: of the film's work.
        facts: what ingest found out.
        recipe: what was asked for.
        color: a color film that was made without this density, color first, as the first color films were: the defader
            then looks at colorized frames.
        settings: device and folder of weights.
        report_progress: called every few frames.

    Raises:
        NetworkUnavailable: the recipe's defader cannot be loaded here.
        Transient: the network failed on a frame.
    """
    output = folder / "density.zip"
    if output.exists():
        return output
    starts = facts["scenes"]
    middles = {(start + end) // 2 for start, end in zip(starts, [*starts[1:], facts["frames"]], strict=True)}
    keep_going = partial(report_and_go_on, report_progress, "Defading", 0)
    proxies = iterate_in_child(_read_proxies, settings, keep_going, original, middles, recipe)
    part = output.with_suffix(".part")
    with closing(proxies), zipfile.ZipFile(part, "w") as file:
        pictures = _colorize_proxies(proxies, color, middles, keep_going) if color else proxies
        order = Order.COLOR_FIRST if color else Order.TONE_FIRST
        for start, layer in zip(starts, _defade_in_batches(pictures, recipe, settings, keep_going), strict=True):
            if isinstance(layer, RetintError):
                raise layer
            file.writestr(density_zip.entry_name(start), set_order(layer, order).to_bytes())
    part.replace(output)
    return output


def _read_proxies(original: Path, wanted: Collection[int], recipe: Recipe) -> Iterator[NDArray[Any]]:
    """Decode a film and yield the proxies of the wanted frames. Runs in a child process."""
    with Film(original) as film:
        converter = None
        for number, frame in enumerate(film.frames()):
            converter = converter or FrameConverter(FrameFormat.read(frame, film.stream))
            if number in wanted:
                yield converter.to_proxy(frame, choose_proxy_side(recipe, converter.format.upright_size))


def _defade_in_batches(
    pictures: Iterator[NDArray[Any]], recipe: Recipe, settings: Settings, keep_going: Beat
) -> Iterator[DensityLayer | RetintError]:
    while batch := list(islice(pictures, DEFADE_BATCH)):
        yield from defading.defade(batch, recipe, settings, keep_going)


def _repair_proxies(proxies: Iterator[NDArray[Any]], density: Path, first: int) -> Iterator[NDArray[Any]]:
    """Show the frames from `first` on with their scene's full repair."""
    starts = density_zip.read_starts(density)
    layer = density_zip.read_layer(density, max(start for start in starts if start <= first))
    for number, proxy in enumerate(proxies, first):
        if number in starts:
            layer = density_zip.read_layer(density, number)
        yield repair_proxy(proxy, layer)


def _colorize_proxies(
    proxies: Iterator[NDArray[Any]], color: Path, wanted: Collection[int], keep_going: Beat
) -> Iterator[NDArray[Any]]:
    """Show the wanted frames in the colors of a color film."""
    for number, layer in enumerate(color_film.read_layers(color)):
        keep_going()  # a scene may be long
        if number in wanted:
            yield colorize_proxy(next(proxies), layer)
