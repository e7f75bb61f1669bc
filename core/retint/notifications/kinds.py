"""What is told: a table of kinds. A new kind is a row here, and a function that writes its e-mail."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from retint.notifications import mails
from retint.notifications.mails import Mail


class Audience(StrEnum):
    """Who of an institution gets the e-mail."""

    DEPOSITOR = "depositor"
    """The person who deposited the batch."""
    ADMINISTRATORS = "administrators"
    ADDRESSEE = "addressee"
    """Whom the caller names: somebody asked for it, so nobody can refuse it."""


@dataclass(frozen=True)
class Kind:
    """One kind of notification.

    Attributes:
        name: its `type` in the body that webhooks get.
        words: what has happened, for people who choose; empty where nobody chooses it.
        audience: who gets the e-mail.
        by_default: whether they get it unless they say otherwise.
        write: makes the e-mail of the fields; None where there is none.
        example: its fields, as the documentation shows them; every notification of the kind has these and no others.
        for_webhooks: whether webhooks can be told.
    """

    name: str
    words: str
    audience: Audience
    by_default: bool
    write: Callable[[dict[str, Any]], Mail] | None
    example: dict[str, Any]
    for_webhooks: bool = True

    @property
    def is_chosen(self) -> bool:
        """Whether a person chooses if they get e-mail of it."""
        return self.write is not None and self.audience is not Audience.ADDRESSEE


_BATCH: Final = {
    "id": "019a2c5e-7d10-7b3e-9f41-2f6f0a6c1d22",
    "name": "Glass plates, box 7",
    "url": "https://photos.example.org/batches/019a2c5e-7d10-7b3e-9f41-2f6f0a6c1d22",
}
_REASONS: Final = [
    {"code": "not_an_image", "state": "refused", "count": 2, "sentence": "This is not a photograph."},
]

BATCH_ENDED: Final = Kind(
    name="batch.ended",
    words="A batch has ended",
    audience=Audience.DEPOSITOR,
    by_default=True,
    write=mails.batch_ended,
    example={
        "batch": _BATCH,
        "restored": 998,
        "refused": 2,
        "quarantined": 0,
        "cancelled": 0,
        "reasons": _REASONS,
    },
)
PHOTO_REFUSED: Final = Kind(
    name="photo.refused",
    words="Photos of a batch were refused or failed, while the batch is still running",
    audience=Audience.DEPOSITOR,
    by_default=False,
    write=mails.photo_refused,
    example={"batch": _BATCH, "new": 2, "refused": 2, "quarantined": 0, "reasons": _REASONS},
)
WEBHOOK_DISABLED: Final = Kind(
    name="webhook.disabled",
    words="A webhook was disabled, because its receiver takes nothing",
    audience=Audience.ADMINISTRATORS,
    by_default=True,
    write=mails.webhook_disabled,
    example={"host": "dams.example.org", "because": "…", "url": "https://photos.example.org/webhooks/…"},
    for_webhooks=False,
)
WEBHOOK_TEST: Final = Kind(
    name="webhook.test",
    words="",
    audience=Audience.ADDRESSEE,
    by_default=False,
    write=None,
    example={"message": "If you can read this and verify its signature, the webhook works."},
    for_webhooks=False,
)
INVITATION: Final = Kind(
    name="invitation",
    words="",
    audience=Audience.ADDRESSEE,
    by_default=True,
    write=mails.invitation,
    example={"institution": "City Archive", "by": "admin@example.org", "link": "https://…", "hours": "24"},
    for_webhooks=False,
)
PASSWORD_RESET: Final = Kind(
    name="password_reset",
    words="",
    audience=Audience.ADDRESSEE,
    by_default=True,
    write=mails.password_reset,
    example={"link": "https://…", "hours": "1"},
    for_webhooks=False,
)

KINDS: Final = {
    kind.name: kind for kind in (BATCH_ENDED, PHOTO_REFUSED, WEBHOOK_DISABLED, WEBHOOK_TEST, INVITATION, PASSWORD_RESET)
}
"""All kinds by name, in the order of the pages."""
OFFERED: Final = tuple(name for name, kind in KINDS.items() if kind.for_webhooks)
"""Names of the kinds that webhooks choose from."""
