"""PREMIS 3: what was done to which file, when and by whom, for archives that take it in.

Archivematica reads it from `metadata/premis.xml`: it finds a file by its original name, the path within the bag, and
keeps an event that has at least one file and one agent (`load_premis_events_from_xml.py`). Schema: the Library of
Congress' premis-v3.xsd of 2016; event types: id.loc.gov/vocabulary/preservation/eventType.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TextIO
from xml.sax.saxutils import XMLGenerator

NAMESPACE: Final = "http://www.loc.gov/premis/v3"
EVENT_TYPES: Final = "http://id.loc.gov/vocabulary/preservation/eventType"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
UUID: Final = "UUID"
"""The type of our identifiers."""

_NOT_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class EventType(StrEnum):
    """What was done, in the words of the vocabulary."""

    INGESTION = "ingestion"
    FIXITY_CHECK = "fixity check"
    MODIFICATION = "modification"
    CREATION = "creation"
    QUALITY_REVIEW = "quality review"
    SIGNATURE = "digital signature generation"


class AgentType(StrEnum):
    """What acted."""

    SOFTWARE = "software"
    PERSON = "person"
    ORGANIZATION = "organization"


@dataclass(frozen=True)
class Object:
    """A file.

    Attributes:
        id: what names it here.
        path: within the bag.
        size: its bytes.
        digests: by algorithm, as PREMIS spells it: `SHA-256`.
        format: its media type.
        sources: ids of the files that it was made of.
        made_by: id of the event that made it; None for an original.
        events: ids of all events that it was part of.
    """

    id: str
    path: str
    size: int
    digests: dict[str, str]
    format: str
    sources: Sequence[str] = ()
    made_by: str | None = None
    events: Sequence[str] = ()


@dataclass(frozen=True)
class Event:
    """Something that was done.

    Attributes:
        id: what names it here.
        type: what was done.
        at: when, with its time zone.
        detail: with what: recipe, network, weights, settings.
        outcome: how it ended, such as `success`.
        note: a sentence about the outcome.
        objects: ids of files and the part that each had: `source` or `outcome`.
        agents: ids of those who did it.
    """

    id: str
    type: EventType
    at: datetime
    detail: str
    objects: Sequence[tuple[str, str]]
    agents: Sequence[str]
    outcome: str = "success"
    note: str | None = None


@dataclass(frozen=True)
class Agent:
    """Who or what acted: a program, a person in a role, an institution."""

    id: str
    name: str
    type: AgentType
    version: str | None = None
    notes: Sequence[str] = field(default=())


def write(sink: TextIO, objects: Iterable[Object], events: Iterable[Event], agents: Iterable[Agent]) -> None:
    """Write a PREMIS document, one element after the other: memory does not grow with it."""
    writer = _Writer(sink)
    with writer.document():
        for each in objects:
            writer.write_object(each)
        for event in events:
            writer.write_event(event)
        for agent in agents:
            writer.write_agent(agent)


class _Writer:
    """Writes elements of PREMIS."""

    def __init__(self, sink: TextIO) -> None:
        self._xml = XMLGenerator(sink, "UTF-8", short_empty_elements=True)  # type: ignore[arg-type]  # takes text, too
        self._sink = sink

    @contextmanager
    def document(self) -> Iterator[None]:
        self._xml.startDocument()
        spaces = {"xmlns:premis": NAMESPACE, "xmlns:xsi": XSI, "version": "3.0"}
        spaces["xsi:schemaLocation"] = f"{NAMESPACE} https://www.loc.gov/standards/premis/premis.xsd"
        with self._within("premis", **spaces):
            self._sink.write("\n")
            yield
        self._xml.endDocument()

    def write_object(self, each: Object) -> None:
        with self._within("object", **{"xsi:type": "premis:file"}):
            self._identify("objectIdentifier", each.id)
            with self._within("objectCharacteristics"):
                for algorithm, digest in each.digests.items():
                    with self._within("fixity"):
                        self._say("messageDigestAlgorithm", algorithm)
                        self._say("messageDigest", digest)
                self._say("size", str(each.size))
                with self._within("format"), self._within("formatDesignation"):
                    self._say("formatName", each.format)
            self._say("originalName", each.path)
            if each.sources:
                with self._within("relationship"):
                    self._say("relationshipType", "derivation")
                    self._say("relationshipSubType", "has source")
                    for source in each.sources:
                        self._identify("relatedObjectIdentifier", source)
                    if each.made_by:
                        self._identify("relatedEventIdentifier", each.made_by)
            for event in each.events:
                self._identify("linkingEventIdentifier", event)
        self._sink.write("\n")

    def write_event(self, event: Event) -> None:
        with self._within("event"):
            self._identify("eventIdentifier", event.id)
            self._say("eventType", event.type, authority="eventType", authorityURI=EVENT_TYPES)
            self._say("eventDateTime", event.at.isoformat())
            with self._within("eventDetailInformation"):
                self._say("eventDetail", event.detail)
            with self._within("eventOutcomeInformation"):
                self._say("eventOutcome", event.outcome)
                if event.note:
                    with self._within("eventOutcomeDetail"):
                        self._say("eventOutcomeDetailNote", event.note)
            for agent in event.agents:
                self._identify("linkingAgentIdentifier", agent)
            for object_id, part in event.objects:
                self._identify("linkingObjectIdentifier", object_id, linkingObjectRole=part)
        self._sink.write("\n")

    def write_agent(self, agent: Agent) -> None:
        with self._within("agent"):
            self._identify("agentIdentifier", agent.id)
            self._say("agentName", agent.name)
            self._say("agentType", agent.type)
            if agent.version:
                self._say("agentVersion", agent.version)
            for note in agent.notes:
                self._say("agentNote", note)
        self._sink.write("\n")

    def _identify(self, name: str, value: str, **rest: str) -> None:
        with self._within(name):
            self._say(f"{name}Type", UUID)
            self._say(f"{name}Value", value)
            for more, text in rest.items():
                self._say(more, text)

    def _say(self, name: str, text: str, **attributes: str) -> None:
        with self._within(name, **attributes):
            self._xml.characters(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))

    @contextmanager
    def _within(self, name: str, **attributes: str) -> Iterator[None]:
        self._xml.startElement(f"premis:{name}", attributes)  # type: ignore[arg-type]  # a mapping does
        yield
        self._xml.endElement(f"premis:{name}")
