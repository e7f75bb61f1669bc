"""Runs the four stages in one process, on files and without a server: `retint restore`."""

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retint import recipes
from retint.errors import InvalidRequest, explain
from retint.names import escape_surrogates
from retint.pages import list_photographs
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.types import Layers, Order
from retint_workers import scratch
from retint_workers.films import decoder
from retint_workers.imaging import ingest, render
from retint_workers.imaging.render import RenderRequest
from retint_workers.inference import loading
from retint_workers.inference.decide import decide_photo
from retint_workers.local import restore_film, sheets
from retint_workers.local.destinations import PROVENANCE, Destination, Destinations, Options, is_layer
from retint_workers.local.render_again import read_layers
from retint_workers.local.sources import Source, provide_file

FilmProgress = Callable[[Path, str, int, int | None], object]
"""Called with the film, the name of the step, how many frames it has done, and how many there are (None: unknown)."""


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes:
        file: the file or address.
        output: its result; None where it was refused.
        reason: why it was refused; else None.
        seconds: how long it took.
        is_done: whether the result existed already.
        notes: sentences about the result for people.
        film: of a film: `frames`, `scenes`, `ms_per_frame`, `cdc`, `cdc_frame_by_frame`, `notes`.
    """

    file: Source
    output: Path | None
    reason: str | None = None
    seconds: float = 0
    is_done: bool = False
    notes: tuple[str, ...] = ()
    film: dict[str, Any] | None = None

    @property
    def status(self) -> str:
        """`restored`, or `refused` with a reason."""
        return "restored" if self.output else "refused"

    @property
    def summary(self) -> str:
        """Time, and for a film how steady its colors are (CDC: less is better)."""
        if self.is_done:
            return "it was there already"
        summary = f"{self.seconds:.1f} s"
        if self.film:
            summary += f"; {self.film['frames']} frames, {self.film['ms_per_frame']} ms each"
            if self.film["cdc"] is not None:
                summary += f"; CDC {self.film['cdc']:.5f}, frame by frame {self.film['cdc_frame_by_frame']:.5f}"
        return summary

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The notes of a photo or a film."""
        return (*self.notes, *(self.film["notes"] if self.film else ()))


def restore(
    files: Sequence[Source],
    out: Path,
    options: Options,
    settings: Settings,
    report_progress: FilmProgress = lambda *_: None,
) -> Iterator[FileReport]:
    """Restore files one after the other; yield a report after each.

    Whatever happens to one file is told in its report, and the next one is tried.

    A film's work is kept in a hidden folder in `out`, named after the film, the recipe and the networks, until the
    film is done: so the same call continues where an earlier one was interrupted.

    Args:
        files: photographs and films; none is ever written over, wherever `out` is.
        out: folder of the results. Each has its file's name, with a number where several are the same.
        options: what to do.
        settings: limits and device.
        report_progress: called every few frames of a film.

    Raises:
        InvalidRequest: the folder cannot be made, or the recipe has a setting that its networks do not have.
        NetworkUnavailable: a network of the recipe cannot be loaded here.
    """
    recipe = options.recipe
    _make_folder(out)
    scratch.clear_leftovers(out)
    scratch.clear_leftovers()
    if recipe.colorizer != "keep":
        loading.load_network("colorizer", recipe.colorizer, settings)
    if recipe.defader != "keep":
        loading.load_network("defader", recipe.defader, settings)
    recipes.check(recipe, settings.weights)
    destinations = Destinations(out, options, settings, files)
    with scratch.open_root(out):
        for source in files:
            started = time.monotonic()
            try:
                with provide_file(source, settings, out) as file:
                    report = _restore_file(file, destinations, report_progress)
            except Exception as error:  # noqa: BLE001  whatever it is, it is this file's: the others go on
                report = FileReport(source, None, explain(error))
            yield replace(report, file=source, seconds=round(time.monotonic() - started, 3))


def _make_folder(out: Path) -> None:
    """Make the folder of the results.

    Raises:
        InvalidRequest: it cannot be made, or libraries cannot spell its path.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"Results cannot go to {out}: {error.strerror}.") from error
    if escape_surrogates(str(out)) != str(out):
        raise InvalidRequest(f"Results cannot go to {out}: its name is not UTF-8.")


def _restore_file(file: Path, destinations: Destinations, report_progress: FilmProgress) -> FileReport:
    """Restore one file, unless its result and what belongs beside it exist.

    Raises:
        RetintError: it cannot be restored.
        OSError: the result cannot be written.
    """
    options, settings = destinations.options, destinations.settings
    destination = destinations.choose(file)
    if destination.is_done and not options.again:
        return FileReport(file, destination.output, is_done=True)
    if not decoder.is_film(file):
        return _restore_photo(file, destinations, destination)
    with restore_film.open_work_folder(file, destinations.out, options.recipe, settings) as folder:
        progress = partial(report_progress, file)
        made, figures = restore_film.run_stages(file, folder, options.recipe, settings, progress)
        output = destinations.place(_choose_files(made, destination), destination)
    return FileReport(file, output, film=figures)


def _restore_photo(file: Path, destinations: Destinations, destination: Destination) -> FileReport:
    options = destinations.options
    with scratch.open_folder(destinations.out) as folder:
        made, facts = run_stages(file, folder, options.recipe, destinations.settings)
        if options.compare:
            made["compare"] = folder / "compare.jpg"
            sheets.save_comparison(made, options.recipe, file.name, made["compare"])
        output = destinations.place(_choose_files(made, destination), destination)
    return FileReport(file, output, notes=(*filter(None, [facts["colorless"]]), *facts["notes"]))


def _choose_files(made: Mapping[str, Path], destination: Destination) -> dict[str, Path]:
    """Return the result and what is wanted beside it, by the ending that each gets there."""
    endings = {f".{made[name].name}": made[name] for name in made if name == "compare" or is_layer(name)}
    endings[PROVENANCE] = made["provenance"]
    return {"": made["result"]} | {ending: path for ending, path in endings.items() if ending in destination.sidecars}


def run_stages(
    file: Path, folder: Path, recipe: Recipe, settings: Settings, order: Order = Order.TONE_FIRST
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Run the pipeline on a photo: return the files of layers and result, and the facts of render."""
    ingested = ingest.ingest(file, recipe, settings, folder=folder)
    files: dict[str, Path] = {}
    layers: Layers = (None, None)
    for page in reversed(list_photographs(ingested.facts)):  # the first page's layers are at hand in the end
        png = ingested.proxy if page.is_first else ingested.further[page.proxy_name].read_bytes()
        proxy = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        layers = decide_photo(proxy, page.facts["kind"], recipe, settings, order)
        for name, layer in zip(("color", "density"), layers, strict=True):
            if layer is not None:
                files[page.spell(name)] = folder / f"{page.spell(name)}.safetensors"
                files[page.spell(name)].write_bytes(layer.to_bytes())
    request = RenderRequest(
        original=file,
        folder=folder,
        facts=ingested.facts,
        recipe=recipe,
        color=layers[0],
        density=layers[1],
        read_layers=lambda page: read_layers(page, lambda name: folder / f"{name}.safetensors"),
    )
    rendered = render.render(request, settings)
    return files | rendered.files, rendered.facts
