"""Deliveries to real receivers: slow, redirecting, overloaded, inside, gone; killed processes and changed secrets."""

import json
import signal
import subprocess
import sys
import time
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session
from standardwebhooks import Webhook as Verifier
from tests.outboxes import FIELDS, Outbox
from tests.receivers import Receiver

from retint import accounts, notifications, sealing
from retint.columns import new_id, now
from retint.notification_tables import Notification, Webhook
from retint.notifications import kinds, webhooks
from retint_workers.dispatch.news import News


def test_a_webhook_is_told_once_with_a_signature_that_verifies(each_outbox: Outbox) -> None:
    receiver, webhook_id, secret = each_outbox.add_receiver()
    each_outbox.tell()
    each_outbox.deliver()
    [(headers, body)] = receiver.came
    assert Verifier(secret).verify(body, headers)["data"] == FIELDS
    assert headers["content-type"] == "application/json"
    assert each_outbox.list_outcomes() == ["delivered"]
    assert each_outbox.get(webhook_id).delivered_at is not None
    each_outbox.deliver()
    assert len(receiver.came) == 1


def test_what_is_rolled_back_is_not_told(each_outbox: Outbox) -> None:
    receiver, _, _ = each_outbox.add_receiver()

    def tell_and_fail() -> None:
        with each_outbox.services.begin() as session:
            notifications.tell(session, each_outbox.services.settings, kinds.BATCH_ENDED, each_outbox.tenant_id, FIELDS)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tell_and_fail()
    each_outbox.deliver()
    assert receiver.came == []


def test_only_webhooks_of_the_institution_that_chose_the_kind_are_told(outbox: Outbox) -> None:
    receiver, webhook_id, _ = outbox.add_receiver()
    with outbox.services.begin() as session:
        other = accounts.get_or_create_tenant(session, "archive").id
        notifications.tell(session, outbox.services.settings, kinds.BATCH_ENDED, other, FIELDS)
        webhook = session.get_one(Webhook, webhook_id)
        webhooks.change(session, outbox.services.settings, webhook, receiver.url, ["photo.refused"])
    outbox.tell()
    assert outbox.list_outcomes() == []


@pytest.mark.parametrize(
    ("receiver", "sentence"),
    [
        (Receiver(status=500), "It answered 500 Internal Server Error."),
        (Receiver(status=404), "It answered 404 Not Found."),
        (Receiver(drops=True), "Nothing came from 127.0.0.1: Server disconnected without sending a response."),
    ],
)
def test_a_failure_is_tried_again_and_its_body_never_kept(outbox: Outbox, receiver: Receiver, sentence: str) -> None:
    receiver, webhook_id, _ = outbox.add_receiver(receiver)
    outbox.tell()
    outbox.deliver()
    assert outbox.list_tries() == [(receiver.status if not receiver.drops else None, sentence)]
    assert outbox.list_outcomes() == [None]
    assert 0 < outbox.wait_s() < 6.5
    receiver.status, receiver.drops = 200, False
    outbox.skip_time()
    outbox.deliver()
    assert outbox.list_outcomes() == ["delivered"]
    assert receiver.ids[0] == receiver.ids[1]
    assert outbox.get(webhook_id).failures == 0


def test_a_redirection_is_a_failure_and_not_followed(outbox: Outbox) -> None:
    goal, _, _ = outbox.add_receiver()
    receiver, _, _ = outbox.add_receiver(Receiver(status=307, headers={"Location": goal.url}))
    with outbox.services.begin() as session:
        session.execute(update(Webhook).where(Webhook.url == goal.url).values(kinds=["photo.refused"]))
    outbox.tell()
    outbox.deliver()
    assert (len(receiver.came), len(goal.came)) == (1, 0)
    [(status, problem)] = outbox.list_tries()
    assert status == 307
    assert "redirections are not followed" in (problem or "")


@pytest.mark.parametrize(("status", "header", "low", "high"), [(429, "120", 90, 121), (503, None, 25, 73)])
def test_a_receiver_that_is_overloaded_is_left_alone(
    outbox: Outbox, status: int, header: str | None, low: float, high: float
) -> None:
    headers = {"Retry-After": header} if header else {}
    receiver, _, _ = outbox.add_receiver(Receiver(status=status, headers=headers))
    outbox.tell()
    outbox.deliver()
    assert low <= outbox.wait_s() <= high
    outbox.tell()
    outbox.deliver()
    assert len(receiver.came) == 1, "the second waits, too"


