"""The same pictures in twelve color spaces look alike through them, before and after: with color, with tone, with both.

Files are made, and looked at, by lcms and by plain powers: never by the arithmetic that renders them.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image
from tests import icc_profiles, photo_files, photographs, sample_layers
from tests.integration.workers.imaging.sample_renders import render_file

from retint_models.layers.color import linear_to_srgb, srgb_to_linear
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.imaging.color import icc, profiles, spaces

DEV = Path("../shared/data/dev")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Space:
    """How a picture is put into a file and looked at: by an ICC profile, or by the gamma of a PNG."""

    profile: bytes | None = None
    gamma: float | None = None

    def write(self, path: Path, lab: Floats) -> None:
        """Write a picture in CIE Lab with 16 bits; a gray one has one band where no RGB profile speaks of three."""
        is_gray = self.profile is None and float(np.abs(lab[..., 1:]).max()) < 0.5
        if self.gamma is not None:
            linear = np.clip(profiles.lab_to_linear(lab), 0, 1)
            codes = (linear**self.gamma * 65535 + 0.5).astype(np.uint16)
        elif self.profile is None:
            codes = (np.clip(linear_to_srgb(profiles.lab_to_linear(lab)), 0, 1) * 65535 + 0.5).astype(np.uint16)
        else:
            codes = profiles.from_lab(lab, self.profile)
        codes = codes[..., 1] if is_gray and codes.ndim == 3 else codes
        image = pyvips.Image.new_from_array(codes)
        image = image.copy(interpretation=profiles.choose_interpretation(image))
        if self.profile is not None:
            image.set_type(pyvips.GValue.blob_type, profiles.ICC_FIELD, self.profile)
        image.write_to_file(str(path))
        if self.gamma is not None:
            data, chunk = path.read_bytes(), photo_files.png_with_gamma(self.gamma)
            path.write_bytes(data[:33] + chunk[33:49] + data[33:])

    def look(self, path: Path) -> Floats:
        """Return what a file looks like in CIE Lab, by what it says itself."""
        image = pyvips.Image.new_from_file(str(path))
        codes = image.numpy()
        if image.get_typeof(profiles.ICC_FIELD):
            return profiles.to_lab(codes, image.get(profiles.ICC_FIELD))
        values = np.atleast_3d(codes / 65535) * np.ones(3)
        data = path.read_bytes()
        if (at := data.find(b"gAMA")) >= 0:
            return profiles.linear_to_lab(values ** (100_000 / struct.unpack(">I", data[at + 4 : at + 8])[0]))
        return profiles.linear_to_lab(srgb_to_linear(values))


def tables() -> bytes:
    encoding = spaces.adobe_rgb().encoding
    assert encoding is not None
    return icc_profiles.make_tables("Scanner", encoding, {b"A2B0": b"mft2", b"B2A0": b"mft2"}, kind=b"scnr", grid=33)


DOT_GAIN = icc_profiles.pack_curve(np.linspace(0, 1, 256) ** 1.75 * 0.97 + np.linspace(0, 1, 256) * 0.03)
SPACES: Mapping[str, Callable[[], Space]] = {
    "sRGB, version 2": lambda: Space(photo_files.SRGB_PROFILE),
    "sRGB, version 4": lambda: Space(icc_profiles.make_matrix("s", icc_profiles.SRGB_CURVE, version=4)),
    "linear, called sRGB": lambda: Space(icc_profiles.make_matrix("sRGB linear", icc.pack_gamma(1))),
    "Adobe RGB": lambda: Space(
        icc_profiles.make_matrix("A", icc.pack_gamma(spaces.ADOBE_GAMMA), spaces.ADOBE_PRIMARIES)
    ),
    "ProPhoto": lambda: Space(
        icc_profiles.make_matrix("P", icc.pack_gamma(1.8), spaces.ROMM_PRIMARIES, spaces.ROMM_WHITE)
    ),
    "Rec. 2020": lambda: Space(icc_profiles.make_matrix("R", icc.pack_gamma(2.4), icc_profiles.REC2020)),
    "gamma 1.8": lambda: Space(icc_profiles.make_matrix("M", icc.pack_gamma(1.8))),
    "tables": lambda: Space(tables()),
    "PNG, linear": lambda: Space(gamma=1.0),
    "PNG, gamma 1.8": lambda: Space(gamma=1 / 1.8),
    "gray, lightness": lambda: Space(icc_profiles.make_gray("L", icc.pack_gamma(1.1), b"Lab ")),
    "gray, dot gain": lambda: Space(icc_profiles.make_gray("D", DOT_GAIN)),
}


@cache
def pictures() -> list[NDArray[np.uint8]]:
    files = sorted(DEV.glob("*.jpg"))[::150]
    if not files:
        pytest.skip("needs ../shared/data, the project's photographs")
    return [np.asarray(Image.open(file).convert("RGB").resize((360, 240))) for file in files]


def layers_of(photo: NDArray[np.uint8]) -> Mapping[str, tuple[ColorLayer | None, DensityLayer | None]]:
    """Layers as strong as networks decide them."""
    true = sample_layers.color_layer(photo[::2, ::2])
    color = replace(true, chroma=(true.chroma * np.float16(0.6)))
    density = sample_layers.density_layer(change=0.12)
    return {"color": (color, None), "tone": (None, density), "both": (color, density)}


def differ(one: Floats, two: Floats) -> float:
    """Return the mean ΔE2000 of two pictures in CIE Lab."""
    images = [pyvips.Image.new_from_array(each.astype(np.float32)).copy(interpretation="lab") for each in (one, two)]
    return float(images[0].dE00(images[1]).avg())


def compare(folder: Path, space: Space, layers: str, photo: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the mean ΔE2000 between a picture in sRGB and the same one in a space, before and after."""
    is_gray = layers != "tone" or (space.profile is not None and space.profile[16:20] == b"GRAY")
    shown = photographs.to_gray(photo)[..., None] * np.ones(3) if is_gray else photo * 0.8 + 25.0
    lab = profiles.linear_to_lab(srgb_to_linear(shown / 255))
    color, density = layers_of(photo)[layers]
    looks = []
    for each, name in ((Space(), "plain.tif"), (space, "other.png" if space.gamma else "other.tif")):
        each.write(folder / name, lab)
        result = render_file(folder / name, color, density).files["result"]
        looks.append((each.look(folder / name), each.look(result)))
    return differ(looks[0][0], looks[1][0]), differ(looks[0][1], looks[1][1])


@pytest.mark.parametrize("layers", ["color", "tone", "both"])
@pytest.mark.parametrize("name", SPACES)
def test_a_picture_looks_alike_in_every_space(name: str, layers: str, tmp_path: Path) -> None:
    for number, photo in enumerate(pictures()):
        folder = tmp_path / str(number)
        folder.mkdir()
        before, after = compare(folder, SPACES[name](), layers, photo)
        assert before < 0.5
        assert after < (0.6 if layers == "tone" else 2.0)
