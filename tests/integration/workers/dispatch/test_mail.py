"""E-mail through the outbox to a real mail server: refused, away, without TLS."""

import email
from email.message import EmailMessage
from email.policy import default

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from tests.outboxes import Outbox
from tests.receivers import Mailbox, Receiver, run_mailbox

from retint import accounts, notifications
from retint.notification_tables import Notification, Webhook
from retint.notifications import webhooks
from retint.roles import Role


def read_mail(message: bytes) -> str:
    parsed = email.message_from_bytes(message, policy=default)
    assert isinstance(parsed, EmailMessage)
    plain = parsed.get_body(("plain",))
    assert plain is not None
    return str(plain.get_content())


def test_a_receiver_that_is_gone_is_disabled_at_once_and_its_owners_are_told(outbox: Outbox) -> None:
    mailbox = outbox.stack.enter_context(run_mailbox(Mailbox()))
    outbox.change_settings(smtp_url=SecretStr(f"smtp://127.0.0.1:{mailbox.port}"), mail_from="retint@museum.example")
    with outbox.services.begin() as session:
        accounts.create_user(session, outbox.tenant_id, "head@museum.example", role=Role.ADMIN)
        accounts.create_user(session, outbox.tenant_id, "member@museum.example")
    receiver, webhook_id, _ = outbox.add_receiver(Receiver(status=410))
    outbox.tell()
    outbox.tell()
    outbox.deliver()
    webhook = outbox.get(webhook_id)
    assert webhook.disabled_at is not None
    assert "410" in (webhook.disabled_because or "")
    assert len(receiver.came) == 1
    [(addresses, message)] = mailbox.came
    assert addresses == ["head@museum.example"]
    text = read_mail(message)
    assert "The webhook to 127.0.0.1 was disabled. It answered 410 Gone" in text
    assert f"/webhooks/{webhook_id}" in text
    receiver.status = 200
    with outbox.services.begin() as session:
        webhooks.resume(session, session.get_one(Webhook, webhook_id))
    outbox.deliver()
    assert outbox.list_outcomes().count("delivered") == 2, "what waited is sent; the mail, too"


@pytest.fixture
def mailing(each_outbox: Outbox) -> Mailbox:
    mailbox = each_outbox.stack.enter_context(run_mailbox(Mailbox()))
    each_outbox.change_settings(smtp_url=SecretStr(f"smtp://127.0.0.1:{mailbox.port}"), mail_from="r@museum.example")
    return mailbox


INVITATION = {
    "institution": "Museum",
    "by": "head@museum.example",
    "link": "https://a.example/sign-in/x",
    "hours": "24",
}


def test_an_invitation_arrives_and_leaves_no_link_behind(each_outbox: Outbox, mailing: Mailbox) -> None:
    with each_outbox.services.begin() as session:
        notifications.send_mail(session, each_outbox.services.settings, "invitation", "new@museum.example", INVITATION)
    with each_outbox.services.read() as session:
        body = session.scalars(select(Notification.body)).one() or ""
    assert INVITATION["link"] not in body
    each_outbox.deliver()
    [(addresses, message)] = mailing.came
    assert addresses == ["new@museum.example"]
    assert INVITATION["link"] in read_mail(message)
    with each_outbox.services.read() as session:
        assert session.scalars(select(Notification.body)).one() is None


def test_mail_that_is_refused_for_now_is_tried_again_and_for_good_given_up(
    each_outbox: Outbox, mailing: Mailbox
) -> None:
    mailing.refused = {"full@museum.example": "452 full", "gone@museum.example": "550 unknown"}
    with each_outbox.services.begin() as session:
        for address in ("full@museum.example", "gone@museum.example", "good@museum.example"):
            notifications.send_mail(session, each_outbox.services.settings, "invitation", address, INVITATION)
    each_outbox.deliver()
    assert each_outbox.list_mails() == {
        "full@museum.example": None, "gone@museum.example": "given_up", "good@museum.example": "delivered",
    }  # fmt: skip
    assert sorted(status or 0 for status, _ in each_outbox.list_tries()) == [250, 452, 550]
    mailing.refused = {}
    each_outbox.skip_time()
    each_outbox.deliver()
    assert each_outbox.list_mails()["full@museum.example"] == "delivered"
    message_ids = [email.message_from_bytes(message)["Message-ID"] for _, message in mailing.came]
    assert len(set(message_ids)) == 2


def test_a_mail_server_that_is_away_is_asked_once_and_nothing_is_lost(outbox: Outbox) -> None:
    outbox.change_settings(smtp_url=SecretStr("smtp://127.0.0.1:9"), mail_from="r@museum.example")
    with outbox.services.begin() as session:
        for _ in range(3):
            notifications.send_mail(session, outbox.services.settings, "invitation", "a@museum.example", INVITATION)
    outbox.deliver()
    [(status, problem)] = outbox.list_tries()
    assert status is None
    assert problem == "The mail server did not answer (ConnectionRefusedError)."
    mailbox = outbox.stack.enter_context(run_mailbox(Mailbox()))
    outbox.change_settings(smtp_url=SecretStr(f"smtp://127.0.0.1:{mailbox.port}"))
    outbox.skip_time()
    outbox.deliver()
    assert len(mailbox.came) == 3


def test_a_password_is_not_sent_without_tls(outbox: Outbox) -> None:
    mailbox = outbox.stack.enter_context(run_mailbox(Mailbox()))
    outbox.change_settings(
        smtp_url=SecretStr(f"smtp://retint:pass%40word@127.0.0.1:{mailbox.port}"), mail_from="r@museum.example"
    )
    with outbox.services.begin() as session:
        notifications.send_mail(session, outbox.services.settings, "invitation", "a@museum.example", INVITATION)
    outbox.deliver()
    assert mailbox.came == []
    assert outbox.list_tries() == [(None, "The mail server offers no STARTTLS, so the password is not sent to it.")]
