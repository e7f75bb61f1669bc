"""A museum that signs in by a provider, which lies where a test wants it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from tests import lying_provider
from tests.integration.web.conftest import Person, make_browser
from tests.lying_provider import SECRET, LyingProvider, run_lying_provider
from werkzeug.test import TestResponse

from retint import providers
from retint.people_tables import BrowserSession
from retint.provider_tables import Provider
from retint.services import Services
from retint.settings import Settings
from retint.tables import User

BACK = "/sign-in/with/museum/back"
ROLES = {"conservation": "reviewer", "it": "admin", "readers": "member"}


@pytest.fixture
def provider() -> Iterator[LyingProvider]:
    with run_lying_provider() as running:
        yield running


@pytest.fixture
def settings(settings: Settings, provider: LyingProvider) -> Settings:
    return settings.model_copy(update={"provider_hosts": provider.host})


@pytest.fixture
def set_up(services: Services, provider: LyingProvider, admin: Person) -> Callable[..., None]:
    """Set up the provider for the museum, or change how it is used."""

    def configure(**given: Any) -> None:
        values = {
            "name": "Museum account",
            "issuer": provider.issuer,
            "client_id": lying_provider.CLIENT_ID,
            "client_secret": SECRET,
            "roles": ROLES,
            "domains": ["museum.example"],
        }
        with services.begin() as session:
            known = session.scalar(select(Provider))
            if known is None:
                wanted = providers.parse(providers.NewProvider, values | given | {"slug": "museum"})
                providers.add(session, services.settings, admin.identity.tenant_id, wanted)
            else:
                changed = providers.parse(providers.Configuration, values | given)
                providers.change(session, services.settings, known.tenant_id, known.id, changed)

    configure()
    return configure


@pytest.fixture
def sign_in(app: Flask, provider: LyingProvider, set_up: Callable[..., None]) -> Callable[..., TestResponse]:
    """Sign in by the provider in a browser; return what the portal answers at the end."""

    def go(browser: FlaskClient | None = None, **more: str) -> TestResponse:
        browser = browser or make_browser(app)
        sent = browser.get("/sign-in/with/museum")
        if sent.status_code != 303:
            return sent
        return browser.get(BACK, query_string=provider.returns(sent.location, **more))

    return go


def count_sessions(services: Services) -> int:
    """Count the open sessions that began in a browser of the test, not those that persons are made with."""
    mine = BrowserSession.ended_at.is_(None), BrowserSession.address == "127.0.0.1"
    with services.read() as session:
        return session.scalar(select(func.count()).select_from(BrowserSession).where(*mine)) or 0


def find_user(services: Services, email: str) -> User | None:
    with services.read() as session:
        return session.scalar(select(User).where(User.email == email))


def assert_refused(answer: TestResponse, services: Services, sentence: str) -> None:
    assert answer.status_code in (403, 404, 409, 502), answer.status
    assert sentence in answer.text.replace("&#39;", "'"), answer.text
    assert count_sessions(services) == 0
    assert find_user(services, "new@museum.example") is None
