"""What was done to a photo, as PREMIS events: deposited, compared, colorized, defaded, rendered, judged."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from retint import __version__
from retint.filetypes import content_type_for
from retint.handover.planning import Kind
from retint.handover.premis import Agent, AgentType, Event, EventType, Object
from retint.handover_tables import HandoverFile
from retint.lifecycle import Stage
from retint.verdicts import Said

NAMESPACE: Final = uuid.UUID("b1d5b0d7-3f0b-5d6e-9d0f-6c2a7f3e1c58")
"""Of the identifiers of events and agents: the same hand-over names them the same again."""
CONJECTURE: Final = "Colors that a network adds are conjecture; they are not evidence of what was photographed."
RETINT: Final = Agent(
    str(uuid.uuid5(NAMESPACE, f"retint {__version__}")), "Retint", AgentType.SOFTWARE, __version__, [CONJECTURE]
)
DEPOSITOR: Final = Agent(str(uuid.uuid5(NAMESPACE, "depositor")), "Depositor", AgentType.PERSON)
REVIEWER: Final = Agent(str(uuid.uuid5(NAMESPACE, "reviewer")), "Reviewer", AgentType.PERSON)
"""People are named by their role: who it was stays in the museum's own records."""


@dataclass(frozen=True)
class Past:
    """What is known of one job.

    Attributes:
        name: of the file as deposited.
        received_at: when it was deposited.
        done_at: when each stage was done.
        recipe: hash of its recipe.
        said: what was said last of its result.
    """

    name: str
    received_at: datetime
    done_at: Mapping[Stage, datetime]
    recipe: str
    said: Said | None


@dataclass(frozen=True)
class History:
    """The objects and events of one photo, and the agents beside the usual ones."""

    objects: list[Object]
    events: list[Event]
    agents: list[Agent]


def tell(files: Sequence[HandoverFile], past: Past) -> History:
    """Tell what was done to one photo.

    Args:
        files: those of its files that are in the bag, all of them read.
        past: what is known of its job.
    """
    by_kind = {kind: [file for file in files if file.kind == kind] for kind in Kind}
    originals, results = by_kind[Kind.ORIGINAL], by_kind[Kind.RESULT]
    records = [file.record for file in by_kind[Kind.PROVENANCE] if file.record]
    networks: dict[str, dict[str, Any]] = records[0]["networks"] if records else {}
    agents = {network: _describe_network(record) for network, record in networks.items()}
    events = [
        *_tell_deposit(originals, past),
        *_tell_fixity(files),
        *_tell_stages(originals, results, past, networks, agents),
        *_tell_review(results, past.said),
    ]
    made_by = {part: event.id for event in events for part, role in event.objects if role == "outcome"}
    objects = [_describe_file(file, originals, results, made_by, events) for file in files]
    return History(objects, events, list(agents.values()))


def _tell_deposit(originals: Iterable[HandoverFile], past: Past) -> Iterator[Event]:
    for file in originals:
        detail = f"deposited as {past.name}"
        parts = [(str(file.id), "outcome")]
        yield _event(EventType.INGESTION, file.id, past.received_at, detail, parts, [DEPOSITOR, RETINT])


def _tell_fixity(files: Iterable[HandoverFile]) -> Iterator[Event]:
    for file in files:
        if file.kind in (Kind.ORIGINAL, Kind.RESULT) and file.read_at:
            since = "deposited" if file.kind == Kind.ORIGINAL else "made"
            detail = f"SHA-256 compared with that of when it was {since}"
            yield _event(EventType.FIXITY_CHECK, file.id, file.read_at, detail, [(str(file.id), "source")], [RETINT])


def _tell_stages(
    originals: Sequence[HandoverFile],
    results: Sequence[HandoverFile],
    past: Past,
    networks: Mapping[str, Mapping[str, Any]],
    agents: Mapping[str, Agent],
) -> Iterator[Event]:
    for result in results:
        sources = [(str(file.id), "source") for file in originals]
        whole = [*sources, (str(result.id), "outcome")]
        for network, record in networks.items():
            stage = Stage.COLORIZE if network.partition("-")[0] == "color" else Stage.DEFADE
            at = past.done_at.get(stage, past.received_at)
            detail = f"{stage}; recipe=sha256:{past.recipe}; {_spell(record)}"
            yield _event(EventType.MODIFICATION, f"{result.id} {network}", at, detail, whole, [agents[network], RETINT])
        rendered = past.done_at.get(Stage.RENDER)
        if rendered:
            detail = f"render; recipe=sha256:{past.recipe}"
            yield _event(EventType.CREATION, result.id, rendered, detail, whole, [RETINT])


def _tell_review(results: Iterable[HandoverFile], said: Said | None) -> Iterator[Event]:
    for result in results:
        if said is not None:
            part = [(str(result.id), "source")]
            yield _event(
                EventType.QUALITY_REVIEW, result.id, said.at, "judged by eye", part, [REVIEWER], said.verdict, said.note
            )


def _event(
    kind: EventType,
    about: object,
    at: datetime,
    detail: str,
    objects: list[tuple[str, str]],
    agents: Iterable[Agent],
    outcome: str = "success",
    note: str | None = None,
) -> Event:
    name = str(uuid.uuid5(NAMESPACE, f"{kind} {about}"))
    return Event(name, kind, at, detail, objects, [agent.id for agent in agents], outcome, note or None)


def _describe_file(
    file: HandoverFile,
    originals: Sequence[HandoverFile],
    results: Sequence[HandoverFile],
    made_by: Mapping[str, str],
    events: Sequence[Event],
) -> Object:
    me = str(file.id)
    sources = {Kind.ORIGINAL: (), Kind.ACCESS: results}.get(Kind(file.kind), originals)
    return Object(
        id=me,
        path=file.path,
        size=file.size or 0,
        digests={"SHA-256": file.sha256 or "", "SHA-512": file.sha512 or ""},
        format=content_type_for(file.path),
        sources=[str(source.id) for source in sources],
        made_by=None if file.kind == Kind.ORIGINAL else made_by.get(me),
        events=[event.id for event in events if any(part == me for part, _ in event.objects)],
    )


def _describe_network(record: Mapping[str, Any]) -> Agent:
    """Describe a network as an agent: a program whose version is its weights."""
    name = str(record.get("colorizer") or record.get("defader") or "network")
    weights = record.get("weights")
    version = f"sha256:{weights}" if weights else None
    return Agent(str(uuid.uuid5(NAMESPACE, f"{name} {weights}")), name, AgentType.SOFTWARE, version)


def _spell(record: Mapping[str, Any]) -> str:
    """Spell what a network's record says: `network=compact; weights=sha256:…; gain=1.2`."""
    names = {"colorizer": "network", "defader": "network"}
    signs = {"weights": "sha256:"}
    return "; ".join(f"{names.get(name, name)}={signs.get(name, '')}{value}" for name, value in record.items())
