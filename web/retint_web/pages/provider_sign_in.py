"""Signing in by an institution's provider: there, back, and out.

A person leaves for the provider with values that only their browser has (in the signed session), and comes back with
the provider's answer to them. The same way leads to three ends: a session begins, an account there is connected with
the person who is signed in here, or an administrator sees what would happen.
"""

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, current_app, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from retint import admission, openid, providers
from retint.errors import NotAllowed, NotFound, Refused
from retint.provider_tables import Provider
from retint.roles import Role
from retint.tenancy import get_owned
from retint_web import house, provider_requests, services
from retint_web.pages.accounts import REMEMBERED, render_sign_in
from retint_web.security import YEAR_S, only, public, safe_next_url, start_session

JOURNEYS: Final = "journeys"
"""Where the session keeps who is at a provider, by the state that was sent along."""
MOST_JOURNEYS: Final = 4
HOURS: Final = 12.0
"""How long a session lasts that a provider began: then it says anew who the person is, and what they may."""
LONGEST_TARGET: Final = 300
"""Longest address within the portal that a person is brought back to: the journeys share a cookie."""
JOURNEY_S: Final = 900
"""How long a person may take to sign in at the provider."""

blueprint = Blueprint("provider_sign_in", __name__)


class Purpose(StrEnum):
    """Why a person goes to a provider."""

    SIGN_IN = "sign_in"
    CONNECT = "connect"
    TRY = "try"


@blueprint.get("/sign-in/with/<slug>")
@public
def begin(slug: str) -> ResponseReturnValue:
    """Send a person to the provider."""
    target = request.args.get("next")
    try:
        address = _prepare(_find_active(slug), Purpose.SIGN_IN, target)
    except Refused as error:
        return render_sign_in(problem=error, target=target)
    return redirect(address, code=303)


@blueprint.post("/account/connections/<slug>")
def connect(slug: str) -> ResponseReturnValue:
    """Send a person who is signed in to a provider of their institution, to connect the account there."""
    provider = _find_active(slug)
    if provider.tenant_id != g.identity.tenant_id:
        raise NotFound("There is no such provider.")
    return _render_leaving(provider, _prepare(provider, Purpose.CONNECT))


@blueprint.post("/account/connections/<uuid:identity_id>/remove")
def disconnect(identity_id: UUID) -> ResponseReturnValue:
    """Unlink an account at a provider."""
    with services().begin() as transaction:
        admission.disconnect(transaction, g.identity, identity_id)
    flash("The account is disconnected.")
    return redirect(url_for("accounts.show"), code=303)


@blueprint.post("/admin/sign-in/<uuid:provider_id>/try")
@only(Role.ADMIN)
def try_out(provider_id: UUID) -> ResponseReturnValue:
    """Send an administrator to a provider, to see what it says and what would follow. It need not be active."""
    with services().read() as transaction:
        provider = get_owned(transaction, Provider, g.identity.tenant_id, provider_id)
    return _render_leaving(provider, _prepare(provider, Purpose.TRY))


@blueprint.get("/sign-in/with/<slug>/back")
@public
def back(slug: str) -> ResponseReturnValue:
    """Receive a person who comes back from the provider: signed in there, refused, or signed out."""
    if not {"code", "error", "state"} & request.args.keys():
        with house().read() as transaction:
            providers.find(transaction, slug)
        flash("You are signed out.")
        return redirect(url_for("accounts.sign_in"), code=303)
    try:
        return _finish(slug)
    except Refused as error:
        if g.identity is not None:  # who is signed in is not shown a form to sign in
            raise
        return render_sign_in(problem=error, target=None)


