"""An institution's webhooks: added, listed, paused, their secrets rotated, tested; what they were told, and again."""

import base64
import secrets
from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from retint import notifications, sealing
from retint.columns import new_id, now
from retint.database import NO_SYNC
from retint.errors import IllegalMove, InvalidRequest, NotFound
from retint.notification_tables import IS_WAITING, Delivery, Notification, Webhook
from retint.notifications import kinds
from retint.notifications.posting import check_url
from retint.settings import Settings
from retint.tenancy import get_owned, select_owned

MOST: Final = 20
"""Most webhooks of an institution."""
ROTATION_S: Final = 86_400.0
"""How long the secret before signs, too."""
PURPOSE: Final = "webhook"
"""Purpose of the seal on their secrets."""


def add(
    session: Session,
    settings: Settings,
    tenant_id: UUID,
    url: str,
    chosen: Collection[str],
    *,
    created_by: UUID | None = None,
) -> tuple[Webhook, str]:
    """Add a webhook. Its secret is returned this once.

    Args:
        session: the transaction.
        settings: seal the secret, and say which receivers inside may be told.
        tenant_id: the institution.
        url: where it is told.
        chosen: the kinds that it is told; at least one of `kinds.OFFERED`.
        created_by: the user.

    Raises:
        InvalidRequest: the address or a kind cannot be used; the message says what to do.
        IllegalMove: there are `MOST` webhooks already.
        SealBroken: RETINT_SECRET is not set.
    """
    url, chosen = check_url(settings, url), check_kinds(chosen)
    n = session.scalar(select(func.count()).select_from(Webhook).where(Webhook.tenant_id == tenant_id)) or 0
    if n >= MOST:
        raise IllegalMove(f"There are {MOST} webhooks already. Delete one first.", code="too_many_webhooks")
    secret = _make_secret()
    webhook = Webhook(
        tenant_id=tenant_id,
        url=url,
        kinds=chosen,
        secret=sealing.seal(settings, PURPOSE, secret),
        created_by=created_by,
    )
    session.add(webhook)
    session.flush()
    session.refresh(webhook)
    return webhook, secret


def check_kinds(chosen: Collection[str]) -> list[str]:
    """Return the kinds in the order of the table.

    Raises:
        InvalidRequest: none, or one that is not offered.
    """
    if not chosen or set(chosen) - set(kinds.OFFERED):
        raise InvalidRequest(f"Choose what the webhook is told: {', '.join(kinds.OFFERED)}.", code="no_kind")
    return [name for name in kinds.OFFERED if name in chosen]


def list_all(session: Session, tenant_id: UUID) -> Sequence[Webhook]:
    """List an institution's webhooks, the oldest first."""
    return session.scalars(select_owned(Webhook, tenant_id).order_by(Webhook.id)).all()


def change(session: Session, settings: Settings, webhook: Webhook, url: str, chosen: Collection[str]) -> None:
    """Give a webhook another address and other kinds.

    Raises:
        InvalidRequest: the address or a kind cannot be used.
    """
    webhook.url, webhook.kinds = check_url(settings, url), check_kinds(chosen)


def pause(session: Session, webhook: Webhook) -> None:
    """Hold back what a webhook is to be told. Idempotent."""
    session.execute(
        update(Webhook).where(Webhook.id == webhook.id, Webhook.paused_at.is_(None)).values(paused_at=now())
    )
    session.refresh(webhook)


def resume(session: Session, webhook: Webhook) -> None:
    """Tell a webhook again that was paused or disabled, at once also what waited. Idempotent."""
    webhook.paused_at = webhook.disabled_at = webhook.disabled_because = webhook.not_before = None
    webhook.failures = 0
    waiting = update(Notification).where(Notification.webhook_id == webhook.id, text(IS_WAITING))
    session.execute(waiting.values(not_before=now(), tries_before=Notification.tries), execution_options=NO_SYNC)


def rotate(session: Session, settings: Settings, webhook: Webhook) -> str:
    """Give a webhook a new secret, which is returned this once; the one before signs, too, for a day.

    Raises:
        SealBroken: RETINT_SECRET is not set.
    """
    secret = _make_secret()
    sealed = sealing.seal(settings, PURPOSE, secret)
    session.execute(
        update(Webhook)
        .where(Webhook.id == webhook.id)
        .values(secret=sealed, former_secret=Webhook.secret, former_until=now(ROTATION_S)),
        execution_options=NO_SYNC,
    )
    session.refresh(webhook)
    return secret


def reseal(session: Session, settings: Settings) -> int:
    """Seal all secrets with the present RETINT_SECRET, of all institutions; return of how many webhooks.

    Raises:
        SealBroken: one cannot be opened with it or with RETINT_FORMER_SECRETS.
    """
    found = session.scalars(select(Webhook)).all()
    for webhook in found:
        webhook.secret = sealing.reseal(settings, PURPOSE, webhook.secret)
        if webhook.former_secret is not None:
            webhook.former_secret = sealing.reseal(settings, PURPOSE, webhook.former_secret)
    return len(found)


def delete(session: Session, webhook: Webhook) -> None:
    """Delete a webhook, with all that it was told and was to be told."""
    session.delete(webhook)


def send_test(session: Session, webhook: Webhook) -> UUID:
    """Tell a webhook that this is a test, whatever kinds it chose.

    Raises:
        IllegalMove: it is paused or disabled.
    """
    if webhook.paused_at or webhook.disabled_at:
        raise IllegalMove("The webhook is not told anything now. Resume it first.", code="webhook_rests")
    body = notifications.make_body(kinds.WEBHOOK_TEST, kinds.WEBHOOK_TEST.example)
    notification = Notification(
        id=new_id(), tenant_id=webhook.tenant_id, kind=kinds.WEBHOOK_TEST.name, webhook_id=webhook.id, body=body
    )
    session.add(notification)
    webhook.not_before = None  # the person who looks waits for it
    return notification.id


def list_told(
    session: Session, tenant_id: UUID, webhook_id: UUID, after: UUID | None = None, limit: int = 50
) -> list[tuple[Notification, list[Delivery]]]:
    """List what a webhook was told, with the tries of each, the newest first; those before `after`.

    Raises:
        NotFound: no such webhook, or no such notification `after`.
    """
    get_owned(session, Webhook, tenant_id, webhook_id)
    told = select(Notification).where(Notification.webhook_id == webhook_id)
    if after is not None:
        told = told.where(Notification.id < get_owned(session, Notification, tenant_id, after).id)
    found = session.scalars(told.order_by(Notification.id.desc()).limit(limit)).all()
    tries = select(Delivery).where(Delivery.notification_id.in_([each.id for each in found])).order_by(Delivery.number)
    by_id: dict[UUID, list[Any]] = {each.id: [] for each in found}
    for delivery in session.scalars(tries):
        by_id[delivery.notification_id].append(delivery)
    return [(each, by_id[each.id]) for each in found]


def send_again(session: Session, tenant_id: UUID, webhook_id: UUID, notification_id: UUID) -> None:
    """Send a notification once more, with the same id, and with all its tries anew.

    Raises:
        NotFound: no such webhook or notification.
    """
    webhook = get_owned(session, Webhook, tenant_id, webhook_id)
    notification = get_owned(session, Notification, tenant_id, notification_id)
    if notification.webhook_id != webhook.id:
        raise NotFound("There is no such notification.")
    again = update(Notification).where(Notification.id == notification_id)
    fresh = {"ended_at": None, "outcome": None, "not_before": now(), "tries_before": Notification.tries}
    session.execute(again.values(fresh), execution_options=NO_SYNC)
    webhook.not_before = None


def _make_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
