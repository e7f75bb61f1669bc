"""A result that looks different through its color space than it should is not verified."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from tests import icc_profiles, photo_files, photographs, sample_layers
from tests.integration.workers.imaging.sample_renders import PHOTO, RECIPE, SETTINGS, make_request

from retint_models.layers.encodings import CurvesAndMatrix
from retint_models.layers.rendering import Rendering
from retint_workers.imaging import metadata, render, strip_renderer
from retint_workers.imaging.color import icc, profiles, spaces
from retint_workers.imaging.color.spaces import ColorSpace
from retint_workers.imaging.ingest import examine
from retint_workers.imaging.verify import NotVerified

ROMM = icc_profiles.make_matrix("P", icc.pack_gamma(1.8), spaces.ROMM_PRIMARIES, spaces.ROMM_WHITE)
COLOR = sample_layers.color_layer(PHOTO[::2, ::2])
DENSITY = sample_layers.density_layer()


def write_original(folder: Path, layers: str) -> Path:
    """A photograph in a wide space: in color for tone alone, else gray."""
    pixels = PHOTO if layers == "tone" else np.repeat(photographs.to_gray(PHOTO)[..., None], 3, axis=2)
    photo_files.convert_to_profile(Image.fromarray(pixels), ROMM).save(folder / "wide.tif", icc_profile=ROMM)
    return folder / "wide.tif"


def render_here(path: Path, layers: str) -> render.Rendered:
    """Render in this process, where the test has put a fault."""
    folder = path.parent / "result"
    folder.mkdir()
    facts = examine(path, RECIPE, SETTINGS.pixel_limit_mp).facts
    request = replace(
        make_request(folder, path), facts=facts, color=COLOR if layers != "tone" else None,
        density=DENSITY if layers != "color" else None,
    )  # fmt: skip
    return render.render_and_verify(request, 1000)


def use_encoding(monkeypatch: pytest.MonkeyPatch, encoding: CurvesAndMatrix | None) -> None:
    """Let the renderer take a photo as coded in another way than its file says."""

    def make(*layers: Any, orientation: int, encoding: object, **_: Any) -> Rendering:
        return Rendering(*layers, orientation=orientation, encoding=wrong)

    wrong = encoding
    monkeypatch.setattr(strip_renderer, "Rendering", make)


class Swapping(Rendering):
    """A renderer that mistakes red for blue."""

    def apply(self, strip: Any, top: int, full_size: tuple[int, int]) -> Any:
        return np.ascontiguousarray(super().apply(strip, top, full_size)[..., ::-1])


def fault(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Break one step on the way to a result."""
    right = spaces.romm_rgb().encoding
    assert isinstance(right, CurvesAndMatrix)
    if how == "another matrix":
        use_encoding(monkeypatch, CurvesAndMatrix(right.curves, np.eye(3)))
    elif how == "another curve":
        use_encoding(monkeypatch, CurvesAndMatrix(icc.CODES[None] ** 2.6, right.matrix))
    elif how == "taken as sRGB":
        use_encoding(monkeypatch, None)
    elif how == "swapped channels":
        monkeypatch.setattr(strip_renderer, "Rendering", Swapping)
    elif how == "another profile":
        other = icc_profiles.make_matrix("O", icc.pack_gamma(1.8))
        monkeypatch.setattr(ColorSpace, "choose_for_result", lambda self, *_: (replace(self, profile=other), None))
    elif how == "no profile":
        monkeypatch.setattr(ColorSpace, "choose_for_result", lambda self, *_: (replace(self, profile=None), None))


