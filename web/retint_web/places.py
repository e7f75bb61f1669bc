"""How many uploads may be on their way at once."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from retint.errors import Transient
from retint.settings import Settings

UPLOADS_PER_USER: Final = 32
"""Most files that one user may be sending at once: several browsers and scanners, but not all there is."""


UNKNOWN_SIZE: Final = 256 << 20
"""Bytes for which a file counts that does not say how large it is."""


class TooManyUploads(Transient):
    """The user sends too many files at once."""

    code = "too_many_uploads"
    status = 429


class NoRoom(Transient):
    """All users together send more bytes than the portal has room for."""

    code = "no_room"


class Place:
    """The place of one upload: a file that says whose it is and how large, locked for as long as the upload lasts.

    So all processes of a portal count together, and the place of one that died is free at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    @classmethod
    def take(cls, settings: Settings, user_id: UUID, size: int | None) -> "Place":
        """Take a place for a file of so many bytes; None if it does not say.

        Raises:
            TooManyUploads: the user has too many places.
            NoRoom: the bytes of all users together are too many.
        """
        limit = settings.incoming_limit_mib << 20
        size = UNKNOWN_SIZE if size is None else size
        folder = settings.data / "uploads"
        with _locked(folder):
            taken = [path.name.split("_") for path in folder.glob("*_*_*") if _is_taken(path)]
            if sum(owner == str(user_id) for owner, _, _ in taken) >= UPLOADS_PER_USER:
                raise TooManyUploads(f"You send {UPLOADS_PER_USER} files already. Wait until one of them has arrived.")
            if taken and size + sum(int(announced) for _, announced, _ in taken) > limit:
                raise NoRoom("So much is being sent to this portal that it has no room for this file. Try again soon.")
            return cls(folder / f"{user_id}_{size}_{uuid4()}")

    def leave(self) -> None:
        """Leave the place."""
        self._path.unlink(missing_ok=True)
        self._file.close()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_taken(path: Path) -> bool:
    """Whether an upload has this place; the place of a process that died is removed."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    path.unlink(missing_ok=True)
    return False
