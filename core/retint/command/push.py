"""Deposit a folder at a portal: recursive, resumable, and without sending what the server has."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

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

from retint.command.client import Client, PortalUnavailable, WrongToken
from retint.digests import hash_file
from retint.errors import InvalidRequest, Refused, RetintError, explain
from retint.folders import check_file, count_left_out, list_files
from retint.names import show_name
from retint.recipes import Recipe

PARALLEL: Final = 4
FAILURES_IN_A_ROW: Final = 3
"""After so many files that the portal could not take it counts as away, although it answers."""

OnProgress = Callable[[int], None]
"""Called with the bytes of a file that were sent."""


@dataclass(frozen=True)
class NewBatch:
    """The batch that a folder is deposited as."""

    name: str
    recipe: Recipe
    priority: int = 0


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
    error: RetintError | None = None
    """What ended the whole."""

    @property
    def sentence(self) -> str:
        """The result as sentences for people."""
        done = "would be sent" if self.dry_run else "sent"
        parts = [f"{self.sent} {done}", f"{self.known} already there", f"{len(self.refused)} refused"]
        if self.not_sent:
            parts.append(f"{len(self.not_sent)} not sent")
        sentences = [f"{self.total} files: {', '.join(parts)}."]
        if self.left_out:
            sentences.append(count_left_out(len(self.left_out)))
        if self.url:
            sentences.append(f"See {self.url}.")
        return " ".join(sentences)

    @property
    def exit_status(self) -> int:
        """Status of the command: 0 all good, 1 some files refused, 2 the request is at fault, 3 the portal is away."""
        if self.error:
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
            "error": self.error.message if self.error else None,
            "dry_run": self.dry_run,
        }


def push(folder: Path, server: str, token: str, new: NewBatch, *, dry_run: bool, quiet: bool) -> PushResult:
    """Deposit every photograph under a folder as one batch, under its path in the folder.

    The batch's idempotency key is a hash of its name, recipe, priority and files. After an interruption, the same
    folder goes into the same batch, and only what is missing is sent. Trouble with one file is that file's; what ends
    the whole is the result's `error`.
    """
    result = PushResult(dry_run)
    try:
        console = Console(stderr=True, quiet=quiet)
        with Client(server, token) as client, _make_progress_bar(console) as progress:
            _push_folder(folder, client, new, result, progress)
    except RetintError as error:
        result.error = error
    return result


def _push_folder(folder: Path, client: Client, new: NewBatch, result: PushResult, progress: Progress) -> None:
    """Fill in the result.

    Raises:
        InvalidRequest: the folder holds no photographs, or the portal does not have what the recipe names.
        WrongToken: the token is not valid.
        PortalUnavailable: the portal does not answer.
    """
    listing = list_files(folder)
    result.left_out = [show_name(path.relative_to(folder).as_posix()) for path in listing.left_out]
    result.total = len(listing.files)
    if not listing.files:
        rest = f" {count_left_out(len(result.left_out))}" if result.left_out else ""
        raise InvalidRequest(f"There are no files in {folder} that could be photographs.{rest}")
    deposit = _Deposit(client, result, {path: show_name(path.relative_to(folder).as_posix()) for path in listing.files})
    try:
        hashes = deposit.hash_files(progress)
        known = client.find_known(sorted(set(hashes.values())))
        if result.dry_run:
            result.sent = len(set(hashes.values()) - known)
            result.known = len(hashes) - result.sent
            return
        facts = [new.name, new.recipe.hash, str(new.priority)]
        facts += [f"{digest} {deposit.names[file]}" for file, digest in hashes.items()]
        key = hashlib.sha256("\n".join(facts).encode()).hexdigest()
        batch = client.open_batch(new.name, key=key, recipe=new.recipe, priority=new.priority)
        result.url = batch["url"]
        deposit.send_files(batch["id"], hashes, known, progress)
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
        """Hash the files; what cannot be read is refused."""
        reading = progress.add_task("Reading", total=sum(map(_size, self.names)))
        hashes = {}
        for file in self.names:
            try:
                check_file(file)
                hashes[file] = hash_file(file)
            except (InvalidRequest, OSError) as error:
                self._refuse(file, error)
            progress.advance(reading, _size(file))
        return hashes

    def send_files(self, batch_id: str, hashes: Mapping[Path, str], known: Collection[str], progress: Progress) -> None:
        """Send the files that the portal does not have, and name the others.

        Raises:
            WrongToken: the token is not valid any more.
            PortalUnavailable: the portal does not answer any more.
        """
        same: dict[str, list[Path]] = {}
        for file, digest in hashes.items():
            same.setdefault(digest, []).append(file)
        missing = [files[0] for digest, files in same.items() if digest not in known]
        bar = progress.add_task("Sending", total=sum(map(_size, missing)))

        def send(item: tuple[str, list[Path]]) -> None:
            self._send_copies(batch_id, *item, item[0] in known, lambda: _count_up(progress, bar))

        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                list(pool.map(send, same.items()))
            except BaseException:  # Ctrl-C: the pool would send all the rest first
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if self._end:
            raise self._end

    def give_up(self, error: RetintError) -> None:
        """Write down why the files that are left were not sent."""
        self._result.not_sent.update((self.names[file], error.message) for file in self._pending)

    def _send_copies(
        self, batch_id: str, digest: str, copies: Sequence[Path], is_known: bool, count: Callable[[], OnProgress]
    ) -> None:
        """Deposit files of the same bytes: the first is sent, the others are only named."""
        for file in copies:
            if self._end:
                return
            try:
                sent = self._send(batch_id, file, digest, is_known, count())
            except WrongToken as error:
                self._end = error
            except PortalUnavailable as error:
                self._fail(batch_id, file, error)
            except Exception as error:  # noqa: BLE001  whatever happens to one file, the others go on
                self._refuse(file, error)
            else:
                is_known = True
                self._accept(file, sent)

    def _send(self, batch_id: str, file: Path, digest: str, is_known: bool, on_progress: OnProgress) -> bool:
        """Deposit one file; return whether it had to be sent."""
        if is_known:
            try:
                self._client.add(batch_id, self.names[file], digest)
            except Refused as error:
                if error.code != "unknown_photo":
                    raise
            else:
                return False
        self._client.upload(batch_id, self.names[file], file, on_progress, sha256=digest)
        return True

    def _accept(self, file: Path, sent: bool) -> None:
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
