"""An institution's people, their sessions and tokens: what administrators and operators do with them."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import select, update
from tests.integration.web.conftest import PASSWORD, Person, csrf_token, make_browser

from retint import accounts
from retint.accounts.links import MOST_RESETS
from retint.columns import now
from retint.errors import NotAllowed
from retint.notification_tables import Notification
from retint.roles import Role, Scope
from retint.services import Services
from retint.tables import BrowserSession, Token, User
from retint_web.app import create_app

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)

MakePerson = Callable[..., Person]


@pytest.fixture
def app(app: Flask) -> Flask:
    app.config["WTF_CSRF_ENABLED"] = False
    return app


@pytest.fixture
def ruler(make_person: MakePerson) -> Person:
    """The administrator of an institution, who is no operator."""
    return make_person(role=Role.ADMIN)


def link_in(page: str) -> str:
    found = re.search(r'id="link">([^<]+)<', page)
    assert found, page
    return found[1].replace("&amp;", "&").removeprefix("http://localhost")


def use_link(app: Flask, link: str) -> tuple[FlaskClient, int]:
    browser = make_browser(app)
    return browser, browser.post(link).status_code


def is_in(browser: FlaskClient) -> bool:
    return browser.get("/").status_code == 200


def test_a_person_joins_by_the_link_and_chooses_a_password(app: Flask, ruler: Person) -> None:
    page = ruler.browser().post("/people", data={"email": "Ana@Museum.example ", "role": "reviewer"}).text
    assert "Invited, has not joined yet" in page
    browser, status = use_link(app, link_in(page))
    assert (status, is_in(browser)) == (303, True)
    assert browser.post("/account/password", data={"password": PASSWORD}).status_code == 303
    listed = {each["email"]: each for each in ruler.api("GET", "/people").json["items"]}
    assert (listed["ana@museum.example"]["role"], listed["ana@museum.example"]["has_joined"]) == ("reviewer", True)
    assert listed["ana@museum.example"]["seen_at"] is not None


def test_an_invitation_works_once_and_not_for_ever(app: Flask, ruler: Person, services: Services) -> None:
    link = link_in(ruler.browser().post("/people", data={"email": "ana@museum.example"}).text)
    assert use_link(app, link)[1] == 303
    assert use_link(app, link)[1] == 403
    late = link_in(ruler.browser().post("/people", data={"email": "ben@museum.example"}).text)
    with services.begin() as session:
        session.execute(update(User).where(User.email == "ben@museum.example").values(sign_in_until=now(-1.0)))
    assert use_link(app, late)[1] == 403


@pytest.mark.parametrize(
    ("email", "role", "status", "said"),
    [
        ("admin@archive.example", "member", 409, "There is already a user admin@archive.example."),
        ("admin@museum.example", "member", 409, "There is already a user"),
        ("no address", "member", 400, "This is not an email address."),
        ("ana@museum.example", "emperor", 400, "There is no role of that name. Choose member, reviewer or admin."),
    ],
)
def test_invitations_that_cannot_be(
    ruler: Person, stranger: Person, email: str, role: str, status: int, said: str
) -> None:
    answer = ruler.browser().post("/people", data={"email": email, "role": role})
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert [each["email"] for each in ruler.api("GET", "/people").json["items"]] == ["admin@museum.example"]


def test_a_changed_role_holds_at_the_next_request(ruler: Person, member: Person) -> None:
    person, browser = f"/people/{member.identity.user_id}", member.browser()
    assert browser.get("/people").status_code == member.api("GET", "/people").status_code == 403
    ruler.browser().post(f"{person}/role", data={"role": "admin"})
    assert browser.get("/people").status_code == 200
    assert member.api("GET", "/people").json["code"] == "missing_scope", "the token was made for a member"
    ruler.browser().post(f"{person}/role", data={"role": "member"})
    assert browser.get("/people").status_code == 403
    assert ruler.browser().post(f"{person}/role", data={"role": "emperor"}).status_code == 400


def test_a_token_never_may_more_than_its_person(make_person: MakePerson, ruler: Person) -> None:
    reviewer = make_person(role=Role.REVIEWER, email="eva@museum.example")
    asked = {"json": {"verdict": "approved", "seen_sha256": "0" * 64}}
    path = f"/jobs/{reviewer.identity.user_id}/verdict"
    assert reviewer.api("PUT", path, **asked).status_code == 404, "there is no such job, but they may ask"
    ruler.api("PATCH", f"/people/{reviewer.identity.user_id}", json={"role": "member"})
    assert reviewer.api("PUT", path, **asked).status_code == 403


def test_who_is_disabled_is_out_at_once_and_what_they_had_stays_ended(
    app: Flask, ruler: Person, member: Person, services: Services
) -> None:
    browser = member.browser()
    with services.begin() as session:
        secret = accounts.invite(session, session.get_one(User, member.identity.user_id))
    assert is_in(browser)
    assert ruler.api("PATCH", f"/people/{member.identity.user_id}", json={"disabled": True}).json["disabled_at"]
    assert not is_in(browser)
    assert member.api("GET", "/batches").status_code == 401
    assert use_link(app, f"/sign-in/{secret}")[1] == 403
    signed = make_browser(app).post("/sign-in", data={"email": member.email, "password": PASSWORD})
    assert signed.status_code == 403
    assert ruler.browser().post(f"/people/{member.identity.user_id}/enable").status_code == 303
    assert not is_in(browser)
    assert member.api("GET", "/batches").status_code == 401
    signed = make_browser(app).post("/sign-in", data={"email": member.email, "password": PASSWORD})
    assert signed.status_code == 303


def test_the_last_active_administrator_stays(make_person: MakePerson, ruler: Person) -> None:
    mine = f"/people/{ruler.identity.user_id}"
    for change in ({"role": "member"}, {"disabled": True}):
        answer = ruler.api("PATCH", mine, json=change)
        assert (answer.status_code, "last active administrator" in answer.text) == (409, True)
    assert ruler.browser().post(f"{mine}/disable").status_code == 409
    second = make_person(role=Role.ADMIN, email="second@museum.example")
    assert second.api("PATCH", mine, json={"disabled": True}).status_code == 200
    assert second.api("PATCH", f"/people/{second.identity.user_id}", json={"role": "reviewer"}).status_code == 409
    assert ruler.api("GET", "/people").status_code == 401


def test_an_administrator_makes_no_operator_and_changes_none(
    make_person: MakePerson, ruler: Person, admin_operator: Person
) -> None:
    theirs = f"/people/{admin_operator.identity.user_id}"
    for change in ({"role": "member"}, {"disabled": True}):
        assert ruler.api("PATCH", theirs, json=change).status_code == 403
    assert ruler.api("POST", f"{theirs}/link").status_code == 403, "the link would make an operator of whoever has it"
    assert ruler.api("PATCH", f"/people/{ruler.identity.user_id}", json={"is_operator": True}).status_code == 400
    assert "Only operators may change operators" in ruler.browser().get(theirs).text


@pytest.fixture
def admin_operator(make_person: MakePerson) -> Person:
    return make_person(is_operator=True, email="house@museum.example")


def test_a_password_is_reset_by_a_link_from_an_administrator(app: Flask, ruler: Person, member: Person) -> None:
    browser = member.browser()
    link = link_in(ruler.browser().post(f"/people/{member.identity.user_id}/link").text)
    assert not is_in(browser), "whoever knew the password is out"
    signed = make_browser(app).post("/sign-in", data={"email": member.email, "password": PASSWORD})
    assert signed.status_code == 403
    browser = make_browser(app)
    answer = browser.post(link)
    assert answer.headers["Location"] == "/account?choose=password#password-title"
    assert "Choose a new password now" in browser.get("/account?choose=password").text


def test_sessions_are_seen_and_ended(app: Flask, ruler: Person, member: Person) -> None:
    here = make_browser(app)
    agent = "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0"
    here.post("/sign-in", data={"email": member.email, "password": PASSWORD}, headers={"User-Agent": agent})
    page, other = here.get("/account").text, member.browser()
    assert "Firefox on Windows" in page
    assert "(this one)" in page
    sessions = ruler.api("GET", f"/people/{member.identity.user_id}/sessions").json["items"]
    assert {each["browser"] for each in sessions} == {"Firefox on Windows", "Firefox on Linux"}
    assert is_in(other)
    here.post(f"/account/sessions/{member.identity.session_id}/end")
    assert (is_in(here), is_in(other)) == (True, False)
    [left] = ruler.api("GET", f"/people/{member.identity.user_id}/sessions").json["items"]
    ended = ruler.browser().post(f"/people/{member.identity.user_id}/sessions/{left['id']}/end")
    assert (ended.status_code, is_in(here)) == (303, False)
    assert member.browser().post(f"/account/sessions/{ruler.identity.session_id}/end").status_code == 303, "signed out"
    assert is_in(ruler.browser())


def test_signing_out_ends_the_session_also_for_who_kept_the_cookie(app: Flask, member: Person) -> None:
    thief, browser = member.browser(), member.browser()
    assert is_in(thief)
    browser.post("/sign-out")
    assert not is_in(thief)


def test_a_session_ends_after_seven_days(member: Person, services: Services) -> None:
    browser = member.browser()
    with services.begin() as session:
        session.execute(update(BrowserSession).values(begun_at=now(-7 * 86400 - 1.0)))
    assert not is_in(browser)


def test_a_token_is_for_what_it_was_made_for_until_it_ends(ruler: Person, services: Services, app: Flask) -> None:
    page = ruler.browser().post("/account/tokens", data={"name": "scanner", "scope": ["read"], "days": "30"}).text
    found = re.search(r'id="secret">(retint_[^<]+)<', page)
    assert found
    reader = Person(ruler.identity, found[1], app)
    assert reader.api("GET", "/batches").status_code == 200
    refused = reader.api("POST", "/batches", json={"name": "Box"})
    assert (refused.status_code, refused.json["code"]) == (403, "missing_scope")
    assert "`deposit`" in refused.json["detail"]
    assert found[1][:12] in ruler.browser().get("/account").text, "how it begins is shown"
    assert found[1] not in ruler.browser().get("/account").text
    with services.begin() as session:
        session.execute(update(Token).where(Token.name == "scanner").values(ends_at=now(-1.0)))
    assert reader.api("GET", "/batches").json["code"] == "token_ended"


def test_tokens_from_before_are_for_everything_and_shown_so(ruler: Person, services: Services) -> None:
    with services.begin() as session:
        session.execute(update(Token).values(scopes=None, ends_at=None, prefix=None))
    assert ruler.api("GET", "/people").status_code == 200
    page = ruler.browser().get("/account").text
    assert '<td data-label="For">everything</td>' in page
    assert '<td data-label="Ends">never</td>' in page


@pytest.mark.parametrize(
    "form", [{"scope": "fly", "days": "30"}, {"days": "30"}, {"scope": "read", "days": "99999"}, {"scope": "admin"}]
)
def test_tokens_that_cannot_be(member: Person, form: dict[str, str]) -> None:
    answer = member.browser().post("/account/tokens", data={"name": "t", "days": "30"} | form)
    assert answer.status_code in (400, 403)
    assert "retint_" not in answer.text


def test_a_service_account_is_nobodys(ruler: Person, make_person: MakePerson, app: Flask) -> None:
    made = ruler.api("POST", "/service-accounts", json={"name": "night", "scopes": ["read", "deposit", "review"]})
    assert made.status_code == 201
    night = Person(ruler.identity, made.json["token"], app)
    batch_id = night.open_batch("Night")
    assert night.deposit(batch_id)["id"]
    assert ruler.api("GET", f"/batches/{batch_id}").json["name"] == "Night"
    assert night.api("GET", "/people").status_code == 403
    assert night.api("GET", "/mail").json["code"] == "no_person"
    second = make_person(role=Role.ADMIN, email="second@museum.example")
    second.api("PATCH", f"/people/{ruler.identity.user_id}", json={"disabled": True})
    assert night.api("GET", "/batches").status_code == 200, "it is the institution's, not its maker's"
    [listed] = second.api("GET", "/service-accounts").json["items"]
    assert (listed["made_by"], listed["scopes"]) == ("admin@museum.example", ["read", "deposit", "review"])
    assert second.browser().post(f"/service-accounts/{listed['id']}/revoke").status_code == 303
    assert night.api("GET", "/batches").status_code == 401


def test_an_administrators_token_makes_no_service_account_that_may_more(ruler: Person, app: Flask) -> None:
    page = ruler.browser().post("/account/tokens", data={"name": "admin", "scope": ["admin"], "days": "30"}).text
    narrow = Person(ruler.identity, re.findall(r'id="secret">(retint_[^<]+)<', page)[0], app)
    body = {"name": "wide", "scopes": ["admin", "deposit"]}
    assert narrow.api("POST", "/service-accounts", json=body).status_code == 403
    assert narrow.api("POST", "/service-accounts", json=body | {"scopes": ["admin"]}).status_code == 201


def test_five_hundred_people_are_listed_page_by_page(ruler: Person, services: Services) -> None:
    with services.begin() as session:
        for number in range(500):
            accounts.create_user(session, ruler.identity.tenant_id, f"p{number:03}@museum.example")
    browser, path, seen = ruler.browser(), "/people", set[str]()
    while path:
        page = browser.get(path).text
        seen |= set(re.findall(r">([a-z0-9]+@museum\.example)</a>", page))
        following = re.search(r'id="following" href="([^"]+)"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert len(seen) == 501
    assert re.findall(r">(p\d+@museum)", browser.get("/people?email=p49").text) == [f"p49{n}@museum" for n in range(10)]
    assert browser.get("/people?email=%25").text.count("@museum.example</a>") == 0, "no wildcard"


def test_without_email_a_forgotten_password_is_an_administrators_matter(app: Flask, member: Person) -> None:
    for answer in (make_browser(app).get("/forgot"), make_browser(app).post("/forgot", data={"email": member.email})):
        assert "This portal sends no email. Ask an administrator" in answer.text


@pytest.fixture
def mailing(services: Services, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """A portal that sends e-mail."""
    settings = services.settings.model_copy(
        update={
            "smtp_url": SecretStr("smtp://127.0.0.1:1"),
            "mail_from": "retint@museum.example",
            "public_url": "http://localhost",
        }
    )
    app = create_app(replace(services, settings=settings))
    app.config["WTF_CSRF_ENABLED"] = False
    return app


def mails(services: Services) -> list[tuple[str, str | None]]:
    with services.read() as session:
        return [(each.kind, each.address) for each in session.scalars(select(Notification).order_by(Notification.id))]


def test_the_answer_never_tells_whether_an_address_is_known(mailing: Flask, member: Person, services: Services) -> None:
    def ask(email: str) -> Any:
        answer = make_browser(mailing).post("/forgot", data={"email": email})
        return answer.status_code, re.sub(r'content="[^"]*"', "", answer.text)

    assert ask(member.email) == ask("nobody@museum.example") == ask("")
    assert mails(services) == [("password_reset", member.email)]
    for _ in range(5):
        ask(member.email)
    assert len(mails(services)) == MOST_RESETS, "nobody's mailbox is flooded"
    assert is_in(member.browser()), "nothing has changed for whoever did not ask"


def test_an_invitation_is_sent_where_there_is_email(mailing: Flask, ruler: Person, services: Services) -> None:
    browser = Person(ruler.identity, ruler.token, mailing).browser()
    page = browser.post("/people", data={"email": "ana@museum.example"}).text
    assert "An email with this link is on its way to ana@museum.example." in page
    assert mails(services) == [("invitation", "ana@museum.example")]


def test_a_service_account_is_refused_what_only_persons_have(ruler: Person, services: Services) -> None:
    with services.begin() as session:
        secret = accounts.issue_service_token(session, ruler.identity, "night", [Scope.READ])
        found = accounts.identify_token(session, secret)
    assert (found.role, found.user_id) == (Role.MEMBER, None)
    with pytest.raises(NotAllowed):
        _ = found.person_id


def test_forms_are_guarded_against_forgery(services: Services, ruler: Person) -> None:
    guarded = create_app(services)
    browser = Person(ruler.identity, ruler.token, guarded).browser()
    assert browser.post("/people", data={"email": "ana@museum.example"}).status_code == 400
    form = {"email": "ana@museum.example", "csrf_token": csrf_token(browser, "/people")}
    assert browser.post("/people", data=form).status_code == 200