def test_after_the_last_try_the_webhook_is_disabled(each_outbox: Outbox) -> None:
    receiver, webhook_id, _ = each_outbox.add_receiver(Receiver(status=500))
    each_outbox.tell()
    for _ in range(10):
        assert each_outbox.get(webhook_id).disabled_at is None
        each_outbox.skip_time()
        each_outbox.deliver()
    assert len(receiver.came) == 10
    assert len(set(receiver.ids)) == 1
    assert each_outbox.list_outcomes() == ["given_up"]
    assert "All 10 tries" in (each_outbox.get(webhook_id).disabled_because or "")


def test_one_message_that_is_not_liked_disables_nothing_and_can_be_sent_again(outbox: Outbox) -> None:
    receiver, webhook_id, _ = outbox.add_receiver(Receiver(status=400))
    outbox.tell()
    with outbox.services.begin() as session:
        session.execute(update(Notification).values(tries=9))
        session.execute(update(Webhook).values(delivered_at=now(60.0)))
    outbox.deliver()
    assert outbox.list_outcomes() == ["given_up"]
    assert outbox.get(webhook_id).disabled_at is None
    receiver.status = 200
    with outbox.services.begin() as session:
        notification_id = session.scalars(select(Notification.id)).one()
        webhooks.send_again(session, outbox.tenant_id, webhook_id, notification_id)
    outbox.deliver()
    assert outbox.list_outcomes() == ["delivered"]
    assert len(set(receiver.ids)) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://192.168.0.10/",
        "https://[fd00::1]/",
        "https://8.8.8.8:8443/",
    ],
)
def test_an_address_inside_is_never_asked(outbox: Outbox, url: str) -> None:
    outbox.add_webhook(url)
    outbox.tell()
    outbox.deliver()
    [(status, problem)] = outbox.list_tries()
    assert status is None
    assert "only public servers on ports 80 and 443 may be" in (problem or ""), problem


def test_a_listed_name_is_told_wherever_it_is_but_not_a_clouds_metadata(outbox: Outbox) -> None:
    receiver, _, _ = outbox.add_receiver()
    outbox.change_settings(webhook_hosts=f"localhost:{receiver.port}, 169.254.169.254:80")
    outbox.add_webhook(f"http://localhost:{receiver.port}/")
    outbox.tell()
    outbox.deliver()
    assert len(receiver.came) == 1, "127.0.0.1 with this port is not listed any more"
    outbox.add_webhook("http://169.254.169.254/")
    outbox.tell()
    outbox.skip_time()
    outbox.deliver()
    assert any("may be" in (problem or "") for _, problem in outbox.list_tries())


def test_a_slow_receiver_holds_up_no_other_and_gets_one_at_a_time(outbox: Outbox) -> None:
    slow, _, _ = outbox.add_receiver(Receiver(slow_s=3))
    quick, _, _ = outbox.add_receiver()
    for _ in range(5):
        outbox.tell()
    slow_when_quick_was_done: list[int] = []

    def is_over() -> bool:
        if len(quick.came) == 5 and not slow_when_quick_was_done:
            slow_when_quick_was_done.append(len(slow.came))
        return len(slow.came) == 2

    outbox.deliver(is_over)
    assert slow_when_quick_was_done == [1]
    assert (slow.most_at_once, quick.most_at_once) == (1, 1)


