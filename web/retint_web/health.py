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

from retint import exposition, store_identity
from retint.accounts import Unauthorized
from retint.errors import NotFound, RetintError
from retint.services import Services
from retint_web import house
from retint_web.security import moves_bytes, public, shows_metrics_token, unlimited

CACHE_S: Final = 2
"""How long a readiness check is reused: it writes and reads, and anyone may request it."""

METRICS_HINT: Final = "Metrics are read with a token. Set RETINT_METRICS_TOKEN, and send it as a bearer token."

blueprint = Blueprint("health", __name__)


@dataclass
class Readiness:
    """Readiness checks of the database, the store and the broker."""

    services: Services
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _checked_at: float = -CACHE_S
    _results: dict[str, str] = field(default_factory=dict)

    def check(self) -> dict[str, str]:
        """Return `ok` or an error message for each service; a result is reused for `CACHE_S`.

        While a service lets one check wait, others get the last result: they must not use up the threads.
        """
        if self._is_old() and self._lock.acquire(blocking=not self._results):
            try:
                if self._is_old():
                    self._results = self._check_all()
                    self._checked_at = time.monotonic()
            finally:
                self._lock.release()
        return self._results

    def _is_old(self) -> bool:
        return time.monotonic() > self._checked_at + CACHE_S

    def _check_all(self) -> dict[str, str]:
        checks = {
            "database": self._database,
            "store": self._store,
            "broker": self._broker,
        }
        return {name: _run(check) for name, check in checks.items()}

    def _database(self) -> None:
        with self.services.read() as session:
            session.execute(text("SELECT 1 FROM batches LIMIT 1"))

    def _store(self) -> None:
        store_identity.verify(self.services)
        self.services.store.check()

    def _broker(self) -> None:
        self.services.connect_broker().count_messages()


@blueprint.record
def _register(state: BlueprintSetupState) -> None:
    state.app.extensions["readiness"] = Readiness(state.app.extensions["retint"])


@blueprint.get("/healthz")
@unlimited
@public
def healthz() -> ResponseReturnValue:
    """Liveness: the process answers requests."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
@unlimited
@public
@moves_bytes
def readyz() -> ResponseReturnValue:
    """Readiness: every service that the portal needs answers; 503 otherwise."""
    results = current_app.extensions["readiness"].check()
    is_ready = all(state == "ok" for state in results.values())
    return jsonify(status="ok" if is_ready else "unavailable", **results), 200 if is_ready else 503


@blueprint.get("/metrics")
@unlimited
@public
def metrics() -> ResponseReturnValue:
    """Metrics for Prometheus: sums over all tenants, nothing about any of them.

    Raises:
        NotFound: the operator has set no token.
        Unauthorized: the request does not show it.
    """
    if house().settings.metrics_token is None:
        raise NotFound(METRICS_HINT)
    if not shows_metrics_token():
        raise Unauthorized(METRICS_HINT)
    with house().read() as session:
        return Response(exposition.render(session), content_type=exposition.CONTENT_TYPE)


def _run(check: Callable[[], object]) -> str:
    try:
        check()
    except RetintError as error:
        return error.message
    return "ok"
