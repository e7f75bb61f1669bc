"""What operators and their machines ask: does the process live, can it serve, how does it do."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from flask import Blueprint, Response, current_app, jsonify
from flask.sansio.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from sqlalchemy import text

from retint import broker, telemetry
from retint.errors import RetintError
from retint.services import Services
from retint_web import services

KEPT_S: Final = 2
"""The checks write and read, and anyone may ask: one answer serves everyone for so long."""

blueprint = Blueprint("health", __name__)


@dataclass
class Readiness:
    """Whether what the portal stands on answers; each part with `ok` or what is wrong."""

    services: Services
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _checked_at: float = 0
    _parts: dict[str, str] = field(default_factory=dict)

    def parts(self) -> dict[str, str]:
        """Check, or tell what the last check a moment ago said."""
        with self._lock:
            if not self._parts or time.monotonic() > self._checked_at + KEPT_S:
                checks = {
                    "database": self._database,
                    "store": self.services.store.check,
                    "broker": broker.connect(self.services.settings.broker_url).depth,
                }
                self._parts = {name: _state(check) for name, check in checks.items()}
                self._checked_at = time.monotonic()
            return self._parts

    def _database(self) -> None:
        with self.services.begin() as session:
            session.execute(text("SELECT 1 FROM batches LIMIT 1"))


@blueprint.record
def _prepare(state: BlueprintSetupState) -> None:
    state.app.extensions["readiness"] = Readiness(state.app.extensions["retint"])


@blueprint.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Say that the process lives."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Say whether the portal can serve; 503 where a part that it needs does not answer."""
    parts = current_app.extensions["readiness"].parts()
    is_ready = all(state == "ok" for state in parts.values())
    return jsonify(status="ok" if is_ready else "unavailable", **parts), 200 if is_ready else 503


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Give Prometheus its numbers: sums over everyone, nothing of anyone."""
    with services().begin() as session:
        return Response(telemetry.metrics(session), content_type=telemetry.METRICS_TYPE)


def _state(check: Callable[[], object]) -> str:
    try:
        check()
    except RetintError as error:
        return error.message
    return "ok"
