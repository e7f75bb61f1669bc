"""API operations on webhooks and on the e-mail that a user gets."""

from typing import Annotated, Any
from uuid import UUID

from flask import Response, g
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from retint import audit, notifications
from retint.notification_tables import Delivery, Notification, Webhook
from retint.notifications import posting, webhooks
from retint.roles import Role, Scope
from retint.tenancy import get_owned
from retint_web import services
from retint_web.api import requests, responses
from retint_web.api import webhook_responses as answers
from retint_web.api.blueprint import api, next_cursor

ADMIN = (Role.ADMIN,)


class WebhookRequest(BaseModel):
    """Which address is told what."""

    model_config = ConfigDict(extra="forbid")
    url: str = Field(
        min_length=1,
        max_length=posting.URL_LENGTH,
        description="With https; private hosts if listed.",
        examples=["https://dams.example.org/retint"],
    )
    kinds: list[Annotated[str, Field(max_length=40)]] = Field(
        min_length=1,
        max_length=20,
        description="Such as `batch.ended` and `photo.refused`.",
        examples=[["batch.ended", "photo.refused"]],
    )


class MailRequest(BaseModel):
    """Which kinds the user wants by e-mail."""

    model_config = ConfigDict(extra="forbid")
    kinds: dict[Annotated[str, Field(max_length=40)], bool] = Field(
        max_length=20,
        description="Whether, by kind; a kind that is left out stays as it is.",
        examples=[{"batch.ended": True}],
    )


@api.operation("GET", "/webhooks", answers.Webhooks, roles=ADMIN, scope=Scope.ADMIN)
def list_webhooks() -> answers.Webhooks:
    """List the institution's webhooks."""
    with services().read() as session:
        return answers.Webhooks(items=[_webhook(each) for each in webhooks.list_all(session, g.identity.tenant_id)])


@api.operation(
    "POST",
    "/webhooks",
    answers.WebhookWithSecret,
    status=201,
    body=WebhookRequest,
    roles=ADMIN,
    scope=Scope.ADMIN,
    errors={409: "There are as many webhooks as there may be."},
)
def add_webhook(body: WebhookRequest) -> answers.WebhookWithSecret:
    """Add a webhook; its secret is in this answer and in no other."""
    identity = g.identity
    with services().begin() as session:
        webhook, secret = webhooks.add(
            session, services().settings, identity.tenant_id, body.url, body.kinds, created_by=identity.user_id
        )
        audit.record(session, "webhook_added", webhook.url)
        return answers.WebhookWithSecret(secret=secret, **vars(_webhook(webhook)))


@api.operation("GET", "/webhooks/<uuid:webhook_id>", answers.Webhook, roles=ADMIN, scope=Scope.ADMIN)
def show_webhook(webhook_id: UUID) -> answers.Webhook:
    """Get a webhook."""
    with services().read() as session:
        return _webhook(_get(session, webhook_id))


@api.operation(
    "PUT",
    "/webhooks/<uuid:webhook_id>",
    answers.Webhook,
    body=WebhookRequest,
    roles=ADMIN,
    scope=Scope.ADMIN,
)
def change_webhook(webhook_id: UUID, body: WebhookRequest) -> answers.Webhook:
    """Give a webhook another address and other kinds."""
    with services().begin() as session:
        webhook = _get(session, webhook_id)
        webhooks.change(session, services().settings, webhook, body.url, body.kinds)
        audit.record(session, "webhook_changed", webhook.url)
        return _webhook(webhook)


@api.operation("DELETE", "/webhooks/<uuid:webhook_id>", None, status=204, roles=ADMIN, scope=Scope.ADMIN)
def delete_webhook(webhook_id: UUID) -> Response:
    """Delete a webhook, with the record of what it was told."""
    with services().begin() as session:
        webhook = _get(session, webhook_id)
        audit.record(session, "webhook_deleted", webhook.url)
        webhooks.delete(session, webhook)
    return Response(status=204)


@api.operation("POST", "/webhooks/<uuid:webhook_id>/pause", answers.Webhook, roles=ADMIN, scope=Scope.ADMIN)
def pause_webhook(webhook_id: UUID) -> answers.Webhook:
    """Hold back what a webhook is to be told."""
    with services().begin() as session:
        webhook = _get(session, webhook_id)
        audit.record(session, "webhook_paused", webhook.url)
        webhooks.pause(session, webhook)
        return _webhook(webhook)


@api.operation("POST", "/webhooks/<uuid:webhook_id>/resume", answers.Webhook, roles=ADMIN, scope=Scope.ADMIN)
def resume_webhook(webhook_id: UUID) -> answers.Webhook:
    """Tell a webhook again that was paused or disabled, also what waited."""
    with services().begin() as session:
        webhook = _get(session, webhook_id)
        audit.record(session, "webhook_resumed", webhook.url)
        webhooks.resume(session, webhook)
        return _webhook(webhook)


