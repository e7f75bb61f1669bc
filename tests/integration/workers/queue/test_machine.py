"""What a fault says of the machine: it is tested first, and a machine that fails gives its photos back uncounted."""

import io
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import select
from tests import sample_layers
from tests.integration.conftest import Site, open_site
from tests.integration.workers.queue.sites import deposit, make_machine, run_nothing
from tests.photographs import write_old_prints

from retint import fleets, stores
from retint.errors import (
    DeviceFailed,
    DiskUnavailable,
    OutOfMemory,
    RetintError,
    StoreUnavailable,
    Transient,
    WorkerLost,
)
from retint.jobs.leases import AttemptEnd, Done, Lease
from retint.lifecycle import Outcome, Stage, State
from retint.services import Services
from retint.settings import Settings
from retint.stores import keys
from retint.stores.directory import DirectoryStore
from retint.tables import Attempt, Worker
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.beats import Beat
from retint_workers.inference import loading
from retint_workers.queue import machine as machines
from retint_workers.queue import stages, tasks
from retint_workers.queue.machine import Machine
from retint_workers.queue.tasks import RunStage


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "FIRST_PAUSE_S", 0.05)


class Switch:
    """A check that fails while it is broken, and counts."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.count = 0

    def __call__(self, beat: Beat) -> None:
        self.count += 1
        if self.broken:
            raise DiskUnavailable("The disk is full.")


def end_with(*outcomes: RetintError | Done) -> RunStage:
    """Make a stage whose photos end so, one after the other."""

    def run(_: Services, leases: Sequence[Lease], __: Beat) -> Iterator[AttemptEnd]:
        yield from zip(leases, outcomes, strict=False)

    return run


def read_trouble(site: Site) -> str | None:
    with site.services.begin() as session:
        return session.scalars(select(Worker.trouble)).one()


def count_attempts(site: Site) -> int:
    with site.services.begin() as session:
        return len(session.scalars(select(Attempt)).all())


FAULTS = [
    StoreUnavailable("The store did not answer."),
    DiskUnavailable("The disk is full."),
    OutOfMemory("There was not enough memory."),
    DeviceFailed("The device reported an error."),
    WorkerLost("The process that opened the file died."),
    Transient("An unexpected error occurred.", code="bug"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.code)
def test_a_fault_on_a_machine_that_fails_its_test_is_no_photos(site: Site, fault: RetintError) -> None:
    job_ids = site.add_many_jobs(3)
    machine = make_machine(site.services, {"disk": Switch(broken=True)})
    machine._is_in_doubt = False
    assert tasks.run_bundle(machine, Stage.INGEST, end_with(Done(), fault, Done()), job_ids)
    assert [site.get_job(job_id).state for job_id in job_ids] == [State.QUEUED, State.READY, State.READY]
    assert [site.get_job(job_id).faults for job_id in job_ids] == [0, 0, 0]
    assert [site.get_job(job_id).reason for job_id in job_ids] == [None, None, None]
    assert count_attempts(site) == 1
    assert read_trouble(site) == "The disk is full."


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.code)
def test_a_photo_that_fails_on_a_sound_machine_is_at_fault_itself(site: Site, fault: RetintError) -> None:
    job_ids = site.add_many_jobs(2)
    switch = Switch()
    machine = make_machine(site.services, {"disk": switch})
    tasks.run_bundle(machine, Stage.INGEST, end_with(fault, Done()), job_ids)
    assert switch.count == 2, "before the first claim, and after the fault"
    [attempt] = site.list_attempts(job_ids[0])
    assert (attempt.outcome, site.get_job(job_ids[0]).reason_code) == (Outcome.FAULT, fault.code)
    assert site.get_job(job_ids[0]).faults == (0 if isinstance(fault, StoreUnavailable) else 1)
    assert read_trouble(site) is None


def test_a_worker_in_trouble_claims_nothing_until_its_machine_is_sound(sqlite_site: Site) -> None:
    job_ids = sqlite_site.add_many_jobs(2)
    switch = Switch(broken=True)
    machine = make_machine(sqlite_site.services, {"disk": switch})
    thread = threading.Thread(target=tasks.run_bundle, args=(machine, Stage.INGEST, run_nothing, job_ids))
    thread.start()
    sqlite_site.wait_until(lambda: switch.count >= 3)
    assert sqlite_site.count_states(job_ids) == {State.READY: 2}
    with sqlite_site.services.begin() as session:
        [worker] = fleets.list_live(session)
    assert (worker.trouble, worker.activity) == ("The disk is full.", "")
    assert worker.trouble_since is not None
    switch.broken = False
    thread.join(20)
    assert sqlite_site.count_states(job_ids) == {State.QUEUED: 2}
    assert read_trouble(sqlite_site) is None


def test_pauses_between_two_tests_grow(sqlite_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    switch = Switch(broken=True)

    def pause(self: Machine, seconds: float) -> None:
        pauses.append(seconds)
        switch.broken = len(pauses) < 8

    monkeypatch.setattr(machines, "FIRST_PAUSE_S", 2.0)
    monkeypatch.setattr(Machine, "_pause", pause)
    assert make_machine(sqlite_site.services, {"disk": switch}).wait_until_fit()
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_a_worker_that_is_told_to_end_waits_for_no_machine(sqlite_site: Site) -> None:
    job_ids = sqlite_site.add_many_jobs(1)
    machine = make_machine(sqlite_site.services, {"disk": Switch(broken=True)})
    machine._should_end = lambda: True
    assert not tasks.run_bundle(machine, Stage.INGEST, run_nothing, job_ids)
    assert sqlite_site.count_states(job_ids) == {State.READY: 1}


def test_after_many_faults_in_a_row_the_machine_is_tested_before_the_next_claim(sqlite_site: Site) -> None:
    quick_check, device_check = Switch(), Switch()
    machine = make_machine(sqlite_site.services, {"disk": quick_check}, device_check)
    fault = WorkerLost("The process that opened the file died.")
    tested = []
    outcomes: list[RetintError | Done] = [*[fault] * 3, Done(), *[fault] * machines.FAULTS_IN_DOUBT, Done()]
    for outcome in outcomes:
        tasks.run_bundle(machine, Stage.INGEST, end_with(outcome), sqlite_site.add_many_jobs(1))
        tested.append(device_check.count)
    assert tested == [1] * (len(tested) - 1) + [2], "only a whole row of them says something of the machine"


# --- the device -------------------------------------------------------------------------------------------------------


class Colorizer:
    """A network of one photo a call, whose device fails at a photo of this brightness, and from then on."""

    at_once = 1

    def __init__(self, deadly: int) -> None:
        self.deadly = deadly
        self.seen: list[int] = []

    def __call__(self, proxies: list[NDArray[Any]], settings: Any) -> list[ColorLayer]:
        [proxy] = proxies
        self.seen.append(int(proxy[0, 0, 0]))
        if self.deadly in self.seen:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nMore words.")
        small = (proxy[::4, ::4, 0] / 255).astype(np.float16)
        return [ColorLayer(np.stack([small, small]), small, np.full(small.shape, 9, np.uint8), {})]


class Defader:
    """A network that leaves every photo as it is."""

    at_once = 1

    def __call__(self, proxies: list[NDArray[Any]]) -> list[DensityLayer]:
        return [sample_layers.density_layer(gate=0) for _ in proxies]


def add_proxies(site: Site, count: int) -> list[Any]:
    """Add ingested jobs; their proxies are of brightness 0, 1, 2 …"""
    job_ids = site.add_many_jobs(count)
    for number, lease in enumerate(site.claim(job_ids)):
        buffer = io.BytesIO()
        Image.fromarray(np.full((48, 64, 3), number, np.uint8)).save(buffer, "PNG")
        key = lease.file_key("proxy.png")
        site.services.store.put(key, buffer.getvalue())
        site.settle((lease, Done({"proxy": key}, {"kind": "neutral"})))
    return job_ids


@pytest.mark.parametrize("is_sound", [False, True], ids=["broken", "sound"])
def test_a_device_error_costs_a_photo_a_fault_only_on_a_sound_device_and_always_the_process(
    site: Site, monkeypatch: pytest.MonkeyPatch, is_sound: bool
) -> None:
    job_ids = add_proxies(site, 4)
    network = Colorizer(deadly=1)
    monkeypatch.setattr(loading, "load_network", lambda kind, *_: network if kind == "colorizer" else Defader())
    device = Switch()
    machine = make_machine(site.services, {}, device)
    assert machine.wait_until_fit()
    device.broken = not is_sound
    tasks.run_bundle(machine, Stage.COLORIZE, stages.run_colorize, job_ids)
    assert network.seen == [0, 1], "nothing more is run on a device that failed"
    assert site.get_job(job_ids[0]).stage is Stage.DEFADE
    assert [site.get_job(job_id).state for job_id in job_ids[1:]] == [State.READY] * 3
    assert [site.get_job(job_id).faults for job_id in job_ids[1:]] == [int(is_sound), 0, 0]
    assert [len(site.list_attempts(job_id)) for job_id in job_ids] == [2, 1 + is_sound, 1, 1]
    if is_sound:
        failed = site.list_attempts(job_ids[1])[-1]
        assert failed.error
        assert failed.error.startswith("The device reported: CUDA error: an illegal memory access was encountered\n\n")
    assert machine.heartbeat.must_end
    assert not machine.heartbeat.may_continue
    assert not tasks.run_bundle(machine, Stage.COLORIZE, stages.run_colorize, job_ids[2:])
    assert site.count_states(job_ids[2:]) == {State.READY: 2}, "this process claims nothing more"
    machine.heartbeat._last_beat_at = 0
    machine.heartbeat.beat()
    assert not machine.heartbeat.may_continue


# --- the store --------------------------------------------------------------------------------------------------------


@pytest.fixture
def whole_site(settings: Settings) -> Iterator[Site]:
    """A site on each kind of backends."""
    yield from open_site(settings)


@contextmanager
def away(site: Site, request: pytest.FixtureRequest) -> Iterator[None]:
    """Take a site's store away while a block runs."""
    store = stores.connect(site.settings)
    if isinstance(store, DirectoryStore):
        elsewhere = store.folder.with_name("elsewhere")
        store.folder.rename(elsewhere)
        yield
        elsewhere.rename(store.folder)
        return
    server = request.getfixturevalue("s3_server")
    server.kill()
    yield
    server.start()


