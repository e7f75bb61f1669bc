"""The search page: photos of all batches, by words, state and kind of failure."""

from typing import Final

from flask import Blueprint, g, render_template, request
from flask.typing import ResponseReturnValue

from retint import search
from retint.errors import InvalidRequest
from retint.lifecycle import State
from retint.search import Query, Sort
from retint_web import services
from retint_web.pages import parameters, words

blueprint = Blueprint("search", __name__)

PHOTOS_PER_PAGE: Final = 60
SORTS: Final = {Sort.DEPOSITED: "in order of deposit", Sort.NEWEST: "newest first", Sort.NAME: "by name"}
MOST_CHARACTERS: Final = 500


@blueprint.get("/search")
def show() -> ResponseReturnValue:
    """Show the photos that are found; none before something was asked for."""
    query = read_query(Sort.NEWEST)
    after = parameters.parse_id(request.args["after"]) if request.args.get("after") else None
    is_asked = bool(query.text or query.state or query.reason_code)
    found = []
    if is_asked:
        with services().read() as session:
            found = search.list_page(session, g.identity.tenant_id, query, after=after, limit=PHOTOS_PER_PAGE + 1)
    more = found[PHOTOS_PER_PAGE - 1].id if len(found) > PHOTOS_PER_PAGE else None
    return render_template(
        "search/show.html",
        query=query,
        asked=asked(query, Sort.NEWEST),
        is_asked=is_asked,
        cards=found[:PHOTOS_PER_PAGE],
        after=after,
        more=more,
        sorts=SORTS,
        states=words.STATE_ORDER,
    )


def read_query(sort: Sort) -> Query:
    """Read from the address what is wanted; `sort` is the order where it says none.

    Raises:
        InvalidRequest: there is no such state or order.
    """
    args = request.args
    try:
        state = State(args["state"]) if args.get("state") else None
    except ValueError as error:
        raise InvalidRequest("There is no such state of a photo.") from error
    try:
        sort = Sort(args["sort"]) if args.get("sort") else sort
    except ValueError as error:
        raise InvalidRequest("Photos cannot be put into such an order.") from error
    return Query(args.get("q", "").strip()[:MOST_CHARACTERS], None, state, args.get("reason") or None, sort)


def asked(query: Query, sort: Sort) -> dict[str, str]:
    """Return what a query adds to an address, without its state; nothing for what is so by default."""
    values = {
        "q": query.text,
        "reason": query.reason_code or "",
        "sort": "" if query.sort is sort else query.sort.value,
    }
    return {name: value for name, value in values.items() if value}
