"""Runs a network on all pages of a bundle's photos; meanwhile threads read the next inputs and write decided layers."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from numpy.typing import NDArray

from retint.errors import OutOfMemory, RetintError
from retint.jobs.leases import AttemptEnd, Done, Lease
from retint.pages import Page
from retint.services import Services
from retint.stores import Progress
from retint_models.layers.types import Layers
from retint_workers.beats import Background, Beat
from retint_workers.queue import transfers

T = TypeVar("T")
LeasedPage = tuple[Lease, Page]
Read = Callable[[Lease, Page, Progress], NDArray[Any]]
"""Reads what the network looks at."""

READ_AHEAD = 8
"""Pages that are read before the network asks for them."""
MAX_WRITES = 8
"""Layers that are on their way to the store at once."""
WRITE_LAG_S = 1.0
"""How long decided layers may be on their way to the store while the network goes on."""


def run_network(
    services: Services,
    pages: Sequence[LeasedPage],
    read: Read,
    decide: Callable[[Iterator[NDArray[Any] | RetintError], Beat], Iterator[Layers | RetintError]],
    beat: Beat,
) -> Iterator[AttemptEnd]:
    """Run a network on pages; yield each lease when the layers of all its pages are stored, or with the first error.

    Args:
        services: the store.
        pages: those of one lease stand together.
        read: see `Read`.
        decide: yields layers or an error for each input.
        beat: of the bundle. A photo whose first page was decided is not given back before its last one.
    """
    ends = {lease.job_id: at for at, (lease, _) in enumerate(pages)}
    is_within_photo = False

    def beat_within_photo() -> bool:
        return beat() or is_within_photo

    writing = _Writing(services, beat)
    yielded_at = time.monotonic()
    for at, layers in enumerate(decide(_read_ahead(read, pages, beat), beat_within_photo)):
        lease, page = pages[at]
        is_within_photo = at < ends[lease.job_id]
        writing.add(lease, page, layers, is_last=not is_within_photo)
        # What was decided before an error counts, also if nothing is run after this. And a slow network waits for the
        # store, so that a kill costs no more of its work than it must.
        has_failed = isinstance(layers, RetintError)
        while (has_failed and writing.is_busy) or writing.must_end(time.monotonic() - yielded_at):
            yield from writing.end_first()
            yielded_at = time.monotonic()
    while writing.is_busy:
        yield from writing.end_first()
    yield from writing.end_broken()


class _Writing:
    """Decided layers on their way to the store, in their order, and what has become of their photos so far."""

    def __init__(self, services: Services, beat: Beat) -> None:
        self._services, self._beat = services, beat
        self._writes: deque[tuple[Lease, Background[dict[str, str]] | RetintError, bool]] = deque()
        self._files: dict[UUID, dict[str, str]] = {}
        self._broken: dict[UUID, tuple[Lease, RetintError]] = {}

    @property
    def is_busy(self) -> bool:
        return bool(self._writes)

    def must_end(self, waited_s: float) -> bool:
        """Whether the first write is over, or is to be waited for."""
        if not self._writes:
            return False
        first = self._writes[0][1]
        is_over = isinstance(first, RetintError) or first.is_done
        return is_over or len(self._writes) > MAX_WRITES or waited_s > WRITE_LAG_S

    def add(self, lease: Lease, page: Page, layers: Layers | RetintError, *, is_last: bool) -> None:
        """Start to write a page's layers."""
        if isinstance(layers, RetintError):
            self._writes.append((lease, layers, is_last))
            return
        files: dict[str, tuple[str, Path | bytes]] = {}
        for name, layer in zip((page.spell("color"), page.spell("density")), layers, strict=True):
            if layer is not None:
                files[name] = (f"{name}.safetensors", layer.to_bytes())
        write = transfers.start(lease, partial(transfers.put_files, self._services.store, lease, files))
        self._writes.append((lease, write, is_last))

    def end_first(self) -> Iterator[AttemptEnd]:
        """Wait for the first write; yield its photo where that was the last page."""
        lease, write, is_last = self._writes.popleft()
        outcome = write if isinstance(write, RetintError) else return_error(partial(write.wait, self._beat))
        if isinstance(outcome, RetintError):
            self._broken.setdefault(lease.job_id, (lease, outcome))
        else:
            self._files.setdefault(lease.job_id, {}).update(outcome)
        if is_last:
            files = self._files.pop(lease.job_id, {})
            broken = self._broken.pop(lease.job_id, None)
            yield broken or (lease, Done(files))

    def end_broken(self) -> Iterator[AttemptEnd]:
        """Yield the photos with an error of whose pages some were not reached: the network's device is lost."""
        yield from self._broken.values()


def _read_ahead(read: Read, pages: Sequence[LeasedPage], beat: Beat) -> Iterator[NDArray[Any] | RetintError]:
    """Read the inputs of pages in their order, up to `READ_AHEAD` of them before they are asked for."""
    reading: deque[Background[NDArray[Any]]] = deque()
    for lease, page in pages:
        reading.append(transfers.start(lease, partial(read, lease, page)))
        if len(reading) > READ_AHEAD:
            yield return_error(partial(reading.popleft().wait, beat))
    while reading:
        yield return_error(partial(reading.popleft().wait, beat))


def return_error(work: Callable[[], T]) -> T | RetintError:
    """Do the work; return a RetintError as the outcome. Any other error is a bug and concerns the bundle."""
    try:
        return work()
    except MemoryError as error:
        fault = OutOfMemory("This machine has too little memory.")
        fault.__cause__ = error
        return fault
    except RetintError as error:
        return error
