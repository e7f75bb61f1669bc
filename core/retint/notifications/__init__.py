"""Notifications: what happened is told to webhooks and by e-mail, through an outbox, at least once.

`tell` and `send_mail` write the outbox in the caller's transaction: what is rolled back is not told. The leading
dispatcher's delivery process hands it out (see `outbox`).
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from retint import sealing
from retint.errors import IllegalMove, InvalidRequest
from retint.notification_tables import MailChoice, Notification, Webhook
from retint.notifications.kinds import KINDS, Audience, Kind
from retint.notifications.mailing import check_address
from retint.roles import Role
from retint.settings import Settings
from retint.tables import User

SEALED_MAIL = "mail"
"""Purpose of the seal on e-mails in the outbox."""


def can_mail(settings: Settings) -> bool:
    """Whether this installation sends e-mail: a server and a sender are set, and a secret to seal it in the outbox."""
    return bool(settings.smtp_url and settings.mail_from and settings.secret)


def send_mail(
    session: Session,
    settings: Settings,
    kind: str,
    address: str,
    values: Mapping[str, Any],
    *,
    tenant_id: UUID | None = None,
) -> None:
    """Send one person an e-mail, with the caller's transaction: it is sent if and when that is committed.

    Args:
        session: the transaction.
        settings: say whether there is e-mail, and seal it in the outbox.
        kind: a name in `kinds.KINDS`, such as `invitation` or `password_reset`.
        address: the person's.
        values: the fields of the kind; see its example.
        tenant_id: the institution.

    Raises:
        IllegalMove: this installation sends no e-mail (ask `can_mail` first).
        InvalidRequest: not an e-mail address.
        ValueError: the fields are not those of the kind.
    """
    chosen = KINDS[kind]
    if set(values) != set(chosen.example):
        raise ValueError(f"{kind} has the fields {sorted(chosen.example)}, not {sorted(values)}.")
    if not can_mail(settings):
        raise IllegalMove("This installation sends no e-mail: its operator has set no server.", code="no_mail")
    sealed = sealing.seal(settings, SEALED_MAIL, json.dumps(dict(values)))
    session.add(Notification(tenant_id=tenant_id, kind=kind, address=check_address(address), body=sealed))


def tell(
    session: Session,
    settings: Settings,
    kind: Kind,
    tenant_id: UUID,
    fields: Mapping[str, Any],
    *,
    depositor: UUID | None = None,
    unless: Kind | None = None,
) -> None:
    """Tell an institution what happened: its webhooks that chose the kind, and the people who want e-mail of it.

    Args:
        session: the transaction of what happened.
        settings: say whether there is e-mail.
        kind: what happened.
        tenant_id: the institution.
        fields: those of the kind; see its example.
        depositor: the user who deposited what it is about.
        unless: people who get e-mail of this kind get none: it says the same.
    """
    body = make_body(kind, fields)
    if kind.for_webhooks:
        for webhook in session.scalars(select(Webhook).where(Webhook.tenant_id == tenant_id)):
            if kind.name in webhook.kinds:
                session.add(Notification(tenant_id=tenant_id, kind=kind.name, webhook_id=webhook.id, body=body))
    if kind.write is not None and can_mail(settings):
        told = set(_list_addresses(session, unless, tenant_id, depositor)) if unless else set()
        for address in _list_addresses(session, kind, tenant_id, depositor):
            if address in told:
                continue
            try:
                send_mail(session, settings, kind.name, address, fields, tenant_id=tenant_id)
            except InvalidRequest:
                continue  # an account such as `admin@localhost` has no address that mail could reach


def make_body(kind: Kind, fields: Mapping[str, Any]) -> str:
    """Make the body that a webhook gets, by Standard Webhooks.

    Raises:
        ValueError: the fields are not those of the kind.
    """
    if set(fields) != set(kind.example):
        raise ValueError(f"{kind.name} has the fields {sorted(kind.example)}, not {sorted(fields)}.")
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": kind.name, "timestamp": at, "data": dict(fields)}, ensure_ascii=False)


def _list_addresses(session: Session, kind: Kind, tenant_id: UUID, depositor: UUID | None) -> list[str]:
    """List the e-mail addresses of an institution's people who are told and have not refused it."""
    people = select(User).where(User.tenant_id == tenant_id, User.disabled_at.is_(None))
    people = people.where(User.role == Role.ADMIN if kind.audience is Audience.ADMINISTRATORS else User.id == depositor)
    users = session.scalars(people.order_by(User.id)).all()
    choices = list_choices(session, [user.id for user in users], kind.name)
    return [user.email for user in users if choices.get(user.id, kind.by_default)]


def list_choices(session: Session, user_ids: list[UUID], kind: str) -> dict[UUID, bool]:
    """List what users chose about e-mail of a kind; those who did not choose are left out."""
    chosen = select(MailChoice.user_id, MailChoice.wanted).where(
        MailChoice.user_id.in_(user_ids), MailChoice.kind == kind
    )
    return {row.user_id: row.wanted for row in session.execute(chosen)}


def list_mail_kinds(session: Session, user_id: UUID, *, is_admin: bool) -> dict[str, bool]:
    """List the kinds that a user can get by e-mail, and whether they do."""
    return {
        kind.name: list_choices(session, [user_id], kind.name).get(user_id, kind.by_default)
        for kind in KINDS.values()
        if kind.is_chosen and (is_admin or kind.audience is not Audience.ADMINISTRATORS)
    }


def choose_mail(session: Session, user_id: UUID, wanted: Mapping[str, bool]) -> None:
    """Write which kinds a user gets by e-mail.

    Raises:
        InvalidRequest: no such kind, or one that nobody chooses.
    """
    for name, value in wanted.items():
        if name not in KINDS or not KINDS[name].is_chosen:
            raise InvalidRequest(f"Nobody chooses e-mail of the kind {name[:40]}.")
        session.merge(MailChoice(user_id=user_id, kind=name, wanted=value))
