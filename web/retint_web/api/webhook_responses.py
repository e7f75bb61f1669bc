"""What the API answers about webhooks and e-mail."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from retint_web.api.responses import Answer


class Webhook(Answer):
    """An address of the institution's own server that is told what happened."""

    identifies = "webhook_id"

    id: UUID
    url: str
    kinds: list[str]
    created_at: datetime
    paused_at: datetime | None = Field(description="Since a person paused it; what it is to be told waits.")
    disabled_at: datetime | None = Field(description="Since Retint disabled it, because it takes nothing.")
    disabled_because: str | None
    failures: int = Field(description="Deliveries in a row that failed.")
    delivered_at: datetime | None
    former_until: datetime | None = Field(description="Until then the secret before signs, too.")


class WebhookWithSecret(Webhook):
    """A webhook and its secret, which is shown this once."""

    secret: str


class Webhooks(Answer):
    """An institution's webhooks."""

    items: list[Webhook]


class Try(Answer):
    """One try to tell a webhook something."""

    at: datetime
    status: int | None = Field(description="What the receiver answered; null where it did not.")
    problem: str | None = Field(description="Why it failed, in a sentence; null where it did not.")
    ms: int = Field(description="How long it took.")


class Told(Answer):
    """What a webhook was told."""

    identifies = "notification_id"

    id: UUID
    message_id: str = Field(description="The header `webhook-id`, the same for every try.")
    kind: str
    created_at: datetime
    outcome: Literal["delivered", "given_up"] | None = Field(description="Null while it waits.")
    next_try_at: datetime | None
    tries: list[Try]


class MailChoices(Answer):
    """What a user gets by e-mail."""

    is_sent: bool = Field(description="Whether this installation sends e-mail at all.")
    kinds: dict[str, bool]
