import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import select, update
from tests.integration.web.conftest import JPEG, PASSWORD, Person, csrf_token, make_browser

from retint import accounts
from retint.accounts import FAILURES_PER_PAIR
from retint.audit_tables import SignInFailure
from retint.columns import now
from retint.errors import NotAllowed
from retint.services import Services
from retint.settings import Settings
from retint.tables import User
from retint_web.app import create_app

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)


def _sign_in(app: Flask, email: str, password: str, address: str = "192.0.2.1", query: str = "") -> Any:
    browser = make_browser(app)
    form = {"email": email, "password": password, "csrf_token": csrf_token(browser, "/sign-in")}
    return browser, browser.post(f"/sign-in{query}", data=form, environ_base={"REMOTE_ADDR": address})


def test_a_person_signs_in_and_out(app: Flask, member: Person) -> None:
    browser, answer = _sign_in(app, member.email.upper(), PASSWORD)
    assert answer.status_code == 303
    assert browser.get("/").status_code == 200
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    browser.post("/sign-out", data={"csrf_token": csrf_token(browser, "/account")})
    assert browser.get("/").status_code == 303


def test_wrong_passwords_look_like_unknown_people(app: Flask, member: Person) -> None:
    answers = [_sign_in(app, email, "wrong" * 4)[1] for email in (member.email, "nobody@museum.example")]
    assert [answer.status_code for answer in answers] == [403, 403]
    sentences = [re.search(r"email or the password[^<]*", answer.text) for answer in answers]
    assert sentences[0]
    assert sentences[1]
    assert sentences[0][0] == sentences[1][0]


def test_too_many_failures_close_the_door_for_the_right_password_too(
    app: Flask, member: Person, services: Services
) -> None:
    for _ in range(FAILURES_PER_PAIR):
        assert _sign_in(app, member.email, "wrong" * 4)[1].status_code == 403
    assert _sign_in(app, member.email, PASSWORD)[1].status_code == 429
    assert _sign_in(app, member.email, PASSWORD, address="192.0.2.2")[1].status_code == 303, "others come in"
    with services.begin() as session:
        for failed in session.scalars(select(SignInFailure)).all():
            failed.at -= timedelta(seconds=accounts.LIMIT_WINDOW_S)
    assert _sign_in(app, member.email, PASSWORD)[1].status_code == 303, "the door opens again"


def test_a_one_time_link_signs_in_once(app: Flask, member: Person, services: Services) -> None:
    with services.begin() as session:
        first = accounts.invite(session, session.get_one(User, member.identity.user_id))
        secret = accounts.invite(session, session.get_one(User, member.identity.user_id))

    def use(secret: str) -> int:
        browser = make_browser(app)
        token = csrf_token(browser, f"/sign-in/{secret}")
        return int(browser.post(f"/sign-in/{secret}", data={"csrf_token": token}).status_code)

    assert use(first) == 403, "a new link replaces the old one"
    assert use(secret) == 303
    assert use(secret) == 403


def test_looking_at_a_one_time_link_does_not_use_it_up(app: Flask, member: Person, services: Services) -> None:
    with services.begin() as session:
        secret = accounts.invite(session, session.get_one(User, member.identity.user_id))
    assert make_browser(app).get(f"/sign-in/{secret}").status_code == 200
    with services.begin() as session:
        assert accounts.redeem(session, secret).user_id == member.identity.user_id


def test_a_one_time_link_expires(member: Person, services: Services) -> None:
    with services.begin() as session:
        secret = accounts.invite(session, session.get_one(User, member.identity.user_id), hours=-0.001)
        with pytest.raises(NotAllowed):
            accounts.redeem(session, secret)


def test_a_new_password_ends_other_sessions_and_keeps_ones_own(member: Person) -> None:
    here, elsewhere = member.browser(), member.browser()
    form = {"password": "another good password", "csrf_token": csrf_token(here, "/account")}
    assert here.post("/account/password", data=form).status_code == 303
    assert here.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 303


def test_a_disabled_person_is_out_at_once(member: Person, services: Services) -> None:
    browser = member.browser()
    assert browser.get("/").status_code == 200
    with services.begin() as session:
        session.execute(update(User).where(User.id == member.identity.user_id).values(disabled_at=now()))
    assert browser.get("/").status_code == 303
    assert member.api("GET", "/batches").status_code == 401


