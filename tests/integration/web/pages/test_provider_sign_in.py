"""Signing in by a provider: who gets in, as whom; connecting, trying, signing out."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from tests.integration.web.conftest import PASSWORD, Person, make_browser
from tests.integration.web.pages.conftest import BACK, assert_refused, count_sessions, find_user
from tests.lying_provider import REMOVE, LyingProvider
from werkzeug.test import TestResponse

from retint import accounts, providers
from retint.people_tables import BrowserSession
from retint.provider_tables import ProviderIdentity
from retint.roles import Role
from retint.services import Services

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)


# ── Who gets in ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_person_gets_in_with_the_role_of_their_groups(
    sign_in: Callable[..., TestResponse], app: Flask, services: Services, admin: Person
) -> None:
    browser = make_browser(app)
    answer = sign_in(browser)
    assert (answer.status_code, answer.location) == (303, "/")
    user = find_user(services, "new@museum.example")
    assert user
    assert (user.role, user.tenant_id, user.password_hash) == (Role.REVIEWER, admin.identity.tenant_id, None)
    assert "new@museum.example" in browser.get("/account").text


def test_the_highest_role_of_several_groups_counts_also_in_nested_claims(
    sign_in: Callable[..., TestResponse],
    set_up: Callable[..., None],
    provider: LyingProvider,
    services: Services,
) -> None:
    set_up(groups_claim="realm_access.roles")
    provider.claims = {"realm_access": {"roles": ["readers", "it", "conservation", "it"]}}
    assert sign_in().status_code == 303
    user = find_user(services, "new@museum.example")
    assert user
    assert user.role is Role.ADMIN


def test_a_person_is_known_by_the_subject_also_with_another_address(
    sign_in: Callable[..., TestResponse], provider: LyingProvider, services: Services
) -> None:
    sign_in()
    provider.claims = {"email": "married@museum.example"}
    assert sign_in().status_code == 303
    assert find_user(services, "married@museum.example") is None
    provider.claims = {"sub": "somebody else"}
    assert sign_in().status_code == 403


def test_the_role_is_read_anew_and_a_demotion_ends_the_other_sessions(
    sign_in: Callable[..., TestResponse], app: Flask, provider: LyingProvider, services: Services
) -> None:
    first = make_browser(app)
    sign_in(first)
    provider.claims = {"groups": ["it"]}
    sign_in()
    assert first.get("/account").status_code == 200
    provider.claims = {"groups": ["readers"]}
    last = make_browser(app)
    sign_in(last)
    user = find_user(services, "new@museum.example")
    assert user
    assert user.role is Role.MEMBER
    assert first.get("/account").status_code == 303
    assert last.get("/account").status_code == 200


def test_who_lost_all_groups_is_out_everywhere_at_once(
    sign_in: Callable[..., TestResponse], app: Flask, provider: LyingProvider, services: Services
) -> None:
    browser = make_browser(app)
    sign_in(browser)
    with services.begin() as session:
        token = accounts.issue_token(session, accounts.find_user(session, "new@museum.example"), "scanner")
    provider.claims = {"groups": ["the fire brigade"]}
    answer = sign_in()
    assert answer.status_code == 403
    assert "none of the groups" in answer.text
    assert browser.get("/account").status_code == 303
    assert app.test_client().get("/api/v1/batches", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_an_administrator_with_a_password_stays_one(
    sign_in: Callable[..., TestResponse], app: Flask, provider: LyingProvider, services: Services, admin: Person
) -> None:
    connect(admin.browser(), provider)
    provider.claims = {"groups": ["readers"]}
    assert sign_in().status_code == 303
    provider.claims = {"groups": []}
    assert sign_in().status_code == 403
    user = find_user(services, admin.email)
    assert user
    assert user.role is Role.ADMIN
    signed_in = make_browser(app).post("/sign-in", data={"email": admin.email, "password": PASSWORD})
    assert signed_in.status_code in (303, 400)  # 400: the form's own protection, which has tests elsewhere
    assert (
        app.test_client().get("/api/v1/batches", headers={"Authorization": f"Bearer {admin.token}"}).status_code == 200
    )


def test_a_person_of_a_provider_cannot_choose_a_password(
    sign_in: Callable[..., TestResponse], app: Flask, services: Services
) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    browser = make_browser(app)
    sign_in(browser)
    assert "New password" not in browser.get("/account").text
    browser.post("/account/password", data={"password": PASSWORD})
    user = find_user(services, "new@museum.example")
    assert user
    assert user.password_hash is None


def test_a_session_of_a_provider_ends_after_half_a_day(
    sign_in: Callable[..., TestResponse], app: Flask, services: Services
) -> None:
    browser = make_browser(app)
    sign_in(browser)
    with services.begin() as session:
        found = session.scalars(select(BrowserSession).where(BrowserSession.ends_at.is_not(None))).one()
        assert found.ends_at
        assert timedelta(hours=11.9) < found.ends_at - datetime.now(UTC) < timedelta(hours=12.1)
        session.execute(update(BrowserSession).values(ends_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert browser.get("/account").status_code == 303


# ── Who does not ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_group_of_another_institution_opens_nothing(
    sign_in: Callable[..., TestResponse], provider: LyingProvider, services: Services
) -> None:
    provider.claims = {"groups": ["archive-admins"]}
    assert_refused(sign_in(), services, "you are in none of the groups that may use Retint")


@pytest.mark.parametrize("verified", [False, REMOVE, "yes", 1])
def test_an_address_that_is_not_verified_never_links(
    sign_in: Callable[..., TestResponse],
    set_up: Callable[..., None],
    provider: LyingProvider,
    services: Services,
    member: Person,
    verified: object,
) -> None:
    set_up(links_by_email=True)
    provider.claims = {"email": member.email, "email_verified": verified}
    assert_refused(sign_in(), services, "connect")
    with services.read() as session:
        assert session.scalar(select(func.count()).select_from(ProviderIdentity)) == 0


def test_a_verified_address_links_only_where_it_is_wanted(
    sign_in: Callable[..., TestResponse],
    set_up: Callable[..., None],
    provider: LyingProvider,
    services: Services,
    member: Person,
) -> None:
    provider.claims = {"email": member.email}
    assert_refused(sign_in(), services, "There is an account with your e-mail address already")
    set_up(links_by_email=True)
    assert sign_in().status_code == 303
    with services.read() as session:
        assert session.scalars(select(ProviderIdentity)).one().user_id == member.identity.user_id


def test_neither_another_institutions_people_nor_operators_are_linked(
    sign_in: Callable[..., TestResponse],
    set_up: Callable[..., None],
    provider: LyingProvider,
    services: Services,
    make_person: Callable[..., Person],
    admin: Person,
) -> None:
    set_up(links_by_email=True, domains=["museum.example", "archive.example"])
    foreign = make_person("archive", email="somebody@archive.example")
    for person in (foreign, admin):  # who is an operator, too
        provider.claims = {"email": person.email}
        assert_refused(sign_in(), services, "There is an account with your e-mail address already")


def test_a_disabled_person_stays_out(
    sign_in: Callable[..., TestResponse], app: Flask, services: Services, admin: Person
) -> None:
    sign_in()
    user = find_user(services, "new@museum.example")
    assert user
    with services.begin() as session:
        accounts.disable(session, admin.identity, user.id)
    answer = sign_in()
    assert answer.status_code == 403
    assert "disabled" in answer.text
    assert count_sessions(services) == 0


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"email_verified": False}, "has not verified your e-mail address"),
        ({"email": "new@elsewhere.example"}, "addresses at elsewhere.example are not let in"),
        ({"email": REMOVE}, "does not tell your e-mail address"),
        ({"email": "new@evil.example@museum.example.evil"}, "are not let in"),
    ],
)
def test_no_account_is_made_for_a_doubtful_address(
    sign_in: Callable[..., TestResponse],
    provider: LyingProvider,
    services: Services,
    claims: dict[str, Any],
    sentence: str,
) -> None:
    provider.claims = claims
    assert_refused(sign_in(), services, sentence)


def test_where_only_invited_people_come_no_account_is_made(
    sign_in: Callable[..., TestResponse], set_up: Callable[..., None], services: Services
) -> None:
    set_up(creates_people=False)
    assert_refused(sign_in(), services, "Ask an administrator to invite you")


def test_a_provider_that_is_out_of_use_signs_nobody_in(
    sign_in: Callable[..., TestResponse], set_up: Callable[..., None], services: Services
) -> None:
    set_up(is_active=False)
    assert_refused(sign_in(), services, "no sign-in provider")


# ── Connecting, trying, signing out ──────────────────────────────────────────────────────────────────────────────────


def connect(browser: FlaskClient, provider: LyingProvider) -> TestResponse:
    """Connect the provider's account with the person of this browser, from the account page on."""
    from tests.integration.web.conftest import csrf_token

    page = browser.post("/account/connections/museum", data={"csrf_token": csrf_token(browser, "/account")})
    assert page.status_code == 200, page.text
    return browser.get(BACK, query_string=provider.returns(find_address(page)))


