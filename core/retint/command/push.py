"""Deposit a folder at a portal: recursive, resumable, and without sending what the server has."""

import hashlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from retint import catalogue_files
from retint.command import catalogue as cataloguing
from retint.command import resumable
from retint.command.client import Client, PortalUnavailable, QuotaReached, WrongToken
from retint.digests import hash_file
from retint.errors import InvalidRequest, Refused, RetintError, explain
from retint.folders import check_file, count_left_out, list_files
from retint.names import clean_name, escape_surrogates, show_name
from retint.recipes import Recipe

PARALLEL: Final = 4
LARGE: Final = 32 << 20
"""Bytes from which on a file goes in a way that may break off and go on."""
FAILURES_IN_A_ROW: Final = 3
"""After so many files that the portal could not take it counts as away, although it answers."""

T = TypeVar("T")
OnProgress = Callable[[int], None]
"""Called with the bytes of a file that were sent."""


@dataclass(frozen=True)
class NewBatch:
    """The batch that a folder is deposited as."""

    name: str
    recipe: Recipe
    priority: int = 0
    paused: bool = False
    """Whether it waits, so that it can be proved first."""

    def key_for(self, folder: Path) -> str:
        """Return the idempotency key: the same folder of the same machine goes into the same batch, also when it grew.

        Another name, recipe or priority makes another batch.
        """
        facts = [self.name, self.recipe.hash, str(self.priority), socket.gethostname(), os.fsencode(folder.resolve())]
        return hashlib.sha256(repr(facts).encode()).hexdigest()


@dataclass
class PushResult:
    """What became of the files of a folder. Each is counted once."""

    dry_run: bool = False
    url: str | None = None
    total: int = 0
    sent: int = 0
    known: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    """Why a file was refused, by the portal or because it cannot be read."""
    not_sent: dict[str, str] = field(default_factory=dict)
    """Why a file was not sent although nothing is known against it."""
    left_out: list[str] = field(default_factory=list)
    """Files that are no photographs; not among the total."""
    catalogue: dict[str, Any] | None = None
    """What the portal said of the catalogue, or of a dry run what would match."""
    error: RetintError | None = None
    """What ended the whole."""

    @property
    def sentence(self) -> str:
        """The result as sentences for people."""
        done = "would be sent" if self.dry_run else "sent"
        parts = [f"{self.sent} {done}", f"{self.known} already there", f"{len(self.refused)} refused"]
        if self.not_sent:
            parts.append(f"{len(self.not_sent)} {'left out' if self.is_cut_short else 'not sent'}")
        sentences = [f"{self.total} files: {', '.join(parts)}."]
        if self.left_out:
            sentences.append(count_left_out(len(self.left_out)))
        if self.is_cut_short:
            sentences.append("Run it again later: it goes on with the rest.")
        if self.url:
            sentences.append(f"See {self.url}.")
        return " ".join(sentences)

    @property
    def catalogue_lines(self) -> list[str]:
        """What became of the catalogue, in lines for people."""
        return [escape_surrogates(line) for line in cataloguing.describe(self.catalogue)] if self.catalogue else []

    @property
    def is_cut_short(self) -> bool:
        """Whether a quota was reached in the middle: what is not sent can be sent later."""
        return isinstance(self.error, QuotaReached) and self.url is not None

    @property
    def exit_status(self) -> int:
        """Status of the command: 0 all good, 1 some files refused, 2 the request is at fault, 3 the portal is away.

        A quota that is reached leaves files out: they are not sent, and nothing is wrong with the request.
        """
        if self.error and not self.is_cut_short:
            return 2 if isinstance(self.error, Refused) else 3
        return 1 if self.refused or self.not_sent else 0

    def as_json(self) -> dict[str, object]:
        """Return the result as JSON values for scripts."""
        return {
            "batch": self.url,
            "total": self.total,
            "sent": self.sent,
            "known": self.known,
            "refused": self.refused,
            "not_sent": self.not_sent,
            "left_out": self.left_out,
            "catalogue": self.catalogue,
            "error": self.error.message if self.error else None,
            "dry_run": self.dry_run,
        }


