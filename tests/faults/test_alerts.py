"""Alerts and dashboards, asked of a real Prometheus that scrapes a real portal: each alert is raised by its fault."""

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from ruamel.yaml import YAML
from sqlalchemy import func, select
from tests import servers
from tests.conftest import run_server
from tests.faults.conftest import MakeInstallation
from tests.faults.entry_point import BROKEN, REFUSED
from tests.faults.installation import Installation
from tests.paths import ROOT
from tests.proxies import Proxy
from tests.servers import Server, find_free_ports

from retint import backups, sweeps
from retint.lifecycle import Stage, State
from retint.stores import keys
from retint.tables import Job

RULES = ROOT / "infra/helm/rules/retint.yml"
DASHBOARDS = sorted((ROOT / "infra/helm/dashboards").glob("*.json"))
TOKEN = "a token of the tests only"
WAIT_S = 180
QUICK = {r"for: \w+": "for: 0s", r"\[\d+[mh]\]": "[30s]", "> 900": "> 3", "> 172800": "> 1"}
"""What is changed in the rules so that minutes are seconds."""

pytestmark = pytest.mark.parametrize("backends", ["service"], indirect=True)


class Watched:
    """An installation with a portal, and the Prometheus that watches it."""

    def __init__(
        self, installation: Installation, database: Proxy, store: Proxy, portal_port: int, prometheus: Server
    ) -> None:
        self.installation = installation
        self.database, self.store = database, store
        self.portal = f"http://127.0.0.1:{portal_port}"
        self._api = httpx.Client(base_url=f"http://127.0.0.1:{prometheus.port}/api/v1/", timeout=10)

    def close(self) -> None:
        self._api.close()

    def ask(self, expression: str) -> list[Any]:
        """Return the values of an expression that are numbers."""
        answer = self._api.get("query", params={"query": expression}).raise_for_status().json()
        return [row for row in answer["data"]["result"] if row["value"][1] != "NaN"]

    def list_firing(self) -> set[str]:
        alerts = self._api.get("alerts").raise_for_status().json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def wait_for(self, *names: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until alerts have fired; they need not fire at the same time."""
        missing, deadline = set(names), time.monotonic() + WAIT_S
        while missing := missing - self.list_firing():
            assert time.monotonic() < deadline, f"{missing} did not fire, but {self.list_firing()}"
            meanwhile()
            time.sleep(0.3)

    def request_page(self) -> None:
        httpx.get(f"{self.portal}/readyz", timeout=60)
        httpx.get(f"{self.portal}/sign-in/nobody", timeout=60)

    def deposit_text(self, beginning: bytes, count: int) -> None:
        """Deposit files that are no photographs."""
        folder = Path(tempfile.mkdtemp(dir=self.installation.folder))
        for number in range(count):
            (folder / f"{number}.jpg").write_bytes(beginning + f" {number}".encode())
        self.installation.deposit_files(sorted(folder.iterdir()))


@pytest.fixture
def watched(make_installation: MakeInstallation, request: pytest.FixtureRequest) -> Iterator[Watched]:
    installation = make_installation("watched", metrics_token=SecretStr(TOKEN))
    installation.join_store()
    database, store = installation.put_proxy_before("database"), installation.put_proxy_before("store")
    [port] = find_free_ports(1)
    installation.start_all()
    installation.start("portal", "--port", str(port), "--processes", "1")
    portal = f"http://127.0.0.1:{port}"
    installation.wait_until(lambda: _answers(portal))

    def start(folder: Path) -> Server:
        return servers.start_prometheus(folder, configure(folder, port))

    for prometheus in run_server(start, request):
        watched = Watched(installation, database, store, port, prometheus)
        yield watched
        watched.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def configure(folder: Path, port: int) -> str:
    """Make the configuration of compose's Prometheus, with other paths and in seconds."""
    (folder / "token").write_text(TOKEN)
    rules = RULES.read_text()
    for pattern, quick in QUICK.items():
        rules = re.sub(pattern, quick, rules)
    (folder / "retint.yml").write_text(rules)
    text = (ROOT / "infra/prometheus.yml").read_text()
    for here, there in {
        "/etc/prometheus/rules/*.yml": str(folder / "retint.yml"),
        "/run/secrets/metrics-token": str(folder / "token"),
        "portal:8000": f"127.0.0.1:{port}",
        "scrape_interval: 15s": "scrape_interval: 3s",
        "evaluation_interval: 15s": "evaluation_interval: 1s",
    }.items():
        assert here in text
        text = text.replace(here, there)
    return text


def test_every_panel_has_an_answer_and_every_alert_is_raised_by_its_fault(watched: Watched) -> None:
    everything = {rule["alert"] for rule in YAML(typ="safe").load(RULES)["groups"][0]["rules"]}
    raised: set[str] = set()
    work(watched)
    watched.installation.wait_until(lambda: not watched.list_firing())
    ask_every_panel(watched)
    for fault in (spoil_photos, lose_services, leave_orphans, grow_old, lose_workers, lose_the_dispatcher, lose_portal):
        raised |= fault(watched)
    assert raised == everything, "every alert has its fault here"


def work(watched: Watched) -> None:
    """Restore photos, and look at pages."""
    installation = watched.installation
    for _ in range(2):
        installation.deposit(12)
        installation.wait_until_ended()
        watched.request_page()
    # The panel of failures has something to show; one in twenty is no alert.
    watched.deposit_text(REFUSED, 1)
    installation.hold_until(lambda: installation.count_states()[State.REFUSED] == 1)


def ask_every_panel(watched: Watched) -> None:
    """Ask the queries of all panels, until each has had an answer."""
    installation = watched.installation
    for _ in backups.back_up(installation.site.services, installation.folder / "backup"):
        pass
    installation.sweep()
    installation.deposit(8)
    empty = {f"{title}: {expression}" for title, expression in list_queries()}
    deadline = time.monotonic() + WAIT_S
    while keep_empty(watched, empty):
        assert time.monotonic() < deadline, empty
        watched.request_page()
        time.sleep(0.5)


def keep_empty(watched: Watched, empty: set[str]) -> set[str]:
    """Drop the queries that have an answer now; return those that are left."""
    answered = {query for query in empty if watched.ask(query.partition(": ")[2])}
    empty -= answered
    return empty


def list_queries() -> list[tuple[str, str]]:
    """List the panels of all dashboards with their queries."""
    found = []
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                found.append((panel["title"], target["expr"].replace("$__rate_interval", "30s")))
    assert len(found) > 30
    return found


def spoil_photos(watched: Watched) -> set[str]:
    """Deposit what is no photograph, and what shows a bug."""
    watched.deposit_text(REFUSED, 30)
    watched.deposit_text(BROKEN, 3)
    alerts = {"RetintManyRefused", "RetintQuarantineGrows", "RetintManyFaults"}
    watched.wait_for(*alerts)
    watched.installation.wait_until(lambda: watched.installation.count_states()[State.QUARANTINED] == 3)
    return alerts


def lose_services(watched: Watched) -> set[str]:
    """Let the database be away, and then the store, while photos are worked on."""
    installation = watched.installation
    with watched.database.gone():
        for _ in range(3):
            watched.request_page()
    watched.wait_for("RetintDatabaseErrors", "RetintPortalErrors")
    with watched.store.gone():
        installation.deposit(4)
        watched.wait_for("RetintStoreErrors", "RetintWorkerInTrouble", meanwhile=watched.request_page)
    return {"RetintDatabaseErrors", "RetintPortalErrors", "RetintStoreErrors", "RetintWorkerInTrouble"}


def leave_orphans(watched: Watched) -> set[str]:
    """Let there be more files that nothing names than deaths of workers leave."""
    services = watched.installation.site.services
    with services.read() as session:
        jobs = session.scalars(select(Job).where(Job.state == State.RESTORED)).all()
    for job in jobs:
        services.store.put(keys.attempt_file(job.tenant_id, job.photo_id, job.id, Stage.INGEST, 99, "file"), b"orphan")
    *_, found = sweeps.sweep(services, min_age=timedelta(0))
    assert found.stopped
    watched.wait_for("RetintSweepStopped")
    return {"RetintSweepStopped"}


def grow_old(watched: Watched) -> set[str]:
    """Make no further backup."""
    watched.wait_for("RetintBackupOld")
    return {"RetintBackupOld"}


def lose_workers(watched: Watched) -> set[str]:
    """Let every worker die, that of the GPU first, with photos before each stage."""
    installation = watched.installation
    cpu, gpu, *_ = installation.processes
    gpu.kill()
    installation.deposit(8)
    installation.wait_until(lambda: count_at(installation, Stage.COLORIZE) > 0)
    cpu.kill()
    installation.deposit(8)
    installation.wait_until(lambda: not installation.count_workers())
    alerts = {"RetintNoWorkers", "RetintWorkersMissing", "RetintWorkStands", "RetintWorkWaits"}
    watched.wait_for(*alerts)
    firing = 'ALERTS{alertname="RetintNoWorkers",alertstate="firing"}'
    installation.wait_until(lambda: {row["metric"]["fleet"] for row in watched.ask(firing)} == {"cpu", "gpu"})
    return alerts


def count_at(installation: Installation, stage: Stage) -> int:
    """Count the photos that wait before a stage."""
    with installation.site.services.read() as session:
        waits = Job.state.in_((State.READY, State.QUEUED))  # a dead worker is sent photos until its heartbeat is missed
        query = select(func.count()).where(Job.stage == stage, waits)
        return session.scalar(query) or 0


def lose_the_dispatcher(watched: Watched) -> set[str]:
    watched.installation.processes[2].kill()
    watched.wait_for("RetintNoLeader")
    return {"RetintNoLeader"}


def lose_portal(watched: Watched) -> set[str]:
    watched.installation.processes[3].kill()
    watched.wait_for("RetintScrapeFails")
    return {"RetintScrapeFails"}
