"""What a file declares of its colors is read: by profiles of every kind, by a PNG's chunks, by EXIF alone."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from tests import icc_profiles, photo_files, photographs, sample_layers
from tests.integration.workers.imaging.sample_renders import COLOR, DENSITY, RECIPE, SETTINGS, open_picture, render_file

from retint.errors import InvalidPhoto
from retint_models.layers.color import srgb_to_linear
from retint_models.layers.encodings import CurvesAndMatrix, to_unit_range
from retint_workers.imaging.color import icc, profiles, spaces
from retint_workers.imaging.color.profiles import UnusableProfile
from retint_workers.imaging.decoding import formats
from retint_workers.imaging.ingest import ingest

PHOTO = photographs.color_photo(1, 240)[:180]
WAYS = {
    "perceptual": {b"A2B0": b"mft2", b"B2A0": b"mft2"},
    "colorimetric": {b"A2B1": b"mft2", b"B2A1": b"mft2"},
    "saturation": {b"A2B2": b"mft2", b"B2A2": b"mft2"},
    "all": {f"{way}{n}".encode(): b"mft2" for way in ("A2B", "B2A") for n in range(3)},
    "8 bits": {b"A2B0": b"mft1", b"B2A0": b"mft1"},
    "version 4": {b"A2B1": b"mAB ", b"B2A1": b"mBA "},
    "one way": {b"A2B0": b"mft2"},
    "one way, version 4": {b"A2B1": b"mAB "},
    "one way, saturation": {b"A2B2": b"mft2"},
}


def adobe_tables(way: str) -> bytes:
    """A profile of tables that means Adobe RGB."""
    encoding = spaces.adobe_rgb().encoding
    assert encoding is not None
    return icc_profiles.make_tables("Adobe in tables", encoding, WAYS[way], kind=b"scnr" if "one" in way else b"prtr")


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def chromaticities(primaries: Any, white: Any = icc.D65) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(n * 100_000) for xy in (white, *primaries) for n in xy))


def profile_chunk(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"any\0\0" + zlib.compress(profile)


def exif(color_space: int, index: str | None = None) -> bytes:
    """EXIF that says so of the colors."""
    data = Image.Exif()
    data.get_ifd(0x8769)[0xA001] = color_space
    if index:
        data.get_ifd(0x8769)[0xA005] = {1: index}
    return data.tobytes()


def read_space(folder: Path, name: str, data: bytes) -> tuple[spaces.ColorSpace, list[str]]:
    (folder / name).write_bytes(data)
    header = formats.read_header(folder / name, 1000)
    return header.space, header.notes


def light_of(space: spaces.ColorSpace, code: float) -> Any:
    """Linear sRGB of a gray code value."""
    codes = np.full((1, 1, 3), code, np.float32)
    return (srgb_to_linear(codes) if space.encoding is None else space.encoding.decode(codes))[0, 0]


# --- profiles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "is_srgb"),
    [
        (photo_files.SRGB_PROFILE, True),
        (bytes(pyvips.Image.profile_load("srgb")), True),
        (icc_profiles.make_matrix("Any name", icc_profiles.SRGB_CURVE, version=4), True),
        (icc_profiles.make_matrix("sRGB linear", icc.pack_gamma(1)), False),
        (icc_profiles.make_matrix("sRGB, simplified", icc.pack_gamma(2.2)), False),
        (icc_profiles.make_matrix("sRGB of another display", icc_profiles.SRGB_CURVE, icc_profiles.REC2020), False),
    ],
)
def test_srgb_is_told_by_what_a_profile_says_not_by_its_name(profile: bytes, is_srgb: bool) -> None:
    assert (spaces.from_profile(profile, 3).encoding is None) == is_srgb


@pytest.mark.parametrize("pcs", [b"XYZ ", b"Lab "])
def test_a_gray_profile_means_light_or_lightness_by_its_connection_space(pcs: bytes) -> None:
    space = spaces.from_profile(icc_profiles.make_gray("Gray", icc.pack_gamma(2.0), pcs), 1)
    wanted = 0.25 if pcs == b"XYZ " else icc.lightness_to_light(np.array(25.0))
    assert light_of(space, 0.5) == pytest.approx(float(wanted), abs=2e-4)
    colored, note = space.choose_for_result(3, 8)
    assert note is None
    ramp = np.arange(256, dtype=np.uint8)[None]
    assert colored.profile is not None
    assert space.profile is not None
    shown = [profiles.to_lab(ramp, each) for each in (space.profile, colored.profile)]
    assert np.abs(shown[0] - shown[1]).max() < 0.3
    reread = spaces.from_profile(colored.profile, 3)
    assert light_of(reread, 0.5) == pytest.approx(light_of(space, 0.5), abs=2e-4)


def test_an_rgb_profile_on_a_gray_scan_gives_its_tone_and_stays(tmp_path: Path) -> None:
    profile = photo_files.make_icc_profile("Wide", 1.8, photo_files.PROPHOTO_PRIMARIES)
    path = tmp_path / "gray.tif"
    Image.fromarray(photographs.to_gray(PHOTO)).save(path, icc_profile=profile)
    header = formats.read_header(path, 1000)
    assert header.profile == profile
    assert header.notes == []
    assert light_of(header.space, 0.5) == pytest.approx(0.5 ** (461 / 256), abs=1e-4)
    for color, mode in ((COLOR, "RGB"), (None, "L")):
        result = open_picture(render_file(path, color, DENSITY).files["result"])
        assert (result.mode, result.info["icc_profile"]) == (mode, profile)


@pytest.mark.parametrize("way", WAYS)
def test_tables_are_followed_by_lcms(way: str) -> None:
    space = spaces.from_profile(adobe_tables(way), 3)
    assert space.has_way_back == ("one way" not in way)
    codes = np.array([[[50000, 20000, 10000], [30000, 30000, 30000], [5000, 60000, 5000]]], np.uint16)
    wanted = spaces.adobe_rgb().encoding
    assert space.encoding is not None
    assert wanted is not None
    assert np.abs(space.encoding.decode(to_unit_range(codes)) - wanted.decode(to_unit_range(codes))).max() < 0.02
    if space.has_way_back:
        back = space.encoding.encode(space.encoding.decode(to_unit_range(codes)))
        assert np.abs(back - to_unit_range(codes)).max() < 0.03


@pytest.mark.parametrize("way", [way for way in WAYS if "one way" in way])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("layers", ["color", "tone"])
def test_a_photo_with_a_one_way_profile_is_converted_and_says_so(
    layers: str, bits: int, way: str, tmp_path: Path
) -> None:
    gray = np.repeat(photographs.to_gray(PHOTO)[..., None], 3, axis=2)
    pixels = photographs.to_16_bits(gray) if bits == 16 else gray
    path = tmp_path / "scan.tif"
    image = profiles.attach_profile(pyvips.Image.new_from_array(pixels), adobe_tables(way))
    image.tiffsave(str(path))
    closed = sample_layers.density_layer(gate=0)
    rendered = render_file(path, COLOR, None) if layers == "color" else render_file(path, None, closed)
    assert any("no way back" in note for note in rendered.facts["notes"])
    result = pyvips.Image.new_from_file(str(rendered.files["result"]))
    assert result.format == ("uchar" if bits == 8 else "ushort")
    before = profiles.to_lab(pixels, adobe_tables(way))
    after = profiles.to_lab(result.numpy(), result.get("icc-profile-data"))
    if layers == "tone":
        assert np.abs(after - before).max() < (1 if bits == 8 else 0.5)
    else:
        assert np.percentile(np.abs(after - before)[..., 0], 50) < 2
        assert np.abs(after[..., 1:]).mean() > 3


@pytest.mark.parametrize(
    ("kind", "space"),
    [(b"link", b"RGB "), (b"abst", b"RGB "), (b"nmcl", b"RGB "), (b"prtr", b"CMYK"), (b"mntr", b"GRAY")],
)
def test_a_profile_of_another_kind_is_passed_over_with_a_note(kind: bytes, space: bytes, tmp_path: Path) -> None:
    tags = {b"desc": b"other", b"kTRC": icc.pack_gamma(2.2)}
    profile = icc_profiles.pack(tags, kind=kind, space=space, pcs=b"Lab ")
    found, notes = read_space(tmp_path, "other.jpg", photo_files.encode_photo("JPEG", icc_profile=profile))
    assert found.profile is None
    assert len(notes) == 1
    assert "profile" in notes[0]


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_profile_is_used_or_passed_over_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    good = [
        photo_files.SRGB_PROFILE, icc_profiles.make_gray("Gray", icc_profiles.pack_curve(np.linspace(0, 1, 64) ** 2)),
        adobe_tables("all"), adobe_tables("version 4"), adobe_tables("one way"), adobe_tables("8 bits"),
    ]  # fmt: skip
    outcomes = []
    for number in range(60):
        data = bytearray(good[number % len(good)])
        span = min(len(data), 600) if number % 2 else len(data)  # heads and tables of tags above all
        for at in rng.integers(0, span, rng.integers(1, 12)):
            data[at] = rng.integers(0, 256)
        profile = bytes(data[: int(rng.integers(1, len(data)))] if number % 5 == 0 else data)
        for bands in (1, 3):
            try:
                space = spaces.from_profile(profile, bands)
            except UnusableProfile:
                outcomes.append(False)
                continue
            outcomes.append(True)
            ramp = to_unit_range(np.arange(0, 65536, 257, dtype=np.uint16)[None, :, None])
            light = ramp if space.encoding is None else space.encoding.decode(ramp)
            assert np.isfinite(light).all()
            space.choose_for_result(3, 8)
    assert any(outcomes)
    assert not all(outcomes)


# --- PNG --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "code", "light"),
    [
        ([gamma(1.0)], 0.5, 0.5),
        ([gamma(0.55556)], 0.5, 0.5**1.8),
        ([gamma(0.45455)], 0.5, 0.5**2.2),
        ([gamma(1.0), (b"sRGB", b"\0")], 0.5, 0.21404),
        ([gamma(0.0)], 0.5, 0.21404),
        ([gamma(1.0), profile_chunk(icc_profiles.make_matrix("two", icc.pack_gamma(2)))], 0.5, 0.25),
        ([(b"sRGB", b"\0"), profile_chunk(icc_profiles.make_matrix("two", icc.pack_gamma(2)))], 0.5, 0.25),
        ([(b"cICP", bytes([1, 8, 0, 1])), profile_chunk(icc_profiles.make_matrix("two", icc.pack_gamma(2)))], 0.5, 0.5),
        ([(b"cICP", bytes([2, 2, 0, 1])), gamma(1.0)], 0.5, 0.5),
        ([(b"cICP", bytes([1, 13, 0, 1])), gamma(1.0)], 0.5, 0.21404),
        ([(b"cICP", bytes([12, 4, 0, 1]))], 0.5, 0.5**2.2),
        ([gamma(1.0), profile_chunk(b"damaged" * 40)], 0.5, 0.5),
        ([], 0.5, 0.21404),
    ],
)
def test_the_chunks_of_a_png_are_read_in_their_order(chunks: Any, code: float, light: float, tmp_path: Path) -> None:
    space, _ = read_space(tmp_path, "photo.png", photo_files.png_with(*chunks))
    assert light_of(space, code) == pytest.approx(light, abs=2e-3)


@pytest.mark.parametrize("told_by", ["cHRM", "cICP"])
def test_primaries_are_read_from_a_png(told_by: str, tmp_path: Path) -> None:
    chunk = chromaticities(icc_profiles.REC2020) if told_by == "cHRM" else (b"cICP", bytes([9, 13, 0, 1]))
    space, _ = read_space(tmp_path, "photo.png", photo_files.png_with(chunk))
    assert space.encoding is not None
    red = space.encoding.decode(np.array([[[1, 0, 0]]], np.float32))[0, 0]
    assert red == pytest.approx([1.6605, -0.1246, -0.0182], abs=2e-3)
    assert space.profile is None  # as it was told, it stays told
    silly, _ = read_space(tmp_path, "silly.png", photo_files.png_with((b"cHRM", bytes(32))))
    assert silly.encoding is None


@pytest.mark.parametrize(
    "points", [(9, 16, 0, 1), (9, 18, 0, 1), (1, 13, 1, 1), (1, 13, 0, 0), (200, 13, 0, 1), (1, 9, 0, 1)]
)
def test_coding_that_is_not_understood_is_refused_with_a_sentence(points: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(InvalidPhoto) as refusal:
        read_space(tmp_path, "hdr.png", photo_files.png_with((b"cICP", bytes(points))))
    assert refusal.value.code == "unsupported_transfer"


def test_what_networks_and_people_see_follows_a_png_gamma(tmp_path: Path) -> None:
    linear = (srgb_to_linear(PHOTO / 255) * 255 + 0.5).astype(np.uint8)
    (tmp_path / "linear.png").write_bytes(photo_files.png_with(gamma(1.0), pixels=linear))
    proxy = np.asarray(Image.open(io.BytesIO(ingest(tmp_path / "linear.png", RECIPE, SETTINGS).proxy)))
    assert np.abs(proxy.astype(int) - PHOTO)[PHOTO > 60].max() < 6


# --- EXIF -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    ("color_space", "index", "told"),
    [
        (2, None, "adobe"),
        (0xFFFF, "R03", "adobe"),
        (0xFFFF, "R98", "unknown"),
        (0xFFFF, None, "unknown"),
        (1, "R98", "srgb"),
    ],
)
def test_exif_alone_tells_adobe_rgb(color_space: int, index: str | None, told: str, kind: str, tmp_path: Path) -> None:
    if index == "R03" and kind == "TIFF":
        pytest.skip("Pillow writes no directory for interoperability into a TIFF")
    data = photo_files.encode_photo(kind, exif=exif(color_space, index))
    space, notes = read_space(tmp_path, "photo", data)
    if told == "adobe":
        assert light_of(space, 0.5) == pytest.approx(0.5 ** (563 / 256), abs=1e-3)
        assert space.profile is None
    else:
        assert space.encoding is None
    assert len(notes) == (told == "unknown")


@pytest.mark.parametrize("name", ["gray.jpg", "color.jpg", "color.tif", "color.webp"])
def test_what_exif_tells_stays_told_and_colors_are_those_of_adobe_rgb(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    gray = photographs.to_gray(PHOTO)
    Image.fromarray(gray if "gray" in name else np.repeat(gray[..., None], 3, axis=2)).save(path, exif=exif(2))
    result = render_file(path, COLOR).files["result"]
    header = formats.read_header(result, 1000)
    assert header.profile is None
    assert header.space.name == spaces.adobe_rgb().name
    assert "icc_profile" not in open_picture(result).info


def test_a_profile_counts_more_than_exif(tmp_path: Path) -> None:
    data = photo_files.encode_photo("JPEG", exif=exif(2), icc_profile=photo_files.SRGB_PROFILE)
    space, notes = read_space(tmp_path, "photo.jpg", data)
    assert (space.encoding, notes) == (None, [])


def test_an_error_that_quotes_foreign_bytes_is_forgotten(tmp_path: Path) -> None:
    profile = bytearray(adobe_tables("colorimetric"))
    at = profile.index(b"mft2")
    profile[at : at + 4] = b"\xff\xfem2"
    with pytest.raises(UnusableProfile):
        spaces.from_profile(bytes(profile), 3)
    assert pyvips.Image.black(2, 2).avg() == 0
    assert spaces.from_profile(photo_files.SRGB_PROFILE, 3).name


def test_converting_pixels_needs_spaces_with_curves() -> None:
    with pytest.raises(ValueError, match="sRGB"):
        spaces.convert(PHOTO, spaces.SRGB, spaces.adobe_rgb())
    linear = spaces.ColorSpace(encoding=CurvesAndMatrix(icc.CODES[None], np.eye(3)))
    same = spaces.convert(PHOTO, linear, linear)
    assert np.abs(same.astype(int) - PHOTO).max() <= 1