def _finish(slug: str) -> ResponseReturnValue:
    journey = session.get(JOURNEYS, {}).get(request.args.get("state", ""))
    if not journey or journey["slug"] != slug or time.time() - journey["at"] > JOURNEY_S:
        raise NotAllowed("This sign-in was begun in another browser, or too long ago. Begin again.", code="wrong_state")
    purpose = Purpose(journey["purpose"])
    _check_traveller(purpose, journey)
    with house().read() as transaction:
        provider = providers.find(transaction, slug)
    if not provider.is_active and purpose is not Purpose.TRY:
        raise NotFound("There is no sign-in provider at this address.")
    client = provider_requests.client_of(provider)
    pending = openid.Pending(request.args["state"], journey["nonce"], journey["verifier"])
    given = request.args.to_dict()
    try:
        answer = provider_requests.finish(client, pending, given, provider.groups_claim)
    except Refused:
        _forget(pending.state)
        raise
    _forget(pending.state)  # an answer is used once, whatever came of it
    return _arrive(purpose, provider, answer, journey["next"])


def _check_traveller(purpose: Purpose, journey: Mapping[str, Any]) -> None:
    """Check that who comes back is who left, where it matters here.

    Raises:
        NotAllowed: somebody else is signed in in this browser, or nobody.
    """
    who = g.identity and str(g.identity.user_id)
    if purpose is not Purpose.SIGN_IN and who != journey["user"]:
        raise NotAllowed("You were signed out meanwhile. Sign in, then begin again.", code="wrong_state")
    if purpose is Purpose.TRY and not g.identity.is_admin:
        raise NotAllowed("Only an administrator may do this.")


def _arrive(purpose: Purpose, provider: Provider, answer: openid.Answer, target: str | None) -> ResponseReturnValue:
    if purpose is Purpose.TRY:
        if provider.tenant_id != g.identity.tenant_id:
            raise NotFound("There is no such provider.")
        seen = admission.rehearse(house(), provider, answer)
        return render_template("providers/tried.html", provider=provider, seen=seen)
    if purpose is Purpose.CONNECT:
        admission.connect(services(), g.identity, provider, answer)
        flash(f"You can sign in by {provider.name} now.")
        return redirect(url_for("accounts.show"), code=303)
    identity = admission.sign_in(house(), provider, answer)
    start_session(identity, hours=HOURS)
    session["provider"] = provider.slug
    response = redirect(safe_next_url(target), code=303)
    _remember(response, provider.slug)
    return response


def _remember(response: Response, slug: str) -> None:
    """Let this browser's sign-in page show the provider first, also where it is not listed."""
    config = current_app.config
    response.set_cookie(REMEMBERED, slug, YEAR_S, secure=config["SESSION_COOKIE_SECURE"], httponly=True, samesite="Lax")


def _find_active(slug: str) -> Provider:
    with house().read() as transaction:
        provider = providers.find(transaction, slug)
    if not provider.is_active:
        raise NotFound("There is no sign-in provider at this address.")
    return provider


def _prepare(provider: Provider, purpose: Purpose, target: str | None = None) -> str:
    """Begin a journey; return the address at the provider where it leads."""
    client = provider_requests.client_of(provider)
    endpoints = provider_requests.discover(client)
    pending = openid.Pending.new()
    journey = {
        "slug": provider.slug,
        "purpose": purpose,
        "nonce": pending.nonce,
        "verifier": pending.verifier,
        "next": target if target and len(target) <= LONGEST_TARGET else None,
        "user": g.identity and str(g.identity.user_id),
        "at": int(time.time()),
    }
    others = sorted(session.get(JOURNEYS, {}).items(), key=lambda item: item[1]["at"])[1 - MOST_JOURNEYS :]
    session[JOURNEYS] = dict(others) | {pending.state: journey}
    return openid.authorization_url(endpoints, client, pending)


def _forget(state: str) -> None:
    session[JOURNEYS] = {each: journey for each, journey in session[JOURNEYS].items() if each != state}


def _render_leaving(provider: Provider, address: str) -> ResponseReturnValue:
    """Send the person on by a page: browsers let a form of ours lead to no other server, even by a redirection."""
    return render_template("accounts/leaving.html", provider=provider, address=address)
