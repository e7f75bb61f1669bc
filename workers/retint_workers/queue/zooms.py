"""The task that makes the zoom of a result when somebody asks for it (see `retint.zooms`).

It claims nothing and writes no row. A message that is doubled finds the zoom made; one that is lost, or whose worker
dies, is sent again as long as somebody looks at the photo.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import structlog
from celery import Celery
from structlog.contextvars import bound_contextvars

from retint import metrics, zooms
from retint.broker import ZOOM_TASK
from retint.errors import RetintError, StoreUnavailable, Transient
from retint.filetypes import content_type_for
from retint.services import Services
from retint.stores import Progress
from retint.zooms import Zoom
from retint_workers import scratch
from retint_workers.beats import Background, Beat
from retint_workers.imaging.zoom import make_pyramid
from retint_workers.queue.machine import Machine
from retint_workers.queue.transfers import STALL_S
from retint_workers.sandbox.children import run_in_child

T = TypeVar("T")

log = structlog.get_logger()


def register(app: Celery, machine: Machine) -> None:
    """Register the task with a Celery application; its messages go to the fleet that renders."""

    def task(tenant_id: str, job_id: str, page: int) -> None:
        run(machine, UUID(tenant_id), UUID(job_id), page)

    app.task(name=ZOOM_TASK, ignore_result=True)(task)


def run(machine: Machine, tenant_id: UUID, job_id: UUID, page: int) -> None:
    """Make the zoom of a page of a job's result, unless it is made or there is nothing to zoom into."""
    heartbeat = machine.heartbeat
    heartbeat.messages_received += 1
    if not machine.wait_until_fit():
        return
    names = {"tenant_id": str(tenant_id), "job_id": str(job_id), "page": page}
    with bound_contextvars(**names), heartbeat.busy_with("zoom × 1"):
        try:
            outcome = _make(heartbeat.services, tenant_id, job_id, page, machine.beat)
        except RetintError as error:
            log.warning("zoom_failed", code=error.code, reason=error.message)
            outcome = "fault" if isinstance(error, Transient) else "refused"
            machine.is_to_blame(error, machine.beat)
        except Exception:
            log.exception("zoom_failed", code="bug")
            outcome = "fault"
        heartbeat.services.counters.count(metrics.ZOOMS, outcome)


def _make(services: Services, tenant_id: UUID, job_id: UUID, page: int, beat: Beat) -> str:
    """Make a zoom and store it; return the outcome, `made` or `there`.

    Raises:
        NotFound: there is nothing to zoom into, or the store has lost the result.
        InvalidPhoto: the result cannot be decoded.
        Transient: it may succeed another time.
    """
    with services.read() as session:
        zoom = zooms.find(session, tenant_id, job_id, page)
    if _move(lambda _: zoom.is_made(services.store), beat):
        return "there"
    started = time.monotonic()
    with scratch.translate_errors(), scratch.open_folder() as folder:
        size = _make_in_folder(services, zoom, folder, beat)
    seconds = time.monotonic() - started
    services.counters.observe(metrics.ZOOM_SECONDS, seconds)
    log.info("zoom_made", seconds=round(seconds, 3), size=size)
    return "made"


def _make_in_folder(services: Services, zoom: Zoom, folder: Path, beat: Beat) -> int:
    """Download the result, make its zoom, and put that into the store; return its bytes."""
    store, limit_mp = services.store, services.settings.pixel_limit_mp
    result = folder / "result"
    _move(partial(store.fetch, zoom.result, result), beat)
    made = run_in_child(make_pyramid, services.settings, beat, result, zoom.index, folder, limit_mp)
    _move(partial(store.put, zoom.key, made, content_type_for(zoom.key)), beat)
    return made.stat().st_size


def _move(move: Callable[[Progress], T], beat: Beat) -> T:
    """Move bytes in a thread of its own, and beat meanwhile."""
    return Background(move, STALL_S, StoreUnavailable(f"The store moved nothing for {STALL_S} seconds.")).wait(beat)
