"""What is told of batches: their ends, once each time, and their failures, together; on each database."""

import json
import uuid
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import event, select, update
from tests.integration.conftest import Site

from retint import accounts, notifications
from retint.columns import now
from retint.errors import InvalidPhoto
from retint.jobs import long_moves, tallies
from retint.jobs.leases import AttemptEnd, Done
from retint.lifecycle import STAGES, State
from retint.notification_tables import Notification
from retint.notifications import endings, webhooks
from retint.services import Services
from retint.tables import Batch, Job, Upload
from retint_workers.dispatch.news import News


class Watch:
    """A site whose museum has a webhook, and a dispatcher's look at its batches."""

    def __init__(self, site: Site) -> None:
        secret = {"secret": SecretStr("a secret"), "public_url": "https://photos.museum.example"}
        services = site.services
        site.services = Services(
            services.settings.model_copy(update=secret), services.engine, services.store, services.counters
        )
        self.site, self.news = site, News(site.services)
        self.tenant_id = site.get_tenant("museum")
        with site.services.begin() as session:
            chosen = ["batch.ended", "photo.refused"]
            webhooks.add(session, site.services.settings, self.tenant_id, "https://dams.example/", chosen)

    def look(self) -> None:
        with self.site.services.read() as session:
            loads = tallies.list_loads(session)
        self.news._look_at = 0.0
        self.news.look(loads)

    def told(self) -> list[dict[str, Any]]:
        with self.site.services.read() as session:
            bodies = session.scalars(select(Notification.body).order_by(Notification.id)).all()
            return [json.loads(body or "") for body in bodies]

    def told_kinds(self) -> list[str]:
        return [body["type"] for body in self.told()]

    def make_older(self, seconds: float) -> None:
        """Let a time pass for everything."""
        with self.site.services.begin() as session:
            session.execute(update(Job).values(created_at=now(-seconds)))
            session.execute(update(Batch).values(created_at=now(-seconds)))
            session.execute(
                update(Batch).where(Batch.failures_told_at.is_not(None)).values(failures_told_at=now(-seconds))
            )

    def restore(self, job_ids: list[uuid.UUID]) -> None:
        for stage in STAGES:
            ended: list[AttemptEnd] = [(lease, Done()) for lease in self.site.claim(job_ids, stage)]
            self.site.settle(*ended)

    def refuse(self, job_ids: list[uuid.UUID]) -> None:
        refusal = InvalidPhoto("This is not a photograph.")
        self.site.settle(*[(lease, refusal) for lease in self.site.claim(job_ids)])


@pytest.fixture
def watch(site: Site) -> Watch:
    return Watch(site)


def test_the_end_is_told_once_when_nothing_was_added_for_a_while(watch: Watch) -> None:
    batch = watch.site.add_batch()
    job_ids = watch.site.add_jobs("a.jpg", "b.jpg", batch=batch)
    watch.look()
    watch.restore(job_ids)
    watch.look()
    assert watch.told() == [], "more photos may be on their way"
    watch.make_older(61)
    for _ in range(2):
        watch.look()
    [body] = watch.told()
    assert (body["type"], body["data"]["restored"], body["data"]["refused"]) == ("batch.ended", 2, 0)
    assert body["data"]["batch"]["url"] == f"https://photos.museum.example/batches/{batch.id}"


def test_a_batch_that_waits_runs_or_is_paused_has_not_ended(watch: Watch) -> None:
    batch = watch.site.add_batch()
    first, second = watch.site.add_jobs("a.jpg", "b.jpg", batch=batch)
    watch.restore([first])
    watch.make_older(1000)
    watch.look()
    with watch.site.services.begin() as session:
        session.execute(update(Batch).values(paused_at=now()))
    watch.look()
    assert watch.told() == []
    with watch.site.services.begin() as session:
        session.execute(update(Batch).values(paused_at=None))
    watch.restore([second])
    watch.look()
    assert watch.told_kinds() == ["batch.ended"]


def test_an_upload_on_its_way_keeps_a_batch_open(watch: Watch) -> None:
    batch = watch.site.add_batch()
    watch.restore(watch.site.add_jobs("a.jpg", batch=batch))
    watch.make_older(61)
    upload = Upload(
        tenant_id=batch.tenant_id, batch_id=batch.id, name="b.jpg", size=10, expires_at=now(endings.UPLOAD_KEPT_S)
    )
    with watch.site.services.begin() as session:
        session.add(upload)
    watch.look()
    assert watch.told() == []
    with watch.site.services.begin() as session:
        session.execute(update(Upload).values(expires_at=now(endings.UPLOAD_KEPT_S - 601)))
    watch.look()
    assert watch.told_kinds() == ["batch.ended"]


