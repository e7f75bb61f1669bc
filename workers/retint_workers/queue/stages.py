"""The four stages as a worker runs them: input files from the store, the pure stage, output files into the store.

Nothing here touches the database, except that it beats. A stage gets leases and yields each one as its attempt ends:
`Done` with the files that it put under the attempt's own folder, or the error. A photo's error costs no other photo.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray
from structlog.contextvars import bound_contextvars

from retint.errors import OutOfMemory, RetintError
from retint.jobs.leases import AttemptEnd, Done, Lease
from retint.lifecycle import Stage
from retint.services import Services
from retint.stores import Progress
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_models.weights.cards import read_cards
from retint_workers import scratch
from retint_workers.beats import Background, Beat
from retint_workers.films import color_film, decoder, frame_renderer
from retint_workers.films import decide as film_decide
from retint_workers.films import ingest as film_ingest
from retint_workers.films import render as film_render
from retint_workers.films.frame_renderer import RenderRequest
from retint_workers.imaging import ingest, render
from retint_workers.inference import colorize, defade
from retint_workers.queue import transfers
from retint_workers.queue.resuming import StoredSegments
from retint_workers.queue.tasks import RunStage

T = TypeVar("T")
Layer = TypeVar("Layer", ColorLayer, DensityLayer)
Run = Callable[[Lease, Path, Beat], Done]
"""Runs a stage on one job, in a scratch folder."""

READ_AHEAD = 8
"""Photos that are read before the network asks for them."""
MAX_WRITES = 8
"""Layers that are on their way to the store at once."""
WRITE_LAG_S = 1.0
"""How long decided layers may be on their way to the store while the network goes on."""

# --- the stages -------------------------------------------------------------------------------------------------------


def run_ingest(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Find the facts of each original, and write its proxy."""
    settings = services.settings

    def run(lease: Lease, folder: Path, beat: Beat) -> Done:
        original, fetch_s = _fetch_original(services, lease, folder, beat)
        started = time.monotonic()
        if decoder.is_film(original):
            limit_gp = settings.film_limit_gp
            ingested = film_ingest.ingest(original, lease.recipe, settings, lambda *_: beat(), limit_gp)
        else:
            ingested = ingest.ingest(original, lease.recipe, settings, beat)
        files = _put_files(services, lease, {"proxy": ("proxy.png", ingested.proxy)}, beat)
        return Done(files, ingested.facts, {"fetch": fetch_s, "ingest": time.monotonic() - started})

    yield from _run_each(leases, run, beat)


