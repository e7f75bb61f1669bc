"""A worker dies over a film: what it had done lies in the store, and the next one goes on there."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import films
from tests.leases import new_lease

from retint import recipes
from retint.errors import StoreUnavailable
from retint.jobs import Done, Lease
from retint.lifecycle import Stage
from retint.services import Services
from retint.settings import Settings
from retint.stores.directory import DirectoryStore
from retint_workers.films import render, segments
from retint_workers.films.color_film import SEGMENT_FRAMES as COLOR_SEGMENT
from retint_workers.films.color_film import ColorFilmWriter
from retint_workers.films.frame_renderer import SEGMENT_FRAMES as PICTURE_SEGMENT
from retint_workers.imaging.render import NotVerified
from retint_workers.inference import loading
from retint_workers.queue import resuming, stages

FRAMES = PICTURE_SEGMENT + 30


class Died(BaseException):
    """What a worker's death is to the code that it runs."""


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setattr(resuming, "UPLOAD_S", 0)
    made = Services.connect(Settings(data=tmp_path, device="cpu"))
    made.store.prepare()
    yield made
    made.engine.dispose()


def ingested(services: Services, path: Path, colorizer: str = "compact") -> Lease:
    """A deposited film after the stage ingest, about to be colorized."""
    film = new_lease(path.name, Stage.INGEST, {"colorizer": colorizer, "defader": "keep"})
    services.store.put(film.original_key, path)
    return after(film, done(stages.run_ingest(services, [film], lambda: True)), Stage.COLORIZE)


def after(film: Lease, outcome: Done, stage: Stage) -> Lease:
    """The same film at its next stage."""
    facts = film.facts | {film.stage: outcome.facts}
    return replace(film, stage=stage, attempt=1, files=film.files | outcome.files, facts=facts)


def done(ended: Iterator[tuple[Lease, Any]]) -> Done:
    [(_, outcome)] = ended
    assert isinstance(outcome, Done), outcome
    return outcome


def reels_in(services: Services, film: Lease) -> list[str]:
    """The reels that attempts at this stage have left, by file name."""
    prefix = film.stage_prefix
    return sorted(Path(blob.key).name for blob in services.store.list(prefix) if blob.key.endswith(".nut"))


def dying(services: Services, film: Lease, count: int) -> Callable[[], bool]:
    """A beat that kills its worker as soon as so many reels are in the store."""

    def beat() -> bool:
        if len(reels_in(services, film)) >= count:
            raise Died
        return True

    return beat


def same(services: Services, key: str, other: str, folder: Path) -> bool:
    """Say whether two films in the store have the same pictures."""
    for name, one in (("one", key), ("other", other)):
        services.store.fetch(one, folder / name)
    return films.read_packets(folder / "one", "video") == films.read_packets(folder / "other", "video")


