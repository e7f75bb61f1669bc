"""Endpoints for operators and monitoring: liveness, readiness, metrics."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from flask import Blueprint, Response, current_app, jsonify
from flask.sansio.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from sqlalchemy import text

from retint import broker, exposition
from retint.errors import RetintError
from retint.services import Services
from retint_web import services

CACHE_S: Final = 2
"""How long a readiness check is reused: it writes and reads, and anyone may request it."""

blueprint = Blueprint("health", __name__)


@dataclass
class Readiness:
    """Readiness checks of the database, the store and the broker."""

    services: Services
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _checked_at: float = 0
    _results: dict[str, str] = field(default_factory=dict)

    def check(self) -> dict[str, str]:
        """Return `ok` or an error message for each service; a result is reused for `CACHE_S`."""
        with self._lock:
            if not self._results or time.monotonic() > self._checked_at + CACHE_S:
                checks = {
                    "database": self._database,
                    "store": self.services.store.check,
                    "broker": broker.connect(self.services.settings.broker_url).count_messages,
                }
                self._results = {name: _run(check) for name, check in checks.items()}
                self._checked_at = time.monotonic()
            return self._results

    def _database(self) -> None:
        with self.services.begin() as session:
            session.execute(text("SELECT 1 FROM batches LIMIT 1"))


@blueprint.record
def _register(state: BlueprintSetupState) -> None:
    state.app.extensions["readiness"] = Readiness(state.app.extensions["retint"])


@blueprint.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Liveness: the process answers requests."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Readiness: every service that the portal needs answers; 503 otherwise."""
    results = current_app.extensions["readiness"].check()
    is_ready = all(state == "ok" for state in results.values())
    return jsonify(status="ok" if is_ready else "unavailable", **results), 200 if is_ready else 503


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Metrics for Prometheus: sums over all tenants, nothing about any of them."""
    with services().begin() as session:
        return Response(exposition.render(session), content_type=exposition.CONTENT_TYPE)


def _run(check: Callable[[], object]) -> str:
    try:
        check()
    except RetintError as error:
        return error.message
    return "ok"
