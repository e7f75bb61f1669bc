"""The audit record for those who rule: administrators see their institution's, operators the house's, too."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from flask import Blueprint, g, render_template, request
from flask.typing import ResponseReturnValue

from retint.audit import HOUSE, reading
from retint.audit.reading import Query
from retint.audit.sentences import PHRASES
from retint.errors import InvalidRequest
from retint.roles import OPERATOR, Role
from retint.services import Services
from retint_web import house, services
from retint_web.files import audit_lines
from retint_web.security import moves_bytes, only

blueprint = Blueprint("audit", __name__, url_prefix="/audit")

ENTRIES_PER_PAGE: Final = 50
MOST_CHARACTERS: Final = 254


@blueprint.get("/")
@only(Role.ADMIN, OPERATOR)
def show() -> ResponseReturnValue:
    """Show the newest entries, or those that are searched for."""
    chain, is_house = _find_chain()
    whose = _services_of(is_house=is_house)
    query, before = read_query(request.args), request.args.get("after", type=int)
    days = whose.settings.audit_address_days
    with whose.read() as session:
        found = reading.list_page(session, chain, query, address_days=days, before=before, limit=ENTRIES_PER_PAGE + 1)
        actions = reading.list_actions(session, chain)
    names = ("who", "action", "subject", "since", "until")
    asked = {name: request.args[name] for name in names if request.args.get(name)}
    place = {"of": "house"} if is_house else {}
    return render_template(
        "audit/show.html",
        entries=found[:ENTRIES_PER_PAGE],
        more=found[ENTRIES_PER_PAGE - 1].entry.number if len(found) > ENTRIES_PER_PAGE else None,
        after=before,
        asked=asked,
        place=place,
        kept=place | asked,
        is_house=is_house,
        actions={action: PHRASES.get(action, action.replace("_", " ")).format(subject="…") for action in actions},
        days=days,
    )


@blueprint.get("/entries.jsonl")
@only(Role.ADMIN, OPERATOR)
@moves_bytes
def export() -> ResponseReturnValue:
    """Send the whole chain as JSON lines."""
    chain, is_house = _find_chain()
    return audit_lines.send(_services_of(is_house=is_house), chain)


def read_query(values: Mapping[str, str]) -> Query:
    """Read what is searched for.

    Raises:
        InvalidRequest: a date is none.
    """
    until = _read_day(values.get("until"))
    return Query(
        values.get("who", "").strip()[:MOST_CHARACTERS],
        values.get("action", ""),
        values.get("subject", "").strip()[:MOST_CHARACTERS],
        _read_day(values.get("since")),
        until and until + timedelta(days=1),
    )


def _read_day(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) if text else None
    except ValueError as error:
        raise InvalidRequest("A day is written as 2026-12-31.") from error


def _find_chain() -> tuple[UUID, bool]:
    """Return whose chain is asked for, and whether it is the house's; an operator who rules nothing else sees that."""
    wants_house = request.args.get("of") == "house" or not g.identity.is_admin
    is_house = g.identity.is_operator and wants_house
    return (HOUSE if is_house else g.identity.tenant_id), is_house


def _services_of(*, is_house: bool) -> Services:
    return house() if is_house else services()
