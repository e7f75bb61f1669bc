"""The four stages as a worker runs them: input files from the store, the pure stage, output files into the store.

Nothing here touches the database, except that it beats. A stage gets leases and yields each one as its attempt ends:
`Done` with the files that it put under the attempt's own folder, or the error. A photo's error costs no other photo.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from structlog.contextvars import bound_contextvars

from retint import recipes
from retint.errors import RetintError
from retint.jobs.leases import AttemptEnd, Done, Lease
from retint.lifecycle import Stage
from retint.pages import Page, list_photographs
from retint.services import Services
from retint.stores import Progress
from retint_models.layers.rendering import colorize_proxy
from retint_models.layers.types import ColorLayer, DensityLayer, Layers, Order, set_order
from retint_models.weights.cards import read_cards
from retint_workers import scratch
from retint_workers.beats import Beat
from retint_workers.films import color_film, decoder, frame_renderer
from retint_workers.films import decide as film_decide
from retint_workers.films import ingest as film_ingest
from retint_workers.films import render as film_render
from retint_workers.films.frame_renderer import RenderRequest
from retint_workers.imaging import ingest, render
from retint_workers.imaging.risk import COLORLESS, measure_risk
from retint_workers.inference import colorize, defade
from retint_workers.inference.decide import decide
from retint_workers.queue import transfers
from retint_workers.queue.network_runs import LeasedPage, return_error, run_network
from retint_workers.queue.resuming import StoredSegments
from retint_workers.queue.tasks import RunStage

Run = Callable[[Lease, Path, Beat], Done]
"""Runs a stage on one job, in a scratch folder."""

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
            ingested = ingest.ingest(original, lease.recipe, settings, beat, folder)
        proxies: dict[str, tuple[str, Path | bytes]] = {
            (name := list_photographs(ingested.facts)[0].proxy_name): (f"{name}.png", ingested.proxy)
        }
        proxies |= {name: (path.name, path) for name, path in ingested.further.items()}
        files = _put_files(services, lease, proxies, beat)
        return Done(files, ingested.facts, {"fetch": fetch_s, "ingest": time.monotonic() - started})

    yield from _run_each(leases, run, beat)


def run_colorize(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Decide color layers, and the density layers that the colorizer looks through, from proxies, or from films.

    Nothing is decided where the recipe or the photo asks for no color.
    """
    wanted, films, others = _sort_leases(leases, _wants_color)
    yield from ((lease, Done()) for lease in others)

    def run_film(lease: Lease, folder: Path, beat: Beat) -> Done:
        original, _ = _fetch_original(services, lease, folder, beat)
        facts, settings = lease.facts[Stage.INGEST], services.settings
        cards = read_cards(settings.weights)
        weights = [cards[name].sha256 for name in (lease.recipe.colorizer, lease.recipe.defader) if name in cards]
        stored = StoredSegments(
            services.store,
            lease,
            folder,
            color_film.SEGMENT_NAME,
            color_film.SEGMENT_FRAMES,
            made_by=" ".join([Order.TONE_FIRST, *weights]),
        )
        with stored.resume(beat) as report_progress:
            layers = film_decide.decide(original, folder, facts, lease.recipe, settings, report_progress)
            files = zip(("color", "density"), layers, strict=True)
            return Done(_put_files(services, lease, {name: (path.name, path) for name, path in files if path}, beat))

    def run(proxies: Iterator[NDArray[Any] | RetintError], beat: Beat) -> Iterator[Layers | RetintError]:
        return decide(proxies, wanted[0][0].recipe, services.settings, beat)

    if wanted:
        yield from run_network(services, wanted, partial(_read_proxy, services), run, beat)
    yield from _run_each(films, run_film, beat)


