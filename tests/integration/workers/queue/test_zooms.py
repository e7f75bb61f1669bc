"""The task that makes a zoom: whatever happens to it, the store has a whole zoom or none, and asking again helps."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from PIL import Image
from tests import photographs
from tests.integration.conftest import Processes, Site
from tests.integration.workers.queue.sites import make_machine

from retint import zooms
from retint.errors import DiskUnavailable, StoreUnavailable
from retint.jobs.leases import Done
from retint.lifecycle import STAGES, Stage, State
from retint.pages import PREVIEW_SIDE
from retint.stores import keys
from retint_workers.beats import Beat
from retint_workers.queue import zooms as tasks

SIZE = (PREVIEW_SIDE + 100, 300)


@pytest.fixture
def large() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photographs.color_photo(1, 96)).resize(SIZE).save(buffer, "JPEG")
    return buffer.getvalue()


def restore(site: Site, result: bytes, **facts: Any) -> UUID:
    """Add a job that was restored with this result; return it."""
    [job_id] = site.add_jobs("photo.jpg")
    for stage in STAGES:
        [lease] = site.claim([job_id], stage)
        found = {"width": SIZE[0], "height": SIZE[1], **facts} if stage is Stage.INGEST else {}
        files = {"result": lease.file_key("result.jpg")} if stage is Stage.RENDER else {}
        for key in files.values():
            site.services.store.put(key, result)
        site.settle((lease, Done(files, found)))
    assert site.get_job(job_id).state is State.RESTORED
    return job_id


def list_zooms(site: Site) -> list[str]:
    return [blob.key for blob in site.services.store.list(keys.ROOT) if keys.is_zoom(blob.key)]


def make(site: Site, job_id: UUID, page: int = 1, checks: Any = None) -> tuple[dict[str, float], Any]:
    """Run the task once; return how it ended by the metric, and the machine."""
    machine = make_machine(site.services, checks)
    site.services.counters.take()
    tasks.run(machine, site.tenants["museum"], job_id, page)
    counts = site.services.counters.take()
    name = "retint_zooms_total "
    return {key.removeprefix(name): n for key, n in counts.items() if key.startswith(name)}, machine


def test_a_zoom_is_made_once_beside_the_result(sqlite_site: Site, large: bytes) -> None:
    job_id = restore(sqlite_site, large)
    before = sqlite_site.list_attempts(job_id)[-1]
    assert make(sqlite_site, job_id)[0] == {"made": 1}
    [key] = list_zooms(sqlite_site)
    assert keys.folder(key) == keys.folder(before.files["result"])
    with sqlite_site.services.read() as session:
        assert zooms.find(session, before.tenant_id, job_id).key == key
    with sqlite_site.services.store.open(key) as blob, zipfile.ZipFile(io.BytesIO(blob.read())) as zoom:
        assert zoom.testzip() is None
        assert f'Width="{SIZE[0]}"'.encode() in zoom.read("zoom/zoom.dzi")
    [stored] = [blob for blob in sqlite_site.services.store.list(keys.ROOT) if blob.key == key]
    assert make(sqlite_site, job_id)[0] == {"there": 1}, "a message that is doubled does nothing"
    assert [blob for blob in sqlite_site.services.store.list(keys.ROOT) if blob.key == key] == [stored]
    assert sqlite_site.list_attempts(job_id)[-1].files == before.files, "attempts are append-only"


def test_what_cannot_be_zoomed_into_is_no_fault(sqlite_site: Site, large: bytes) -> None:
    small, film = restore(sqlite_site, large, width=30), restore(sqlite_site, large, film=True, frames=24)
    lost, damaged = restore(sqlite_site, large), restore(sqlite_site, large[:3000])
    with sqlite_site.services.read() as session:
        sqlite_site.services.store.delete([zooms.find(session, sqlite_site.tenants["museum"], lost).result])
    [waiting] = sqlite_site.add_jobs("waits.jpg")
    for job_id, page in {(small, 1), (film, 1), (lost, 1), (damaged, 1), (waiting, 1), (uuid4(), 1), (small, 2)}:
        assert make(sqlite_site, job_id, page)[0] == {"refused": 1}
    assert list_zooms(sqlite_site) == []


@pytest.mark.parametrize("fault", [StoreUnavailable("It is away."), DiskUnavailable("It is full."), ValueError("bug")])
def test_a_zoom_that_failed_is_made_when_it_is_asked_for_again(
    sqlite_site: Site, large: bytes, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = restore(sqlite_site, large)
    tested = []

    def fail(*_: Any) -> Any:
        raise fault

    def check(_: Beat) -> None:
        tested.append(fault)

    with monkeypatch.context() as patch:
        patch.setattr(type(sqlite_site.services.store), "put", fail)
        ended, machine = make(sqlite_site, job_id, checks={"store": check})
        assert ended == {"fault": 1}
        assert len(tested) == (1 if isinstance(fault, ValueError) else 2), (
            "at its start, and after what may be its fault"
        )
        assert machine.heartbeat.messages_received == 1
    assert list_zooms(sqlite_site) == []
    assert make(sqlite_site, job_id)[0] == {"made": 1}


def test_a_worker_in_trouble_makes_none(sqlite_site: Site, large: bytes) -> None:
    job_id = restore(sqlite_site, large)
    machine = make_machine(sqlite_site.services)
    machine.heartbeat.may_continue = False
    tasks.run(machine, sqlite_site.tenants["museum"], job_id, 1)
    assert list_zooms(sqlite_site) == []


def test_a_worker_that_is_killed_meanwhile_leaves_nothing_behind(
    sqlite_site: Site, make_processes: Callable[[Site], Processes], tmp_path: Path
) -> None:
    """The message is lost with it; asked again, another worker makes the zoom."""
    Image.fromarray(photographs.color_photo(1, 96)).resize((6000, 4000)).save(tmp_path / "large.jpg", quality=95)
    job_id = restore(sqlite_site, (tmp_path / "large.jpg").read_bytes(), width=6000, height=4000)
    link, processes = sqlite_site.services.connect_broker(), make_processes(sqlite_site)
    worker = processes.start("worker", "cpu")
    asked = [link.ask_for_zoom(sqlite_site.tenants["museum"], job_id, 1) for _ in range(2)]
    assert asked == [True, False]
    sqlite_site.wait_until(lambda: link.count_messages()["cpu"] == 0)
    worker.kill()
    worker.wait()
    assert list_zooms(sqlite_site) == []
    link.redis.flushdb()  # a minute passes
    assert link.ask_for_zoom(sqlite_site.tenants["museum"], job_id, 1)
    processes.start("worker", "cpu")
    sqlite_site.wait_until(lambda: len(list_zooms(sqlite_site)) == 1)
