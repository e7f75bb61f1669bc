"""The tables of notifications: who is told, what waits in the outbox, and what came of it."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from retint.columns import new_id, now, partial
from retint.tables import Table

IS_WAITING = "ended_at IS NULL"


class Webhook(Table):
    """An address of an institution's own server, which is told what happened."""

    __tablename__ = "webhooks"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    url: Mapped[str] = mapped_column(String(500))
    kinds: Mapped[list[Any]] = mapped_column(JSON, doc="Names of the kinds that it is told.")
    secret: Mapped[str] = mapped_column(Text, doc="Sealed.")
    former_secret: Mapped[str | None] = mapped_column(Text, doc="Sealed; it signs, too, until `former_until`.")
    former_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now())
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    paused_at: Mapped[datetime | None] = mapped_column(doc="By a person: what is for it waits.")
    disabled_at: Mapped[datetime | None] = mapped_column(doc="By Retint, because it does not take what it is told.")
    disabled_because: Mapped[str | None] = mapped_column(String(200))
    failures: Mapped[int] = mapped_column(default=0, doc="Deliveries in a row that failed.")
    delivered_at: Mapped[datetime | None] = mapped_column(doc="When it last took something.")
    not_before: Mapped[datetime | None] = mapped_column(doc="It is left alone until then.")
    busy_until: Mapped[datetime | None] = mapped_column(doc="A delivery is on its way: the claim ends then.")


class Notification(Table):
    """What one receiver is told, a webhook or an e-mail address: the outbox. Written with what it tells."""

    __tablename__ = "notifications"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("tenants.id"))
    kind: Mapped[str] = mapped_column(String(40))
    webhook_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    address: Mapped[str | None] = mapped_column(String(254), doc="Of an e-mail.")
    body: Mapped[str | None] = mapped_column(
        Text, doc="To a webhook word for word; an e-mail's is sealed, since it may hold a link, and cleared at the end."
    )
    created_at: Mapped[datetime] = mapped_column(default=now())
    tries: Mapped[int] = mapped_column(default=0, doc="Those that began: also the fencing token of the newest.")
    tries_before: Mapped[int] = mapped_column(default=0, doc="Tries before a person had it sent again.")
    not_before: Mapped[datetime] = mapped_column(default=now(), doc="Of the next try.")
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16), doc="`delivered` or `given_up`; NULL while it waits.")
    __table_args__ = (
        # The next one of each webhook, and the next e-mail.
        partial("ix_notifications_webhook", "webhook_id", "id", where=IS_WAITING),
        partial("ix_notifications_due", "not_before", where=IS_WAITING),
        # The page of a webhook.
        Index("ix_notifications_of", "webhook_id", "id"),
        # What is old and forgotten.
        partial("ix_notifications_ended", "ended_at", where="ended_at IS NOT NULL"),
    )


class Delivery(Table):
    """One try to hand a notification to its receiver. Append-only; what the receiver answered is not kept."""

    __tablename__ = "deliveries"
    notification_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("notifications.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(default=now())
    status: Mapped[int | None] = mapped_column(doc="The HTTP or SMTP status; NULL where there was no answer.")
    problem: Mapped[str | None] = mapped_column(String(200), doc="Why it failed, in a sentence; NULL where it did not.")
    ms: Mapped[int] = mapped_column(doc="How long it took.")


class MailChoice(Table):
    """Whether a user gets e-mail of a kind; without a row the kind's default holds."""

    __tablename__ = "mail_choices"
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40), primary_key=True)
    wanted: Mapped[bool]
