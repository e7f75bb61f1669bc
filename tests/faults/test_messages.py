"""Messages that come twice or not at all"""

import time

from tests.faults.installation import Installation
from tests.faults.report import fault

from retint.lifecycle import Outcome, Stage, State

PHOTOS = 24


@fault(
    "message doubled",
    made="every bundle is sent three times, in two sizes, to two workers of each fleet",
    promise="who comes second finds nothing to claim",
)
def test_a_doubled_message_does_nothing_twice(installation: Installation) -> None:
    sender = installation.site.services.connect_broker()
    job_ids = installation.deposit(PHOTOS)
    sent = 0
    for _ in range(3):
        for size in (4, 6):
            for start in range(0, PHOTOS, size):
                sender.send(Stage.INGEST, job_ids[start : start + size])
                sent += 1
    for fleet in ("cpu", "cpu", "gpu", "gpu"):
        installation.start_worker(fleet)
    installation.over()
    installation.wait_until_ended()
    installation.wait_until(lambda: not any(sender.count_messages().values()))
    installation.recover(remark=f"{sent} messages for {PHOTOS} photos, without a dispatcher")
    assert installation.count_outcomes() == {Outcome.DONE: 4 * PHOTOS}


@fault(
    "message lost",
    made="messages are taken out of the queues, one after the other, while a batch is worked on",
    promise="the dispatcher sends the photos again when they are overdue",
    is_short=True,
)
def test_a_lost_message_is_sent_again(installation: Installation) -> None:
    client = installation.site.services.connect_broker().redis
    installation.start_all()
    installation.deposit(PHOTOS)
    installation.wait_for_done(4)
    lost, until = 0, time.monotonic() + 20
    while lost < 6 and time.monotonic() < until and installation.count_states()[State.RESTORED] < PHOTOS:
        lost += sum(bool(client.lpop(key)) for key in client.scan_iter() if client.type(key) == b"list")
        time.sleep(0.02)
    assert lost
    installation.over()
    installation.recover(remark=f"{lost} messages lost")
    assert set(installation.count_outcomes()) == {Outcome.DONE}
