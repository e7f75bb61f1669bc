"""The broker"""

import shutil

from tests.conftest import Backends
from tests.faults.installation import Installation
from tests.faults.report import fault

from retint.lifecycle import Outcome

PHOTOS = 24
MANY = 48


@fault(
    "broker flushed",
    made="FLUSHDB, three times while a batch is worked on",
    promise="a message is a hint: the dispatcher sees that the broker is empty and sends again",
    is_short=True,
)
def test_a_flushed_broker_costs_a_pause(installation: Installation) -> None:
    client = installation.site.services.connect_broker().redis
    installation.start_all()
    installation.deposit(MANY)
    for done in (1, MANY, 2 * MANY):
        installation.wait_for_done(done)
        client.flushdb()
    installation.over()
    installation.recover()
    assert set(installation.count_outcomes()) == {Outcome.DONE}


@fault(
    "broker gone",
    made="SIGKILL, its data deleted; started again empty after 3 s",
    promise="workers and dispatcher wait and connect again; every message is sent again",
)
def test_a_broker_that_is_gone_costs_a_pause(installation: Installation, backends: Backends) -> None:
    installation.start_all()
    installation.deposit(MANY)
    installation.wait_for_done(MANY // 2)
    backends.broker.kill()
    shutil.rmtree(backends.broker.folder / "appendonlydir")
    installation.hold(3)
    backends.broker.start()
    installation.over()
    installation.recover()


@fault(
    "broker slow",
    made="100 ms between the broker and everybody, each way, for the whole batch",
    promise="the batch takes longer and nothing else",
)
def test_a_slow_broker_costs_time(installation: Installation) -> None:
    proxy = installation.put_proxy_before("broker")
    with proxy.slow(0.1):
        installation.start_all()
        installation.deposit(PHOTOS)
        installation.over()
        installation.recover()
    assert set(installation.count_outcomes()) == {Outcome.DONE}


@fault(
    "broker silent",
    made="connections stay open and carry nothing any more; after 8 s new ones do",
    promise="nobody waits for ever: who gets no answer connects again",
)
def test_a_silent_broker_costs_a_pause(installation: Installation) -> None:
    proxy = installation.put_proxy_before("broker")
    installation.start_all()
    installation.deposit(MANY)
    installation.wait_for_done(MANY // 2)
    with proxy.lost():
        installation.hold(8)
    installation.over()
    installation.recover()
