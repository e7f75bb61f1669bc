"""The page of an institution's webhooks: added, paused, tested; what each was told, and with which answer."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from retint import audit
from retint.errors import Refused
from retint.notification_tables import Webhook
from retint.notifications import kinds, webhooks
from retint.roles import Role
from retint.tenancy import get_owned
from retint_web import services
from retint_web.security import only

blueprint = Blueprint("webhooks", __name__, url_prefix="/webhooks")

PAGE: Final = 30


@blueprint.get("/")
@only(Role.ADMIN)
def index() -> ResponseReturnValue:
    """List the webhooks, and a form for a new one."""
    return _render_index()


@blueprint.post("/")
@only(Role.ADMIN)
def add() -> ResponseReturnValue:
    """Add a webhook and show its secret once. It is part of this response, so that no session holds it."""
    url, chosen = request.form.get("url", ""), request.form.getlist("kind")
    try:
        with services().begin() as session:
            webhook, secret = webhooks.add(
                session, services().settings, g.identity.tenant_id, url, chosen, created_by=g.identity.user_id
            )
            audit.record(session, "webhook_added", webhook.url)
    except Refused as error:
        return _render_index(problem=error.message, url=url, chosen=chosen), error.status
    return _render_webhook(webhook.id, secret=secret)


@blueprint.get("/<uuid:webhook_id>")
@only(Role.ADMIN)
def show(webhook_id: UUID) -> ResponseReturnValue:
    """Show a webhook and what it was told."""
    return _render_webhook(webhook_id)


@blueprint.post("/<uuid:webhook_id>")
@only(Role.ADMIN)
def change(webhook_id: UUID) -> ResponseReturnValue:
    """Give a webhook another address and other kinds."""
    url, chosen = request.form.get("url", ""), request.form.getlist("kind")

    def act(session: Session, webhook: Webhook) -> None:
        webhooks.change(session, services().settings, webhook, url, chosen)

    try:
        return _act(webhook_id, "webhook_changed", act, "The webhook is changed.")
    except Refused as error:
        if error.status == 404:
            raise
        return _render_webhook(webhook_id, problem=error.message), error.status


@blueprint.post("/<uuid:webhook_id>/pause")
@only(Role.ADMIN)
def pause(webhook_id: UUID) -> ResponseReturnValue:
    """Hold back what a webhook is to be told."""
    return _act(webhook_id, "webhook_paused", webhooks.pause, "The webhook is paused. What it is to be told waits.")


@blueprint.post("/<uuid:webhook_id>/resume")
@only(Role.ADMIN)
def resume(webhook_id: UUID) -> ResponseReturnValue:
    """Tell a webhook again that was paused or disabled."""
    return _act(webhook_id, "webhook_resumed", webhooks.resume, "The webhook is told again, also what waited for it.")


@blueprint.post("/<uuid:webhook_id>/rotate")
@only(Role.ADMIN)
def rotate(webhook_id: UUID) -> ResponseReturnValue:
    """Give a webhook a new secret, and show it once."""
    with services().begin() as session:
        webhook = get_owned(session, Webhook, g.identity.tenant_id, webhook_id)
        secret = webhooks.rotate(session, services().settings, webhook)
        audit.record(session, "webhook_rotated", webhook.url)
    return _render_webhook(webhook_id, secret=secret)


@blueprint.post("/<uuid:webhook_id>/test")
@only(Role.ADMIN)
def test(webhook_id: UUID) -> ResponseReturnValue:
    """Tell a webhook that this is a test."""
    try:
        return _act(webhook_id, "webhook_tested", webhooks.send_test, "The test is on its way: see below.")
    except Refused as error:
        if error.status == 404:
            raise
        flash(error.message)
        return redirect(url_for("webhooks.show", webhook_id=webhook_id), code=303)


@blueprint.post("/<uuid:webhook_id>/notifications/<uuid:notification_id>/again")
@only(Role.ADMIN)
def send_again(webhook_id: UUID, notification_id: UUID) -> ResponseReturnValue:
    """Send a notification once more."""

    def act(session: Session, webhook: Webhook) -> None:
        webhooks.send_again(session, g.identity.tenant_id, webhook.id, notification_id)

    return _act(webhook_id, "webhook_told_again", act, "It is sent again, with the same id.")


@blueprint.post("/<uuid:webhook_id>/delete")
@only(Role.ADMIN)
def delete(webhook_id: UUID) -> ResponseReturnValue:
    """Delete a webhook."""
    _act(webhook_id, "webhook_deleted", webhooks.delete, "The webhook is deleted.")
    return redirect(url_for("webhooks.index"), code=303)


def _act(webhook_id: UUID, action: str, act: Callable[[Session, Webhook], object], done: str) -> Response:
    """Do something with one of the institution's webhooks, note it in the audit record, and say so."""
    with services().begin() as session:
        webhook = get_owned(session, Webhook, g.identity.tenant_id, webhook_id)
        audit.record(session, action, webhook.url)
        act(session, webhook)
    flash(done)
    return redirect(url_for("webhooks.show", webhook_id=webhook_id), code=303)


def _render_index(problem: str | None = None, url: str = "", chosen: list[str] | None = None) -> str:
    with services().read() as session:
        found = webhooks.list_all(session, g.identity.tenant_id)
    return render_template(
        "webhooks/index.html",
        webhooks=found,
        most=webhooks.MOST,
        offered=_offered(),
        problem=problem,
        url=url,
        chosen=list(kinds.OFFERED) if chosen is None else chosen,
    )


def _render_webhook(webhook_id: UUID, secret: str | None = None, problem: str | None = None) -> str:
    after = request.args.get("after", type=UUID)
    with services().read() as session:
        webhook = get_owned(session, Webhook, g.identity.tenant_id, webhook_id)
        told = webhooks.list_told(session, g.identity.tenant_id, webhook_id, after, PAGE)
    return render_template(
        "webhooks/show.html",
        webhook=webhook,
        told=told,
        next=told[-1][0].id if len(told) == PAGE else None,
        offered=_offered(),
        secret=secret,
        problem=problem,
    )


def _offered() -> list[tuple[str, str]]:
    """List the kinds that webhooks choose from, by name and in words."""
    return [(name, kinds.KINDS[name].words) for name in kinds.OFFERED]