def push(
    folder: Path,
    server: str,
    token: str,
    new: NewBatch,
    *,
    dry_run: bool,
    quiet: bool,
    receipt: Path | None = None,
    catalogue: Path | None = None,
) -> PushResult:
    """Deposit every photograph under a folder as one batch, under its path in the folder.

    After an interruption, or when the folder grew, it goes into the same batch, and only what is missing is sent.
    Trouble with one file is that file's; what ends the whole is the result's `error`.

    Args:
        folder: the folder.
        server: address of the portal.
        token: of its API.
        new: the batch.
        dry_run: say what would be sent, and send nothing.
        quiet: show no progress.
        receipt: where the portal's receipt is written.
        catalogue: a CSV that is imported before the first file is sent.
    """
    result = PushResult(dry_run)
    try:
        console = Console(stderr=True, quiet=quiet)
        with Client(server, token) as client, _make_progress_bar(console) as progress:
            _push_folder(folder, client, new, result, progress, receipt, catalogue)
    except RetintError as error:
        result.error = error
    return result


def _push_folder(
    folder: Path,
    client: Client,
    new: NewBatch,
    result: PushResult,
    progress: Progress,
    receipt: Path | None,
    catalogue: Path | None,
) -> None:
    """Fill in the result.

    Raises:
        InvalidRequest: the folder holds no photographs, or the portal does not have what the recipe names.
        CatalogueRefused: the catalogue cannot be read; nothing is sent.
        WrongToken: the token is not valid.
        PortalUnavailable: the portal does not answer.
    """
    records = None if catalogue is None else cataloguing.read(catalogue)
    rows = None if records is None else catalogue_files.read(records)
    listing = list_files(folder)
    result.left_out = [show_name(path.relative_to(folder).as_posix()) for path in listing.left_out]
    result.total = len(listing.files)
    if not listing.files:
        rest = f" {count_left_out(len(result.left_out))}" if result.left_out else ""
        raise InvalidRequest(f"There are no files in {folder} that could be photographs.{rest}")
    deposit = _Deposit(client, result, {path: show_name(path.relative_to(folder).as_posix()) for path in listing.files})
    try:
        hashes = deposit.hash_files(progress)
        if result.dry_run:
            different = set(hashes.values())
            result.sent = len(different - client.find_known(sorted(different)))
            result.known = len(hashes) - result.sent
            if rows is not None:
                result.catalogue = cataloguing.foretell(rows, list(deposit.names.values()))
            return
        key = new.key_for(folder)
        batch = client.open_batch(new.name, key=key, recipe=new.recipe, priority=new.priority, paused=new.paused)
        result.url = batch["url"]
        if records is not None:
            result.catalogue = client.import_catalogue(batch["id"], records, dry_run=False)
        deposit.send_files(batch["id"], hashes, progress)
        if receipt:
            client.save(f"/api/v1/batches/{batch['id']}/receipt.csv", receipt)
    except RetintError as error:
        deposit.give_up(error)
        raise


