"""Which worker's pod Kubernetes should take first, when it takes some: the idle ones, then those with the newest work.

A deployment that scales in deletes the pods with the lowest `controller.kubernetes.io/pod-deletion-cost`. The leading
dispatcher writes that annotation where it has changed. It is advice: a worker that is deleted all the same finishes its
photo or gives it back.
"""

import ssl
import time
from bisect import bisect_right
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Final

import httpx
import structlog
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from retint import fleets
from retint.columns import now
from retint.errors import RetintError
from retint.lifecycle import State
from retint.services import Services
from retint.settings import Driver
from retint.tables import IS_IN_FLIGHT, Job

ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
API: Final = "https://kubernetes.default.svc"
ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its service account: `ca.crt`, `namespace`, `token`."""
ROUND_S: Final = 5.0
"""Time between two looks at what the workers hold."""
REFUSED_S: Final = 60.0
"""Pause after the API server refused or did not answer."""
TIMEOUT_S: Final = 5.0
IDLE_S: Final = 10.0
"""A worker is idle only after so long: between two bundles it is not."""
AGES_S: Final = (60.0, 300.0, 900.0, 3600.0, 14400.0)
"""Work that is older costs more to lose. A few steps, so that an annotation seldom changes."""

log = structlog.get_logger()


def compute_costs(session: Session) -> dict[str, int]:
    """Compute what deleting each live worker's pod would cost: 0 where it is idle, else 10 and more with its age."""
    ages = _read_ages(session)
    at = session.scalars(select(now())).one()
    costs = {}
    for worker in fleets.list_live(session):
        if worker.id in ages:
            costs[worker.host] = 10 * (1 + bisect_right(AGES_S, ages[worker.id]))
        else:
            is_idle = worker.idle_since is not None and at - worker.idle_since > timedelta(seconds=IDLE_S)
            costs[worker.host] = 0 if is_idle else 10
    return costs


def _read_ages(session: Session) -> Mapping[object, float]:
    """Read for how many seconds each worker has held the oldest job that it has."""
    oldest = (
        select(Job.worker_id, func.min(Job.started_at).label("since"), now().label("at"))
        .where(text(IS_IN_FLIGHT), Job.state == State.RUNNING, Job.worker_id.is_not(None))
        .group_by(Job.worker_id)
    )
    return {row.worker_id: (row.at - row.since).total_seconds() for row in session.execute(oldest) if row.since}


class PodCosts:
    """Keeps the annotations of the workers' pods, in a thread of its own, while this dispatcher leads.

    Args:
        services: what the process works with.
        api: address of the API server.
        account: the folder of the pod's service account.
    """

    def __init__(self, services: Services, api: str = API, account: Path = ACCOUNT) -> None:
        self._services = services
        self._api = api
        self._account = account
        self._written: dict[str, int] = {}
        self._stop = Event()
        self._thread: Thread | None = None

    def keep(self) -> None:
        """Begin, where workers are pods; nothing happens elsewhere, or where it has begun."""
        if self._services.settings.fleet_driver is Driver.KUBERNETES and self._thread is None:
            self._stop = Event()
            self._written.clear()  # another leader may have written since
            self._thread = Thread(target=self._run, args=(self._stop,), name="retint-pods", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Stop: another dispatcher leads."""
        self._stop.set()
        self._thread = None

    def write_changes(self) -> int:
        """Write the annotations that have changed; return how many.

        Raises:
            RetintError: the database did not answer.
            httpx.HTTPError: the API server did not answer, or refused.
            OSError: this pod has no service account.
        """
        with self._services.read() as session:
            costs = compute_costs(session)
        self._written = {pod: cost for pod, cost in self._written.items() if pod in costs}
        changed = {pod: cost for pod, cost in costs.items() if self._written.get(pod) != cost}
        if changed:
            with self._connect() as client:
                for pod, cost in changed.items():
                    self._write(client, pod, cost)
        return len(changed)

    def _run(self, stop: Event) -> None:
        pause = 0.0
        while not stop.wait(pause):
            pause = ROUND_S
            try:
                started = time.monotonic()
                if changed := self.write_changes():
                    log.info("pod_costs_written", pods=changed, seconds=round(time.monotonic() - started, 2))
            except (RetintError, httpx.HTTPError, OSError) as error:
                pause = REFUSED_S
                log.warning("pod_costs_not_written", reason=str(error))

    def _connect(self) -> httpx.Client:
        """Connect with the token, which Kubernetes renews."""
        authority = self._account / "ca.crt"
        context = ssl.create_default_context(cafile=str(authority)) if authority.exists() else True
        token = (self._account / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self._api, headers=headers, verify=context, timeout=TIMEOUT_S, trust_env=False)

    def _write(self, client: httpx.Client, pod: str, cost: int) -> None:
        namespace = (self._account / "namespace").read_text().strip()
        answer = client.patch(
            f"/api/v1/namespaces/{namespace}/pods/{pod}",
            headers={"Content-Type": "application/merge-patch+json"},
            json={"metadata": {"annotations": {ANNOTATION: str(cost)}}},
        )
        if answer.status_code != httpx.codes.NOT_FOUND:  # it is gone, and its row ends soon
            answer.raise_for_status()
        self._written[pod] = cost
