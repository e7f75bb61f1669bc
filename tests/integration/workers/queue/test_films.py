"""A short film is a job like any other: deposited beside photos, and restored although its worker dies."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tests import films, platforms
from tests.photographs import write_old_prints
from tests.platforms import PlatformUnderTest

from retint.command.client import Client
from retint.settings import Settings
from retint_workers.films import muxing
from retint_workers.films.decoder import Film
from retint_workers.imaging import provenance

TIMEOUT_S = 240


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[PlatformUnderTest]:
    settings = Settings(
        data=tmp_path / "data",
        secret=SecretStr("a secret of the tests only"),
        lease_s=5,
        requeue_s=3,
        backoff_s=0.2,
        device="cpu",
    )
    with platforms.run_platform(settings) as running:
        yield running
        print(running.logs())


Jobs = dict[str, dict[str, Any]]
"""A batch's jobs by name."""


def wait_until(client: Client, batch: str, condition: Callable[[Jobs], bool]) -> Jobs:
    """Wait until a batch's jobs meet a condition."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition(jobs := {job["name"]: job for job in client.jobs(batch)}):
        assert time.monotonic() < deadline, jobs
        time.sleep(0.2)
    return jobs


@pytest.mark.timeout(TIMEOUT_S + 60)
def test_a_film_is_restored_beside_a_photo_though_its_worker_dies(platform: PlatformUnderTest, tmp_path: Path) -> None:
    path = films.write(tmp_path / "walk.mp4", films.two_scenes(150), times=films.uneven_times(150))
    half = tmp_path / "half.mp4"
    half.write_bytes(path.read_bytes()[:20_000])
    (photo,) = write_old_prints(tmp_path / "prints", 1).rglob("*.jpg")
    with platform.client() as client:
        batch = client.open_batch("Films", key="films")["id"]
        for file in (path, photo, half):
            client.upload(batch, file.name, file, lambda _: None)

        def is_half_colored(_: Jobs) -> bool:
            return bool(list(platform.settings.data.rglob("reels-*/color-*.segment")))

        wait_until(client, batch, is_half_colored)
        platform.kill("worker --fleet gpu")
        jobs = wait_until(
            client, batch, lambda jobs: all(job["state"] in ("restored", "refused") for job in jobs.values())
        )
        assert "segments_resumed" in platform.logs()
        assert {name: job["state"] for name, job in jobs.items()} == {
            path.name: "restored", photo.name: "restored", half.name: "refused",
        }  # fmt: skip
        assert "damaged or incomplete" in jobs[half.name]["reason"]
        job = client.job(jobs[path.name]["id"])
        assert {"result", "preview", "before", "thumb", "provenance", "color", "density"} <= job["files"].keys()
        for name in ("result", "preview"):
            client.download(job["id"], name, tmp_path / name)
    times = films.decode(path)[0]
    assert films.decode(tmp_path / "preview")[0] == films.decode(tmp_path / "result")[0] == times
    assert films.read_packets(tmp_path / "result", "audio") == films.read_packets(path, "audio")
    with Film(tmp_path / "result") as film:
        said = provenance.read_xmp(muxing.read_xmp(film.path, film.container))
    assert said[provenance.SOURCE_TYPE] == provenance.INVENTED