@api.operation(
    "POST",
    "/webhooks/<uuid:webhook_id>/rotate",
    answers.WebhookWithSecret,
    roles=ADMIN,
    scope=Scope.ADMIN,
)
def rotate_webhook(webhook_id: UUID) -> answers.WebhookWithSecret:
    """Give a webhook a new secret; the one before signs, too, for a day."""
    with services().begin() as session:
        webhook = _get(session, webhook_id)
        audit.record(session, "webhook_rotated", webhook.url)
        secret = webhooks.rotate(session, services().settings, webhook)
        return answers.WebhookWithSecret(secret=secret, **vars(_webhook(webhook)))


@api.operation(
    "POST",
    "/webhooks/<uuid:webhook_id>/test",
    answers.Told,
    status=201,
    roles=ADMIN,
    scope=Scope.ADMIN,
    errors={409: "The webhook is paused or disabled."},
)
def test_webhook(webhook_id: UUID) -> answers.Told:
    """Tell a webhook that this is a test, whatever kinds it chose."""
    with services().begin() as session:
        webhook = _get(session, webhook_id)
        audit.record(session, "webhook_tested", webhook.url)
        notification_id = webhooks.send_test(session, webhook)
        session.flush()
        return _told(session.get_one(Notification, notification_id), [])


@api.operation(
    "GET",
    "/webhooks/<uuid:webhook_id>/notifications",
    responses.Page[answers.Told],
    query=requests.PageQuery,
    roles=ADMIN,
    scope=Scope.ADMIN,
)
def list_notifications(webhook_id: UUID, query: requests.PageQuery) -> responses.Page[answers.Told]:
    """List what a webhook was told, newest first, with every try."""
    with services().read() as session:
        found = webhooks.list_told(session, g.identity.tenant_id, webhook_id, query.after, query.limit)
    cursor = next_cursor([notification for notification, _ in found], query.limit)
    return responses.Page(items=[_told(*each) for each in found], next=cursor)


@api.operation(
    "POST",
    "/webhooks/<uuid:webhook_id>/notifications/<uuid:notification_id>/again",
    answers.Webhook,
    roles=ADMIN,
    scope=Scope.ADMIN,
)
def send_notification_again(webhook_id: UUID, notification_id: UUID) -> answers.Webhook:
    """Send a notification once more, with the same id."""
    with services().begin() as session:
        webhook = _get(session, webhook_id)
        audit.record(session, "webhook_told_again", webhook.url)
        webhooks.send_again(session, g.identity.tenant_id, webhook_id, notification_id)
        return _webhook(webhook)


@api.operation("GET", "/mail", answers.MailChoices, scope=Scope.READ)
def show_mail_choices() -> answers.MailChoices:
    """Get which kinds of notifications the user gets by e-mail."""
    with services().read() as session:
        return _mail(session)


@api.operation("PUT", "/mail", answers.MailChoices, body=MailRequest, scope=Scope.DEPOSIT)
def choose_mail(body: MailRequest) -> answers.MailChoices:
    """Choose which kinds of notifications the user gets by e-mail."""
    with services().begin() as session:
        notifications.choose_mail(session, g.identity.person_id, body.kinds)
        audit.record(
            session, "mail_chosen", ", ".join(sorted(name for name, wanted in body.kinds.items() if wanted)) or "-"
        )
        session.flush()
        return _mail(session)


def _mail(session: Session) -> answers.MailChoices:
    kinds = notifications.list_mail_kinds(session, g.identity.person_id, is_admin=g.identity.is_admin)
    return answers.MailChoices(is_sent=notifications.can_mail(services().settings), kinds=kinds)


def _get(session: Session, webhook_id: UUID) -> Webhook:
    return get_owned(session, Webhook, g.identity.tenant_id, webhook_id)


def _webhook(webhook: Webhook) -> answers.Webhook:
    values: dict[str, Any] = {name: getattr(webhook, name) for name in answers.Webhook.model_fields}
    return answers.Webhook(**values)


def _told(notification: Notification, deliveries: list[Delivery]) -> answers.Told:
    return answers.Told(
        id=notification.id,
        message_id=posting.name_message(notification.id),
        kind=notification.kind,
        created_at=notification.created_at,
        outcome=notification.outcome,
        next_try_at=None if notification.outcome else notification.not_before,
        tries=[answers.Try(at=each.at, status=each.status, problem=each.problem, ms=each.ms) for each in deliveries],
    )
