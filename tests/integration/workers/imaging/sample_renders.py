"""A photo rendered with sample layers, for the tests of this room."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import tifffile
from PIL import Image
from tests import photographs, sample_layers

from retint.recipes import Recipe, parse
from retint.settings import Settings
from retint_models.layers.color import LUMA
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.imaging.ingest import ingest
from retint_workers.imaging.render import Rendered, RenderRequest, render

RECIPE, SETTINGS = parse({}), Settings()
WITH_WATERMARK = parse({"watermark": True})
PHOTO = photographs.color_photo(1, 240)[:180]
COLOR = sample_layers.color_layer(np.asarray(Image.fromarray(PHOTO).resize((120, 90))))
DENSITY = sample_layers.density_layer()
LOSSY_SUFFIXES = {".jpg", ".webp"}


def render_file(
    path: Path,
    color: ColorLayer | None = COLOR,
    density: DensityLayer | None = None,
    recipe: Recipe = RECIPE,
    **facts: Any,
) -> Rendered:
    """Ingest a file and render it into a folder of its own."""
    folder = path.parent / f"{path.name} results {len(list(path.parent.iterdir()))}"
    folder.mkdir()
    request = RenderRequest(path, folder, ingest(path, recipe, SETTINGS).facts | facts, recipe, color, density)
    return render(request, SETTINGS)


def make_request(folder: Path, path: Path, **other: Any) -> RenderRequest:
    """Return a request to render a file with the color layer; others of its values may be given."""
    facts = ingest(path, RECIPE, SETTINGS).facts
    values = {"original": path, "folder": folder, "facts": facts, "recipe": RECIPE, "color": COLOR, "density": None}
    return RenderRequest(**{**values, **other})


def write_gray_photo(folder: Path) -> Path:
    path = folder / "photo.png"
    Image.fromarray(photographs.to_gray(PHOTO)).save(path)
    return path


def scale_chroma(share: float) -> ColorLayer:
    """Return the color layer with a share of its chroma."""
    return ColorLayer(COLOR.chroma * np.float16(share), COLOR.luma, COLOR.confidence, COLOR.record)


def open_picture(path: Path) -> Image.Image:
    """Open a picture without leaving the file open."""
    return Image.open(io.BytesIO(path.read_bytes()))


def decode(path: Path) -> Any:
    """Decode the pixels of a file with another library than render does, where there is one."""
    if path.suffix == ".tif":
        try:
            with tifffile.TiffFile(path) as tiff:
                return tiff.pages[0].asarray()
        except ValueError:  # a compression that tifffile cannot decode by itself
            pass
    if path.suffix in (".png", ".tif"):  # Pillow has no 16-bit RGB
        return pyvips.Image.new_from_file(str(path)).numpy()
    return np.asarray(open_picture(path))


def luma(pixels: Any) -> Any:
    """Return the luma (Rec. 709) of gray or RGB pixels, in their unit."""
    return pixels @ np.array(LUMA) if pixels.ndim == 3 else pixels.astype(float)