class _Deposit:
    """Sends files and writes down what became of each.

    Args:
        client: of the portal.
        result: is filled in.
        names: of the files in the batch.
    """

    def __init__(self, client: Client, result: PushResult, names: Mapping[Path, str]) -> None:
        self.names = names
        self._client, self._result = client, result
        self._lock = Lock()
        self._pending = dict.fromkeys(names)
        self._failures = 0
        self._end: RetintError | None = None

    def hash_files(self, progress: Progress) -> dict[Path, str]:
        """Hash the files, several at a time; what cannot be read or named is refused."""
        bar = progress.add_task("Reading", total=sum(map(_size, self.names)))

        def read(file: Path) -> str | None:
            try:
                check_file(file)
                clean_name(self.names[file])
                return hash_file(file)
            except (InvalidRequest, OSError) as error:
                self._refuse(file, error)
                return None
            finally:
                progress.advance(bar, _size(file))

        digests = zip(self.names, self._do_each(read, list(self.names)), strict=True)
        return {file: digest for file, digest in digests if digest}

    def send_files(self, batch_id: str, hashes: Mapping[Path, str], progress: Progress) -> None:
        """Name the files whose bytes the portal has, and send the others; those of the same bytes once.

        Raises:
            WrongToken: the token is not valid any more.
            QuotaReached: the institution's quota lets no more in; what was sent stays.
            PortalUnavailable: the portal does not answer any more.
        """
        missing = self._name_known(batch_id, hashes)
        first = {digest: file for file, digest in reversed(missing.items())}
        bar = progress.add_task("Sending", total=sum(map(_size, first.values())))

        def send(file: Path) -> None:
            if not self._end:
                self._send(batch_id, file, missing[file], _count_up(progress, bar))

        self._do_each(send, [file for file in missing if first[missing[file]] is file])
        if self._end:
            raise self._end
        copies = {file: digest for file, digest in missing.items() if file in self._pending}
        for file, digest in self._name_known(batch_id, copies).items():
            self._send(batch_id, file, digest, _count_up(progress, bar))
        if self._end:
            raise self._end

    def _do_each(self, work: Callable[[Path], T], files: Sequence[Path]) -> list[T]:
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                return list(pool.map(work, files))
            except BaseException:  # Ctrl-C: the pool would do all the rest first
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _name_known(self, batch_id: str, hashes: Mapping[Path, str]) -> dict[Path, str]:
        """Deposit the files whose bytes the portal has; return the others.

        Raises:
            QuotaReached: some of them are left out.
        """
        named = [(self.names[file], digest) for file, digest in hashes.items()]
        had, shortage = self._client.add_known(batch_id, named)
        for file, is_known in zip(hashes, had, strict=True):
            if is_known:
                self._accept(file, sent=False)
        if shortage:
            raise shortage
        return {file: digest for (file, digest), is_known in zip(hashes.items(), had, strict=True) if not is_known}

    def give_up(self, error: RetintError) -> None:
        """Write down why the files that are left were not sent."""
        self._result.not_sent.update((self.names[file], error.message) for file in self._pending)

    def _send(self, batch_id: str, file: Path, digest: str, on_progress: OnProgress) -> None:
        """Deposit one file, whatever happens to it."""
        try:
            if _size(file) >= LARGE:
                resumable.send(self._client, batch_id, self.names[file], file, digest, on_progress)
            else:
                self._client.upload(batch_id, self.names[file], file, on_progress, sha256=digest)
        except (WrongToken, QuotaReached) as error:
            self._end = self._end or error
        except PortalUnavailable as error:
            self._fail(batch_id, file, error)
        except Exception as error:  # noqa: BLE001  the others go on
            self._refuse(file, error)
        else:
            self._accept(file, sent=True)

    def _accept(self, file: Path, *, sent: bool) -> None:
        with self._lock:
            del self._pending[file]
            self._failures = 0
            self._result.sent += sent
            self._result.known += not sent

    def _refuse(self, file: Path, error: Exception) -> None:
        with self._lock:
            del self._pending[file]
            self._failures = 0
            self._result.refused[self.names[file]] = explain(error)

    def _fail(self, batch_id: str, file: Path, error: PortalUnavailable) -> None:
        """Find out whether the portal fails at this file only, or is away."""
        try:
            self._client.batch(batch_id)
        except RetintError as gone:
            self._end = self._end or gone
            return
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                self._end = self._end or error
            else:
                del self._pending[file]
                self._result.not_sent[self.names[file]] = error.message


def _size(file: Path) -> int:
    """Return a file's size; 0 where it has gone."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _make_progress_bar(console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def _count_up(progress: Progress, task: TaskID) -> OnProgress:
    """Return a callback that adds the sent bytes of one file to the whole bar; a retry starts at zero again."""
    before = 0

    def on_progress(now: int) -> None:
        nonlocal before
        progress.advance(task, now - before)
        before = now

    return on_progress