def find_address(page: TestResponse) -> str:
    """Return where a page leads on to."""
    return page.text.split('content="0; url=')[1].split('"')[0].replace("&amp;", "&")


def test_a_person_connects_their_account_and_signs_in_by_it(
    sign_in: Callable[..., TestResponse], app: Flask, provider: LyingProvider, member: Person, services: Services
) -> None:
    provider.claims = {"email": "another@elsewhere.example", "email_verified": False}
    assert connect(member.browser(), provider).location == "/account"
    browser = make_browser(app)
    assert sign_in(browser).status_code == 303
    assert member.email in browser.get("/account").text


def test_an_account_is_connected_with_one_person_only(
    provider: LyingProvider, member: Person, make_person: Callable[..., Person], set_up: Callable[..., None]
) -> None:
    connect(member.browser(), provider)
    answer = connect(make_person(email="second@museum.example").browser(), provider)
    assert answer.status_code == 409
    assert "connected with another person here" in answer.text


def test_nobody_connects_with_another_institutions_provider(
    stranger: Person, set_up: Callable[..., None], app: Flask
) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    assert stranger.browser().post("/account/connections/museum").status_code == 404
    assert "Connect Museum account" not in stranger.browser().get("/account").text


def test_a_connection_that_was_begun_by_somebody_else_ends_nowhere(
    provider: LyingProvider, member: Person, set_up: Callable[..., None], app: Flask, services: Services
) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    browser = member.browser()
    given = provider.returns(find_address(browser.post("/account/connections/museum")))
    browser.post("/sign-out")
    answer = browser.get(BACK, query_string=given)
    assert answer.status_code == 403
    with services.read() as session:
        assert session.scalar(select(func.count()).select_from(ProviderIdentity)) == 0


