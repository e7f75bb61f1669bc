"""A photo of several pages is one job: all pages run together, end together, and survive a worker's death."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tests import photographs, sample_layers
from tests.integration.conftest import Site
from tests.integration.workers.queue.sites import cancel, deposit, run_bundle
from tests.leases import new_lease

from retint.errors import DeviceFailed, LeaseLost
from retint.jobs import queueing
from retint.jobs.leases import AttemptEnd, Done, Lease
from retint.lifecycle import STAGES, Outcome, Stage, State
from retint.services import Services
from retint.settings import Settings
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.beats import Beat
from retint_workers.imaging import render
from retint_workers.inference import loading
from retint_workers.queue import stages, tasks
from retint_workers.sandbox.children import run_in_child


class WorkerDied(BaseException):
    """Stands for the death of a worker; no code of ours catches it."""


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two gray pages and one in color, each of another size."""
    path = tmp_path / "album.tif"
    with tifffile.TiffWriter(path) as writer:
        for number in (0, 2):
            gray = photographs.to_gray(photographs.color_photo(number, 96 + 8 * number))
            writer.write(gray, photometric="minisblack", metadata=None)
        writer.write(photographs.color_photo(1, 96), photometric="rgb", metadata=None)
    return path


def test_every_page_goes_through_the_queue_with_layers_of_its_own(site: Site, album: Path) -> None:
    job_id = deposit(site, site.services, album)
    for stage in STAGES:
        run_bundle(site.services, stages.STAGES[stage], [job_id], stage)
    assert site.get_job(job_id).state is State.RESTORED
    files = {stage: attempt.files.keys() for attempt in site.list_attempts(job_id) for stage in [attempt.stage]}
    assert files[Stage.INGEST] == {"proxy", "proxy-2", "proxy-3"}
    assert files[Stage.COLORIZE] == {"color", "color-2", "density", "density-2"}  # the page in color keeps its own
    assert files[Stage.DEFADE] == {"density-3"}
    previews = {f"{name}{suffix}" for name in ("preview", "before", "thumb") for suffix in ("", "-2", "-3")}
    assert files[Stage.RENDER] == {"result", "provenance", *previews}
    with site.services.store.open(site.list_attempts(job_id)[-1].files["result"]) as source:
        result = tifffile.TiffFile(io.BytesIO(source.read()))
    assert [page.shape for page in result.pages] == [(96, 96, 3), (112, 112, 3), (96, 96, 3)]


def test_what_is_no_whole_page_is_no_proxy_that_a_worker_of_the_version_before_finds(site: Site, album: Path) -> None:
    job_id = deposit(site, site.services, album, region=[[0.1, 0.1, 0.6, 0.5]], colorizer="keep", defader="keep")
    for stage in STAGES:
        run_bundle(site.services, stages.STAGES[stage], [job_id], stage)
    assert site.get_job(job_id).state is State.RESTORED
    assert site.list_attempts(job_id)[0].files.keys() == {"crop", "crop-2", "crop-3"}
    assert site.get_job(job_id).risk is None, "no network said anything"


