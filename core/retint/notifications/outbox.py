"""The outbox: what is due is claimed, delivered by its caller, and settled.

A claim counts the try and lasts until a time by the database's clock. Whoever dies in between leaves it behind, and the
notification is delivered once more, with the same id: at least once, and to each webhook one at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, exists, func, or_, select, text, update
from sqlalchemy.orm import Session

from retint import metrics, notifications
from retint.columns import now
from retint.database import NO_SYNC
from retint.metrics import Counters
from retint.notification_tables import IS_WAITING, Delivery, Notification, Webhook
from retint.notifications import kinds, schedule
from retint.notifications.mailing import MailAnswer
from retint.notifications.posting import GONE, PostAnswer
from retint.settings import Settings

CLAIM_S = {"webhook": 60.0, "mail": 180.0}
"""How long a delivery may take, by channel; each step of it ends earlier."""
KEPT_S = 30 * 86_400.0
"""How long a notification is kept after its end, and for how long one may wait at all."""
FORGOTTEN_AT_ONCE = 1000


@dataclass(frozen=True)
class Due:
    """A claimed notification, and all that its delivery needs."""

    id: UUID
    number: int
    """Of this try."""
    kind: str
    body: str
    address: str | None
    """Of an e-mail; None for a webhook."""
    webhook_id: UUID | None = None
    url: str = ""
    secrets: tuple[str, ...] = ()
    """That sign, sealed; the newest first."""

    @property
    def channel(self) -> str:
        """`webhook` or `mail`."""
        return "mail" if self.webhook_id is None else "webhook"


def has_due(session: Session, *, with_mail: bool) -> bool:
    """Whether something can be delivered now."""
    if with_mail and session.scalar(_select_due_mail().limit(1)) is not None:
        return True
    return session.scalar(_select_open_webhooks().limit(1)) is not None


def claim(session: Session, settings: Settings, *, webhooks: int, mails: int) -> Iterator[Due]:
    """Claim what is due: the oldest notification of each webhook that is not busy, and the oldest e-mails.

    Args:
        session: the transaction.
        settings: of the installation.
        webhooks: most webhooks; those come first that were served longest ago.
        mails: most e-mails.
    """
    for webhook_id in session.scalars(_select_open_webhooks().limit(webhooks)).all():
        yield from _claim_for(session, webhook_id)
    for notification in session.scalars(_select_due_mail().limit(mails).with_for_update(skip_locked=True)).all():
        yield from _begin(session, notification, None)


def _claim_for(session: Session, webhook_id: UUID) -> Iterator[Due]:
    webhook = session.scalar(
        update(Webhook)
        .where(Webhook.id == webhook_id, *_is_open())
        .values(busy_until=now(CLAIM_S["webhook"]))
        .returning(Webhook),
        execution_options=NO_SYNC,
    )
    if webhook is None:
        return  # another process was faster
    waiting = select(Notification).where(text(IS_WAITING), Notification.webhook_id == webhook_id, _is_due())
    notification = session.scalar(waiting.order_by(Notification.id).limit(1))
    if notification is not None:
        yield from _begin(session, notification, webhook)


def _begin(session: Session, notification: Notification, webhook: Webhook | None) -> Iterator[Due]:
    """Count the try of a notification and put off the next one."""
    number = session.scalar(
        update(Notification)
        .where(Notification.id == notification.id, text(IS_WAITING), _is_due())
        .values(tries=Notification.tries + 1, not_before=now(CLAIM_S["webhook" if webhook else "mail"]))
        .returning(Notification.tries),
        execution_options=NO_SYNC,
    )
    if number is None:
        return
    secrets: tuple[str, ...] = ()
    if webhook:
        still = session.scalar(select(Webhook.id).where(Webhook.id == webhook.id, Webhook.former_until > now()))
        secrets = (webhook.secret, webhook.former_secret) if still and webhook.former_secret else (webhook.secret,)
    yield Due(
        id=notification.id,
        number=number,
        kind=notification.kind,
        body=notification.body or "",
        address=notification.address,
        webhook_id=webhook.id if webhook else None,
        url=webhook.url if webhook else "",
        secrets=secrets,
    )


def _is_due() -> ColumnElement[bool]:
    return Notification.not_before <= now()


def _is_open() -> tuple[ColumnElement[bool], ...]:
    """Whether a webhook may be told something now."""
    return (
        Webhook.paused_at.is_(None),
        Webhook.disabled_at.is_(None),
        or_(Webhook.not_before.is_(None), Webhook.not_before <= now()),
        or_(Webhook.busy_until.is_(None), Webhook.busy_until <= now()),
    )


def _select_open_webhooks() -> Select[UUID]:
    """Select the webhooks for which something is due, those first that were served longest ago."""
    waiting = exists().where(text(IS_WAITING), Notification.webhook_id == Webhook.id, _is_due())
    return select(Webhook.id).where(*_is_open(), waiting).order_by(Webhook.busy_until.asc().nulls_first(), Webhook.id)


def _select_due_mail() -> Select[Notification]:
    mails = select(Notification).where(text(IS_WAITING), Notification.webhook_id.is_(None), _is_due())
    return mails.order_by(Notification.id)


def settle(
    session: Session,
    settings: Settings,
    counters: Counters,
    due: Due,
    answer: PostAnswer | MailAnswer,
    ms: int,
) -> None:
    """Write what came of a delivery, and when the next try is; a claim that was lost writes nothing.

    Args:
        session: the transaction.
        settings: of the installation.
        counters: of this process.
        due: what was delivered.
        answer: what the receiver answered.
        ms: how long it took.
    """
    notification = session.scalar(
        select(Notification).where(Notification.id == due.id, Notification.tries == due.number, text(IS_WAITING))
    )
    webhook = session.get(Webhook, due.webhook_id) if due.webhook_id else None
    if notification is None or (due.webhook_id and webhook is None):
        return
    problem = answer.problem and answer.problem[:200]
    session.add(Delivery(notification_id=due.id, number=due.number, status=answer.status, problem=problem, ms=ms))
    retry_after = answer.retry_after if isinstance(answer, PostAnswer) else None
    is_final = answer.is_final if isinstance(answer, MailAnswer) else answer.status == GONE
    wait_s = schedule.wait_after(due.number - notification.tries_before)
    if problem is None:
        outcome: str | None = "delivered"
    else:
        outcome = "given_up" if is_final or wait_s is None else None
    if outcome:
        _end(session, notification, outcome)
    else:
        put_off = now(max(wait_s or 0.0, schedule.parse_retry_after(retry_after)))
        session.execute(update(Notification).where(Notification.id == due.id).values(not_before=put_off))
    counters.count(metrics.DELIVERIES, due.channel, outcome or "failed")
    if webhook is not None and problem is None:
        _note_success(session, webhook)
    elif webhook is not None:
        _note_failure(session, webhook, answer.status, retry_after)
        is_dead = webhook.delivered_at is None or webhook.delivered_at < notification.created_at
        if outcome and (is_final or is_dead):
            disable(session, settings, webhook, _say_why(answer.status, problem or ""))


def _end(session: Session, notification: Notification, outcome: str) -> None:
    values: dict[str, object] = {"ended_at": now(), "outcome": outcome}
    if notification.webhook_id is None:
        values["body"] = None  # it may hold a link that signs in
    session.execute(update(Notification).where(Notification.id == notification.id).values(values))


def _note_success(session: Session, webhook: Webhook) -> None:
    session.execute(
        update(Webhook)
        .where(Webhook.id == webhook.id)
        .values(failures=0, delivered_at=now(), not_before=None, busy_until=now())
    )


def _note_failure(session: Session, webhook: Webhook, status: int | None, retry_after: str | None) -> None:
    pause_s = schedule.pause_after(webhook.failures + 1, status, retry_after)
    session.execute(
        update(Webhook)
        .where(Webhook.id == webhook.id)
        .values(failures=Webhook.failures + 1, not_before=now(pause_s), busy_until=now())
    )


def _say_why(status: int | None, problem: str) -> str:
    if status == GONE:
        return "It answered 410 Gone: it wants to be told nothing any more."
    return f"All {schedule.TRIES} tries of a notification failed, and none succeeded meanwhile. The last: {problem}"[
        :200
    ]


def disable(session: Session, settings: Settings, webhook: Webhook, because: str) -> None:
    """Stop telling a webhook, and say so to the administrators of its institution. What waits for it is kept."""
    disabled = session.scalar(
        update(Webhook)
        .where(Webhook.id == webhook.id, Webhook.disabled_at.is_(None))
        .values(disabled_at=now(), disabled_because=because)
        .returning(Webhook.id),
        execution_options=NO_SYNC,
    )
    if disabled is not None:
        page = f"{settings.portal_url}/webhooks/{webhook.id}"
        fields = {"host": urlsplit(webhook.url).hostname or "", "because": because, "url": page}
        notifications.tell(session, settings, kinds.WEBHOOK_DISABLED, webhook.tenant_id, fields)


def forget_old(session: Session) -> int:
    """Delete some of the notifications that ended, or began to wait, `KEPT_S` ago. Returns how many."""
    old = or_(Notification.ended_at < now(-KEPT_S), Notification.created_at < now(-2 * KEPT_S))
    chosen = session.scalars(
        select(Notification.id).where(old).order_by(Notification.id).limit(FORGOTTEN_AT_ONCE)
    ).all()
    session.execute(delete(Delivery).where(Delivery.notification_id.in_(chosen)), execution_options=NO_SYNC)
    session.execute(delete(Notification).where(Notification.id.in_(chosen)), execution_options=NO_SYNC)
    return len(chosen)


def count_disabled(session: Session) -> int:
    """Count the webhooks that are disabled."""
    return session.scalar(select(func.count()).select_from(Webhook).where(Webhook.disabled_at.is_not(None))) or 0


def measure_oldest_s(session: Session) -> float:
    """Measure the age of the oldest notification that waits and that nobody holds back, in seconds; 0 without one."""
    held_back = select(Webhook.id).where(or_(Webhook.paused_at.is_not(None), Webhook.disabled_at.is_not(None)))
    oldest = select(func.min(Notification.created_at), now()).where(
        text(IS_WAITING), or_(Notification.webhook_id.is_(None), Notification.webhook_id.not_in(held_back))
    )
    since, at = session.execute(oldest).one()
    return max(0.0, (at - since).total_seconds()) if since else 0.0
