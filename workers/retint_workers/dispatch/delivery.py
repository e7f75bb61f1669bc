"""The delivery of notifications, as a process of its own: a slow receiver slows nobody but itself.

It claims what is due, hands it out in threads, and settles it; the database is used by its main thread alone. It ends
when there has been nothing to do for a while; the leading dispatcher starts it again.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import structlog

from retint import notifications, sealing
from retint.errors import Transient
from retint.notifications import kinds, mailing, outbox, posting, schedule, webhooks
from retint.notifications.mailing import MailAnswer
from retint.notifications.outbox import Due
from retint.notifications.posting import PostAnswer
from retint.sealing import SealBroken
from retint.services import Services
from retint.settings import Settings
from retint_workers.dispatch.children import connect_child

WEBHOOKS = 24
"""Webhooks that are told at the same time."""
POLL_S = 0.5
IDLE_S = 20.0
"""It ends after so long without anything to deliver."""
FORGET_S = 3600.0

Answer = PostAnswer | MailAnswer

log = structlog.get_logger()


class Delivery:
    """The loop, and what is on its way."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._threads = ThreadPoolExecutor(WEBHOOKS + 1, "retint-delivery")
        self._flying: dict[Future[tuple[Answer, int]], Due] = {}
        self._mail_failures = 0
        self._mail_at = self._forget_at = 0.0
        self._busy_at = time.monotonic()

    def step(self) -> bool:
        """Claim, wait a moment, settle; return whether there was something to do lately.

        Raises:
            Transient: the database did not answer. What was delivered and not settled is delivered again.
        """
        self._claim()
        done, _ = wait(self._flying, POLL_S, FIRST_COMPLETED)
        for future in done:
            self._settle(future, self._flying.pop(future))
        if self._flying or done:
            self._busy_at = time.monotonic()
        else:
            time.sleep(POLL_S)
        self._forget()
        return time.monotonic() - self._busy_at < IDLE_S

    def _claim(self) -> None:
        on_way = [due.channel for due in self._flying.values()]
        mails = 0 if "mail" in on_way or time.monotonic() < self._mail_at else 1
        if not notifications.can_mail(self._services.settings):
            mails = 0
        with self._services.read() as session:
            if not outbox.has_due(session, with_mail=mails > 0):
                return
        settings = self._services.settings
        with self._services.begin() as session:
            free = WEBHOOKS - on_way.count("webhook")
            claimed = list(outbox.claim(session, settings, webhooks=free, mails=mails))
        for due in claimed:
            self._flying[self._threads.submit(deliver, settings, due)] = due

    def _settle(self, future: Future[tuple[Answer, int]], due: Due) -> None:
        answer, ms = future.result()
        if isinstance(answer, MailAnswer):
            self._mail_failures = self._mail_failures + 1 if answer.is_server else 0
            pause_s = schedule.pause_after(self._mail_failures) if self._mail_failures else 0.0
            self._mail_at = time.monotonic() + pause_s
        with self._services.begin() as session:
            outbox.settle(session, self._services.settings, self._services.counters, due, answer, ms)
        note = log.info if answer.problem is None else log.warning
        note(
            "notification_delivered" if answer.problem is None else "notification_not_delivered",
            notification=str(due.id),
            kind=due.kind,
            channel=due.channel,
            number=due.number,
            status=answer.status,
            ms=ms,
        )

    def _forget(self) -> None:
        if time.monotonic() < self._forget_at:
            return
        with self._services.begin() as session:
            if not outbox.forget_old(session):
                self._forget_at = time.monotonic() + FORGET_S


def deliver(settings: Settings, due: Due) -> tuple[Answer, int]:
    """Hand one notification to its receiver; return the answer, and the milliseconds that it took."""
    began_at = time.monotonic()
    try:
        answer = _send_mail(settings, due) if due.address else _post(settings, due)
    except SealBroken as error:
        answer = MailAnswer(None, error.message) if due.address else PostAnswer(None, error.message)
    return answer, round((time.monotonic() - began_at) * 1000)


def _post(settings: Settings, due: Due) -> Answer:
    secrets = [sealing.unseal(settings, webhooks.PURPOSE, sealed) for sealed in due.secrets]
    return posting.post(settings, due.url, due.id, due.body, secrets)


def _send_mail(settings: Settings, due: Due) -> Answer:
    write = kinds.KINDS[due.kind].write if due.kind in kinds.KINDS else None
    if write is None or not due.address:
        return MailAnswer(None, "This version of Retint does not know this kind of notification.")
    mail = write(json.loads(sealing.unseal(settings, notifications.SEALED_MAIL, due.body)))
    return mailing.send(settings, mailing.make_message(settings, due.address, mail, due.id))


def run(services: Services, may_continue: Callable[[], bool]) -> None:
    """Deliver until there is nothing to do, or `may_continue()` says no."""
    delivery = Delivery(services)
    pause = POLL_S
    while may_continue():
        try:
            if not delivery.step():
                return
            pause = POLL_S
        except Transient as error:
            pause = min(2 * pause, 10.0)
            log.warning("delivery_waits", reason=error.message, seconds=pause)
            time.sleep(pause)


def main(dispatcher_pid: int) -> None:
    """Run as a child of a dispatcher."""
    services = connect_child("delivery")
    services.keep_reporting()
    run(services, lambda: os.getppid() == dispatcher_pid)


if __name__ == "__main__":
    main(int(sys.argv[1]))