def run_defade(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Decide the density layers that the stage colorize has not decided; nothing where none are asked for."""
    recipe = leases[0].recipe  # all jobs of a bundle are of one recipe
    wanted, films, others = _sort_leases(leases, _lacks_density)
    yield from ((lease, Done()) for lease in others)

    def read(lease: Lease, page: Page, progress: Progress) -> NDArray[Any]:
        proxy = _read_proxy(services, lease, page, progress)
        color = transfers.read_layer(services.store, lease, page.spell("color"), ColorLayer.from_bytes, progress)
        return proxy if color is None else colorize_proxy(proxy, color)

    def run(proxies: Iterator[NDArray[Any] | RetintError], beat: Beat) -> Iterator[Layers | RetintError]:
        for (lease, page), layer in zip(wanted, defade.defade(proxies, recipe, services.settings, beat), strict=False):
            yield layer if isinstance(layer, RetintError) else (None, set_order(layer, _order_of(lease, page)))

    def run_film(lease: Lease, folder: Path, beat: Beat) -> Done:
        original, _ = _fetch_original(services, lease, folder, beat)
        color = _fetch_layer(services, lease, "color", folder, beat)
        facts, settings = lease.facts[Stage.INGEST], services.settings
        density = film_decide.defade(original, folder, facts, recipe, color, settings, lambda *_: beat())
        return Done(_put_files(services, lease, {"density": (density.name, density)}, beat))

    if wanted:
        yield from run_network(services, wanted, read, run, beat)
    yield from _run_each(films, run_film, beat)


def _sort_leases(
    leases: Sequence[Lease], is_wanted: Callable[[Lease, Page], bool]
) -> tuple[list[LeasedPage], list[Lease], list[Lease]]:
    """Return the pages of photos that a network is wanted for, the films, and the leases with nothing to do."""
    pages: list[LeasedPage] = []
    films: list[Lease] = []
    others: list[Lease] = []
    for lease in leases:
        wanted = [page for page in list_photographs(lease.facts[Stage.INGEST]) if is_wanted(lease, page)]
        if not wanted:
            others.append(lease)
        elif _is_film(lease):
            films.append(lease)
        else:
            pages += [(lease, page) for page in wanted]
    return pages, films, others


def _wants_color(lease: Lease, page: Page) -> bool:
    return colorize.is_wanted(lease.recipe, page.facts["kind"])


def _lacks_density(lease: Lease, page: Page) -> bool:
    return defade.is_wanted(lease.recipe, page.facts["kind"]) and page.spell("density") not in lease.files


def _order_of(lease: Lease, page: Page) -> Order:
    """Return the order for a page's density layer that the stage defade decides.

    A worker of the version before decided the color of a page without its tone: color first.
    """
    return Order.COLOR_FIRST if page.spell("color") in lease.files else Order.TONE_FIRST


def _read_proxy(services: Services, lease: Lease, page: Page, progress: Progress) -> NDArray[Any]:
    return transfers.read_proxy(services.store, lease, page.proxy_name, progress)


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
        return Done(files, rendered.facts, timings, _hash_making(services, lease, rendered))

    yield from _run_each(leases, run, beat)


def _render_photo(services: Services, lease: Lease, original: Path, folder: Path, beat: Beat) -> render.Rendered:
    risks: list[float] = []

    def read_layers(page: Page) -> Layers:
        def read(progress: Progress) -> Layers:
            color = transfers.read_layer(services.store, lease, page.spell("color"), ColorLayer.from_bytes, progress)
            name = page.spell("density")
            return color, transfers.read_layer(services.store, lease, name, DensityLayer.from_bytes, progress)

        layers = transfers.start(lease, read).wait(beat)
        if any(layers):
            risks.append(measure_risk(*layers))
        return layers

    facts = lease.facts[Stage.INGEST]
    color, density = read_layers(list_photographs(facts)[0])
    request = render.RenderRequest(
        original=original,
        folder=folder,
        facts=facts,
        recipe=lease.recipe,
        color=color,
        density=density,
        read_layers=read_layers,
    )
    rendered = render.render(request, services.settings, beat)
    risk = max(risks) + COLORLESS * bool(rendered.facts["colorless"]) if risks else None
    return replace(rendered, facts=rendered.facts | {"risk": risk})


def _hash_making(services: Services, lease: Lease, rendered: render.Rendered) -> str | None:
    """Return what the result was made with, from the layers that were applied; None where nobody may take it over.

    Weights may have been replaced since its layers were decided, or between two of them, and a worker of the version
    before may have decided layers in the other order.
    """
    records = json.loads(rendered.files["provenance"].read_bytes())["networks"].values()
    used = {(record.get("colorizer") or record.get("defader"), record.get("weights")) for record in records}
    if len(dict(used)) < len(used) or any(record.get("order") != Order.TONE_FIRST for record in records):
        return None
    # Networks that had nothing to decide leave no layer: what they would have decided with changes nothing.
    return recipes.hash_making(lease.recipe, recipes.find_weights(lease.recipe, services.settings.weights) | dict(used))


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
        yield lease, return_error(partial(_run_in_folder, run, lease, transfers.watch(lease, beat)))


def _run_in_folder(run: Run, lease: Lease, beat: Beat) -> Done:
    lease.ensure_held()
    with bound_contextvars(**lease.log_fields), scratch.translate_errors(), scratch.open_folder() as folder:
        return run(lease, folder, beat)


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
