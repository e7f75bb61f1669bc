"""Provides the files that are restored without a server, whatever they are called and wherever they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retint import remote
from retint.errors import InvalidRequest
from retint.folders import check_file
from retint.names import NAME_BYTES, escape_surrogates, shorten
from retint.settings import Settings
from retint_workers import scratch

FETCH_TIMEOUT_S = 600
Source = Path | str
"""A file, or a web address as text."""


@contextmanager
def provide_file(source: Source, settings: Settings, folder: Path | None = None) -> Iterator[Path]:
    """Provide a file under a path that every library can open; its name is what the result is named after.

    A file from the web lies in a temporary folder. So does a link to a file whose path is not UTF-8: libraries take
    paths as text, and cannot spell that one.

    Args:
        source: the file or its address.
        settings: limits.
        folder: where the temporary folder is made; by default where the system makes them.

    Raises:
        Refused: there is no such file, it cannot be read, or it cannot be downloaded.
    """
    if isinstance(source, Path):
        check_file(source)
        if escape_surrogates(str(source)) == str(source):
            yield source
            return
    with scratch.open_folder(folder) as temporary:
        if isinstance(source, Path):
            path = temporary / shorten(escape_surrogates(source.name), NAME_BYTES)
            path.symlink_to(source.absolute())
        else:
            fetched = temporary / "fetched"
            name = remote.fetch(source, fetched, settings.upload_limit_mib << 20, FETCH_TIMEOUT_S)
            path = fetched.rename(fetched.with_name(name))
        yield path


def refuse_original(file: Path, output: Path) -> None:
    """Check that an output is not the file that it is made of.

    Raises:
        InvalidRequest: it is.
    """
    if output.exists() and output.samefile(file):
        raise InvalidRequest(f"{output} is the original, which is never written over. Choose another --out.")