def test_coloring_goes_on_after_the_reels_of_the_dead_and_comes_out_the_same(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = ingested(services, films.write(tmp_path / "film.mp4", films.two_scenes(3 * COLOR_SEGMENT + 5)))
    straight = done(stages.run_colorize(services, [film], lambda: True))
    assert reels_in(services, film) == []

    for attempt, count in ((2, 1), (3, 2)):
        dead = replace(film, attempt=attempt)
        with pytest.raises(Died):
            list(stages.run_colorize(services, [dead], dying(services, dead, count)))
    left = reels_in(services, film)
    assert left == ["color-00000000.nut", f"color-{COLOR_SEGMENT:08}.nut"]
    written: list[int] = []
    write_segment = ColorFilmWriter.write_segment

    def watched(writer: ColorFilmWriter, layers: Any, first: int) -> None:
        written.append(first)
        write_segment(writer, layers, first)

    monkeypatch.setattr(ColorFilmWriter, "write_segment", watched)
    again = done(stages.run_colorize(services, [replace(film, attempt=4)], lambda: True))
    assert written == [2 * COLOR_SEGMENT, 3 * COLOR_SEGMENT]
    assert same(services, again.files["color"], straight.files["color"], tmp_path)
    assert reels_in(services, film) == []


def test_rendering_goes_on_after_the_reels_of_the_dead(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = ingested(services, films.write(tmp_path / "film.mp4", films.two_scenes(FRAMES)), colorizer="keep")
    film = after(film, Done(), Stage.RENDER)
    straight = done(stages.run_render(services, [film], lambda: True))
    dead = replace(film, attempt=2)
    with pytest.raises(Died):
        list(stages.run_render(services, [dead], dying(services, dead, 1)))
    left = reels_in(services, film)
    assert left[0] == "picture-00000000.nut"
    reported: list[tuple[str, int]] = []
    original: Any = render.render

    def watched(request: Any, settings: Any, report_progress: Any) -> Any:
        def record(phase: str, frames: int) -> None:
            reported.append((phase, frames))
            report_progress(phase, frames)

        return original(request, settings, record)

    monkeypatch.setattr(render, "render", watched)
    again = done(stages.run_render(services, [replace(film, attempt=3)], lambda: True))
    assert min(frames for phase, frames in reported if phase == "Rendering") >= PICTURE_SEGMENT
    assert same(services, again.files["result"], straight.files["result"], tmp_path)
    assert reels_in(services, film) == []


def test_reels_of_other_weights_are_not_taken_up(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = ingested(services, films.write(tmp_path / "film.mp4", films.two_scenes(2 * COLOR_SEGMENT + 5)))
    with pytest.raises(Died):
        list(stages.run_colorize(services, [film], dying(services, film, 1)))
    cards = recipes.cards(services.settings.weights)
    newer = cards | {"compact": replace(cards["compact"], sha256="0" * 64)}
    monkeypatch.setattr(recipes, "cards", lambda _: newer)
    taken_up: list[str] = []

    class Watched(DirectoryStore):
        def fetch(self, key: str, path: Path) -> None:
            taken_up.append(path.name)
            super().fetch(key, path)

    watched = Services(services.settings, services.engine, Watched(services.settings.data / "store"))
    done(stages.run_colorize(watched, [replace(film, attempt=2)], lambda: True))
    assert taken_up == ["original"]


def test_a_reel_that_spoils_the_result_is_thrown_away(services: Services, tmp_path: Path) -> None:
    film = ingested(services, films.write(tmp_path / "film.mp4", films.two_scenes(FRAMES)), colorizer="keep")
    film = after(film, Done(), Stage.RENDER)
    with pytest.raises(Died):
        list(stages.run_render(services, [film], dying(services, film, 1)))
    [key] = [blob.key for blob in services.store.list(film.file_key("")) if blob.key.endswith("00000000.npz")]
    services.store.fetch(key, tmp_path / "notes.npz")
    notes = dict(np.load(tmp_path / "notes.npz"))
    segments.save_arrays(tmp_path / "notes.npz", notes | {"glances": 255 - notes["glances"]})
    services.store.put(key, tmp_path / "notes.npz")
    [(_, outcome)] = stages.run_render(services, [replace(film, attempt=2)], lambda: True)
    assert isinstance(outcome, NotVerified)
    assert reels_in(services, film) == []
    done(stages.run_render(services, [replace(film, attempt=3)], lambda: True))


def test_a_worker_without_the_network_leaves_the_reels_of_others(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = ingested(services, films.write(tmp_path / "film.mp4", films.two_scenes(2 * COLOR_SEGMENT)))
    with pytest.raises(Died):
        list(stages.run_colorize(services, [film], dying(services, film, 1)))
    left = reels_in(services, film)

    def lacking(*_: Any) -> None:
        raise loading.NetworkUnavailable("The weights are not here.")

    with monkeypatch.context() as patched:
        cards = recipes.cards(services.settings.weights)
        poorer = cards | {"compact": replace(cards["compact"], sha256="", size=0)}
        patched.setattr(recipes, "cards", lambda _: poorer)
        patched.setattr(loading, "load", lacking)
        [(_, outcome)] = stages.run_colorize(services, [replace(film, attempt=2)], lambda: True)
    assert isinstance(outcome, loading.NetworkUnavailable)
    assert reels_in(services, film) == left


def test_a_store_that_takes_no_reels_does_not_stop_a_film(services: Services, tmp_path: Path) -> None:
    film = ingested(services, films.write(tmp_path / "film.mp4", films.two_scenes(COLOR_SEGMENT + 5)))

    class Full(DirectoryStore):
        def put(self, key: str, *rest: Any) -> None:
            if key.endswith((".nut", ".npz")):
                raise StoreUnavailable("The store's disk is full.", code="store_full")
            super().put(key, *rest)

    full = Services(services.settings, services.engine, Full(services.settings.data / "store"))
    assert done(stages.run_colorize(full, [film], lambda: True)).files.keys() == {"color"}
