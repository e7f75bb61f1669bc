"""The four stages as a worker runs them: input files from the store, the pure stage, output files into the store.

Nothing here touches the database. A stage gets leases and yields each one as its attempt ends: `Done` with the files
that it put under the attempt's own folder, or the error. A photo's error costs no other photo.
"""

import io
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retint.errors import RetintError
from retint.filetypes import content_type_for
from retint.jobs.leases import AttemptEnd, Done, Lease
from retint.lifecycle import Stage
from retint.services import Services
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_models.weights.cards import read_cards
from retint_workers.films import color_film, decoder, frame_renderer
from retint_workers.films import decide as film_decide
from retint_workers.films import ingest as film_ingest
from retint_workers.films import render as film_render
from retint_workers.films.frame_renderer import RenderRequest
from retint_workers.imaging import ingest, render
from retint_workers.inference import colorize, defade
from retint_workers.queue.resuming import StoredSegments
from retint_workers.queue.tasks import Beat, RunStage

T = TypeVar("T")
Layer = TypeVar("Layer", ColorLayer, DensityLayer)

IO_THREADS = 8
"""Threads that read and write for a network."""
READ_AHEAD = 8
"""Photos that are read before the network asks for them."""
WRITE_LAG_S = 1.0
"""How long decided layers may be on their way to the store while the network goes on."""

# --- the stages -------------------------------------------------------------------------------------------------------


