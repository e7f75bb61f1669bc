"""The ASGI application of one process of the portal; see `retint_web.server`."""

from retint import telemetry
from retint.services import Services
from retint.settings import Settings
from retint_web.app import create_app
from retint_web.server.bridge import Bridge


def make_portal(threads: int) -> Bridge:
    """Make the application; `Bridge` says what the threads are for."""
    settings = Settings()
    telemetry.configure(settings, "portal")
    services = Services.connect(settings)
    services.keep_reporting()
    return Bridge(create_app(services), threads)
