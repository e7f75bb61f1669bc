"""Hostile files: each is restored or refused with a sentence, soon, and costs no worker and no memory of its parent."""

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.integration.workers.hostile import corpus
from tests.integration.workers.hostile.trial import SETTINGS, try_files

from retint.recipes import parse
from retint_workers.local.destinations import Options
from retint_workers.local.restore import restore

LONGEST_S = 60
MOST_GROWTH = 64 << 20
"""Bytes by which the parent may grow, apart from the files that the test itself holds."""
SLOW = {"gray of zeros.png", "100000 texts.png"}
"""Bombs that take a dozen seconds: 400 megapixels, and many chunks."""
GARBAGE = {"NotVerified"}
"""Pixels of noise that JPEG cannot keep end in the check of the result: told, tried again, then quarantined."""
PILLOW = "pillow==12.0.0"
"""Its source distribution holds the files that it is tested with, fuzzers' among them."""
NO_PICTURES = (".py", ".pyi", ".txt", ".rst", ".ttf", ".otf", ".c", ".h", ".toml", ".cfg")


def check(files: Iterator[tuple[str, bytes]]) -> dict[str, int]:
    """Try files; return how many ended in which way."""
    counts: dict[str, int] = {}
    bad, started_at = [], 0
    for end in try_files(files):
        counts[end.kind] = counts.get(end.kind, 0) + 1
        started_at = started_at or psutil.Process().memory_info().rss
        is_told = end.kind in ("restored", "refused") and (end.kind == "restored" or end.text.endswith("."))
        if not is_told or end.seconds > LONGEST_S:
            bad.append(end)
    failures = [end for end in bad if end.kind not in GARBAGE]
    assert not failures, "\n\n".join(f"{end.name} ({end.seconds:.1f} s): {end.kind}: {end.text}" for end in failures)
    assert len(bad) <= sum(counts.values()) / 100
    assert psutil.Process().memory_info().rss - started_at < MOST_GROWTH
    return counts


def test_the_good_files_are_restored() -> None:
    contents = ((name, make()) for name, make in corpus.GOOD.items())
    assert {end.name: end.kind for end in try_files(contents)} == dict.fromkeys(corpus.GOOD, "restored")


def test_changed_files_are_restored_or_refused() -> None:
    counts = check(corpus.mutations(150))
    assert counts["restored"] >= 30
    assert counts["refused"] >= 60


@pytest.mark.parametrize("name", [name for name in corpus.BOMBS if name not in SLOW])
def test_a_bomb_is_restored_or_refused(name: str) -> None:
    [end] = try_files([(name, corpus.BOMBS[name]())])
    assert end.kind in ("restored", "refused"), end.text
    assert end.seconds < LONGEST_S


def test_a_folder_of_hostile_files_gives_a_row_each(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, content in corpus.mutations(30, seed=3):
        (folder / name).write_bytes(content)
    options = Options(parse({"colorizer": "keep", "defader": "keep"}))
    reports = list(restore(sorted(folder.iterdir()), out, options, SETTINGS))
    assert len(reports) == 30
    assert all(report.output or report.reason for report in reports)
    assert len(list(out.iterdir())) == sum(report.output is not None for report in reports)


@pytest.mark.hostile
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
def test_many_changed_files_are_restored_or_refused(seed: int) -> None:
    check(corpus.mutations(1000, seed))


@pytest.mark.hostile
@pytest.mark.parametrize("name", sorted(SLOW))
def test_a_slow_bomb_is_restored_or_refused(name: str) -> None:
    [end] = try_files([(name, corpus.BOMBS[name]())])
    assert end.kind in ("restored", "refused"), end.text


@pytest.mark.hostile
@pytest.mark.timeout(1800)
def test_the_files_of_an_image_library_are_restored_or_refused(tmp_path: Path) -> None:
    options = ["-q", "--no-deps", "--no-binary", "pillow", "-d", str(tmp_path)]
    command = [sys.executable, "-m", "pip", "download", *options, PILLOW]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{PILLOW} cannot be downloaded here: {done.stderr.strip()[-200:]}")
    counts = check(read_test_files(next(tmp_path.glob("*.tar.gz"))))
    assert sum(counts.values()) > 1000
    assert counts["restored"] > 500


def read_test_files(distribution: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the pictures that a source distribution is tested with."""
    with tarfile.open(distribution) as archive:
        for member in archive:
            if "/Tests/images/" in member.name and not member.name.endswith(NO_PICTURES):
                content = archive.extractfile(member) if member.isfile() else None
                if content:
                    yield member.name.replace("/", " "), content.read()
