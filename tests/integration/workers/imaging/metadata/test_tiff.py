"""Metadata of TIFF files: every tag, by the policy, in both byte orders and as BigTIFF."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from tests import described_photos, metadata_differences, photo_files
from tests.described_photos import GRAY, make_iptc, make_resource
from tests.integration.workers.imaging.sample_renders import COLOR, RECIPE, render_file

from retint_workers.containers import tiff
from retint_workers.imaging.metadata import tiff as tiff_carrier
from retint_workers.imaging.metadata.blocks import Change
from retint_workers.imaging.provenance import Provenance

FORMS: dict[str, dict[str, Any]] = {
    "little-endian": {"byteorder": "<"},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "big-endian BigTIFF": {"bigtiff": True, "byteorder": ">"},
}
GEOTIFF = [
    (33550, 12, 3, (0.5, 0.5, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 440720.0, 3751320.0, 0.0), True),
    (34735, 3, 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 26711), True),
]  # fmt: skip
TITLE = "Hafen \u2013 1911\0".encode("utf-16-le")
TAGS = [
    (269, 2, 0, "harbor.tif", True), (285, 2, 0, "recto", True), (297, 3, 2, (0, 2), True), (315, 2, 0, "A. P.", True),
    (18246, 3, 1, 4, True), (18249, 3, 1, 75, True), (40091, 1, len(TITLE), TITLE, True),
    (65000, 1, 5, b"12345", True), (65001, 3, 3, (1, 2, 65535), True), (65002, 4, 2, (7, 1 << 31), True),
    (65003, 5, 2, (1, 3, 600, 7), True), (65004, 6, 3, b"\x80\x01\x02", True), (65005, 7, 6, b"\0\1\2\3\4\5", True),
    (65006, 8, 3, (-1, 2, -32768), True), (65007, 9, 2, (-7, 7), True), (65008, 10, 1, (-1, 3), True),
    (65009, 11, 2, (0.5, -1e30), True), (65010, 12, 2, (0.1, 1e300), True), (65011, 2, 0, "private", True),
]  # fmt: skip


def write(path: Path, tags: list[Any], form: str = "little-endian", pixels: Any = GRAY, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, metadata=None, software=False, extratags=tags, **FORMS[form], **options)
    return path


def render(path: Path) -> tuple[Path, str]:
    """Restore a file; return the result and its notes."""
    rendered = render_file(path)
    return rendered.files["result"], " ".join(rendered.facts["notes"])


def read_first(path: Path) -> dict[int, tuple[int, bytes]]:
    """The fields of the first directory: type, and data in little-endian."""
    with path.open("rb") as file:
        first = next(tiff.Reader(file).directories())
        return {
            tag: (
                each.kind,
                each.data if each.order == "<" else tiff.swap_bytes(each.data, tiff.WORD_SIZES.get(each.kind, 1)),
            )
            for tag, each in first.items()
        }


@pytest.mark.parametrize("form", FORMS)
def test_every_tag_of_every_type_is_kept_in_every_form(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", TAGS + GEOTIFF, form)
    result, notes = render(path)
    before, after = read_first(path), read_first(result)
    for tag, *_ in TAGS + GEOTIFF:
        assert after[tag] == before[tag], tag
    assert notes == ""
    assert metadata_differences.compare(path, result) == []


RESOLUTIONS: dict[str, dict[int, tuple[int, int, Any]]] = {
    "none": {},
    "unit none": {282: (5, 1, (1, 1)), 283: (5, 1, (1, 1)), 296: (3, 1, 1)},
    "centimetres": {282: (5, 1, (23622, 100)), 283: (5, 1, (23622, 100)), 296: (3, 1, 3)},
    "anamorphic, without a unit": {282: (5, 1, (600, 1)), 283: (5, 1, (300, 1))},
    "an odd fraction": {282: (5, 1, (4294967295, 7158279)), 283: (5, 1, (4294967295, 7158279)), 296: (3, 1, 2)},
}


@pytest.mark.parametrize("form", ["little-endian", "big-endian"])
@pytest.mark.parametrize("name", RESOLUTIONS)
def test_resolution_is_the_same_and_none_is_invented(name: str, form: str, tmp_path: Path) -> None:
    order = "<" if form == "little-endian" else ">"
    entries = RESOLUTIONS[name]
    fields = [
        (256, 4, 1, struct.pack(order + "I", 160)), (257, 4, 1, struct.pack(order + "I", 120)),
        (258, 3, 1, struct.pack(order + "H", 8)), (262, 3, 1, struct.pack(order + "H", 1)),
        (273, 4, 1, bytes(4)), (277, 3, 1, struct.pack(order + "H", 1)), (278, 4, 1, struct.pack(order + "I", 120)),
        (279, 4, 1, struct.pack(order + "I", 160 * 120)),
        *(
            (tag, kind, count, struct.pack(order + ("II" if kind == 5 else "H"), *np.atleast_1d(value).tolist()))
            for tag, (kind, count, value) in entries.items()
        ),
    ]  # fmt: skip
    size = len(described_photos.make_tiff_block(order, fields))
    fields[4] = (273, 4, 1, struct.pack(order + "I", 8 + size))
    path = tmp_path / "a.tif"
    path.write_bytes(described_photos.make_exif(order, fields) + GRAY.tobytes())
    result, notes = render(path)
    before, after = read_first(path), read_first(result)
    assert {tag: after.get(tag) for tag in (282, 283, 296)} == {tag: before.get(tag) for tag in (282, 283, 296)}
    assert notes == ""


IPTC = make_iptc((5, b"Hafen von Hamburg"), (25, b"harbour"), (120, "Blick, um 1911, Gr\u00f6\u00dfe".encode()))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [1, 4, 7])
def test_iptc_is_not_turned_by_its_type(kind: int, form: str, tmp_path: Path) -> None:
    padded = IPTC + bytes(-len(IPTC) % 4)
    order, size = FORMS[form].get("byteorder", "<"), 4 if kind == 4 else 1
    values: Any = padded if kind != 4 else struct.unpack(f"{order}{len(padded) // 4}I", padded)
    path = write(tmp_path / "a.tif", [(33723, kind, len(padded) // size, values, True)], form)
    result, notes = render(path)
    assert notes == ""
    if "BigTIFF" not in form:  # where exiftool does not look into it
        assert metadata_differences.compare(path, result) == []
        assert metadata_differences.read_tags(result)["IPTC:Keywords"] == "harbour"


def carry_alone(path: Path) -> tuple[dict[int, tiff.Field], str]:
    """Carry the metadata of a file that other parts may refuse; return the result's first directory, and the notes."""
    result = path.with_name("result.tif")
    pyvips.Image.new_from_array(np.repeat(GRAY[..., None], 3, axis=2)).tiffsave(str(result), keep="none")
    record = Provenance.from_layers("a" * 64, RECIPE, COLOR, None)
    change = Change(bands=1, bits=8, size=(160, 120), former_profile=None, profile=None, record=record)
    tiff_carrier.carry(path, result, change)
    return dict(next(tiff.Reader(io.BytesIO(result.read_bytes())).directories())), " ".join(change.notes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [1, 4, 7])
