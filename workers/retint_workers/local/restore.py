"""Runs the four stages in one process, on files and without a server: `retint restore`."""

import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retint import recipes, remote
from retint.errors import InvalidRequest, RetintError
from retint.recipes import Recipe
from retint.settings import Settings
from retint_workers.films import decoder
from retint_workers.imaging import ingest, render
from retint_workers.imaging.render import RenderRequest
from retint_workers.inference import loading
from retint_workers.inference.decide import decide
from retint_workers.local import restore_film, sheets
from retint_workers.local.destinations import Destinations, Source, move_results

FETCH_TIMEOUT_S = 600
FilmProgress = Callable[[Path, str, int, int | None], object]
"""Called with the film, the name of the step, how many frames it has done, and how many there are (None: unknown)."""


@dataclass(frozen=True)
class Options:
    """What is to be done with the files of one run.

    Attributes:
        recipe: what is done with each.
        keep_layers: keep layers and provenance beside each result.
        compare: put a sheet of before and after beside each photo's result.
        again: make results again that exist already, by the same recipe and networks.
    """

    recipe: Recipe
    keep_layers: bool = False
    compare: bool = False
    again: bool = False


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
        """Time, notes, and for a film how steady its colors are (CDC: less is better)."""
        if self.is_done:
            return "it was there already"
        summary = f"{self.seconds:.1f} s" + "".join(f"; {note}" for note in self.notes)
        if self.film:
            summary += f"; {self.film['frames']} frames, {self.film['ms_per_frame']} ms each"
            if self.film["cdc"] is not None:
                summary += f"; CDC {self.film['cdc']:.5f}, frame by frame {self.film['cdc_frame_by_frame']:.5f}"
            summary += "".join(f"\n  {note}" for note in self.film["notes"])
        return summary


def restore(
    files: Sequence[Source],
    out: Path,
    options: Options,
    settings: Settings,
    report_progress: FilmProgress = lambda *_: None,
) -> Iterator[FileReport]:
    """Restore files one after the other; yield a report after each. A refused file does not stop the others.

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
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"Results cannot go to {out}: {error.strerror}.") from error
    if recipe.colorizer != "keep":
        loading.load_network("colorizer", recipe.colorizer, settings)
    if recipe.defader != "keep":
        loading.load_network("defader", recipe.defader, settings)
    recipes.check(recipe, settings.weights)
    destinations = Destinations(out, recipe, settings, {file.resolve() for file in files if isinstance(file, Path)})
    for source in files:
        started = time.monotonic()
        try:
            with _local_file(source, out, settings) as file:
                report = _restore_file(file, destinations, options, report_progress)
        except RetintError as error:
            report = FileReport(source, None, error.message)
        yield replace(report, file=source, seconds=round(time.monotonic() - started, 3))


@contextmanager
def _local_file(source: Source, out: Path, settings: Settings) -> Iterator[Path]:
    """Provide the file; download it from a web address into a temporary folder.

    Raises:
        Refused: there is no such file, or it cannot be downloaded.
    """
    if isinstance(source, Path):
        if not source.is_file():
            raise InvalidRequest(f"There is no file {source}.")
        yield source
        return
    with tempfile.TemporaryDirectory(prefix=".retint-", dir=out) as folder:
        path = Path(folder) / "fetched"
        name = remote.fetch(source, path, settings.upload_limit_mib << 20, FETCH_TIMEOUT_S)
        yield path.rename(path.with_name(name))


def _restore_file(
    file: Path, destinations: Destinations, options: Options, report_progress: FilmProgress
) -> FileReport:
    """Restore one file, unless its result and what belongs beside it exist.

    Raises:
        RetintError: it cannot be restored.
    """
    out, settings = destinations.out, destinations.settings
    is_film = decoder.is_film(file)
    output, is_done = destinations.choose(file)
    beside = {"json": options.keep_layers, "compare.jpg": options.compare and not is_film}
    has_all = all(output.with_name(f"{output.stem}.{kind}").exists() for kind, wanted in beside.items() if wanted)
    if is_done and has_all and not options.again:
        return FileReport(file, output, is_done=True)
    if is_film:
        with restore_film.open_work_folder(file, out, options.recipe, settings) as folder:
            progress = partial(report_progress, file)
            files, figures = restore_film.run_stages(file, folder, options.recipe, settings, progress)
            move_results(files, output, keep_layers=options.keep_layers)
        return FileReport(file, output, film=figures)
    return _restore_photo(file, output, options, settings)


def _restore_photo(file: Path, output: Path, options: Options, settings: Settings) -> FileReport:
    with tempfile.TemporaryDirectory(prefix=".retint-", dir=output.parent) as folder:
        files, facts = _run_stages(file, Path(folder), options.recipe, settings)
        if options.compare:
            sheet = Path(folder) / "compare.jpg"
            sheets.save_comparison(files["before"], files["preview"], options.recipe, file.name, sheet)
            sheet.replace(output.with_name(f"{output.stem}.compare.jpg"))
        move_results(files, output, keep_layers=options.keep_layers)
    return FileReport(file, output, notes=(facts["colorless"],) if facts["colorless"] else ())


def _run_stages(file: Path, folder: Path, recipe: Recipe, settings: Settings) -> tuple[dict[str, Path], dict[str, Any]]:
    """Run the pipeline on a photo: return the files of layers and result, and the facts of render."""
    ingested = ingest.ingest(file, recipe, settings)
    proxy = np.asarray(Image.open(io.BytesIO(ingested.proxy)).convert("RGB"))
    color, density = decide(proxy, ingested.facts["kind"], recipe, settings)
    files = {}
    for name, layer in (("color", color), ("density", density)):
        if layer is not None:
            files[name] = folder / f"{name}.safetensors"
            files[name].write_bytes(layer.to_bytes())
    request = RenderRequest(
        original=file, folder=folder, facts=ingested.facts, recipe=recipe, color=color, density=density
    )
    rendered = render.render(request, settings)
    return files | rendered.files, rendered.facts
