"""An installation with receivers of notifications, and a delivery that steps when a test says so."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import select, update
from tests.receivers import Receiver, run_receiver

from retint import accounts, notifications
from retint.columns import now
from retint.notification_tables import Delivery as Try
from retint.notification_tables import Notification, Webhook
from retint.notifications import kinds, webhooks
from retint.services import Services
from retint.settings import Settings
from retint_workers.dispatch.delivery import Delivery

FIELDS = kinds.BATCH_ENDED.example


@dataclass
class Outbox:
    """An installation with receivers, and a delivery that steps when the test says so."""

    services: Services
    stack: ExitStack
    tenant_id: UUID
    hosts: list[str] = field(default_factory=list)

    def add_receiver(self, receiver: Receiver | None = None) -> tuple[Receiver, UUID, str]:
        """Run a receiver that the operator lists, and add a webhook to it; return its id and secret, too."""
        receiver = self.stack.enter_context(run_receiver(receiver or Receiver()))
        self.hosts.append(receiver.host)
        self.change_settings(webhook_hosts=",".join(self.hosts))
        return receiver, *self.add_webhook(receiver.url)

    def add_webhook(self, url: str) -> tuple[UUID, str]:
        with self.services.begin() as session:
            webhook, secret = webhooks.add(session, self.services.settings, self.tenant_id, url, ["batch.ended"])
            return webhook.id, secret

    def change_settings(self, **values: object) -> None:
        settings = self.services.settings.model_copy(update=values)
        self.services = Services(settings, self.services.engine, self.services.store, self.services.counters)

    def tell(self) -> None:
        with self.services.begin() as session:
            notifications.tell(session, self.services.settings, kinds.BATCH_ENDED, self.tenant_id, FIELDS)

    def deliver(self, until: Callable[[], bool] = lambda: False, *, timeout_s: float = 30) -> None:
        """Step until the condition holds, or nothing is due and nothing on its way."""
        delivery = Delivery(self.services)
        deadline = time.monotonic() + timeout_s
        while not until():
            before = delivery._busy_at
            delivery.step()
            if not delivery._flying and delivery._busy_at == before and not until():
                break
            assert time.monotonic() < deadline, "it was not delivered in time"
        delivery._threads.shutdown(wait=False)

    def skip_time(self) -> None:
        """Let all waits be over."""
        with self.services.begin() as session:
            session.execute(update(Notification).values(not_before=now(-1.0)))
            session.execute(update(Webhook).values(not_before=None, busy_until=now(-1.0)))

    def get(self, webhook_id: UUID) -> Webhook:
        with self.services.read() as session:
            return session.get_one(Webhook, webhook_id)

    def list_outcomes(self) -> list[str | None]:
        with self.services.read() as session:
            return list(session.scalars(select(Notification.outcome).order_by(Notification.id)))

    def list_mails(self) -> dict[str | None, str | None]:
        with self.services.read() as session:
            rows = session.execute(select(Notification.address, Notification.outcome))
            return {row.address: row.outcome for row in rows}

    def list_tries(self) -> list[tuple[int | None, str | None]]:
        with self.services.read() as session:
            tries = session.execute(select(Try.status, Try.problem).order_by(Try.notification_id, Try.number))
            return [(row.status, row.problem) for row in tries]

    def wait_s(self) -> float:
        """Return for how many seconds the only notification still waits, with its webhook."""
        with self.services.read() as session:
            own, its, at = session.execute(
                select(Notification.not_before, Webhook.not_before, now()).join(
                    Webhook, Webhook.id == Notification.webhook_id
                )
            ).one()
            return (max(own, its or own) - at).total_seconds()


def open_outbox(database_url: str, tmp_path: Path) -> Iterator[Outbox]:
    services = Services.connect(
        Settings(data=tmp_path, database_url=database_url, secret=SecretStr("a secret of the tests"))
    )
    with services.begin() as session:
        tenant_id = accounts.get_or_create_tenant(session, "museum").id
    with ExitStack() as stack:
        yield Outbox(services, stack, tenant_id)
    services.engine.dispose()