def test_a_receiver_that_never_answers_is_given_up_after_the_time_limit(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retint.notifications.posting.TIMEOUT_S", 0.3)
    outbox.add_receiver(Receiver(slow_s=2))
    outbox.tell()
    outbox.deliver()
    assert outbox.list_tries() == [(None, "127.0.0.1 did not answer within 0.3 seconds.")]


def add_many(session: Session, tenant_id: UUID, webhook_id: UUID, n: int) -> None:
    body = notifications.make_body(kinds.BATCH_ENDED, FIELDS)
    common = {"tenant_id": tenant_id, "kind": "batch.ended", "webhook_id": webhook_id, "body": body}
    session.execute(insert(Notification), [{"id": new_id(), **common} for _ in range(n)])


def test_ten_thousand_waiting_for_a_dead_one_hold_up_no_other(each_outbox: Outbox) -> None:
    dead, dead_id, _ = each_outbox.add_receiver(Receiver(drops=True))
    quick, quick_id, _ = each_outbox.add_receiver()
    with each_outbox.services.begin() as session:
        add_many(session, each_outbox.tenant_id, dead_id, 10_000)
        add_many(session, each_outbox.tenant_id, quick_id, 20)
    began = time.monotonic()
    each_outbox.deliver(lambda: len(quick.came) == 20)
    assert time.monotonic() - began < 15
    assert len(dead.came) <= 3, "it is left alone after a failure"
    print(f"20 delivered beside 10,000 that wait, in {time.monotonic() - began:.2f} s")


KILLED = """
import os, signal, sys
from retint.notifications import outbox
from retint.services import Services
from retint.settings import Settings
from retint_workers.dispatch.delivery import run

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)  # between the delivery and its commit

outbox.settle = die
run(Services.connect(Settings()), lambda: True)
"""


def test_a_process_killed_between_delivery_and_commit_delivers_twice_with_one_id(each_outbox: Outbox) -> None:
    receiver, webhook_id, _ = each_outbox.add_receiver()
    each_outbox.tell()
    environment = each_outbox.services.settings.environment()
    killed = subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert len(receiver.came) == 1
    each_outbox.deliver()
    assert len(receiver.came) == 1, "the claim of the dead process is not over yet"
    each_outbox.skip_time()
    each_outbox.deliver()
    assert len(receiver.came) == 2
    assert len(set(receiver.ids)) == 1
    assert each_outbox.list_outcomes() == ["delivered"]
    assert each_outbox.get(webhook_id).delivered_at is not None


def test_the_leading_dispatcher_starts_the_delivery_and_ends_it(each_outbox: Outbox) -> None:
    receiver, _, _ = each_outbox.add_receiver()
    news = News(each_outbox.services)
    news.keep_delivering()
    assert not news._child.is_running, "nothing is due"
    each_outbox.tell()
    news._deliver_at = 0.0
    try:
        news.keep_delivering()
        deadline = time.monotonic() + 60
        while each_outbox.list_outcomes() != ["delivered"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        news.end()
    assert len(receiver.came) == 1
    assert not news._child.is_running


def test_a_new_secret_and_the_one_before_both_sign_for_a_day(outbox: Outbox) -> None:
    receiver, webhook_id, old = outbox.add_receiver()
    with outbox.services.begin() as session:
        new = webhooks.rotate(session, outbox.services.settings, session.get_one(Webhook, webhook_id))
    outbox.tell()
    outbox.deliver()
    headers, body = receiver.came[0]
    assert len(headers["webhook-signature"].split()) == 2
    for secret in (old, new):
        Verifier(secret).verify(body, headers)
    with outbox.services.begin() as session:
        session.execute(update(Webhook).values(former_until=now(-1.0)))
    outbox.tell()
    outbox.deliver()
    assert len(receiver.came[1][0]["webhook-signature"].split()) == 1
    Verifier(new).verify(receiver.came[1][1], receiver.came[1][0])


def test_retints_secret_is_changed_by_naming_the_old_one(outbox: Outbox) -> None:
    receiver, webhook_id, secret = outbox.add_receiver()
    assert secret not in outbox.get(webhook_id).secret
    outbox.tell()
    outbox.change_settings(secret=SecretStr("another"))
    outbox.deliver()
    assert receiver.came == []
    assert "RETINT_FORMER_SECRETS" in (outbox.list_tries()[0][1] or "")
    outbox.change_settings(former_secrets=SecretStr("a secret of the tests"))
    outbox.skip_time()
    outbox.deliver()
    Verifier(secret).verify(receiver.came[0][1], receiver.came[0][0])
    with outbox.services.begin() as session:
        assert webhooks.reseal(session, outbox.services.settings) == 1
    outbox.change_settings(former_secrets=None)
    assert sealing.unseal(outbox.services.settings, webhooks.PURPOSE, outbox.get(webhook_id).secret) == secret


def test_a_paused_webhook_is_told_when_it_is_resumed(outbox: Outbox) -> None:
    receiver, webhook_id, _ = outbox.add_receiver()
    with outbox.services.begin() as session:
        webhooks.pause(session, session.get_one(Webhook, webhook_id))
    outbox.tell()
    outbox.deliver()
    assert receiver.came == []
    with outbox.services.begin() as session:
        webhooks.resume(session, session.get_one(Webhook, webhook_id))
    outbox.deliver()
    assert len(receiver.came) == 1


def test_what_is_deleted_takes_what_waits_along(each_outbox: Outbox) -> None:
    receiver, webhook_id, _ = each_outbox.add_receiver()
    each_outbox.tell()
    with each_outbox.services.begin() as session:
        webhooks.delete(session, session.get_one(Webhook, webhook_id))
    each_outbox.deliver()
    assert receiver.came == []
    with each_outbox.services.read() as session:
        assert session.scalar(select(func.count()).select_from(Notification)) == 0


def test_old_notifications_are_forgotten(each_outbox: Outbox) -> None:
    each_outbox.add_receiver()
    each_outbox.tell()
    each_outbox.deliver()
    with each_outbox.services.begin() as session:
        session.execute(update(Notification).values(ended_at=now(-31 * 86_400.0)))
    each_outbox.tell()
    each_outbox.deliver()
    with each_outbox.services.read() as session:
        assert session.scalar(select(func.count()).select_from(Notification)) == 1
        assert json.loads(session.scalars(select(Notification.body)).one() or "")["type"] == "batch.ended"
