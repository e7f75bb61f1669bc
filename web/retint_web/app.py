"""The portal's Flask application."""

import tempfile
from pathlib import Path
from typing import IO, Final, cast

from flask import Flask, Request, request

from retint import __version__, remote
from retint.services import Services
from retint_web import errors, health, security, tracing, waiting
from retint_web import services as running_services
from retint_web.api import blueprint as api
from retint_web.api import reference, sending
from retint_web.files import catalogues, confidence, downloads, zoom
from retint_web.pages import (
    accounts,
    admin,
    audit,
    batches,
    catalogue,
    deposit,
    institutions,
    light_table,
    networks,
    people,
    photos,
    proofs,
    provider_sign_in,
    providers,
    run_again,
    search,
    trials,
    webhooks,
    words,
)
from retint_web.proxies import TrustedProxies

STATIC: Final = Path(__file__).parent / "static"
BLUEPRINTS: Final = (
    accounts,
    admin,
    api,
    audit,
    batches,
    catalogue,
    catalogues,
    confidence,
    deposit,
    downloads,
    health,
    institutions,
    light_table,
    networks,
    people,
    photos,
    proofs,
    provider_sign_in,
    providers,
    reference,
    run_again,
    search,
    sending,
    trials,
    webhooks,
    zoom,
)


class PortalRequest(Request):
    """A request that spools the files of a form in the data folder, because /tmp may be small."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        spool = running_services().settings.spool
        spool.mkdir(parents=True, exist_ok=True)
        return cast(IO[bytes], tempfile.SpooledTemporaryFile(max_size=1 << 16, dir=str(spool)))


class Portal(Flask):
    """The application, and how long browsers keep its static files."""

    def get_send_file_max_age(self, filename: str | None) -> int | None:
        """Keep a file for a year if its address has a version; others, such as modules, are asked for again."""
        return security.YEAR_S if "v" in request.args else None


def create_app(services: Services) -> Flask:
    """Create the portal's application.

    Raises:
        ValueError: `settings.secret` is not set.
    """
    app = Portal(__name__)
    app.request_class = PortalRequest
    app.extensions["retint"] = services
    app.jinja_options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    tracing.configure(app)
    security.configure(app, services.settings)
    app.before_request(tracing.name_person)
    errors.configure(app)
    waiting.configure(app)
    words.configure(app)
    if services.settings.proxies:
        app.wsgi_app = TrustedProxies(app.wsgi_app, services.settings.proxies)  # type: ignore[method-assign]
    for module in BLUEPRINTS:
        app.register_blueprint(module.blueprint)
    app.config["ACCESS_POLICY"] = remote.INTERNET
    app.url_defaults(_version_static)
    return app


def _version_static(endpoint: str, values: dict[str, object]) -> None:
    """Add a version to the address of a static file: browsers keep it for a year, a changed file has a new address."""
    path = STATIC / str(values.get("filename"))
    if endpoint == "static" and path.is_file():
        values["v"] = f"{__version__}-{int(path.stat().st_mtime):x}"
