"""Which pods Kubernetes takes first: the annotations that the leading dispatcher writes, through an API server."""

import json
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from tests.integration.conftest import Site

from retint import fleets
from retint.columns import now
from retint.lifecycle import State
from retint.settings import Driver
from retint.tables import Job, Worker
from retint_workers.dispatch.dispatcher import Dispatcher
from retint_workers.dispatch.pods import ANNOTATION, PodCosts

TOKEN = "a-service-account's-token"


class ApiServer(ThreadingHTTPServer):
    """What of Kubernetes' API server a patch of a pod meets: token, content type, namespace, the pod itself."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), PatchHandler)
        self.pods: dict[str, dict[str, str]] = {}
        self.patches: list[tuple[str, str]] = []
        self.forbids = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class PatchHandler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_PATCH(self) -> None:
        *place, kind, pod = self.path.split("/")
        change = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401)
        if self.server.forbids or (place, kind) != (["", "api", "v1", "namespaces", "museum"], "pods"):
            return self._answer(403)
        if self.headers["Content-Type"] != "application/merge-patch+json":
            return self._answer(415)
        if pod not in self.server.pods:
            return self._answer(404)
        annotations: dict[str, str] = change["metadata"]["annotations"]
        assert all(isinstance(value, str) for value in annotations.values())
        self.server.pods[pod].update(annotations)
        self.server.patches.append((pod, annotations[ANNOTATION]))
        return self._answer(200)

    def _answer(self, status: int) -> None:
        body = json.dumps({"kind": "Status", "code": status}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "namespace").write_text("museum")
    return tmp_path


@pytest.fixture
def costs(sqlite_site: Site, server: ApiServer, account: Path) -> PodCosts:
    return PodCosts(sqlite_site.services, server.url, account)


def start_worker(site: Site, server: ApiServer, pod: str) -> uuid.UUID:
    server.pods[pod] = {}
    with site.services.begin() as session:
        worker_id = fleets.register_worker(session, "gpu", pod, 1, "H200", "1")
        session.execute(update(Worker).where(Worker.id == worker_id).values(idle_since=now(-60.0)))
    return worker_id


def hold(site: Site, worker_id: uuid.UUID, name: str, seconds: float) -> None:
    """Let a worker run a job since a while."""
    [job_id] = site.add_jobs(name)
    with site.services.begin() as session:
        running = {"state": State.RUNNING, "worker_id": worker_id, "started_at": now(-seconds), "deadline": now(60.0)}
        session.execute(update(Job).where(Job.id == job_id).values(running))
        fleets.record_heartbeat(session, worker_id, "colorize × 1")


def test_idle_pods_go_first_and_those_with_the_oldest_work_last(
    sqlite_site: Site, server: ApiServer, costs: PodCosts
) -> None:
    idle, short, long = (start_worker(sqlite_site, server, name) for name in ("idle", "short", "long"))
    hold(sqlite_site, short, "photo.jpg", 1)
    hold(sqlite_site, long, "film.mp4", 2 * 3600)
    assert costs.write_changes() == 3
    found = {pod: int(annotations[ANNOTATION]) for pod, annotations in server.pods.items()}
    assert found["idle"] == 0 < found["short"] < found["long"]
    assert idle


def test_only_what_has_changed_is_written(sqlite_site: Site, server: ApiServer, costs: PodCosts) -> None:
    worker = start_worker(sqlite_site, server, "gpu-1")
    assert [costs.write_changes() for _ in range(3)] == [1, 0, 0]
    hold(sqlite_site, worker, "photo.jpg", 1)
    assert [costs.write_changes() for _ in range(3)] == [1, 0, 0]
    assert server.patches == [("gpu-1", "0"), ("gpu-1", "10")]


def test_a_worker_between_two_bundles_is_not_idle(sqlite_site: Site, server: ApiServer, costs: PodCosts) -> None:
    worker = start_worker(sqlite_site, server, "gpu-1")
    with sqlite_site.services.begin() as session:
        session.execute(update(Worker).where(Worker.id == worker).values(idle_since=now(-1.0)))
    costs.write_changes()
    assert server.patches == [("gpu-1", "10")]


def test_a_pod_that_is_gone_stops_nothing(sqlite_site: Site, server: ApiServer, costs: PodCosts) -> None:
    start_worker(sqlite_site, server, "gone")
    start_worker(sqlite_site, server, "here")
    del server.pods["gone"]
    costs.write_changes()
    assert server.patches == [("here", "0")]


def test_what_was_refused_is_written_later(
    sqlite_site: Site, server: ApiServer, costs: PodCosts, account: Path
) -> None:
    start_worker(sqlite_site, server, "gpu-1")
    server.forbids = True
    with pytest.raises(httpx.HTTPStatusError):
        costs.write_changes()
    server.forbids = False
    (account / "token").write_text("renewed")
    with pytest.raises(httpx.HTTPStatusError):
        costs.write_changes()
    (account / "token").write_text(TOKEN)
    assert costs.write_changes() == 1


def test_the_leader_alone_writes_and_only_where_workers_are_pods(
    sqlite_site: Site, server: ApiServer, account: Path
) -> None:
    start_worker(sqlite_site, server, "gpu-1")
    services = sqlite_site.services
    PodCosts(services, server.url, account).keep()
    in_a_cluster = services.settings.model_copy(update={"fleet_driver": Driver.KUBERNETES})
    site = Site(type(services)(in_a_cluster, services.engine, services.store))
    leader, standby = (Dispatcher(site.services, site.services.connect_broker()) for _ in range(2))
    for dispatcher in (leader, standby):
        dispatcher._pods = PodCosts(site.services, server.url, account)
        dispatcher.tick()
    site.wait_until(lambda: server.patches == [("gpu-1", "0")])
    assert [dispatcher._pods._thread is not None for dispatcher in (leader, standby)] == [True, False]
    leader.step_down()
    standby._lead_renewed_at = float("-inf")
    standby.tick()
    site.wait_until(lambda: server.patches == [("gpu-1", "0")] * 2)
    standby.step_down()
