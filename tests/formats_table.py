"""Writes docs/formats.md from real runs: `python -m tests.formats_table > docs/formats.md`."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tests import odd_photos, photo_files, photographs, sample_layers

from retint.recipes import Recipe, parse
from retint_workers.imaging.decoding import encoding, formats
from retint_workers.imaging.ingest import examine
from retint_workers.imaging.render import RenderRequest, render_and_verify

HEAD = """# Formats: what goes in, what comes out

Each row is a run: a sample file of the kind named was ingested, defaded, written and read back. Written by
`python -m tests.formats_table`; a test compares. Metadata is carried by the one policy (`imaging/metadata/policy.py`);
channels beside the color (transparency, infrared) are carried unchanged in TIFF, PNG and WebP.

| original | result | bits a sample | coded | color space | note |
|---|---|---|---|---|---|
"""
REFUSED = """
Refused by name: cameras' raw data, Photoshop documents, PDF, SVG, JPEG XL, JPEG XR, OpenEXR, Radiance, DPX; animations;
values of floating point beyond 0 to 1, LogLuv, PQ and HLG.
"""


def describe_coding(options: dict[str, Any]) -> str:
    """Say how a result is coded, as far as it concerns its pixels."""
    words = [str(options[name]) for name in ("compression",) if isinstance(options.get(name), str)]
    words += [f"quality {options['Q']}"] if "Q" in options else []
    words += ["lossless"] if options.get("lossless") else []
    words += ["tiles"] if options.get("tile") else []
    words += ["pyramid"] if options.get("pyramid") else []
    words += ["progressive or interlaced"] if options.get("interlace") else []
    return ", ".join(words) or "deflate"


def make_row(path: Path, folder: Path) -> str:
    """Restore one file; return its row."""
    recipe = parse({})
    facts = examine(path, Recipe(proxy_side=256), 1000).facts
    request = RenderRequest(path, folder, facts, recipe, None, sample_layers.density_layer())
    rendered = render_and_verify(request, 1000)
    result = rendered.files["result"]
    header = formats.read_header(result, 1000)
    with result.open("rb") as file:
        options = encoding.read_encoding(file, header.format)
    space = header.space.name or "as sRGB"
    color = "gray" if header.bands == 1 else "RGB"
    notes = " ".join(rendered.facts["notes"])
    cells = [path.name, f"{header.format.upper()}, {color}", str(header.bits), describe_coding(options), space, notes]
    return "| " + " | ".join(cells) + " |"


def make_table() -> str:
    """Return the document."""
    rows = []
    photo = photographs.color_photo(1, 160)[:120]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (kind, (bits, write)) in enumerate(photo_files.FORMATS.items()):
            write(folder / kind, photo if bits == 8 else photo.astype(np.uint16) * 257)
            (folder / f"{number}").mkdir()
            rows.append(make_row(folder / kind, folder / f"{number}"))
        for kind, (*_, make) in odd_photos.CONVERTED.items():
            (folder / kind).write_bytes(make())
            (folder / f"{kind} results").mkdir()
            rows.append(make_row(folder / kind, folder / f"{kind} results"))
    return HEAD + "\n".join(rows) + "\n" + REFUSED


if __name__ == "__main__":
    print(make_table(), end="")
