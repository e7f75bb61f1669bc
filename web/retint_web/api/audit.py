"""API operations on the audit record: administrators read their institution's, operators the house's, too."""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from flask import g
from flask.typing import ResponseReturnValue
from pydantic import AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticKnownError

from retint.audit import HOUSE, reading
from retint.errors import NotAllowed
from retint.roles import OPERATOR, Role, Scope
from retint.services import Services
from retint_web import house, services
from retint_web.api.blueprint import api
from retint_web.api.requests import Query
from retint_web.api.responses import Answer, Page
from retint_web.files import audit_lines


def _check_moment(text: str) -> str:
    """Let pass what RFC 3339 calls a time: pydantic also takes numbers, which the schema does not."""
    if RFC_3339.fullmatch(text):
        return text
    raise PydanticKnownError("datetime_parsing", {"error": "a time is written as 2026-12-31T23:59:59Z"})


RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
Moment = Annotated[AwareDatetime, BeforeValidator(_check_moment)]


class ChainQuery(Query):
    """Which chain."""

    of: Annotated[
        Literal["institution", "house"] | None,
        Field(description="The house's is for operators alone; by default the institution's for its administrators."),
    ] = None


class AuditQuery(ChainQuery):
    """Which entries, the newest first."""

    who: Annotated[str, Field(max_length=254, description="Part of an email, or of who ran a command.")] = ""
    action: Annotated[str, Field(max_length=40)] = ""
    subject: Annotated[str, Field(max_length=254, description="An id, or part of a name.")] = ""
    since: Moment | None = None
    until: Moment | None = None
    after: Annotated[int | None, Field(ge=1, le=2**53, description="The previous page's `next`.")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class AuditEntry(Answer):
    """Who changed what, when, from where."""

    id: str = Field(description="Its number in the chain.")
    at: datetime
    actor: str
    user_id: UUID | None
    token: str | None = Field(description="The name of the token that was shown.")
    address: str | None = Field(description="Null also where it is too old to be shown.")
    action: str
    subject: str
    sentence: str = Field(description="What was done, in words: it follows the actor.")
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    previous: str = Field(description="The hash of the entry before.")
    hash: str


@api.operation("GET", "/audit", Page[AuditEntry], query=AuditQuery, roles=(Role.ADMIN, OPERATOR), scope=Scope.ADMIN)
def list_audit(query: AuditQuery) -> Page[AuditEntry]:
    """List what was changed and by whom, the newest first."""
    whose, chain = _find_chain(query)
    wanted = reading.Query(query.who.strip(), query.action, query.subject, query.since, query.until)
    days = whose.settings.audit_address_days
    with whose.read() as session:
        found = reading.list_page(session, chain, wanted, address_days=days, before=query.after, limit=query.limit)
    items = [_entry(told) for told in found]
    return Page(items=items, next=items[-1].id if len(items) == query.limit else None)


@api.operation(
    "GET", "/audit.jsonl", audit_lines.CONTENT_TYPE, query=ChainQuery, roles=(Role.ADMIN, OPERATOR), scope=Scope.ADMIN
)
def export_audit(query: ChainQuery) -> ResponseReturnValue:
    """Download a whole chain as JSON lines, the oldest entry first, with the hashes that prove it."""
    return audit_lines.send(*_find_chain(query))


def _find_chain(query: ChainQuery) -> tuple[Services, UUID]:
    of = query.of or ("institution" if g.identity.is_admin else "house")
    if of == "house" and g.identity.is_operator:
        return house(), HOUSE
    if of == "institution" and g.identity.is_admin:
        return services(), g.identity.tenant_id
    raise NotAllowed(
        "Only an operator of this installation may do this for the house, and only an administrator for an institution."
    )


def _entry(told: reading.Told) -> AuditEntry:
    entry = told.entry
    return AuditEntry(
        id=str(entry.number),
        at=entry.at,
        actor=entry.actor,
        user_id=entry.user_id,
        token=entry.token,
        address=told.address,
        action=entry.action,
        subject=entry.subject,
        sentence=told.sentence,
        before=entry.before,
        after=entry.after,
        previous=entry.previous,
        hash=entry.hash,
    )