@pytest.mark.parametrize("layers", ["color", "tone", "both"])
@pytest.mark.parametrize(
    "how", ["another matrix", "another curve", "taken as sRGB", "swapped channels", "another profile", "no profile"]
)
def test_a_wrong_conversion_cannot_verify_itself(
    how: str, layers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_original(tmp_path, layers)
    fault(monkeypatch, how)
    with pytest.raises(NotVerified) as found:
        render_here(path, layers)
    assert found.value.code in ("looks_different", "luma_changed")


@pytest.mark.parametrize("layers", ["color", "tone", "both"])
def test_without_a_fault_it_is_verified(layers: str, tmp_path: Path) -> None:
    assert render_here(write_original(tmp_path, layers), layers).facts["sha256"]


def test_a_png_that_loses_its_gamma_is_not_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "linear.png"
    path.write_bytes(photo_files.png_with_gamma(1.0, photographs.to_gray(PHOTO)))
    carry = metadata.carry

    def forget(original: Path, result: Path, *rest: Any, **more: Any) -> list[str]:
        notes = carry(original, result, *rest, **more)
        data = result.read_bytes()
        at = data.index(b"gAMA") - 4
        result.write_bytes(data[:at] + data[at + 16 :])
        return notes

    monkeypatch.setattr(metadata, "carry", forget)
    with pytest.raises(NotVerified) as found:
        render_here(path, "both")
    assert found.value.code == "looks_different"


def test_a_wrong_conversion_from_a_one_way_profile_is_not_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = spaces.romm_rgb().encoding
    assert encoding is not None
    scanner = icc_profiles.make_tables("Scanner", encoding, {b"A2B0": b"mft2"}, kind=b"scnr")
    profiles.attach_profile(pyvips.Image.new_from_array(PHOTO), scanner).tiffsave(str(tmp_path / "scan.tif"))
    monkeypatch.setattr(spaces, "convert", lambda pixels, *_: pixels)
    with pytest.raises(NotVerified) as found:
        render_here(tmp_path / "scan.tif", "tone")
    assert found.value.code == "looks_different"


@pytest.mark.parametrize("seed", range(4))
def test_a_photo_with_a_damaged_profile_is_restored_whatever_the_damage(seed: int, tmp_path: Path) -> None:
    encoding = spaces.adobe_rgb().encoding
    assert encoding is not None
    curve = icc_profiles.pack_curve(np.linspace(0, 1, 64) ** 2)
    good = [
        icc_profiles.make_gray("gray", curve), icc_profiles.make_matrix("curve", curve, spaces.ADOBE_PRIMARIES),
        icc_profiles.make_matrix("formula", icc_profiles.SRGB_CURVE, version=4),
        icc_profiles.make_tables("tables", encoding, {b"A2B0": b"mft2", b"B2A0": b"mft2"}, grid=9),
    ]  # fmt: skip
    rng = np.random.default_rng(seed)
    gray = photographs.to_16_bits(photographs.to_gray(PHOTO))
    for number in range(20):
        profile = bytearray(good[number % len(good)])
        start = 128 if number % 3 else 0  # curves and tables more often than heads
        for at in rng.integers(start, len(profile) if number % 2 else min(len(profile), 600), rng.integers(1, 5)):
            profile[at] = rng.integers(0, 256)
        pixels = gray if number % len(good) == 0 else np.repeat(gray[..., None], 3, axis=2)
        image = pyvips.Image.new_from_array(pixels)
        image = image.copy(interpretation=profiles.choose_interpretation(image))
        image.set_type(pyvips.GValue.blob_type, profiles.ICC_FIELD, bytes(profile))
        folder = tmp_path / str(number)
        folder.mkdir()
        image.tiffsave(str(folder / "photo.tif"))
        assert render_here(folder / "photo.tif", "both").facts["sha256"]


def test_a_curve_that_falls_somewhere_has_no_way_back() -> None:
    curve = np.linspace(0, 1, 64)
    curve[40] = curve[39] - 0.004
    falling = icc_profiles.make_matrix("falls", icc_profiles.pack_curve(curve))
    assert not spaces.from_profile(falling, 3).has_way_back
    curve[40] = curve[39]
    assert spaces.from_profile(icc_profiles.make_matrix("rests", icc_profiles.pack_curve(curve)), 3).has_way_back