def run_colorize(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Decide color layers from proxies, or from films; nothing where the recipe or the photo asks for none."""
    photos: list[Lease] = []
    films: list[Lease] = []
    for lease in leases:
        if not colorize.is_wanted(lease.recipe, lease.facts[Stage.INGEST]["kind"]):
            yield lease, Done()
        else:
            (films if _is_film(lease) else photos).append(lease)

    def run_film(lease: Lease, folder: Path, beat: Beat) -> Done:
        original, _ = _fetch_original(services, lease, folder, beat)
        facts, settings = lease.facts[Stage.INGEST], services.settings
        weights = read_cards(settings.weights)[lease.recipe.colorizer].sha256
        stored = StoredSegments(
            services.store, lease, folder, color_film.SEGMENT_NAME, color_film.SEGMENT_FRAMES, made_by=weights
        )
        with stored.resume(beat) as report_progress:
            color = film_decide.colorize(original, folder, facts, lease.recipe, settings, report_progress)
            return Done(_put_files(services, lease, {"color": (color.name, color)} if color else {}, beat))

    def read(lease: Lease, progress: Progress) -> NDArray[Any]:
        return transfers.read_proxy(services.store, lease, progress)

    def decide(proxies: Iterator[NDArray[Any] | RetintError]) -> Iterator[ColorLayer | RetintError]:
        return colorize.colorize(proxies, photos[0].recipe, services.settings, beat)

    if photos:
        yield from _run_network(services, photos, read, decide, beat)
    yield from _run_each(films, run_film, beat)


def run_defade(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Decide density layers from proxies, or films, and their color layers; nothing where the recipe asks for none."""
    recipe = leases[0].recipe  # all jobs of a bundle are of one recipe
    if not defade.is_wanted(recipe):
        yield from ((lease, Done()) for lease in leases)
        return

    def read(lease: Lease, progress: Progress) -> NDArray[Any]:
        color = transfers.read_layer(services.store, lease, "color", ColorLayer.from_bytes, progress)
        return defade.make_input(transfers.read_proxy(services.store, lease, progress), color)

    def decide(proxies: Iterator[NDArray[Any] | RetintError]) -> Iterator[DensityLayer | RetintError]:
        return defade.defade(proxies, recipe, services.settings, beat)

    def run_film(lease: Lease, folder: Path, beat: Beat) -> Done:
        original, _ = _fetch_original(services, lease, folder, beat)
        color = _fetch_layer(services, lease, "color", folder, beat)
        facts, settings = lease.facts[Stage.INGEST], services.settings
        density = film_decide.defade(original, folder, facts, recipe, color, settings, lambda *_: beat())
        return Done(_put_files(services, lease, {"density": (density.name, density)} if density else {}, beat))

    if photos := [lease for lease in leases if not _is_film(lease)]:
        yield from _run_network(services, photos, read, decide, beat)
    yield from _run_each([lease for lease in leases if _is_film(lease)], run_film, beat)


def run_render(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Apply the layers to each original; write the verified result, previews and provenance."""

    def run(lease: Lease, folder: Path, beat: Beat) -> Done:
        original, fetch_s = _fetch_original(services, lease, folder, beat)
        started = time.monotonic()
        if _is_film(lease):
            stored = StoredSegments(
                services.store, lease, folder, frame_renderer.SEGMENT_NAME, frame_renderer.SEGMENT_FRAMES
            )
            with stored.resume(beat) as report_progress:
                color, density = (_fetch_layer(services, lease, name, folder, beat) for name in ("color", "density"))
                facts = lease.facts[Stage.INGEST]
                request = RenderRequest(original, folder, facts, lease.recipe, color, density)
                rendered = film_render.render(request, services.settings, report_progress)
                files = _put_files(services, lease, _name_files(rendered), beat)
        else:
            rendered = _render_photo(services, lease, original, folder, beat)
            files = _put_files(services, lease, _name_files(rendered), beat)
        timings = rendered.timings | {"fetch": fetch_s, "render": time.monotonic() - started}
        return Done(files, rendered.facts, timings)

    yield from _run_each(leases, run, beat)


def _render_photo(services: Services, lease: Lease, original: Path, folder: Path, beat: Beat) -> render.Rendered:
    def read(progress: Progress) -> tuple[ColorLayer | None, DensityLayer | None]:
        color = transfers.read_layer(services.store, lease, "color", ColorLayer.from_bytes, progress)
        return color, transfers.read_layer(services.store, lease, "density", DensityLayer.from_bytes, progress)

    color, density = transfers.start(lease, read).wait(beat)
    facts = lease.facts[Stage.INGEST]
    request = render.RenderRequest(
        original=original, folder=folder, facts=facts, recipe=lease.recipe, color=color, density=density
    )
    return render.render(request, services.settings, beat)


def _name_files(rendered: render.Rendered) -> dict[str, tuple[str, Path | bytes]]:
    return {name: (path.name, path) for name, path in rendered.files.items()}


STAGES: Mapping[Stage, RunStage] = {
    Stage.INGEST: run_ingest,
    Stage.COLORIZE: run_colorize,
    Stage.DEFADE: run_defade,
    Stage.RENDER: run_render,
}


# --- running many photos ----------------------------------------------------------------------------------------------


def _run_each(leases: Sequence[Lease], run: Run, beat: Beat) -> Iterator[AttemptEnd]:
    """Run photos one after the other, each in a scratch folder of its own."""
    for lease in leases:
        if not beat():
            return
        yield lease, _return_error(partial(_run_in_folder, run, lease, transfers.watch(lease, beat)))


def _run_in_folder(run: Run, lease: Lease, beat: Beat) -> Done:
    lease.ensure_held()
    with bound_contextvars(**lease.log_fields), scratch.translate_errors(), scratch.open_folder() as folder:
        return run(lease, folder, beat)


def _run_network(
    services: Services,
    leases: Sequence[Lease],
    read: Callable[[Lease, Progress], NDArray[Any]],
    decide: Callable[[Iterator[NDArray[Any] | RetintError]], Iterator[Layer | RetintError]],
    beat: Beat,
) -> Iterator[AttemptEnd]:
    """Run a network on a bundle; meanwhile threads read the next inputs and write the decided layers."""

    def write(lease: Lease, layer: Layer, progress: Progress) -> Done:
        name = "color" if isinstance(layer, ColorLayer) else "density"
        files: dict[str, tuple[str, Path | bytes]] = {name: (f"{name}.safetensors", layer.to_bytes())}
        return Done(transfers.put_files(services.store, lease, files, progress))

    writing: deque[tuple[Lease, Background[Done]]] = deque()

    def end_write() -> AttemptEnd:
        lease, write = writing.popleft()
        return lease, _return_error(partial(write.wait, beat))

    yielded_at = time.monotonic()
    for lease, layer in zip(leases, decide(_read_ahead(read, leases, beat)), strict=False):
        if isinstance(layer, RetintError):
            while writing:  # what was decided before counts, also if nothing is run after this
                yield end_write()
            yield lease, layer
            continue
        writing.append((lease, transfers.start(lease, partial(write, lease, layer))))
        # A slow network waits for the store, so that a kill costs no more of its work than it must.
        while writing and (
            writing[0][1].is_done or len(writing) > MAX_WRITES or time.monotonic() - yielded_at > WRITE_LAG_S
        ):
            yield end_write()
            yielded_at = time.monotonic()
    while writing:
        yield end_write()


def _read_ahead(read: Callable[[Lease, Progress], T], leases: Sequence[Lease], beat: Beat) -> Iterator[T | RetintError]:
    """Read the inputs of leases in their order, up to `READ_AHEAD` of them before they are asked for."""
    reading: deque[Background[T]] = deque()
    for lease in leases:
        reading.append(transfers.start(lease, partial(read, lease)))
        if len(reading) > READ_AHEAD:
            yield _return_error(partial(reading.popleft().wait, beat))
    while reading:
        yield _return_error(partial(reading.popleft().wait, beat))


def _return_error(work: Callable[[], T]) -> T | RetintError:
    """Do the work; return a RetintError as the outcome. Any other error is a bug and concerns the bundle."""
    try:
        return work()
    except MemoryError as error:
        fault = OutOfMemory("This machine has too little memory.")
        fault.__cause__ = error
        return fault
    except RetintError as error:
        return error


# --- files of one job, while it is beaten -----------------------------------------------------------------------------


def _is_film(lease: Lease) -> bool:
    return bool(lease.facts[Stage.INGEST].get("film"))


def _fetch_original(services: Services, lease: Lease, folder: Path, beat: Beat) -> tuple[Path, float]:
    """Download the original; return its path, and the seconds that took."""
    started = time.monotonic()
    path = transfers.start(lease, partial(transfers.fetch_original, services.store, lease, folder)).wait(beat)
    return path, time.monotonic() - started


def _fetch_layer(services: Services, lease: Lease, name: str, folder: Path, beat: Beat) -> Path | None:
    return transfers.start(lease, partial(transfers.fetch_layer, services.store, lease, name, folder)).wait(beat)


def _put_files(
    services: Services, lease: Lease, files: Mapping[str, tuple[str, Path | bytes]], beat: Beat
) -> dict[str, str]:
    return transfers.start(lease, partial(transfers.put_files, services.store, lease, files)).wait(beat)
