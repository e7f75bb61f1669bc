"""A real portal that serves real data: photographs that the real stages restored, a trial, a proof, verdicts."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from PIL import Image
from tests import photographs
from tests.integration.web.conftest import Person
from tests.integration.web.portals import Portal, run_portal
from tests.integration.workers.queue.sites import run_bundle

from retint.errors import OutOfMemory
from retint.jobs.leases import claim, settle
from retint.lifecycle import FAULT_LIMIT, STAGES, Stage
from retint.roles import Role
from retint.services import Services
from retint.settings import Settings
from retint_models.datasets import fading
from retint_workers.queue import stages

CATALOGUE = "filename,title,identifier,rights\nprint 0.jpg,Harbour,M 17,Public domain\n"


def make_print(number: int) -> bytes:
    """Return a simulated old print as a JPEG; another one for each number."""
    buffer = io.BytesIO()
    old = fading.make_old_print(photographs.color_photo(number, 96), seed=number)
    Image.fromarray(old).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@dataclass
class LivingPortal:
    """A real portal; the workers' part is done when a test says so."""

    portal: Portal
    services: Services
    restore: Callable[[Sequence[str]], None]
    """Runs jobs through all stages."""

    @property
    def http(self) -> httpx.Client:
        return self.portal.http

    @property
    def api(self) -> str:
        """The address that all operations begin with."""
        return f"{self.portal.url}/api/v1"

    def call(self, method: str, path: str, **request: Any) -> Any:
        """Send a request that succeeds; return its JSON."""
        answer = self.http.request(method, f"/api/v1{path}", **request)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json()

    def open_batch(self, name: str = "Box 7", **body: Any) -> str:
        return str(self.call("POST", "/batches", json={"name": name, **body})["id"])

    def deposit(self, batch_id: str, *numbers: int) -> list[str]:
        """Deposit simulated prints; return their jobs."""
        path = f"/batches/{batch_id}/files"
        return [
            str(self.call("PUT", path, params={"name": f"print {number}.jpg"}, content=make_print(number))["id"])
            for number in numbers
        ]

    def quarantine(self, job_id: str) -> None:
        """Let a job's first stage fail until the job is quarantined."""
        for _ in range(FAULT_LIMIT):
            with self.services.begin() as session:
                leases = claim(session, Stage.INGEST, [UUID(job_id)], None, 60)
                ended = [(lease, OutOfMemory("There was not enough memory.")) for lease in leases]
                settle(session, ended, backoff_s=0.001, requeue_s=60)

    def judge(self, job_id: str, verdict: str) -> None:
        sha256 = self.call("GET", f"/jobs/{job_id}")["facts"]["render"]["sha256"]
        self.call("PUT", f"/jobs/{job_id}/verdict", json={"verdict": verdict, "seen_sha256": sha256})

    def fill(self) -> None:
        """Put in some of everything."""
        batch_id = self.open_batch("Harbour")
        jobs = self.deposit(batch_id, 0, 1, 2)
        self.restore(jobs)
        self.call("PUT", f"/batches/{batch_id}/catalogue", content=CATALOGUE, headers={"Content-Type": "text/csv"})
        self.judge(jobs[0], "approved")
        self.judge(jobs[1], "rejected")
        failed, _ = self.deposit(self.open_batch("Failed"), 3, 4)
        self.quarantine(failed)
        sha256 = self.call("GET", f"/jobs/{jobs[0]}")["sha256"]
        recipes = [{"colorizer": "keep"}, {"defader": "keep"}]
        trial = self.call("POST", "/trials", json={"sha256": sha256, "recipes": recipes})
        self.restore([each["id"] for each in trial["tries"]])
        paused = self.open_batch("Proof", paused=True)
        self.deposit(paused, 0, 1, 2)
        proof = self.call("POST", f"/batches/{paused}/proof", json={"recipes": recipes})
        self.restore([each["id"] for column in proof["columns"] for each in column["tries"]])


def restore_really(services: Services, job_ids: Sequence[str]) -> None:
    """Run jobs through the real stages, in this process: one by one, because a bundle ends after some seconds."""
    for job_id in job_ids:
        for stage in STAGES:
            run_bundle(services, stages.STAGES[stage], [UUID(job_id)], stage)


@pytest.fixture
def run_living_portal(
    settings: Settings, services: Services, make_person: Callable[..., Person], restore: Any, tmp_path: Path
) -> Callable[..., AbstractContextManager[LivingPortal]]:
    """Return a function that runs a real portal, whose user is administrator and operator, as on a laptop.

    Its photos are restored by the real stages if `is_real`, which takes a minute, or else settled with made-up files.
    """

    @contextmanager
    def run(*, is_real: bool = False) -> Iterator[LivingPortal]:
        person = make_person(f"museum-{uuid4()}", role=Role.ADMIN, is_operator=True)
        with run_portal(settings, person.token, tmp_path) as portal:
            work = (
                partial(restore_really, services) if is_real else lambda job_ids: restore(*job_ids, size=(3000, 2000))
            )
            yield LivingPortal(portal, services, work)

    return run


@pytest.fixture
def living_portal(run_living_portal: Callable[..., AbstractContextManager[LivingPortal]]) -> Iterator[LivingPortal]:
    with run_living_portal() as running:
        yield running