def test_a_revoked_token_opens_nothing(member: Person, services: Services) -> None:
    assert member.api("GET", "/batches").status_code == 200
    with services.begin() as session:
        [token] = accounts.list_tokens(session, member.identity)
        accounts.revoke_token(session, member.identity, token.id)
    assert member.api("GET", "/batches").status_code == 401


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer retint_no", "Basic YTpi", "Bearer \xff", "bearer retint_" + "x" * 5000]
)
def test_garbage_is_no_token(app: Flask, header: str, member: Person) -> None:
    answer = app.test_client().get("/api/v1/batches", headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert answer.mimetype == "application/problem+json"


def test_a_session_does_not_open_the_api(member: Person) -> None:
    assert member.browser().get("/api/v1/batches").status_code == 401


def test_a_form_from_elsewhere_does_nothing(member: Person, services: Services) -> None:
    batch_id = member.open_batch()
    browser = member.browser()
    for path in (f"/batches/{batch_id}/pause", f"/batches/{batch_id}/cancel", "/account/tokens", "/deposit"):
        answer = browser.post(path, data={"name": "x"})
        assert answer.status_code == 400, path
        assert "Reload the page" in answer.text
    for path in (f"/deposit/batches/{batch_id}/known", "/deposit/uploads"):
        assert browser.post(path, data=JPEG).status_code == 400, path
    assert browser.patch(f"/deposit/uploads/{batch_id}", data=JPEG).status_code == 400
    assert browser.delete(f"/deposit/uploads/{batch_id}").status_code == 400
    batch = member.api("GET", f"/batches/{batch_id}").json
    assert (batch["paused"], batch["cancelled"], batch["counts"]["total"]) == (False, False, 0)


def test_pages_say_what_browsers_shall_refuse(app: Flask, member: Person) -> None:
    for browser, path in ((make_browser(app), "/sign-in"), (member.browser(), "/"), (member.browser(), "/nowhere")):
        headers = browser.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "Strict-Transport-Security" not in headers, "this portal is not on https"
    assert member.browser().get("/").headers["Cache-Control"] == "no-store"


def test_pages_carry_no_inline_script_or_style(member: Person, admin: Person, restore: Callable[..., None]) -> None:
    batch_id = admin.open_batch()
    job_id = admin.deposit(batch_id)["id"]
    restore(job_id)
    for path in ("/", "/deposit", "/account", "/admin/", f"/batches/{batch_id}", f"/jobs/{job_id}"):
        page = admin.browser().get(path)
        assert page.status_code == 200, path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page.text), path
        assert all("src=" in tag for tag in re.findall(r"<script\b[^>]*>", page.text)), path


def test_over_https_cookies_and_headers_are_strict(services: Services, settings: Settings, member: Person) -> None:
    https = settings.model_copy(update={"public_url": "https://photos.example", "trusted_proxies": "127.0.0.1"})
    app = create_app(Services(https, services.engine, services.store))
    browser = make_browser(app)
    with browser.session_transaction(base_url="https://photos.example") as session:
        session["user"] = "x"
    answer = make_browser(app).get("/sign-in", base_url="https://photos.example")
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-retint=")
    assert "Secure" in cookie


def test_a_cookie_that_was_tampered_with_is_nobody(app: Flask, member: Person) -> None:
    browser = make_browser(app)
    mine = {"id": str(member.identity.session_id), "stamp": member.identity.stamp}
    before = {"user": str(member.identity.user_id), "stamp": member.identity.stamp}  # of the version before
    for session in ({"id": "x"}, mine | {"stamp": "é"}, mine | {"id": str(UUID(int=0))}, {"id": mine["id"]}, before):
        with browser.session_transaction() as values:
            values.clear()
            values.update(session)
        assert browser.get("/").status_code == 303, session
    browser.set_cookie("retint", "garbage.garbage.garbage")
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "///evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "\\\\evil",
        "/a\nb",
    ],
)
def test_signing_in_leads_nowhere_else(app: Flask, member: Person, target: str) -> None:
    browser = make_browser(app)
    form = {"email": member.email, "password": PASSWORD, "csrf_token": csrf_token(browser, "/sign-in")}
    answer = browser.post("/sign-in", query_string={"next": target}, data=form)
    assert answer.headers["Location"] == "/"


def test_signing_in_leads_back(app: Flask, member: Person) -> None:
    away = make_browser(app).get("/batches/00000000-0000-0000-0000-000000000000?state=ready")
    _, answer = _sign_in(app, member.email, PASSWORD, query=away.headers["Location"].removeprefix("/sign-in"))
    assert answer.headers["Location"] == "/batches/00000000-0000-0000-0000-000000000000?state=ready"


def test_a_large_body_is_taken_for_files_only(app: Flask, services: Services, settings: Settings) -> None:
    strict = settings.model_copy(update={"upload_limit_mib": 3})
    app = create_app(Services(strict, services.engine, services.store))
    with services.begin() as session:
        user = accounts.create_user(session, accounts.get_or_create_tenant(session, "x").id, "x@x.example")
        token = accounts.issue_token(session, user, "t")
        person = Person(accounts.Identity(user.tenant_id, user.id), token, app)
    too_much = b"x" * ((1 << 20) + 1)
    answer = person.api("POST", "/batches", data=too_much)
    assert (answer.status_code, answer.json["code"]) == (413, "request_entity_too_large")
    batch_id = person.open_batch()
    person.deposit(batch_id, "large.jpg", too_much)
    answer = person.api("PUT", f"/batches/{batch_id}/files", data=too_much * 3, query_string={"name": "a"})
    assert answer.status_code == 413
    assert "larger than" in answer.json["detail"]
    left = {path.name for path in settings.data.rglob("*") if path.is_file()}
    assert left == {"lock", "store.json", "original"}, "nothing of it is left behind"


def test_without_a_secret_there_is_no_portal(services: Services, settings: Settings) -> None:
    unsigned = settings.model_copy(update={"secret": None})
    with pytest.raises(ValueError, match="RETINT_SECRET"):
        create_app(Services(unsigned, services.engine, services.store))
    assert isinstance(settings.secret, SecretStr)
