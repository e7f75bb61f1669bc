"""The machine's own disk: scratch folders, cleared after their process died, and what the disk's errors mean.

A scratch folder is a temporary folder that is locked as long as its process lives. The lock tells a dead process's
folder from a living one's; neither a process id, which containers that share a folder have twice, nor an age can. The
system drops the lock with the process, however it ends.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from retint.errors import DiskUnavailable, MachineFault, OutOfMemory

PREFIX = "retint-scratch-"
"""What a scratch folder's name begins with; in a folder that people look into it is hidden by a `.` before it."""
LOCK = fcntl.LOCK_EX | fcntl.LOCK_NB


_roots: list[tuple[Path | None, Path]] = []
"""The roots that are open, with the parents that they were asked for."""


@contextmanager
def open_root(parent: Path | None = None) -> Iterator[Path]:
    """Provide a folder in which this process makes its scratch folders for a parent, as long as the block runs.

    What is open in it is the work of the moment. So a child process that may reach all of it (see `sandbox.access`) can
    serve one file after the other.
    """
    with open_folder(parent, apart=True) as folder:
        root = (parent, folder)
        _roots.append(root)
        try:
            yield folder
        finally:
            _roots.remove(root)


@contextmanager
def open_folder(parent: Path | None = None, *, apart: bool = False) -> Iterator[Path]:
    """Provide a new, empty folder of this process, and delete it at the end.

    Args:
        parent: where it is made; by default in the folder for temporary files that this process was told.
        apart: make it beside the root that is open for this parent, not in it: it is to outlive that.

    Raises:
        DiskUnavailable: there is no folder for temporary files.
    """
    root = None if apart else next((folder for asked, folder in _roots if asked == parent), None)
    folder, descriptor = _make_locked(parent) if root is None else (Path(tempfile.mkdtemp(dir=root)), None)
    try:
        yield folder
    finally:
        # A thread that was left to itself may still write there; then the next process deletes what remains.
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def find_root(path: Path) -> Path | None:
    """Return the root in which a path, one without links, lies."""
    roots = (root.resolve() for _, root in _roots)
    return next((root for root in roots if path.is_relative_to(root)), None)


def use_folder(folder: str) -> None:
    """Let this process, and its libraries, make temporary files in a folder."""
    tempfile.tempdir = folder
    os.environ["TMPDIR"] = folder  # noqa: TID251  written for libraries, not read


def clear_leftovers(parent: Path | None = None) -> int:
    """Delete the scratch folders of processes that died. Returns how many; `parent` as in `open_folder`."""
    cleared = 0
    for folder in (parent or _find_parent()).glob(f"{_prefix(parent)}*"):
        with suppress(OSError):  # it is in use, gone meanwhile, or somebody else's
            descriptor = _open(folder)
            try:
                fcntl.flock(descriptor, LOCK)
                shutil.rmtree(folder)
                cleared += 1
            finally:
                os.close(descriptor)
    return cleared


def _find_parent() -> Path:
    """Return the folder for temporary files that this process was told, and let Python use no other one.

    By itself Python tries to write where it was told, and where that disk is full takes the next folder, in the end the
    current one, without a word.
    """
    if tempfile.tempdir is None:
        folder = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108, TID251  the system's own setting, and its default
        if not Path(folder).is_dir():
            raise DiskUnavailable(f"The folder for temporary files that TMPDIR names, {folder}, does not exist.")
        tempfile.tempdir = folder
    return Path(tempfile.tempdir)


def _make_locked(parent: Path | None) -> tuple[Path, int]:
    """Make a folder; return it and the open descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(parent), dir=parent or _find_parent()))
        with suppress(FileNotFoundError, BlockingIOError):  # whoever clears leftovers was faster than the lock
            descriptor = _open(folder)
            try:
                fcntl.flock(descriptor, LOCK)
            except BlockingIOError:
                os.close(descriptor)
                raise
            except OSError:  # a file system without locks: there nobody can take this folder for a leftover
                return folder, descriptor
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)


def _prefix(parent: Path | None) -> str:
    return PREFIX if parent is None else f".{PREFIX}"


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Tell what the system says about this machine from what it says about one file, which stays as it is.

    Raises:
        DiskUnavailable, OutOfMemory, MachineFault: the machine has no room, or its disk is broken.
    """
    try:
        yield
    except OSError as error:
        if fault := explain(error):
            raise fault from error
        raise


def explain(error: OSError) -> MachineFault | None:
    """Return what an error of the system says about this machine; None where it says something about one file."""
    said = os.strerror(error.errno or 0)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskUnavailable(f"This machine's disk is full ({said}).", code="disk_full")
    if error.errno in (errno.EIO, errno.EROFS):
        return DiskUnavailable(f"This machine's disk cannot be used ({said}).")
    if error.errno == errno.ENOMEM:
        return OutOfMemory("This machine has too little memory.")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return MachineFault(f"This machine is out of file handles ({said}).")
    return None
