"""Rate limits: shared by all portals, told in the usual headers, and no obstacle where Redis is away."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from tests.integration.web.conftest import Person
from tests.integration.web.portals import Portal, run_portal
from tests.servers import find_free_ports

from retint import accounts, quotas
from retint.command.client import Client
from retint.quotas import Limits
from retint.services import Services
from retint.settings import Settings
from retint_web import rates
from retint_web.app import create_app

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)


def limit(services: Services, person: Person, **limits: int) -> None:
    with services.begin() as session:
        quotas.set_limits(session, person.identity.tenant_id, Limits(**limits))


@pytest.fixture
def with_redis(settings: Settings, valkey_url: str) -> Settings:
    return settings.model_copy(update={"broker_url": valkey_url})


@pytest.fixture
def portals(with_redis: Settings, services: Services, member: Person, tmp_path: Path) -> Iterator[list[Portal]]:
    """Two portals, as on two machines."""
    limit(services, member, per_minute=20)
    with ExitStack() as stack:
        yield [stack.enter_context(run_portal(with_redis, member.token, tmp_path)) for _ in range(2)]


def test_two_portals_count_together(portals: list[Portal]) -> None:
    answers = [portals[n % 2].http.get("/api/v1/batches") for n in range(24)]
    assert [answer.status_code for answer in answers].count(200) == 20
    first, last = answers[0], answers[-1]
    assert first.headers["RateLimit-Policy"] == '"token";q=20;w=60'
    assert re.fullmatch(r'"token";r=19;t=\d+', first.headers["RateLimit"])
    assert (last.status_code, last.json()["code"]) == (429, "too_many_requests")
    assert 1 <= int(last.headers["Retry-After"]) <= 60
    assert re.fullmatch(r'"token";r=0;t=\d+', last.headers["RateLimit"])


def test_bytes_are_deposited_however_many_requests_that_takes(portals: list[Portal]) -> None:
    batch_id = portals[0].open_batch()
    for number in range(40):
        assert portals[number % 2].put(batch_id, f"{number}.jpg", f"photo {number}").status_code == 201
    assert portals[0].http.get("/api/v1/batches").status_code == 200


def test_a_client_waits_as_it_is_told(with_redis: Settings, services: Services, member: Person, tmp_path: Path) -> None:
    limit(services, member, per_second=2)
    with run_portal(with_redis, member.token, tmp_path) as portal, Client(portal.url, member.token) as client:
        for _ in range(8):
            client.get("/api/v1/batches")
        seen = [portal.http.get("/api/v1/batches") for _ in range(8)]
        assert 429 in {answer.status_code for answer in seen}


def test_an_institution_shares_its_limit_and_others_have_their_own(
    with_redis: Settings, services: Services, member: Person, stranger: Person
) -> None:
    limit(services, member, per_minute=5)
    app = create_app(Services.connect(with_redis))
    with services.begin() as session:
        second = accounts.issue_token(session, accounts.find_user(session, member.email), "second")

    def ask(token: str) -> int:
        return app.test_client().get("/api/v1/batches", headers={"Authorization": f"Bearer {token}"}).status_code

    assert [ask(token) for token in (member.token, second) * 3] == [200] * 5 + [429]
    assert ask(stranger.token) == 200


def test_an_address_is_limited_where_nobody_signs_in(
    with_redis: Settings, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "ADDRESS_PER_MINUTE", 3)
    app = create_app(Services.connect(with_redis))
    wrong = {"Authorization": "Bearer retint_wrong"}
    statuses = [app.test_client().get("/api/v1/batches", headers=wrong).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    assert app.test_client().get("/sign-in").status_code == 429
    other = {"environ_base": {"REMOTE_ADDR": "203.0.113.9"}}
    assert app.test_client().get("/sign-in", **other).status_code == 200
    for _ in range(5):
        assert app.test_client().get("/healthz").status_code == 200


def test_where_redis_is_away_nobody_is_stopped(
    settings: Settings, services: Services, member: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    limit(services, member, per_minute=1)
    [port] = find_free_ports(1)
    lonely = Services.connect(settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{port}/0"}))
    app = create_app(lonely)
    for _ in range(4):
        answer = app.test_client().get("/api/v1/batches", headers={"Authorization": f"Bearer {member.token}"})
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers
    assert lonely.counters.snapshot()["retint_rates_unknown_total"] == 1  # and not asked each time


def test_a_request_that_waits_for_its_body_counts_once(portals: list[Portal]) -> None:
    answers: list[httpx.Response] = [
        portals[0].http.post("/api/v1/photos/known", json={"sha256": []}) for _ in range(10)
    ]
    assert '"token";r=10;' in answers[-1].headers["RateLimit"]
