"""Photographs for training and evaluation, from tar shards or folders, decoded once.

Decoded photographs are stored end to end in one file that every process maps into memory, so that trainings share it
and start at once.
"""

import hashlib
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[np.uint8]

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
LEAST_CHROMA = 2.0
"""Mean difference of a photo's channels, in code values, below which it has no color to learn from."""


@dataclass(frozen=True)
class Photos:
    """Decoded photographs.

    Attributes:
        pixels: All photos' sRGB pixels end to end, uint8, one dimension.
        entries: One per photo: `name`, `height`, `width`, `start` and the facts of its manifest.
        skipped: How many files were left out, by reason.
    """

    pixels: NDArray[np.uint8]
    entries: list[dict[str, Any]]
    skipped: dict[str, int]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Pixels:
        """Return one photo, uint8 (h, w, 3), sRGB; read-only."""
        entry = self.entries[index]
        height, width, start = entry["height"], entry["width"], entry["start"]
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)

    @property
    def identity(self) -> str:
        """A text that identifies these photographs: their number and a hash of their names and sizes."""
        facts = [(entry["name"], entry["height"], entry["width"]) for entry in self.entries]
        return f"{len(self)} photographs, {hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"

    def __iter__(self) -> Iterator[Pixels]:
        return (self[index] for index in range(len(self)))


def open_photos(folder: Path, cache: Path, *, pattern: str = "*", short_side: int = 256) -> Photos:
    """Open a folder's photographs; decode them unless the cache has them.

    Args:
        folder: Holds tar shards of photographs, or photographs at any depth; `manifest*.jsonl` files describe them.
        cache: A folder for the decoded pixels; made if missing.
        pattern: Names of the shards or photographs to open.
        short_side: Larger photographs are reduced to it.

    Raises:
        FileNotFoundError: no usable photograph there.
    """
    files = sorted(folder.glob(pattern.removesuffix(".tar") + ".tar")) or sorted(
        path for path in folder.rglob(pattern) if path.suffix.lower() in SUFFIXES
    )
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    name = hashlib.sha256(json.dumps([facts, short_side]).encode()).hexdigest()[:16]
    index = cache / f"{name}.json"
    if not index.exists():
        cache.mkdir(parents=True, exist_ok=True)
        decode_photos(files, read_manifests(folder), cache / name, short_side)
    found = json.loads(index.read_text())
    if not found["entries"]:
        raise FileNotFoundError(f"no usable photograph in {folder} (skipped: {found['skipped'] or 'nothing'})")
    return Photos(np.memmap(cache / f"{name}.rgb", np.uint8, "r"), found["entries"], found["skipped"])


def join_photos(*parts: Photos) -> Photos:
    """Return the photographs of several sets as one set, in memory."""
    entries, start = [], 0
    for entry in (entry for part in parts for entry in part.entries):
        entries.append(entry | {"start": start})
        start += entry["height"] * entry["width"] * 3
    pixels = [photo.ravel() for part in parts for photo in part]
    skipped = sum((Counter(part.skipped) for part in parts), Counter())
    return Photos(np.concatenate(pixels), entries, dict(skipped))


def decode_photos(files: list[Path], manifest: dict[str, dict[str, Any]], target: Path, short_side: int) -> None:
    """Write `<target>.rgb` and, when that is complete, `<target>.json`."""
    entries: list[dict[str, Any]] = []
    skipped: dict[str, int] = {}
    start = 0
    partial = target.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        for name, data in read_files(files):
            try:
                pixels = read_photo(data, short_side)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                skipped["broken"] = skipped.get("broken", 0) + 1
                continue
            if float(np.ptp(pixels.astype(np.int16), axis=2).mean()) < LEAST_CHROMA:
                skipped["gray"] = skipped.get("gray", 0) + 1
                continue
            height, width = pixels.shape[:2]
            entries.append(manifest.get(name, {}) | {"name": name, "height": height, "width": width, "start": start})
            file.write(pixels.tobytes())
            start += pixels.size
    partial.replace(target.with_suffix(".rgb"))
    partial.write_text(json.dumps({"entries": entries, "skipped": skipped}))
    partial.replace(target.with_suffix(".json"))


def read_files(files: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of every photograph in shards and folders; no bytes for a broken shard."""
    for path in files:
        if path.suffix != ".tar":
            yield path.name, path.read_bytes()
            continue
        try:
            with tarfile.open(path) as shard:
                for member in shard:
                    file = shard.extractfile(member) if Path(member.name).suffix.lower() in SUFFIXES else None
                    if file is not None:
                        yield Path(member.name).name, file.read()
        except tarfile.TarError:
            yield path.name, b""


def read_photo(source: bytes | Path, short_side: int) -> Pixels:
    """Decode a photograph upright as uint8 (h, w, 3) sRGB, reduced to a short side if it is larger.

    Raises:
        OSError: not a photograph that Pillow can read.
    """
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
        photo = ImageOps.exif_transpose(opened).convert("RGB")
    scale = short_side / min(photo.size)
    if scale < 1:
        size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
        photo = photo.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(photo)


def read_manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the facts in the folder's manifests, by file name."""
    lines = [line for path in sorted(folder.glob("manifest*.jsonl")) for line in path.read_text().splitlines()]
    entries = [json.loads(line) for line in lines if line.strip()]
    return {Path(entry["file"]).name: entry for entry in entries if "file" in entry}
