"""A full disk is never said of a photo: not by a download, an encoder, libvips or FFmpeg."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image
from tests import films
from tests.integration.conftest import Site
from tests.integration.workers.queue.sites import deposit, run_bundle

from retint.lifecycle import STAGES, Outcome, Stage
from retint_workers.queue import stages

SIDE = 900


@pytest.fixture
def site(sqlite_site: Site) -> Site:
    return sqlite_site


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty place for a disk; see `fill`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    yield folder
    subprocess.run(["umount", "--lazy", folder], capture_output=True, check=False)


def mount(folder: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scratch folders be on a disk of so many bytes."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount the small disk that this test fills")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


def write_file(folder: Path, kind: str) -> Path:
    path = folder / f"large.{kind}"
    if kind == "mp4":
        return films.write(path, films.two_scenes(30, (640, 480)))
    Image.effect_noise((SIDE, SIDE), 60).save(path, quality=95)
    return path


def run_until(site: Site, job_id: UUID, stage: Stage) -> None:
    for earlier in STAGES[: STAGES.index(stage)]:
        run_bundle(site.services, stages.STAGES[earlier], [job_id], earlier)


@pytest.mark.parametrize("kind", ["tif", "png", "jpg", "mp4"])
@pytest.mark.parametrize("stage", [Stage.INGEST, Stage.RENDER])
def test_a_photo_that_meets_a_full_disk_is_not_refused(
    site: Site, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Stage, kind: str
) -> None:
    path = write_file(tmp_path, kind)
    job_id = deposit(site, site.services, path, colorizer="keep", defader="keep")
    run_until(site, job_id, stage)
    size = path.stat().st_size
    # At ingest not even the original fits; at render it does, and the result does not.
    mount(small_disk, size // 2 if stage is Stage.INGEST else size + size // 4 + 8192, monkeypatch)
    run_bundle(site.services, stages.STAGES[stage], [job_id], stage)
    attempt = site.list_attempts(job_id)[-1]
    assert (attempt.stage, attempt.outcome) == (stage, Outcome.FAULT), site.get_job(job_id).reason
    assert site.get_job(job_id).reason_code == "disk_full", site.get_job(job_id).reason
