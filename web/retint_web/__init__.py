"""The portal: pages and the JSON API, both on the same functions of the core."""

from typing import cast

from flask import current_app

from retint.services import Services


def services() -> Services:
    """Return the services of the running portal."""
    return cast(Services, current_app.extensions["retint"])
