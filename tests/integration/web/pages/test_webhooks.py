"""The pages and the API of webhooks, and who gets which e-mail."""

import re

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import select, update
from tests.integration.web.conftest import Person, csrf_token

from retint.columns import now
from retint.notification_tables import Delivery, Notification, Webhook
from retint.services import Services
from retint.settings import Settings

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)

URL = "https://dams.example.org/retint"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    mail = {"smtp_url": SecretStr("smtp://mail.example"), "mail_from": "retint@museum.example"}
    return settings.model_copy(update=mail)


@pytest.fixture
def webhook(admin: Person) -> str:
    answer = admin.api("POST", "/webhooks", json={"url": URL, "kinds": ["batch.ended"]})
    assert answer.status_code == 201
    return str(answer.json["id"])


def post(person: Person, path: str, **form: object) -> str:
    browser = person.browser()
    token = csrf_token(browser, "/webhooks/")
    return browser.post(path, data={"csrf_token": token, **form}, follow_redirects=True).text


def test_a_webhook_is_added_on_the_page_and_its_secret_shown_once(admin: Person, services: Services) -> None:
    page = post(admin, "/webhooks/", url=URL, kind=["batch.ended", "photo.refused"])
    [secret] = re.findall(r"whsec_[A-Za-z0-9+/=]{44}", page)
    browser = admin.browser()
    for path in ("/webhooks/", re.search(r"/webhooks/[0-9a-f-]{36}", page)[0]):  # type: ignore[index]
        assert URL in browser.get(path).text
        assert "whsec_" not in browser.get(path).text
    with services.read() as session:
        assert secret not in session.scalars(select(Webhook.secret)).one()


@pytest.mark.parametrize(
    ("url", "kind", "sentence"),
    [
        ("http://dams.example.org/", "batch.ended", "RETINT_WEBHOOK_HOSTS"),
        ("ftp://dams.example.org/", "batch.ended", "needs an address"),
        (URL, "", "Choose what the webhook is told"),
        (URL, "invitation", "Choose what the webhook is told"),
    ],
)
def test_what_cannot_be_told_is_said_and_kept_in_the_form(admin: Person, url: str, kind: str, sentence: str) -> None:
    page = post(admin, "/webhooks/", url=url, kind=[kind] if kind else [])
    assert sentence in page
    assert f'value="{url}"' in page
    assert admin.api("GET", "/webhooks").json["items"] == []


def test_a_webhook_is_paused_resumed_changed_tested_and_deleted(admin: Person, webhook: str) -> None:
    for path, state in (("pause", "paused"), ("resume", "new")):
        assert f"{state}</span>" in post(admin, f"/webhooks/{webhook}/{path}")
    assert "The test is on its way" in post(admin, f"/webhooks/{webhook}/test")
    assert "webhook.test" in admin.browser().get(f"/webhooks/{webhook}").text
    post(admin, f"/webhooks/{webhook}", url=f"{URL}/2", kind=["photo.refused"])
    shown = admin.api("GET", f"/webhooks/{webhook}").json
    assert (shown["url"], shown["kinds"]) == (f"{URL}/2", ["photo.refused"])
    assert "whsec_" in post(admin, f"/webhooks/{webhook}/rotate")
    assert admin.api("GET", f"/webhooks/{webhook}").json["former_until"] is not None
    assert "The webhook is deleted." in post(admin, f"/webhooks/{webhook}/delete")
    assert admin.api("GET", f"/webhooks/{webhook}").status_code == 404


def test_tries_are_shown_with_status_and_time_and_sent_again(admin: Person, webhook: str, services: Services) -> None:
    told = admin.api("POST", f"/webhooks/{webhook}/test").json
    with services.begin() as session:
        notification = session.scalars(select(Notification)).one()
        problem = "It answered 500 Internal Server Error."
        session.add(Delivery(notification_id=notification.id, number=1, status=500, problem=problem, ms=1234))
        session.execute(update(Notification).values(tries=1, ended_at=now(), outcome="given_up"))
    page = admin.browser().get(f"/webhooks/{webhook}").text
    assert problem in page
    assert "1,234 ms" in page
    [item] = admin.api("GET", f"/webhooks/{webhook}/notifications").json["items"]
    assert (item["outcome"], item["tries"][0]["status"]) == ("given_up", 500)
    assert item["message_id"] == told["message_id"]
    assert "It is sent again" in post(admin, f"/webhooks/{webhook}/notifications/{told['id']}/again")
    [item] = admin.api("GET", f"/webhooks/{webhook}/notifications").json["items"]
    assert item["outcome"] is None


def test_the_api_does_all_of_it(admin: Person, webhook: str) -> None:
    changed = {"url": URL, "kinds": ["photo.refused", "batch.ended"]}
    assert admin.api("PUT", f"/webhooks/{webhook}", json=changed).json["kinds"] == ["batch.ended", "photo.refused"]
    assert admin.api("POST", f"/webhooks/{webhook}/pause").json["paused_at"] is not None
    assert admin.api("POST", f"/webhooks/{webhook}/test").status_code == 409
    assert admin.api("POST", f"/webhooks/{webhook}/resume").json["paused_at"] is None
    assert admin.api("POST", f"/webhooks/{webhook}/rotate").json["secret"].startswith("whsec_")
    assert (
        admin.api("POST", "/webhooks", json={"url": "http://a.example/", "kinds": ["batch.ended"]}).json["code"]
        == "no_tls"
    )
    headers = {"Authorization": f"Bearer {admin.token}"}
    assert admin.app.test_client().delete(f"/api/v1/webhooks/{webhook}", headers=headers).status_code == 204
    for _ in range(20):
        assert admin.api("POST", "/webhooks", json=changed).status_code == 201
    assert admin.api("POST", "/webhooks", json=changed).json["code"] == "too_many_webhooks"


def test_a_person_chooses_which_e_mail_they_get(member: Person, app: Flask) -> None:
    browser = member.browser()
    page = browser.get("/account").text
    assert 'value="batch.ended" checked' in page
    assert 'value="webhook.disabled"' not in page, "that is for administrators"
    token = csrf_token(browser, "/account")
    browser.post("/account/mail", data={"csrf_token": token, "kind": ["photo.refused"]})
    assert member.api("GET", "/mail").json == {
        "is_sent": True,
        "kinds": {"batch.ended": False, "photo.refused": True},
    }
    assert member.api("PUT", "/mail", json={"kinds": {"batch.ended": True}}).json["kinds"]["batch.ended"] is True
    assert member.api("PUT", "/mail", json={"kinds": {"invitation": False}}).status_code == 422


def test_without_a_mail_server_nobody_is_asked(member: Person, app: Flask) -> None:
    services = app.extensions["retint"]
    settings = services.settings.model_copy(update={"smtp_url": None, "mail_from": None})
    app.extensions["retint"] = Services(settings, services.engine, services.store, services.counters)
    assert "E-mail" not in member.browser().get("/account").text
    assert member.api("GET", "/mail").json["is_sent"] is False