def test_streams_of_bytes_are_not_turned_by_their_type(kind: int, form: str, tmp_path: Path) -> None:
    padded = IPTC + bytes(-len(IPTC) % 4)
    order = FORMS[form].get("byteorder", "<")
    resources = make_resource(0x0404, IPTC) + make_resource(0x07D0, bytes(26), b"Path")
    resources += bytes(-len(resources) % 4)
    streams = {33723: padded, 34377: resources, 37724: b"Adobe Photoshop Document Data Block\0" + bytes(4)}
    tags = []
    for tag, data in streams.items():
        values: Any = data if kind != 4 else struct.unpack(f"{order}{len(data) // 4}I", data)
        tags.append((tag, kind, len(data) // (4 if kind == 4 else 1), values, True))
    first, notes = carry_alone(write(tmp_path / "a.tif", tags, form))
    assert {tag: first[tag].data for tag in streams} == streams
    assert notes == ""


@pytest.mark.parametrize("form", ["little-endian", "big-endian"])
def test_exif_gps_and_interoperability_are_kept(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", [], form)
    metadata_differences.write_tags(
        path, "-ExposureTime=1/3", "-UserComment=Gr\u00f6\u00dfe", "-GPSLatitude=53.5", "-GPSLatitudeRef=N",
        "-InteropIndex=R98", "-XPTitle=Hafen \u2013 1911", "-Rating=4", "-SubSecTime=12", "-ColorSpace=sRGB",
        "-IPTC:Caption-Abstract=Harbor", "-XMP-dc:Title=Harbor", "-XMP-photoshop:Instructions=none", "-Artist=A. P.",
    )  # fmt: skip
    result, notes = render(path)
    assert metadata_differences.compare(path, result) == []
    assert notes == ""
    assert "InteropIFD:InteropIndex" in metadata_differences.read_tags(result)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("maker", ["Canon", "Nikon 3", "Panasonic", "unknown"])
def test_makers_notes_can_be_read_where_they_went(order: str, maker: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", [(271, 2, 0, maker, True)], "little-endian" if order == "<" else "big-endian")
    at = len(path.read_bytes()) + len(path.read_bytes()) % 2 + 2 + 12 + 4
    canon = described_photos.make_canon_note(order, at)
    nikon = [(1, 7, 4, b"0210"), (4, 2, 8, b"FINE   \0")]
    panasonic = [(1, 3, 1, struct.pack(order + "H", 2)), (0x25, 7, 16, b"F541907070003\0\0\0")]
    notes = {
        "Canon": canon,
        "Nikon 3": b"Nikon\0\2\x10\0\0" + described_photos.make_exif(order, nikon),
        "Panasonic": b"Panasonic\0\0\0" + described_photos.make_tiff_block(order, panasonic, at + 12),
        "unknown": b"whatever it is, it is no directory",
    }  # fmt: skip
    described_photos.append_directory(path, 34665, [(37500, 7, len(notes[maker]), notes[maker])])
    tags = metadata_differences.read_tags(path)
    assert maker == "unknown" or [tag for tag in tags if tag.startswith(maker.split()[0])]
    result, said = render(path)
    assert metadata_differences.compare(path, result) == []
    assert ("maker's note" in said) == (maker == "unknown")
    if maker == "Canon":
        assert metadata_differences.read_tags(result)["Canon:OwnerName"] == "A. Photographer"


def test_what_describes_gray_values_is_left_out_with_notes(tmp_path: Path) -> None:
    tags = [
        (280, 3, 1, 3, True), (281, 3, 1, 250, True), (290, 3, 1, 2, True), (291, 3, 256, tuple(range(256)), True),
        (321, 3, 2, (10, 240), True), (319, 5, 6, (64, 100, 33, 100, 30, 100, 60, 100, 15, 100, 6, 100), True),
        (301, 3, 256, tuple(range(0, 65536, 256)), True),
    ]  # fmt: skip
    result, notes = render(write(tmp_path / "a.tif", tags))
    after = read_first(result)
    assert not {280, 281, 290, 291, 319, 321} & after.keys()
    assert 301 in after
    for word in ("MaxSampleValue", "gray response curve", "halftone", "primaries"):
        assert word in notes


def test_resources_are_brought_up_to_date_and_large_ones_are_kept(tmp_path: Path) -> None:
    large = make_resource(0x1B58, bytes(9 << 20))
    kept = make_resource(0x0404, IPTC) + large
    xmp = make_resource(0x0424, photo_files.XMP)
    data = make_resource(0x040C, b"thumb") + make_resource(0x0411, b"\1") + kept + xmp
    result, notes = render(write(tmp_path / "a.tif", [(34377, 1, len(data), data, True)]))
    assert read_first(result)[34377][1] == make_resource(0x0411, b"\1") + kept
    assert metadata_differences.read_tags(result)["XMP-dc:Title"] == "Harbor, 1911"
    assert "thumbnails" in notes


@pytest.mark.parametrize("form", ["little-endian", "big-endian"])
def test_photoshops_layers_are_left_out_with_a_note(form: str, tmp_path: Path) -> None:
    layers = b"8BIMLayr\0\0\0\6" if form == "big-endian" else b"MIB8ryaL\6\0\0\0"
    document = b"Adobe Photoshop Document Data Block\0" + layers + bytes(8)
    result, notes = render(write(tmp_path / "a.tif", [(37724, 7, len(document), document, True)], form))
    assert 37724 not in read_first(result)
    assert "layers" in notes


def test_directories_of_metadata_below_the_first_stay_and_pictures_do_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", [])
    described_photos.append_directory(path, 330, [(65000, 2, 8, b"private\0"), (271, 2, 6, b"Agfa \0")])
    result, notes = render(path)
    with result.open("rb") as file:
        reader = tiff.Reader(file)
        (below,) = reader.nested(next(reader.directories())[330])
        assert below[65000].data == b"private\0"
    assert notes == ""
    picture = write(tmp_path / "b.tif", [])
    fields = [
        (256, 3, 1, b"\2\0"),
        (257, 3, 1, b"\2\0"),
        (258, 3, 1, b"\x08\0"),
        (273, 4, 1, b"\x08\0\0\0"),
        (279, 4, 1, b"\4\0\0\0"),
    ]
    described_photos.append_directory(picture, 330, fields)
    result, notes = render(picture)
    assert 330 not in read_first(result)
    assert "thumbnails" in notes


def test_fields_that_cannot_be_read_are_left_out_with_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", [(65000, 2, 0, "a text of its own", True), (65001, 1, 12, b"twelve bytes", True)])
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    for entry in range(first + 2, first + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", data, entry)
        if tag == 65000:
            struct.pack_into("<I", data, entry + 8, len(data) - 4)
        elif tag == 65001:
            struct.pack_into("<H", data, entry + 2, 99)
    path.write_bytes(data)
    first, notes = carry_alone(path)
    assert not {65000, 65001} & first.keys()
    assert "field 65000 is left out" in notes
    assert "field 65001 is left out" in notes


def test_content_credentials_are_left_out_with_a_note(tmp_path: Path) -> None:
    result, notes = render(write(tmp_path / "a.tif", [(52545, 7, 4, b"jumb", True)]))
    assert 52545 not in read_first(result)
    assert "Content Credentials" in notes


def test_fields_that_share_their_data_do_not_make_a_result_grow_without_bound(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", [(65000 + number, 1, 5, b"12345", True) for number in range(12)])
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    for entry in range(first + 2, first + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] >= 65000:
            struct.pack_into("<II", data, entry + 4, 40 << 20, 8)
    path.write_bytes(data + bytes(41 << 20))
    first_directory, notes = carry_alone(path)
    assert 0 < len([tag for tag in first_directory if tag >= 65000]) <= 6
    assert "beyond 256 MiB" in notes
