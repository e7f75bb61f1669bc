"""A zip that is read from any place: the standard library and Info-ZIP open what comes out."""

import io
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from datetime import datetime
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retint.handover.zips import CHUNK, Entry, Zip

AT = datetime(2026, 12, 1, 16, 30, 9)
FILES = {
    "bag/data/a.tif": b"tiff" * 1000,
    "bag/data/Straße 7/ö.jpg": b"jpeg",
    "bag/bagit.txt": b"",
    "bag/日本.txt": b"x",
}


def make_entry(path: str, data: bytes) -> Entry:
    return Entry(path, len(data), zlib.crc32(data), lambda start, stop: io.BytesIO(data[start:stop]))


def make_zip(files: dict[str, bytes]) -> Zip:
    return Zip(lambda: (make_entry(path, data) for path, data in files.items()), AT)


def test_what_goes_in_comes_out_with_names_and_time(tmp_path: Path) -> None:
    made = make_zip(FILES)
    data = b"".join(made.read())
    assert len(data) == made.measure()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
        assert {info.date_time for info in archive.infolist()} == {(2026, 12, 1, 16, 30, 8)}
    (tmp_path / "bag.zip").write_bytes(data)
    if unzip := shutil.which("unzip"):
        assert subprocess.run([unzip, "-tq", "bag.zip"], cwd=tmp_path, capture_output=True).returncode == 0


def test_it_is_the_same_each_time() -> None:
    assert b"".join(make_zip(FILES).read()) == b"".join(make_zip(FILES).read())


@given(st.lists(st.integers(0, 6000), max_size=6))
def test_pieces_from_any_places_are_the_whole(places: list[int]) -> None:
    made = make_zip(FILES)
    whole = b"".join(made.read())
    cuts = sorted({0, *(min(place, len(whole)) for place in places), len(whole)})
    pieces = [b"".join(made.read(start, stop)) for start, stop in pairwise(cuts)]
    assert b"".join(pieces) == whole
    assert [len(piece) for piece in pieces] == [stop - start for start, stop in pairwise(cuts)]


def test_an_empty_zip_is_one() -> None:
    with zipfile.ZipFile(io.BytesIO(b"".join(make_zip({}).read()))) as archive:
        assert archive.namelist() == []


def crc32(size: int) -> int:
    """The CRC-32 of so many zero bytes; made up for many, which nobody reads."""
    return zlib.crc32(bytes(size)) if size < CHUNK else 0


class Zeros(io.RawIOBase):
    """So many zero bytes."""

    def __init__(self, size: int) -> None:
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        n = min(len(buffer), self._left)
        buffer[:n] = bytes(n)
        self._left -= n
        return n


def open_zeros(opened: list[str], path: str, start: int, stop: int) -> io.BufferedReader:
    opened.append(path)
    return io.BufferedReader(Zeros(stop - start))


@pytest.fixture
def make_large() -> Callable[[list[int]], tuple[Zip, list[str]]]:
    def make(sizes: list[int]) -> tuple[Zip, list[str]]:
        opened: list[str] = []
        entries = [
            Entry(f"{n}.tif", size, crc32(size), partial(open_zeros, opened, f"{n}.tif"))
            for n, size in enumerate(sizes)
        ]
        return Zip(lambda: entries, AT), opened

    return make


def test_files_beyond_4_gib_are_listed_from_the_end_alone(make_large: Callable[..., tuple[Zip, list[str]]]) -> None:
    """The directory of 30 GiB is read, as a program that opens the zip does, and no file is."""
    sizes = [5 << 30, 100, 20 << 30, 5 << 30, 7]
    made, opened = make_large(sizes)
    size = made.measure()

    class Remote(io.RawIOBase):
        place = 0

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            self.place = {0: 0, 1: self.place, 2: size}[whence] + offset
            return self.place

        def tell(self) -> int:
            return self.place

        def read(self, n: int = -1) -> bytes:
            stop = size if n < 0 else min(self.place + n, size)
            data = b"".join(made.read(self.place, stop))
            self.place = stop
            return data

    with zipfile.ZipFile(Remote()) as archive:
        found = archive.infolist()
        assert [info.file_size for info in found] == sizes
        assert found[4].header_offset > 30 << 30
        assert opened == []
        assert archive.read(found[1]) == bytes(100), "its local header agrees"
    assert opened == ["1.tif"]


def test_more_entries_than_65535(make_large: Callable[..., tuple[Zip, list[str]]]) -> None:
    made, _ = make_large([0] * 70_000)
    with zipfile.ZipFile(io.BytesIO(b"".join(made.read()))) as archive:
        assert len(archive.namelist()) == 70_000


def test_a_file_comes_in_chunks(make_large: Callable[..., tuple[Zip, list[str]]]) -> None:
    made, _ = make_large([1 << 40])
    assert max(len(data) for data in islice(made.read(), 20)) == CHUNK


def test_a_file_that_became_shorter_is_no_zip_with_other_bytes() -> None:
    cut = Entry("a.tif", 10, 0, lambda start, stop: io.BytesIO(b"12345"[start:stop]))
    with pytest.raises(EOFError, match=r"a\.tif is 5 bytes shorter"):
        list(Zip(lambda: [cut], AT).read())
