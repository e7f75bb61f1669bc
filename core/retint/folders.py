"""What is in a folder of photographs: files to be tried, and files that are known by their names to be none."""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from retint.errors import InvalidRequest

_FOLDERS: Final = (
    # Synology, QNAP, NetApp: thumbnails, recycle bins, snapshots (which hold every photo again)
    *("@eaDir", "@tmp", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "~snapshot"),
    # Windows, macOS, Linux
    *("$RECYCLE.BIN", "RECYCLER", "System Volume Information", "__MACOSX", "Network Trash Folder", "Temporary Items"),
    *("TheVolumeSettingsFolder", "lost+found"),
    # Capture One, Nikon, GoodSync
    *("CaptureOne", "NKSC_PARAM", "_gsdata_"),
)
"""Folders whose files are left out."""
_FOLDER_SUFFIXES: Final = (".lrdata", ".lrcat-data", ".cocatalog")
"""Endings of folders whose files are left out: previews of Lightroom and Capture One."""
_FILES: Final = ("Thumbs.db", "ehthumbs.db", "desktop.ini", "ZbThumbnail.info", "SONYCARD.IND")
"""Files that systems and cameras leave in folders. Hidden files are left out, too."""
_ENDINGS: Final = (
    # sidecars of cameras and raw converters
    *(".xmp", ".aae", ".thm", ".lrv", ".pp3", ".dop", ".arp", ".nksc", ".vrd", ".dr4", ".cos", ".cop", ".cof", ".cot"),
    *(".ctg", ".moi", ".cpi", ".mpl", ".bdm", ".ifo", ".bup"),
    # catalogs
    *(".lrcat", ".lrcat-wal", ".lrcat-shm", ".lrcat.lock", ".lrtemplate", ".cocatalogdb", ".cosessiondb", ".comask"),
    *(".db", ".db3", ".sqlite", ".ini", ".bc", ".bct"),
    # texts, tables, documents
    *(".txt", ".rtf", ".md", ".log", ".nfo", ".xml", ".json", ".yaml", ".yml", ".csv", ".tsv", ".html", ".htm", ".css"),
    *(".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".ods", ".odp", ".eml", ".msg"),
    # checksums
    *(".md5", ".sha1", ".sha256", ".sha512", ".sfv", ".mhl", ".par2"),
    # color profiles, sound
    *(".icc", ".icm", ".dcp", ".wav", ".mp3", ".m4a"),
    # links, files in the making, copies of editors
    *(".lnk", ".url", ".webloc", ".tmp", ".part", ".partial", ".crdownload", ".lock", ".bak", "~"),
    # streams that Synology and Windows put beside a file when it is copied
    *("@SynoEAStream", "@SynoResource", "Zone.Identifier", "Thumbs.db:encryptable"),
    # what `retint restore --layers` writes
    *(".safetensors", ".density.zip"),
)
"""Endings of files that are no photographs."""


def _any_of(words: tuple[str, ...]) -> str:
    return f"(?:{'|'.join(map(re.escape, words))})"


LEFT_OUT: Final = "|".join(
    [
        r"(?:^|\/)\.",
        rf"(?:^|\/){_any_of(_FOLDERS)}\/",
        rf"{_any_of(_FOLDER_SUFFIXES)}\/",
        rf"(?:^|\/){_any_of(_FILES)}$",
        r"(?:^|\/)Icon\r$",  # macOS: the picture of a folder
        rf"{_any_of(_ENDINGS)}$",
    ]
)
"""Regular expression of what is no photograph, for names relative to the folder, with `/`, whatever the case. It means
the same to Python and to browsers, which get it in the deposit page."""
_PATTERN: Final = re.compile(LEFT_OUT, re.IGNORECASE | re.ASCII)


@dataclass
class Listing:
    """The files under a folder, in the order of their paths."""

    files: list[Path] = field(default_factory=list)
    """What may be a photograph. Also what cannot be read, such as a broken link or a folder that cannot be listed:
    `check_file` says why."""
    left_out: list[Path] = field(default_factory=list)
    """What is no photograph, by its name."""


def is_left_out(name: str) -> bool:
    """Whether a file is no photograph, by its name relative to the folder that was chosen."""
    return _PATTERN.search(name) is not None


def list_files(folder: Path) -> Listing:
    """List the files under a folder. Links to folders are not followed."""
    listing = Listing()

    def add(path: Path, name: str) -> None:
        (listing.left_out if is_left_out(name) else listing.files).append(path)

    def on_error(error: OSError) -> None:
        path = Path(error.filename)
        add(path, "" if path == folder else f"{path.relative_to(folder).as_posix()}/")

    for root, folders, files in os.walk(folder, onerror=on_error):
        linked = [name for name in folders if (Path(root) / name).is_symlink()]
        for name in [*files, *linked]:
            path = Path(root) / name
            add(path, path.relative_to(folder).as_posix())
    listing.files.sort()
    listing.left_out.sort()
    return listing


def count_left_out(number: int) -> str:
    """Say how many files were left out."""
    if number == 1:
        return "1 file is not a photograph and was left out."
    return f"{number} files are not photographs and were left out."


def check_file(path: Path) -> None:
    """Check that a path is a file that can be read.

    Raises:
        InvalidRequest: it is not; the sentence says why.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
            return
        reason = _describe_other(path, mode)
    except FileNotFoundError:
        reason = f"There is no file {path}."
        if path.is_symlink():
            reason = f"{path} is a link to {path.readlink()}, which does not exist."
    except OSError as error:
        reason = f"{path} cannot be read: {error.strerror}."
    raise InvalidRequest(reason, code="unreadable")


def _describe_other(path: Path, mode: int) -> str:
    if not stat.S_ISDIR(mode):
        return f"{path} is not a file but a pipe, a socket or a device."
    if path.is_symlink():
        return f"{path} is a link to a folder; such links are not followed."
    try:
        os.scandir(path).close()
    except OSError as error:
        return f"The folder {path} cannot be listed: {error.strerror}."
    return f"There are no photographs in the folder {path}."
