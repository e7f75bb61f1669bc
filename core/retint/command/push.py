"""Deposit a folder at a portal: recursive, resumable, and without sending what the server has."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

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

from retint.command.client import Client
from retint.digests import hash_file
from retint.errors import InvalidRequest, NotAllowed, Refused
from retint.recipes import Recipe

PARALLEL = 4


@dataclass(frozen=True)
class NewBatch:
    """The batch that a folder is deposited as."""

    name: str
    recipe: Recipe
    priority: int = 0


@dataclass
class PushResult:
    """How many files of a folder were sent, known, or refused."""

    url: str | None
    total: int
    sent: int = 0
    known: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    dry_run: bool = False

    @property
    def sentence(self) -> str:
        """The result as a sentence for people."""
        done = "would be sent" if self.dry_run else "sent"
        where = f" See {self.url}." if self.url else ""
        return (
            f"{self.total} files: {self.sent} {done}, {self.known} already there, {len(self.refused)} refused.{where}"
        )

    def as_json(self) -> dict[str, object]:
        """Return the result as JSON values for scripts."""
        return {
            "batch": self.url,
            "total": self.total,
            "sent": self.sent,
            "known": self.known,
            "refused": self.refused,
            "dry_run": self.dry_run,
        }


def push(folder: Path, server: str, token: str, new: NewBatch, *, dry_run: bool, quiet: bool) -> PushResult:
    """Deposit every file under a folder as one batch, under its path in the folder.

    The batch's idempotency key is a hash of its name, recipe, priority and files. After an interruption, the same
    folder goes into the same batch, and only what is missing is sent.

    Raises:
        InvalidRequest: the folder holds no files, or the portal does not have what the recipe names.
        NotAllowed: the token is not valid.
        PortalUnavailable: the portal does not answer.
    """
    files = list_files(folder)
    console = Console(stderr=True, quiet=quiet)
    with Client(server, token) as client, _make_progress_bar(console) as progress:
        hashes = _hash_files(files, progress)
        known = client.find_known(sorted(set(hashes.values())))
        missing = {digest: file for file, digest in hashes.items() if digest not in known}
        if dry_run:
            return PushResult(None, len(files), len(missing), len(files) - len(missing), dry_run=True)
        names = {file: file.relative_to(folder).as_posix() for file in files}
        facts = [new.name, new.recipe.hash, str(new.priority), *(f"{hashes[file]} {names[file]}" for file in files)]
        key = hashlib.sha256("\n".join(facts).encode()).hexdigest()
        batch = client.open_batch(new.name, key=key, recipe=new.recipe, priority=new.priority)
        outcome = PushResult(batch["url"], len(files))
        bytes_sent = progress.add_task("Sending", total=sum(file.stat().st_size for file in missing.values()))

        def deposit(file: Path) -> str | None:
            try:
                client.upload(batch["id"], names[file], file, _count_up(progress, bytes_sent))
            except NotAllowed:
                raise
            except (Refused, OSError) as error:
                return str(error)
            return None

        with ThreadPoolExecutor(PARALLEL) as pool:
            reasons = dict(zip(missing, pool.map(deposit, missing.values()), strict=True))
        for file, digest in hashes.items():
            if reason := reasons.get(digest):
                outcome.refused[names[file]] = reason
            elif missing.get(digest) is file:
                outcome.sent += 1
            else:  # the server has these bytes, from an earlier push or under another name
                client.add(batch["id"], names[file], digest)
                outcome.known += 1
    return outcome


def list_files(folder: Path) -> list[Path]:
    """List the files under a folder, hidden ones and those of file managers left out, in the order of their paths.

    Raises:
        InvalidRequest: there are none.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder)))
    if not files:
        raise InvalidRequest(f"There are no files in {folder}.")
    return files


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts) or path.name in ("Thumbs.db", "desktop.ini")


def _make_progress_bar(console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def _hash_files(files: list[Path], progress: Progress) -> dict[Path, str]:
    reading = progress.add_task("Reading", total=sum(file.stat().st_size for file in files))
    hashes = {}
    for file in files:
        hashes[file] = hash_file(file)
        progress.advance(reading, file.stat().st_size)
    return hashes


def _count_up(progress: Progress, task: TaskID) -> Callable[[int], None]:
    """Return a callback that adds the sent bytes of one file to the whole bar; a retry starts at zero again."""
    before = 0

    def on_progress(now: int) -> None:
        nonlocal before
        progress.advance(task, now - before)
        before = now

    return on_progress