def test_a_worker_that_dies_between_pages_loses_nothing(
    site: Site, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deposit(site, site.services, album, defader="keep")
    for stage in STAGES[:-1]:
        run_bundle(site.services, stages.STAGES[stage], [job_id], stage)
    work = run_in_child

    def die_at_page_two(function: Any, settings: Settings, beat: Beat, *arguments: Any) -> Any:
        if arguments[1:2] == (2,):
            raise WorkerDied
        return work(function, settings, beat, *arguments)

    monkeypatch.setattr(render, "run_in_child", die_at_page_two)
    with pytest.raises(WorkerDied):
        run_bundle(site.services, stages.run_render, [job_id], Stage.RENDER)
    monkeypatch.setattr(render, "run_in_child", work)
    site.make_overdue([job_id])
    with site.services.begin() as session:
        assert queueing.reclaim_expired(session)[Stage.RENDER, State.READY] == 1
    run_bundle(site.services, stages.run_render, [job_id], Stage.RENDER)
    assert site.get_job(job_id).state is State.RESTORED
    assert site.count_outcomes([job_id])[Stage.RENDER, Outcome.DONE] == 1
    risk = site.get_job(job_id).risk
    assert risk is not None
    assert 0 < risk < 1
    assert risk == site.list_attempts(job_id)[-1].facts["risk"]


def test_work_on_a_long_file_ends_soon_after_it_was_cancelled(
    site: Site, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deposit(site, site.services, album)
    work, pages = run_in_child, []
    for stage in STAGES[:-1]:
        run_bundle(site.services, stages.STAGES[stage], [job_id], stage)

    def cancel_at_page_one(function: Any, settings: Settings, beat: Beat, *arguments: Any) -> Any:
        pages.append(arguments[1])
        cancel(site, job_id)
        return work(function, settings, beat, *arguments)

    monkeypatch.setattr(render, "run_in_child", cancel_at_page_one)
    monkeypatch.setattr(tasks, "CHECK_S", 0)
    run_bundle(site.services, stages.run_render, [job_id], Stage.RENDER)
    assert pages == [1]
    assert site.get_job(job_id).state is State.CANCELLED


# --- a network, without a database ------------------------------------------------------------------------------------


class CountingNetwork:
    """A network that takes two pictures per call, and raises an error at the call of this number."""

    at_once = 2

    def __init__(self, fails_at: int = 0, kind: str = "colorizer") -> None:
        self.fails_at, self.kind = fails_at, kind
        self.calls = 0

    def __call__(self, proxies: list[NDArray[Any]], settings: Any = None) -> list[ColorLayer] | list[DensityLayer]:
        self.calls += 1
        if self.calls == self.fails_at:
            raise DeviceFailed("The device is gone.")
        if self.kind == "defader":
            return [sample_layers.density_layer() for _ in proxies]
        small = np.full((8, 8), 0.5, np.float16)
        return [ColorLayer(np.stack([small, small]), small, np.full((8, 8), 9, np.uint8), {}) for _ in proxies]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = Services.connect(Settings(data=tmp_path, device="cpu"))
    made.store.prepare()
    yield made
    made.engine.dispose()


def make_leases(services: Services, *counts: int, defader: str = "keep") -> list[Lease]:
    """Make leases on ingested photos of so many pages, with their proxies in the store."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(buffer, "PNG")
    services.store.put("proxies/1.png", buffer.getvalue(), "image/png")
    leases = []
    for count in counts:
        pages = [{"number": number + 1, "role": "photograph", "kind": "neutral"} for number in range(count)]
        names = ["proxy", *(f"proxy-{number}" for number in range(2, count + 1))]
        facts = {Stage.INGEST: {"kind": "neutral", "pages": pages}}
        files = dict.fromkeys(names, "proxies/1.png")
        leases.append(new_lease(str(count), Stage.COLORIZE, {"defader": defader}, files=files, facts=facts))
    return leases


def colorize(
    services: Services,
    leases: Sequence[Lease],
    network: CountingNetwork,
    patched: pytest.MonkeyPatch,
    defader: CountingNetwork | None = None,
    **beats: Any,
) -> list[AttemptEnd]:
    patched.setattr(loading, "load_network", lambda kind, *_: network if kind == "colorizer" else defader)
    return list(stages.run_colorize(services, leases, beats.get("beat", lambda: True)))


def test_pages_of_all_photos_run_through_the_network_together(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = CountingNetwork()
    leases = make_leases(services, 3, 1, 2)
    ended = colorize(services, leases, network, monkeypatch)
    assert network.calls == 3
    assert [lease for lease, _ in ended] == leases
    names = [set(done.files) for _, done in ended if isinstance(done, Done)]
    assert names == [{"color", "color-2", "color-3"}, {"color"}, {"color", "color-2"}]


def test_a_photo_that_was_begun_is_finished_when_time_is_up(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = make_leases(services, 7, 1, 1)
    ended = colorize(services, leases, CountingNetwork(), monkeypatch, beat=lambda: False)
    assert [len(done.files) for _, done in ended if isinstance(done, Done)] == [7, 1]


def test_a_photo_whose_tone_was_begun_gets_its_color_when_time_is_up(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = make_leases(services, 7, 1, 1, defader="compact-defade")
    defader = CountingNetwork(kind="defader")
    ended = colorize(services, leases, CountingNetwork(), monkeypatch, defader, beat=lambda: False)
    assert [len(done.files) for _, done in ended if isinstance(done, Done)] == [14, 2]


def test_a_defader_that_fails_ends_the_photos_that_it_was_asked_for(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = make_leases(services, 1, 7, 1, defader="compact-defade")
    defader = CountingNetwork(fails_at=2, kind="defader")
    ended = colorize(services, leases, CountingNetwork(), monkeypatch, defader)
    assert [lease for lease, _ in ended] == leases[:2]
    assert isinstance(ended[0][1], Done)
    assert isinstance(ended[1][1], DeviceFailed)


def test_a_photo_whose_later_pages_were_not_reached_ends_with_the_error(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = make_leases(services, 1, 7, 1)
    ended = colorize(services, leases, CountingNetwork(fails_at=2), monkeypatch)
    assert [lease for lease, _ in ended] == leases[:2]
    assert isinstance(ended[0][1], Done)
    assert isinstance(ended[1][1], DeviceFailed)


def test_a_photo_that_is_lost_costs_the_others_nothing(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    leases = make_leases(services, 20, 2)
    network = CountingNetwork()

    def beat() -> bool:
        if network.calls == 2:
            leases[0].lost.set()
        return True

    ended = {lease.name: end for lease, end in colorize(services, leases, network, monkeypatch, beat=beat)}
    assert isinstance(ended["20"], LeaseLost)
    assert isinstance(ended["2"], Done)
    assert network.calls < 11
