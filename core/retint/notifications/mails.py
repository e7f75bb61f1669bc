"""The e-mails, in plain words: one function a kind, from its fields to a subject and a text.

A blank line separates paragraphs; a line that is an address becomes a link in the HTML.
"""

from dataclasses import dataclass
from typing import Any

MOST_REASONS = 10


@dataclass(frozen=True)
class Mail:
    """What a person reads."""

    subject: str
    text: str


def batch_ended(fields: dict[str, Any]) -> Mail:
    """Tell that a batch has ended, and how."""
    name, restored = fields["batch"]["name"], fields["restored"]
    failed, cancelled = fields["refused"] + fields["quarantined"], fields["cancelled"]
    counts = [f"{_photos(restored)} restored"]
    counts += [f"{fields['refused']} refused"] if fields["refused"] else []
    counts += [f"{fields['quarantined']} failed, which can be tried again"] if fields["quarantined"] else []
    counts += [f"{cancelled} cancelled"] if cancelled else []
    subject = f"{name}: {_photos(restored)} restored"
    return _mail(
        f"{subject}, {failed} not" if failed else subject,
        f"The batch “{name}” has ended: {', '.join(counts)}.",
        _list_reasons(fields["reasons"]),
        "Look at the results, compare, and take them home:",
        fields["batch"]["url"],
    )


def photo_refused(fields: dict[str, Any]) -> Mail:
    """Tell that some photos of a batch that still runs were refused."""
    name, new = fields["batch"]["name"], fields["new"]
    verb = "was" if new == 1 else "were"
    return _mail(
        f"{name}: {_photos(new)} {verb} not restored",
        f"While the batch “{name}” is running, {_photos(new)} {verb} refused or failed. The others go on.",
        _list_reasons(fields["reasons"]),
        "The batch is here:",
        fields["batch"]["url"],
    )


def webhook_disabled(fields: dict[str, Any]) -> Mail:
    """Tell that a webhook is not told anything any more."""
    return _mail(
        f"The webhook to {fields['host']} is disabled",
        f"The webhook to {fields['host']} was disabled. {fields['because']}",
        "What it was to be told is kept. Enable it again when the receiver works:",
        fields["url"],
    )


def invitation(fields: dict[str, Any]) -> Mail:
    """Invite a person."""
    return _mail(
        f"Your account at Retint for {fields['institution']}",
        f"{fields['by']} invites you to Retint, where {fields['institution']} restores its old photographs.",
        f"Sign in with this link. It works once, for {_hours(fields['hours'])}:",
        fields["link"],
    )


def password_reset(fields: dict[str, Any]) -> Mail:
    """Send the link with which a person chooses a new password."""
    return _mail(
        "A new password for Retint",
        "Somebody, probably you, asked for a new password for your account at Retint.",
        f"Choose it with this link. It works once, for {_hours(fields['hours'])}:",
        fields["link"],
        "If it was not you, you need not do anything: your password stays as it is.",
    )


def _mail(subject: str, *paragraphs: str) -> Mail:
    return Mail(subject, "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n")


def _photos(n: int) -> str:
    return "1 photo" if n == 1 else f"{n:,} photos"


def _hours(text: str) -> str:
    return "1 hour" if str(text) == "1" else f"{text} hours"


def _list_reasons(reasons: list[dict[str, Any]]) -> str:
    return "\n".join(f"{_photos(reason['count'])}: {reason['sentence']}" for reason in reasons[:MOST_REASONS])