def test_a_store_that_is_away_floods_no_attempts_and_costs_no_photo(
    whole_site: Site, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    site, services = whole_site, whole_site.services
    prints = sorted(write_old_prints(tmp_path / "prints", 3).rglob("*.jpg"))
    job_ids = [deposit(site, services, path) for path in prints]
    machine = make_machine(services, {"store": machines.make_store_check(services)})
    assert machine.wait_until_fit()

    def run_all() -> None:
        for job_id in job_ids:
            tasks.run_bundle(machine, Stage.INGEST, stages.run_ingest, [job_id])

    thread = threading.Thread(target=run_all)
    with away(site, request):
        thread.start()
        site.wait_until(lambda: read_trouble(site) is not None)
        assert "store" in str(read_trouble(site))
        site.wait_until(lambda: site.count_states(job_ids) == {State.READY: 3})  # it is told before the photo goes back
        assert count_attempts(site) == 0
        assert {site.get_job(job_id).reason_code for job_id in job_ids} == {None}
    thread.join(120)
    assert site.count_states(job_ids) == {State.READY: 1, State.QUEUED: 2}, "one went back, the others waited"
    tasks.run_bundle(machine, Stage.INGEST, stages.run_ingest, job_ids)
    assert site.count_outcomes(job_ids) == {(Stage.INGEST, Outcome.DONE): 3}
    assert read_trouble(site) is None


def test_a_store_of_another_database_is_a_trouble_of_the_machine(sqlite_site: Site) -> None:
    services = sqlite_site.services
    check = machines.make_store_check(services)
    check(lambda: True)
    services.store.put(keys.IDENTITY, json.dumps({"id": str(uuid4()), "mark": 1}).encode())
    with pytest.raises(StoreUnavailable, match="The store belongs to another database") as refused:
        check(lambda: True)
    assert refused.value.code == "wrong_store"
