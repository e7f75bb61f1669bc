"""A worker dies while it works on a film: its segments are in the store, and the next worker resumes there."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import films
from tests.leases import new_lease

from retint.errors import StoreUnavailable
from retint.jobs.leases import Done, Lease
from retint.lifecycle import Stage
from retint.services import Services
from retint.settings import Settings
from retint.stores.directory import DirectoryStore
from retint_models.weights.cards import read_cards
from retint_workers.films import render, segments
from retint_workers.films.color_film import SEGMENT_FRAMES as COLOR_SEGMENT
from retint_workers.films.color_film import ColorFilmWriter
from retint_workers.films.frame_renderer import SEGMENT_FRAMES as PICTURE_SEGMENT
from retint_workers.imaging.verify import NotVerified
from retint_workers.inference import loading
from retint_workers.queue import resuming, stages

FRAMES = PICTURE_SEGMENT + 30


class WorkerDied(BaseException):
    """Stands for the death of a worker; no code of ours catches it."""


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setattr(resuming, "UPLOAD_S", 0)
    made = Services.connect(Settings(data=tmp_path, device="cpu"))
    made.store.prepare()
    yield made
    made.engine.dispose()


def ingest_film(services: Services, path: Path, colorizer: str = "compact") -> Lease:
    """Deposit a film, ingest it, and return its lease at the stage colorize."""
    film = new_lease(path.name, Stage.INGEST, {"colorizer": colorizer, "defader": "keep"})
    services.store.put(film.original_key, path)
    return advance(film, expect_done(stages.run_ingest(services, [film], lambda: True)), Stage.COLORIZE)


def advance(film: Lease, outcome: Done, stage: Stage) -> Lease:
    """Return the film's lease at a further stage."""
    facts = film.facts | {film.stage: outcome.facts}
    return replace(film, stage=stage, attempt=1, files=film.files | outcome.files, facts=facts)


def expect_done(ended: Iterator[tuple[Lease, Any]]) -> Done:
    [(_, outcome)] = ended
    assert isinstance(outcome, Done), outcome
    return outcome


def list_stored(services: Services, film: Lease) -> list[str]:
    """List the file names of the segments in the store for a film's stage."""
    prefix = film.stage_prefix
    return sorted(Path(blob.key).name for blob in services.store.list(prefix) if blob.key.endswith(".segment"))


def die_after(services: Services, film: Lease, count: int) -> Callable[[], bool]:
    """Return a beat that kills its worker as soon as so many segments are in the store."""

    def beat() -> bool:
        if len(list_stored(services, film)) >= count:
            raise WorkerDied
        return True

    return beat


def have_same_video(services: Services, key: str, other: str, folder: Path) -> bool:
    """Whether two films in the store have the same video packets."""
    for name, one in (("one", key), ("other", other)):
        services.store.fetch(one, folder / name)
    return films.read_packets(folder / "one", "video") == films.read_packets(folder / "other", "video")


