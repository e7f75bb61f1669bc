"""Pages of institutions, for operators: what each keeps and has in flight, weight and quotas; no photographs."""

from typing import Final
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import institutions
from retint.errors import IllegalMove, InvalidRequest, Refused
from retint.institutions import Institution
from retint.quotas import RANGES, Limits
from retint.roles import OPERATOR
from retint_web import house, links, rates
from retint_web.security import only

blueprint = Blueprint("institutions", __name__, url_prefix="/institutions")

GB: Final = 10**9
USUAL: Final = {"per_minute": rates.TENANT_PER_MINUTE, "per_second": rates.TENANT_PER_SECOND}
"""Rate limits of an institution that has none of its own."""


@blueprint.get("/")
@only(OPERATOR)
def index() -> ResponseReturnValue:
    """List the institutions."""
    with house().read() as session:
        found = institutions.list_all(session)
    return render_template("institutions/index.html", institutions=found, **_form_values())


@blueprint.post("/")
@only(OPERATOR)
def add() -> ResponseReturnValue:
    """Add an institution. The first administrator's one-time link is part of this response: nothing else keeps it."""
    try:
        limits, weight = _parse_limits(), _parse_number("weight") or 1
        with house().begin() as session:
            name, email = request.form.get("name", ""), request.form.get("email", "")
            tenant_id, secret = institutions.add(session, name, email, g.identity, weight=weight, limits=limits)
    except Refused as error:
        with house().read() as session:
            found = institutions.list_all(session)
        page = render_template(
            "institutions/index.html", institutions=found, problem=error.message, given=request.form, **_form_values()
        )
        return page, error.status
    return _render(tenant_id, link=links.sign_in_url(secret), email=email)


@blueprint.get("/<uuid:tenant_id>")
@only(OPERATOR)
def show(tenant_id: UUID) -> ResponseReturnValue:
    """Show one institution, and the form of its limits."""
    return _render(tenant_id)


@blueprint.post("/<uuid:tenant_id>")
@only(OPERATOR)
def change(tenant_id: UUID) -> ResponseReturnValue:
    """Change an institution's name, weight and limits."""
    try:
        limits, weight = _parse_limits(), _parse_number("weight") or 0
        with house().begin() as session:
            name = request.form.get("name", "")
            institutions.change(session, tenant_id, g.identity, name=name, weight=weight, limits=limits)
    except (InvalidRequest, IllegalMove) as error:
        flash(error.message)
    else:
        flash("Changed. What is refused by a lower quota is only what is new.")
    return redirect(url_for("institutions.show", tenant_id=tenant_id), code=303)


@blueprint.post("/<uuid:tenant_id>/disable")
@only(OPERATOR)
def disable(tenant_id: UUID) -> ResponseReturnValue:
    """Disable an institution: its people cannot sign in, its work is paused."""
    return _set_disabled(tenant_id, True)


@blueprint.post("/<uuid:tenant_id>/enable")
@only(OPERATOR)
def enable(tenant_id: UUID) -> ResponseReturnValue:
    """Enable an institution again: its work goes on."""
    return _set_disabled(tenant_id, False)


def _set_disabled(tenant_id: UUID, disabled: bool) -> ResponseReturnValue:
    with house().begin() as session:
        institutions.set_disabled(session, tenant_id, g.identity, disabled=disabled)
    return redirect(url_for("institutions.show", tenant_id=tenant_id), code=303)


def _render(tenant_id: UUID, link: str | None = None, email: str | None = None) -> ResponseReturnValue:
    with house().read() as session:
        everybody = institutions.list_all(session)
        institution = next((each for each in everybody if each.id == tenant_id), None)
        institution = institution or institutions.get(session, tenant_id)
    share = institutions.describe_share(institution, everybody)
    values = _form_values(institution)
    return render_template(
        "institutions/show.html", institution=institution, share=share, link=link, email=email, **values
    )


def _form_values(institution: Institution | None = None) -> dict[str, object]:
    """Collect what the form of limits is filled with."""
    limits = institution.limits if institution else Limits()
    values = {name: getattr(limits, name) for name in RANGES}
    most = values.pop("most_bytes")
    return {
        "limits": values | {"most_gb": None if most is None else f"{most / GB:.9f}".rstrip("0").rstrip(".")},
        "weight": institution.weight if institution else 1,
        "most_weight": institutions.MOST_WEIGHT,
        "usual": USUAL,
    }


def _parse_limits() -> Limits:
    """Parse the limits of the form; an empty field is none.

    Raises:
        InvalidRequest: a field is no number.
    """
    size = request.form.get("most_gb", "").strip()
    try:
        most_bytes = round(float(size) * GB) if size else None
    except (ValueError, OverflowError) as error:
        raise InvalidRequest("The room for originals is a number of gigabytes, or empty.") from error
    return Limits(most_bytes, **{name: _parse_number(name) for name in RANGES if name != "most_bytes"})


def _parse_number(name: str) -> int | None:
    text = request.form.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidRequest(f"{name.replace('_', ' ').capitalize()} is a whole number, or empty.")
    return int(text)