def run_ingest(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Find the facts of each original, and write its proxy."""
    settings = services.settings

    def run(lease: Lease, folder: Path) -> Done:
        original, fetch_s = _fetch_original(services, lease, folder)
        started = time.monotonic()
        if decoder.is_film(original):
            limit_gp = settings.film_limit_gp
            ingested = film_ingest.ingest(original, lease.recipe, settings, lambda *_: beat(), limit_gp)
        else:
            ingested = ingest.ingest(original, lease.recipe, settings, beat)
        files = _put_files(services, lease, {"proxy": ("proxy.png", ingested.proxy)})
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

    def run_film(lease: Lease, folder: Path) -> Done:
        original, _ = _fetch_original(services, lease, folder)
        facts, settings = lease.facts[Stage.INGEST], services.settings
        weights = read_cards(settings.weights)[lease.recipe.colorizer].sha256
        stored = StoredSegments(
            services.store, lease, folder, color_film.SEGMENT_NAME, color_film.SEGMENT_FRAMES, made_by=weights
        )
        with stored.resume(beat) as report_progress:
            color = film_decide.colorize(original, folder, facts, lease.recipe, settings, report_progress)
            return Done(_put_files(services, lease, {"color": (color.name, color)} if color else {}))

    def decide(proxies: Iterator[NDArray[Any] | RetintError]) -> Iterator[ColorLayer | RetintError]:
        return colorize.colorize(proxies, photos[0].recipe, services.settings, beat)

    if photos:
        yield from _run_network(services, photos, partial(_read_proxy, services), decide)
    yield from _run_each(films, run_film, beat)


def run_defade(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Decide density layers from proxies, or films, and their color layers; nothing where the recipe asks for none."""
    recipe = leases[0].recipe  # all jobs of a bundle are of one recipe
    if not defade.is_wanted(recipe):
        yield from ((lease, Done()) for lease in leases)
        return

    def read(lease: Lease) -> NDArray[Any]:
        color = _read_layer(services, lease, "color", ColorLayer.from_bytes)
        return defade.make_input(_read_proxy(services, lease), color)

    def decide(proxies: Iterator[NDArray[Any] | RetintError]) -> Iterator[DensityLayer | RetintError]:
        return defade.defade(proxies, recipe, services.settings, beat)

    def run_film(lease: Lease, folder: Path) -> Done:
        original, _ = _fetch_original(services, lease, folder)
        color, facts = _fetch_layer(services, lease, "color", folder), lease.facts[Stage.INGEST]
        density = film_decide.defade(original, folder, facts, recipe, color, services.settings, lambda *_: beat())
        return Done(_put_files(services, lease, {"density": (density.name, density)} if density else {}))

    if photos := [lease for lease in leases if not _is_film(lease)]:
        yield from _run_network(services, photos, read, decide)
    yield from _run_each([lease for lease in leases if _is_film(lease)], run_film, beat)


def run_render(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Apply the layers to each original; write the verified result, previews and provenance."""

    def run(lease: Lease, folder: Path) -> Done:
        original, fetch_s = _fetch_original(services, lease, folder)
        started = time.monotonic()
        if _is_film(lease):
            stored = StoredSegments(
                services.store, lease, folder, frame_renderer.SEGMENT_NAME, frame_renderer.SEGMENT_FRAMES
            )
            with stored.resume(beat) as report_progress:
                rendered = _render_film(services, lease, original, folder, report_progress)
                files = _put_files(services, lease, _name_files(rendered))
        else:
            rendered = _render_photo(services, lease, original, folder, beat)
            files = _put_files(services, lease, _name_files(rendered))
        timings = rendered.timings | {"fetch": fetch_s, "render": time.monotonic() - started}
        return Done(files, rendered.facts, timings)

    yield from _run_each(leases, run, beat)


def _render_photo(services: Services, lease: Lease, original: Path, folder: Path, beat: Beat) -> render.Rendered:
    color = _read_layer(services, lease, "color", ColorLayer.from_bytes)
    density = _read_layer(services, lease, "density", DensityLayer.from_bytes)
    facts = lease.facts[Stage.INGEST]
    request = render.RenderRequest(
        original=original, folder=folder, facts=facts, recipe=lease.recipe, color=color, density=density
    )
    return render.render(request, services.settings, beat)


def _render_film(
    services: Services, lease: Lease, original: Path, folder: Path, report_progress: film_ingest.ReportProgress
) -> render.Rendered:
    color, density = (_fetch_layer(services, lease, name, folder) for name in ("color", "density"))
    request = RenderRequest(original, folder, lease.facts[Stage.INGEST], lease.recipe, color, density)
    return film_render.render(request, services.settings, report_progress)


def _name_files(rendered: render.Rendered) -> dict[str, tuple[str, Path | bytes]]:
    return {name: (path.name, path) for name, path in rendered.files.items()}


STAGES: Mapping[Stage, RunStage] = {
    Stage.INGEST: run_ingest,
    Stage.COLORIZE: run_colorize,
    Stage.DEFADE: run_defade,
    Stage.RENDER: run_render,
}


# --- running many photos ----------------------------------------------------------------------------------------------


def _run_each(leases: Sequence[Lease], run: Callable[[Lease, Path], Done], beat: Beat) -> Iterator[AttemptEnd]:
    """Run photos one after the other, each in a temporary folder of its own."""
    for lease in leases:
        if not beat():
            return
        with tempfile.TemporaryDirectory(prefix="retint-") as folder:
            outcome = _return_error(partial(run, lease, Path(folder)))
        yield lease, outcome


def _run_network(
    services: Services,
    leases: Sequence[Lease],
    read: Callable[[Lease], NDArray[Any]],
    decide: Callable[[Iterator[NDArray[Any] | RetintError]], Iterator[Layer | RetintError]],
) -> Iterator[AttemptEnd]:
    """Run a network on a bundle; meanwhile threads read the next inputs and write the decided layers."""

    def write(lease: Lease, layer: Layer) -> Done:
        name = "color" if isinstance(layer, ColorLayer) else "density"
        return Done(_put_files(services, lease, {name: (f"{name}.safetensors", layer.to_bytes())}))

    with ThreadPoolExecutor(IO_THREADS) as threads:
        writing: deque[tuple[Lease, Future[Done | RetintError]]] = deque()
        yielded_at = time.monotonic()
        for lease, layer in zip(leases, decide(_read_ahead(threads, read, leases)), strict=False):
            if isinstance(layer, RetintError):
                yield lease, layer
                continue
            writing.append((lease, threads.submit(_return_error, partial(write, lease, layer))))
            # A slow network waits for the store, so that a kill costs no more of its work than it must.
            while writing and (writing[0][1].done() or time.monotonic() - yielded_at > WRITE_LAG_S):
                written, outcome = writing.popleft()
                yield written, outcome.result()
                yielded_at = time.monotonic()
        for written, outcome in writing:
            yield written, outcome.result()


def _read_ahead(
    threads: ThreadPoolExecutor, read: Callable[[Lease], T], leases: Sequence[Lease]
) -> Iterator[T | RetintError]:
    """Read the inputs of leases in their order, up to `READ_AHEAD` of them before they are asked for."""
    reading: deque[Future[T | RetintError]] = deque()
    for lease in leases:
        reading.append(threads.submit(_return_error, partial(read, lease)))
        if len(reading) > READ_AHEAD:
            yield reading.popleft().result()
    while reading:
        yield reading.popleft().result()


def _return_error(work: Callable[[], T]) -> T | RetintError:
    """Do the work; return a RetintError as the outcome. Any other error is a bug and concerns the bundle."""
    try:
        return work()
    except RetintError as error:
        return error


# --- files of one job -------------------------------------------------------------------------------------------------


def _is_film(lease: Lease) -> bool:
    return bool(lease.facts[Stage.INGEST].get("film"))


def _fetch_original(services: Services, lease: Lease, folder: Path) -> tuple[Path, float]:
    """Download the original; return its path, and the seconds that took."""
    started = time.monotonic()
    path = folder / "original"
    services.store.fetch(lease.original_key, path)
    return path, time.monotonic() - started


def _fetch_layer(services: Services, lease: Lease, name: str, folder: Path) -> Path | None:
    """Download a film's layer; None if the earlier stage wrote none."""
    if name not in lease.files:
        return None
    path = folder / PurePosixPath(lease.files[name]).name
    services.store.fetch(lease.files[name], path)
    return path


def _read_layer(services: Services, lease: Lease, name: str, parse: Callable[[bytes], T]) -> T | None:
    """Read a photo's layer; None if the earlier stage wrote none."""
    if name not in lease.files:
        return None
    with services.store.open(lease.files[name]) as source:
        return parse(source.read())


def _read_proxy(services: Services, lease: Lease) -> NDArray[Any]:
    """Read the proxy, uint8 (h, w, 3) in sRGB."""
    with services.store.open(lease.files["proxy"]) as source:
        return np.asarray(Image.open(io.BytesIO(source.read())).convert("RGB"))


def _put_files(services: Services, lease: Lease, files: Mapping[str, tuple[str, Path | bytes]]) -> dict[str, str]:
    """Write files under the attempt's folder in the store; return the key of each."""
    keys = {}
    for name, (file_name, content) in files.items():
        keys[name] = lease.file_key(file_name)
        services.store.put(keys[name], content, content_type_for(file_name))
    return keys