def test_colorizing_resumes_after_the_segments_of_dead_workers_with_the_same_result(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = ingest_film(services, films.write(tmp_path / "film.mp4", films.two_scenes(3 * COLOR_SEGMENT + 5)))
    straight = expect_done(stages.run_colorize(services, [film], lambda: True))
    assert list_stored(services, film) == []

    for attempt, count in ((2, 1), (3, 2)):
        dead = replace(film, attempt=attempt)
        with pytest.raises(WorkerDied):
            list(stages.run_colorize(services, [dead], die_after(services, dead, count)))
    left = list_stored(services, film)
    assert left == ["color-00000000.segment", f"color-{COLOR_SEGMENT:08}.segment"]
    written: list[int] = []
    write_segment = ColorFilmWriter.write_segment

    def watched(writer: ColorFilmWriter, layers: Any, first: int) -> None:
        written.append(first)
        write_segment(writer, layers, first)

    monkeypatch.setattr(ColorFilmWriter, "write_segment", watched)
    again = expect_done(stages.run_colorize(services, [replace(film, attempt=4)], lambda: True))
    assert written == [2 * COLOR_SEGMENT, 3 * COLOR_SEGMENT]
    assert have_same_video(services, again.files["color"], straight.files["color"], tmp_path)
    assert list_stored(services, film) == []


def test_rendering_resumes_after_the_segments_of_a_dead_worker(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = ingest_film(services, films.write(tmp_path / "film.mp4", films.two_scenes(FRAMES)), colorizer="keep")
    film = advance(film, Done(), Stage.RENDER)
    straight = expect_done(stages.run_render(services, [film], lambda: True))
    dead = replace(film, attempt=2)
    with pytest.raises(WorkerDied):
        list(stages.run_render(services, [dead], die_after(services, dead, 1)))
    left = list_stored(services, film)
    assert left[0] == "picture-00000000.segment"
    reported: list[tuple[str, int]] = []
    original: Any = render.render

    def watched(request: Any, settings: Any, report_progress: Any) -> Any:
        def record(phase: str, frames: int) -> None:
            reported.append((phase, frames))
            report_progress(phase, frames)

        return original(request, settings, record)

    monkeypatch.setattr(render, "render", watched)
    again = expect_done(stages.run_render(services, [replace(film, attempt=3)], lambda: True))
    assert min(frames for phase, frames in reported if phase == "Rendering") >= PICTURE_SEGMENT
    assert have_same_video(services, again.files["result"], straight.files["result"], tmp_path)
    assert list_stored(services, film) == []


def test_segments_of_other_weights_are_not_used(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = ingest_film(services, films.write(tmp_path / "film.mp4", films.two_scenes(2 * COLOR_SEGMENT + 5)))
    with pytest.raises(WorkerDied):
        list(stages.run_colorize(services, [film], die_after(services, film, 1)))
    all_cards = read_cards(services.settings.weights)
    newer = all_cards | {"compact": replace(all_cards["compact"], sha256="0" * 64)}
    monkeypatch.setattr(stages, "read_cards", lambda _: newer)
    fetched: list[str] = []

    class Watched(DirectoryStore):
        def fetch(self, key: str, path: Path, *rest: Any) -> None:
            fetched.append(path.name)
            super().fetch(key, path, *rest)

    watched = Services(services.settings, services.engine, Watched(services.settings.data / "store"))
    expect_done(stages.run_colorize(watched, [replace(film, attempt=2)], lambda: True))
    assert fetched == ["original"]


def test_a_segment_that_spoils_the_result_is_deleted(services: Services, tmp_path: Path) -> None:
    film = ingest_film(services, films.write(tmp_path / "film.mp4", films.two_scenes(FRAMES)), colorizer="keep")
    film = advance(film, Done(), Stage.RENDER)
    with pytest.raises(WorkerDied):
        list(stages.run_render(services, [film], die_after(services, film, 1)))
    [key] = [blob.key for blob in services.store.list(film.file_key("")) if blob.key.endswith("00000000.npz")]
    services.store.fetch(key, tmp_path / "notes.npz")
    notes = dict(np.load(tmp_path / "notes.npz"))
    segments.save_arrays(tmp_path / "notes.npz", notes | {"glances": 255 - notes["glances"]})
    services.store.put(key, tmp_path / "notes.npz")
    [(_, outcome)] = stages.run_render(services, [replace(film, attempt=2)], lambda: True)
    assert isinstance(outcome, NotVerified)
    assert list_stored(services, film) == []
    expect_done(stages.run_render(services, [replace(film, attempt=3)], lambda: True))


def test_a_worker_without_the_network_leaves_the_segments_of_others(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = ingest_film(services, films.write(tmp_path / "film.mp4", films.two_scenes(2 * COLOR_SEGMENT)))
    with pytest.raises(WorkerDied):
        list(stages.run_colorize(services, [film], die_after(services, film, 1)))
    left = list_stored(services, film)

    def lacking(*_: Any) -> None:
        raise loading.NetworkUnavailable("The weights are not here.")

    with monkeypatch.context() as patched:
        all_cards = read_cards(services.settings.weights)
        poorer = all_cards | {"compact": replace(all_cards["compact"], sha256="")}
        patched.setattr(stages, "read_cards", lambda _: poorer)
        patched.setattr(loading, "load_network", lacking)
        [(_, outcome)] = stages.run_colorize(services, [replace(film, attempt=2)], lambda: True)
    assert isinstance(outcome, loading.NetworkUnavailable)
    assert list_stored(services, film) == left


def test_a_store_that_takes_no_segments_does_not_stop_a_film(services: Services, tmp_path: Path) -> None:
    film = ingest_film(services, films.write(tmp_path / "film.mp4", films.two_scenes(COLOR_SEGMENT + 5)))

    class Full(DirectoryStore):
        def put(self, key: str, *rest: Any) -> None:
            if key.endswith((".segment", ".npz")):
                raise StoreUnavailable("The store's disk is full.", code="store_full")
            super().put(key, *rest)

    full = Services(services.settings, services.engine, Full(services.settings.data / "store"))
    assert expect_done(stages.run_colorize(full, [film], lambda: True)).files.keys() == {"color"}
