"""Memory is told by the header: what does not fit is refused with the number, what fits does not run out of it."""

from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image
from tests.photo_files import encode_photo

from retint.errors import InvalidPhoto
from retint.recipes import parse
from retint.settings import Settings
from retint_models.evaluation.colorize import table_heading
from retint_workers.beats import beat_for_nobody
from retint_workers.imaging.decoding import bounds, conversion
from retint_workers.imaging.ingest import ingest
from retint_workers.sandbox.children import run_in_child, run_in_own_child

RECIPE = parse({})
SIZE = (6000, 5000)


def write_large(folder: Path) -> dict[str, Path]:
    """30 megapixels in each form that a decoder holds as a whole."""
    noise = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    picture = Image.fromarray(noise).resize(SIZE)
    image = pyvips.Image.new_from_array(np.asarray(picture))
    picture.save(folder / "progressive.jpg", quality=80, subsampling=0, progressive=True)
    image.pngsave(str(folder / "interlaced.png"), interlace=True, compression=1)
    image.webpsave(str(folder / "lossy.webp"), effort=0)
    tifffile.imwrite(
        folder / "one strip.tif", np.asarray(picture), photometric="rgb", rowsperstrip=SIZE[1], compression="zlib"
    )
    return {path.name: path for path in folder.iterdir()}


def is_taken(path: Path, limit_mib: int) -> bool:
    """Whether a file is read under a limit; else it must be refused with what it needs."""
    message = ""
    try:
        ingest(path, RECIPE, Settings(child_memory_mib=limit_mib))
    except InvalidPhoto as refusal:
        message = refusal.message
    assert not message or "30 megapixels needs" in message
    return not message


def test_large_files_are_read_or_refused_and_never_run_out_of_memory(tmp_path: Path) -> None:
    outcomes: dict[str, list[bool]] = {}
    for name, path in write_large(tmp_path).items():
        for limit in (300, 600, 800, 1536):
            outcomes.setdefault(name, []).append(is_taken(path, limit))
    for name, taken in outcomes.items():
        assert taken[0] is False, name
        assert taken[-1] is True, name
        assert taken == sorted(taken), name


def test_a_file_may_need_as_much_whatever_else_is_loaded() -> None:
    """Children are forked from a process that has loaded what earlier work needed: it is not taken from a photo."""
    settings = Settings(child_memory_mib=400)
    before = run_in_child(bounds.free_bytes, settings, beat_for_nobody)
    run_in_own_child(table_heading, 60, beat_for_nobody)  # its module needs PyTorch: 200 MiB
    after = run_in_child(bounds.free_bytes, Settings(child_memory_mib=401), beat_for_nobody)
    assert before is not None
    assert after is not None
    assert after == pytest.approx(before, abs=8 << 20)
    assert before == pytest.approx((400 << 20) - bounds.RESERVE_BYTES, abs=8 << 20)


def test_what_cannot_be_held_twice_is_written_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode_photo("JPEG", progressive=True))
    assert conversion.open_photo(path, 1000, tmp_path).encoding["interlace"] is True
    monkeypatch.setattr(bounds, "granted_bytes", lambda: 2 * bounds.RESERVE_BYTES)
    header = conversion.open_photo(path, 1000, tmp_path)
    assert header.encoding["interlace"] is False
    assert conversion.ORDER_NOTE in header.notes
