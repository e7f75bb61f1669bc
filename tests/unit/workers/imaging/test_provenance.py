"""What a result says about itself."""

import json

import pytest
from lxml import etree
from tests import photo_files, photographs, sample_layers

from retint.recipes import parse
from retint_workers.containers import xmp
from retint_workers.imaging import provenance
from retint_workers.imaging.metadata.blocks import Change, make_xmp
from retint_workers.imaging.provenance import Provenance

RECIPE = parse({"colorizer_settings": {"gain": 1.5}})
COLOR, DENSITY = sample_layers.color_layer(photographs.color_photo(0, 32)), sample_layers.density_layer()
HASH = "a" * 64


def merge(record: Provenance, original: bytes) -> bytes:
    """Return the XMP of a result: the original's with the record."""
    change = Change(bands=1, bits=8, size=(32, 32), former_profile=None, profile=None, record=record)
    return xmp.serialize(make_xmp([original], change))


def test_invented_color_and_repaired_tone_are_called_what_they_are() -> None:
    both, tone = (
        Provenance.from_layers(HASH, RECIPE, COLOR, DENSITY),
        Provenance.from_layers(HASH, RECIPE, None, DENSITY),
    )
    vocabulary = "http://cv.iptc.org/newscodes/digitalsourcetype/"
    assert both.source_type == vocabulary + "compositeWithTrainedAlgorithmicMedia"
    assert tone.source_type == vocabulary + "algorithmicallyEnhanced"
    assert Provenance.from_layers(HASH, RECIPE, None, None).source_type is None
    assert both.statement
    assert "conjecture" in both.statement


def test_the_record_names_everything_that_made_the_result() -> None:
    record = json.loads(Provenance.from_layers(HASH, RECIPE, COLOR, DENSITY).to_json())
    assert record["original_sha256"] == HASH
    assert record["recipe"] == json.loads(RECIPE.canonical)
    assert record["recipe_sha256"] == RECIPE.hash
    assert record["networks"]["color"] == COLOR.record
    assert record["networks"]["density"]["decided_at"] == DENSITY.record["decided_at"]
    assert record["software"].startswith("Retint ")


def test_the_record_is_the_same_whenever_it_is_made() -> None:
    first, second = (Provenance.from_layers(HASH, RECIPE, COLOR, DENSITY) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert merge(first, photo_files.XMP) == merge(second, photo_files.XMP)


def test_written_xmp_is_read_back() -> None:
    record = Provenance.from_layers(HASH, RECIPE, COLOR, DENSITY)
    values = provenance.read_xmp(record.to_xmp())
    assert values["OriginalSHA256"] == HASH
    assert values["RecipeSHA256"] == RECIPE.hash
    assert values["DigitalSourceType"] == record.source_type
    assert json.loads(values["Networks"])["color"]["network"] == "truth"


def test_the_originals_xmp_stays_and_its_source_type_is_replaced() -> None:
    record = Provenance.from_layers(HASH, RECIPE, COLOR, None)
    merged = merge(record, photo_files.XMP)
    assert b"Harbor, 1911" in merged
    values = provenance.read_xmp(merged)
    assert values["DigitalSourceType"] == record.source_type
    assert values["FormerDigitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/print"
    assert merged.count(b"DigitalSourceType>") == 4  # ours and the former, each opened and closed


def test_a_result_that_is_restored_again_has_one_record() -> None:
    once = merge(Provenance.from_layers(HASH, RECIPE, COLOR, None), photo_files.XMP)
    twice = merge(Provenance.from_layers("b" * 64, RECIPE, None, DENSITY), once)
    values = provenance.read_xmp(twice)
    assert values["OriginalSHA256"] == "b" * 64
    assert twice.count(b"OriginalSHA256>") == 2
    assert b"Harbor, 1911" in twice


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "original",
    [b"", b"<broken", b"\xff\xfe\x00", b"<html/>", photo_files.XMP[:200], b"plain text", bytes(1000)],
)
def test_xmp_that_cannot_be_read_is_left_out(original: bytes) -> None:
    record = Provenance.from_layers(HASH, RECIPE, COLOR, None)
    assert provenance.read_xmp(merge(record, original))["OriginalSHA256"] == HASH


@pytest.mark.parametrize("prologue", [BOMB, OUTSIDE])
def test_entities_in_xmp_are_not_followed(prologue: bytes) -> None:
    body = photo_files.XMP[photo_files.XMP.index(b"<x:xmpmeta") : photo_files.XMP.index(b"<?xpacket end")]
    hostile = prologue + body.replace(b"Harbor, 1911", b"&a;")
    merged = merge(Provenance.from_layers("c" * 64, RECIPE, COLOR, None), hostile)
    assert b"root:" not in merged
    assert b"aaaaaaaaaaaaaaaaaaaa" not in merged
    assert provenance.read_xmp(merged)["OriginalSHA256"] == "c" * 64
    etree.fromstring(merged)  # and every reader can read it
