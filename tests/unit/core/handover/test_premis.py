"""PREMIS is judged by the schema of the Library of Congress."""

import io
from datetime import UTC, datetime

import pytest
from lxml import etree
from tests.paths import SHARED

from retint.handover import premis
from retint.handover.premis import Agent, AgentType, Event, EventType, Object

SCHEMA = SHARED / "premis/premis-v3.xsd"
AT = datetime(2026, 12, 1, 16, 30, tzinfo=UTC)
ORIGINAL = Object(
    "1", "data/originals/Straße <7>/a & b.tif", 7, {"SHA-256": "ab", "SHA-512": "cd"}, "image/tiff", events=["e"]
)
RESULT = Object("2", "data/results/a.tif", 9, {"SHA-256": "ef"}, "image/tiff", ["1"], "e", ["e"])
EVENT = Event(
    "e",
    EventType.CREATION,
    AT,
    "recipe=12; network=compact",
    [("1", "source"), ("2", "outcome")],
    ["a"],
    note="No color.",
)
AGENT = Agent("a", "Retint", AgentType.SOFTWARE, "0.1.0", ["Colors are conjecture."])


def write(objects: list[Object]) -> etree._Element:
    sink = io.StringIO()
    premis.write(sink, objects, [EVENT], [AGENT])
    return etree.fromstring(sink.getvalue().encode())


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is missing.")
    return etree.XMLSchema(etree.parse(SCHEMA, etree.XMLParser(no_network=True)))


def test_it_is_valid(schema: etree.XMLSchema) -> None:
    schema.assertValid(write([ORIGINAL, RESULT]))


def test_the_schema_finds_an_event_without_a_type(schema: etree.XMLSchema) -> None:
    document = write([ORIGINAL, RESULT])
    [kind] = document.iter(f"{{{premis.NAMESPACE}}}eventType")
    kind.getparent().remove(kind)
    assert not schema.validate(document)


def test_names_come_out_as_they_went_in() -> None:
    document = write([ORIGINAL])
    assert [each.text for each in document.iter(f"{{{premis.NAMESPACE}}}originalName")] == [ORIGINAL.path]


def test_what_xml_cannot_hold_is_replaced(schema: etree.XMLSchema) -> None:
    strange = Object("3", "data/\x00\ufffe\ud800.tif", 1, {"SHA-256": "ab"}, "image/tiff")
    document = write([strange])
    schema.assertValid(document)
    [name] = document.iter(f"{{{premis.NAMESPACE}}}originalName")
    assert name.text == "data/\ufffd\ufffd\ufffd.tif"
