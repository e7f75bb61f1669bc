"""The portal: pages and the JSON API, both on the same functions of the core."""

from typing import cast

from flask import current_app, g

from retint.services import Services


def services() -> Services:
    """Return the services of this request: they see the rows of the institution of whoever is signed in, no others."""
    identity = g.get("identity")
    return house().for_tenant(identity.tenant_id if identity else None)


def house() -> Services:
    """Return services that see the rows of every institution: for what is the house's, and for signing in."""
    return cast(Services, current_app.extensions["retint"])