def test_it_ends_again_when_photos_were_added(watch: Watch) -> None:
    batch = watch.site.add_batch()
    watch.restore(watch.site.add_jobs("a.jpg", batch=batch))
    watch.make_older(61)
    watch.look()
    more = watch.site.add_jobs("b.jpg", batch=batch)
    watch.look()
    watch.restore(more)
    watch.make_older(61)
    watch.look()
    assert [body["data"]["restored"] for body in watch.told()] == [1, 2]


def test_a_dispatcher_that_takes_over_tells_what_the_dead_one_did_not(watch: Watch) -> None:
    watch.restore(watch.site.add_jobs("a.jpg"))
    watch.make_older(61)
    watch.news = News(watch.site.services)
    watch.look()
    assert watch.told_kinds() == ["batch.ended"]


def test_failures_are_told_together_and_the_rest_with_the_end(watch: Watch) -> None:
    batch = watch.site.add_batch()
    job_ids = watch.site.add_many_jobs(1000, batch)
    watch.refuse(job_ids[:400])
    watch.look()
    assert watch.told() == [], "not before the batch has been open for a quarter of an hour"
    watch.make_older(901)
    for _ in range(2):
        watch.look()
    watch.refuse(job_ids[400:700])
    watch.look()
    [body] = watch.told()
    assert (body["type"], body["data"]["new"], body["data"]["refused"]) == ("photo.refused", 400, 400)
    [reason] = body["data"]["reasons"]
    assert reason == {
        "code": "invalid_photo", "state": "refused", "count": 400, "sentence": "This is not a photograph.",
    }  # fmt: skip
    watch.restore(job_ids[700:])
    watch.look()
    last, end = sorted(watch.told()[1:], key=lambda body: str(body["type"]), reverse=True)
    assert (last["type"], last["data"]["new"]) == ("photo.refused", 300)
    assert (end["type"], end["data"]["restored"], end["data"]["refused"]) == ("batch.ended", 300, 700)


def test_tries_proofs_and_empty_batches_end_in_silence(watch: Watch) -> None:
    watch.site.add_batch()
    trial = watch.site.add_batch()
    watch.restore(watch.site.add_jobs("a.jpg", batch=trial))
    with watch.site.services.begin() as session:
        session.execute(update(Batch).where(Batch.id == trial.id).values(trial=uuid.uuid4()))
    watch.make_older(61)
    watch.look()
    assert watch.told() == []
    with watch.site.services.read() as session:
        assert session.scalars(select(Batch.id).where(Batch.told_at.is_(None))).all() == []


def test_a_cancelled_batch_has_ended(watch: Watch) -> None:
    batch = watch.site.add_batch()
    watch.site.add_jobs("a.jpg", batch=batch)
    watch.look()
    with watch.site.services.begin() as session:
        move_id = long_moves.cancel_batch(session, batch.tenant_id, batch.id)
    long_moves.carry_out(watch.site.services, move_id)
    watch.make_older(61)
    watch.look()
    assert watch.told()[0]["data"]["cancelled"] == 1


def test_who_deposited_it_gets_e_mail_unless_they_say_no(watch: Watch) -> None:
    site = watch.site
    mail = {"smtp_url": SecretStr("smtp://mail.example"), "mail_from": "retint@museum.example"}
    services = site.services
    site.services = Services(
        services.settings.model_copy(update=mail), services.engine, services.store, services.counters
    )
    watch.news = News(site.services)
    with site.services.begin() as session:
        users = [
            accounts.create_user(session, watch.tenant_id, f"{name}@museum.example") for name in ("yes", "no", "both")
        ]
        notifications.choose_mail(session, users[1].id, {"batch.ended": False})
        notifications.choose_mail(session, users[2].id, {"photo.refused": True})
    for user in users:
        batch = site.add_batch()
        with site.services.begin() as session:
            session.execute(update(Batch).where(Batch.id == batch.id).values(created_by=user.id))
        watch.refuse(site.add_jobs("a.jpg", batch=batch))
    watch.make_older(61)
    watch.look()
    with site.services.read() as session:
        rows = session.execute(select(Notification.address, Notification.kind).where(Notification.webhook_id.is_(None)))
        assert sorted(tuple(row) for row in rows) == [
            ("both@museum.example", "batch.ended"),
            ("yes@museum.example", "batch.ended"),
        ]


def test_a_look_costs_the_same_however_many_batches_have_ended(watch: Watch) -> None:
    def count_statements() -> int:
        statements: list[str] = []
        listener = lambda *args: statements.append(args[2])  # noqa: E731
        event.listen(watch.site.services.engine, "before_cursor_execute", listener)
        watch.look()
        event.remove(watch.site.services.engine, "before_cursor_execute", listener)
        return len(statements)

    watch.restore(watch.site.add_jobs("a.jpg"))
    watch.make_older(61)
    watch.look()
    few = count_statements()
    for _ in range(10):
        watch.site.add_many_jobs(1, state=State.RESTORED)
    watch.make_older(61)
    watch.look()
    assert count_statements() == few
    assert len(watch.told()) == 11
