"""One-time links: their addresses, and the e-mails that bring them."""

from flask import g, request
from sqlalchemy.orm import Session

from retint import accounts, admission, notifications
from retint.errors import InvalidRequest
from retint.tables import Tenant, User
from retint_web import house, services

RESET_H = 1
"""How long a link is valid that comes by e-mail to somebody who forgot the password, in hours."""


def portal_url() -> str:
    """Return the portal's web address, without a trailing slash."""
    return (services().settings.public_url or request.url_root).rstrip("/")


def sign_in_url(secret: str, *, chooses_password: bool = False) -> str:
    """Return the address that signs a person in once; afterwards it may ask them for a new password."""
    return f"{portal_url()}/sign-in/{secret}{'?choose=password' if chooses_password else ''}"


def mail_invitation(session: Session, user: User, link: str) -> bool:
    """Send a person the link by which they join, with the transaction. Returns whether there is e-mail."""
    settings = services().settings
    if not notifications.can_mail(settings):
        return False
    institution = session.get_one(Tenant, user.tenant_id).name
    by = g.identity.email or institution
    values = {"institution": institution, "by": by, "link": link, "hours": str(accounts.INVITATION_H)}
    try:
        notifications.send_mail(session, settings, "invitation", user.email, values, tenant_id=user.tenant_id)
    except InvalidRequest:  # an address within this machine, which no mail reaches
        return False
    return True


def can_mail_resets() -> bool:
    """Whether a link can be sent to somebody who forgot the password.

    Without the portal's own address it could not: one that a request names may be made up.
    """
    settings = services().settings
    return notifications.can_mail(settings) and bool(settings.public_url)


def mail_reset(email: str) -> None:
    """Send somebody who forgot the password a link to choose a new one, if there is such an account."""
    settings = services().settings
    with house().begin() as session:
        found = accounts.forget_password(session, email, RESET_H)
        if found is None:
            return
        user, secret = found
        if admission.is_governed(session, user):
            return  # a provider decides whether they get in
        values = {"link": sign_in_url(secret, chooses_password=True), "hours": str(RESET_H)}
        notifications.send_mail(session, settings, "password_reset", user.email, values, tenant_id=user.tenant_id)
