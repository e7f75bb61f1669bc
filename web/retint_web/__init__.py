"""The portal: pages and the JSON API. Both are clients of the same functions of the core."""

from typing import cast

from flask import current_app

from retint.services import Services


def services() -> Services:
    """Give what the running portal works with."""
    return cast(Services, current_app.extensions["retint"])