def test_an_administrator_tries_it_and_nothing_changes(
    provider: LyingProvider, admin: Person, set_up: Callable[..., None], app: Flask, services: Services
) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    set_up(is_active=False)
    with services.read() as session:
        [found] = providers.list_all(session, admin.identity.tenant_id)
    browser = admin.browser()

    def try_out() -> str:
        page = browser.post(f"/admin/sign-in/{found.id}/try")
        return browser.get(BACK, query_string=provider.returns(find_address(page))).text

    assert "You would get in as new@museum.example, a reviewer." in try_out()
    provider.claims = {"groups": ["cleaners"]}
    text = try_out()
    assert "none of the groups" in text
    assert "cleaners" in text
    assert find_user(services, "new@museum.example") is None
    assert admin.email in browser.get("/account").text


def test_signing_out_here_signs_out_there(
    sign_in: Callable[..., TestResponse], app: Flask, provider: LyingProvider, services: Services
) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    browser = make_browser(app)
    sign_in(browser)
    address = find_address(browser.post("/sign-out"))
    assert address.startswith(f"{provider.issuer}/end?client_id=retint&id_token_hint=ey")
    assert address.endswith("post_logout_redirect_uri=http%3A%2F%2Flocalhost%2Fsign-in%2Fwith%2Fmuseum%2Fback")
    assert count_sessions(services) == 0
    assert browser.get(BACK).location == "/sign-in"


def test_the_buttons_are_those_that_are_listed_and_the_one_used_last(
    sign_in: Callable[..., TestResponse], set_up: Callable[..., None], app: Flask
) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    set_up(is_listed=True)
    assert "Sign in with Museum account" in make_browser(app).get("/sign-in").text
    set_up(is_listed=False)
    browser = make_browser(app)
    assert "Museum account" not in browser.get("/sign-in").text
    sign_in(browser)
    browser.post("/sign-out")
    assert "Sign in with Museum account" in browser.get("/sign-in").text


def test_the_person_comes_to_where_they_wanted(
    app: Flask, provider: LyingProvider, set_up: Callable[..., None]
) -> None:
    browser = make_browser(app)
    for target, end in (("/search?q=box", "/search?q=box"), ("https://evil.example/", "/"), ("//evil.example", "/")):
        sent = browser.get("/sign-in/with/museum", query_string={"next": target})
        assert browser.get(BACK, query_string=provider.returns(sent.location)).location == end
