"""Addresses of one-time links."""

from flask import request

from retint_web import services


def portal_url() -> str:
    """Return the portal's web address, without a trailing slash."""
    return (services().settings.public_url or request.url_root).rstrip("/")


def sign_in_url(secret: str, *, chooses_password: bool = False) -> str:
    """Return the address that signs a person in once, and then asks them for a new password if that is what it is for.

    A page never builds it from a host name that the client sent where the portal's address is set.
    """
    return f"{portal_url()}/sign-in/{secret}{'?choose=password' if chooses_password else ''}"
