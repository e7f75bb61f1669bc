"""What the dispatcher sends, when, and to whom; with a real broker and no workers."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from queue import Empty
from uuid import UUID

import pytest
from sqlalchemy import update
from tests.integration.conftest import House
from tests.servers import Server

from retint import broker, fleets
from retint.broker import Broker
from retint.errors import QueueUnavailable
from retint.jobs import queueing, tallies
from retint.jobs.leases import Done
from retint.lifecycle import QUEUES, Stage, State
from retint.settings import Settings
from retint.tables import Batch, Job, Worker, now
from retint_workers.dispatch.dispatcher import Dispatcher
from retint_workers.dispatch.windows import WINDOW

BUNDLE = 4
"""`settings_in_a_hurry.bundle_size`."""
ROOM = WINDOW * BUNDLE
"""Jobs in flight for one worker."""


@pytest.fixture
def settings_in_a_hurry(settings_in_a_hurry: Settings) -> Settings:
    """Settings under which no job is overdue before a test makes it so."""
    return settings_in_a_hurry.model_copy(update={"requeue_s": 600})


@dataclass(frozen=True)
class Message:
    stage: Stage
    job_ids: list[UUID]


def receive(sender: Broker, fleet: str = "cpu") -> list[Message]:
    """Receive all messages that wait in a queue, in the order in which a worker would get them."""
    messages: list[Message] = []
    with sender.app.connection_for_read() as connection, closing(connection.SimpleQueue(fleet)) as queue:
        while True:
            try:
                message = queue.get(block=False)
            except Empty:
                return messages
            message.ack()
            stage = Stage(message.headers["task"].removeprefix("retint."))
            messages.append(Message(stage, [UUID(job_id) for job_id in message.payload[0][0]]))


def register_workers(house: House, fleet: str = "cpu", workers: int = 1) -> list[UUID]:
    """Register workers that have no process."""
    with house.services.begin() as session:
        return [fleets.register(session, fleet, fleet, pid, "none", "1.0") for pid in range(workers)]


def complete(house: House, message: Message) -> None:
    """Complete the jobs of a message, as workers would, all stages at once."""
    for stage in list(Stage)[list(Stage).index(message.stage) :]:
        house.settle(*[(lease, Done()) for lease in house.claim(message.job_ids, stage)])


def test_a_ready_job_is_sent_once_and_alone_when_there_is_nothing_else(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    [job_id] = workshop.deposit("a")
    assert dispatcher.tick() == 1
    assert dispatcher.tick() == 0
    assert workshop.job(job_id).state is State.QUEUED
    assert receive(dispatcher.broker) == [Message(Stage.INGEST, [job_id])]


def test_nothing_is_sent_where_nobody_works(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop, "gpu")
    [job_id] = workshop.deposit("a")
    assert dispatcher.tick() == 0
    assert workshop.job(job_id).state is State.READY


def test_under_load_full_bundles_fill_the_window_and_no_more(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop, workers=2)
    job_ids = workshop.bulk(100)
    dispatcher.tick()
    dispatcher.tick()
    messages = receive(dispatcher.broker)
    assert [len(message.job_ids) for message in messages] == [BUNDLE] * WINDOW * 2
    assert workshop.states(job_ids) == {State.QUEUED: 2 * ROOM, State.READY: 100 - 2 * ROOM}
    complete(workshop, messages[0])
    dispatcher.tick()
    assert [len(message.job_ids) for message in receive(dispatcher.broker)] == [BUNDLE]


def test_the_window_widens_where_workers_empty_it_between_two_ticks(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    workshop.bulk(300)
    sent = []
    for _ in range(3):
        sent.append(dispatcher.tick())
        for message in receive(dispatcher.broker):
            complete(workshop, message)
    assert sent == [WINDOW, 2 * WINDOW, 4 * WINDOW]


def test_a_small_deposit_is_spread_over_the_workers(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop, workers=2)
    workshop.bulk(8)
    dispatcher.tick()
    assert [len(message.job_ids) for message in receive(dispatcher.broker)] == [2] * 4


def test_a_bundle_holds_jobs_of_one_batch(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    batches = [workshop.bulk(6, workshop.batch()) for _ in range(2)]
    dispatcher.tick()
    for message in receive(dispatcher.broker):
        assert any(set(message.job_ids) <= set(batch) for batch in batches)


def test_tenants_are_served_by_their_weight_however_much_they_deposited(
    workshop: House, dispatcher: Dispatcher
) -> None:
    workshop.tenant("heavy", weight=3)
    whose = dict.fromkeys(workshop.bulk(600, workshop.batch("heavy")), "heavy")
    whose |= dict.fromkeys(workshop.bulk(1000, workshop.batch("light")), "light")
    register_workers(workshop)
    served: Counter[str] = Counter()
    for _ in range(6):
        dispatcher.tick()
        for message in receive(dispatcher.broker):
            served.update(whose[job_id] for job_id in message.job_ids)
            complete(workshop, message)
    assert served["heavy"] / served["light"] == pytest.approx(3, rel=0.15)


def test_a_newcomer_gets_the_next_free_place_and_no_credit_for_its_absence(
    workshop: House, dispatcher: Dispatcher
) -> None:
    register_workers(workshop)
    workshop.bulk(1500, workshop.batch("early"))
    for _ in range(4):
        dispatcher.tick()
        for message in receive(dispatcher.broker):
            complete(workshop, message)
    dispatcher.tick()
    late = set(workshop.bulk(100, workshop.batch("late")))
    [first, *_] = receive(dispatcher.broker)
    complete(workshop, first)
    dispatcher.tick()
    first, *others = receive(dispatcher.broker)
    assert set(first.job_ids) <= late
    served: Counter[bool] = Counter()
    for message in (first, *others):
        complete(workshop, message)
    with workshop.services.begin() as session:
        queueing.unqueue(session, None)  # what stood in the window is sent again
    while served[True] + served[False] < 12 * BUNDLE:
        dispatcher.tick()
        for message in receive(dispatcher.broker):
            served.update(job_id in late for job_id in message.job_ids)
            complete(workshop, message)
    assert abs(served[True] - served[False]) <= 2 * BUNDLE


def test_inside_a_tenant_priority_goes_before_age(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    old, urgent, young = (workshop.bulk(4, workshop.batch(priority=priority)) for priority in (0, 7, 0))
    dispatcher.tick()
    order = [job_id for message in receive(dispatcher.broker) for job_id in message.job_ids]
    assert [set(order[start : start + 4]) for start in (0, 4, 8)] == [set(urgent), set(old), set(young)]


def test_an_urgent_photo_overtakes_a_full_window_in_dispatcher_and_broker(
    workshop: House, dispatcher: Dispatcher
) -> None:
    register_workers(workshop)
    workshop.bulk(1000, workshop.batch("archive"))
    dispatcher.tick()
    urgent = workshop.bulk(3, workshop.batch("browser", priority=5))
    dispatcher.tick()
    messages = receive(dispatcher.broker)
    sent = [job_id for message in messages for job_id in message.job_ids]
    assert set(sent[:3]) == set(urgent)
    assert len(sent) == ROOM + 3


def test_a_million_urgent_photos_starve_nobody(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    patient = set(workshop.bulk(200, workshop.batch("patient")))
    dispatcher.tick()
    workshop.bulk(1000, workshop.batch("pushing", priority=9))
    queue: list[Message] = []
    served: Counter[bool] = Counter()
    for _ in range(40):  # one bundle is worked off between two ticks, the urgent first, as the broker hands them out
        dispatcher.tick()
        queue = sorted([*queue, *receive(dispatcher.broker)], key=lambda message: message.job_ids[0] in patient)
        message = queue.pop(0)
        served.update(job_id in patient for job_id in message.job_ids)
        complete(workshop, message)
    assert served[True] >= 0.35 * served.total()


def test_a_paused_batch_is_not_sent(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    batch = workshop.batch()
    workshop.bulk(3, batch)
    with workshop.services.begin() as session:
        session.execute(update(Batch).where(Batch.id == batch.id).values(paused_at=now()))
    assert dispatcher.tick() == 0


def test_what_failed_before_travels_alone_and_not_before_its_time(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    job_ids = workshop.bulk(4)
    with workshop.services.begin() as session:
        session.execute(update(Job).where(Job.id == job_ids[0]).values(faults=1))
        session.execute(update(Job).where(Job.id == job_ids[1]).values(faults=1, not_before=now(60.0)))
    dispatcher.tick()
    bundles = [set(message.job_ids) for message in receive(dispatcher.broker)]
    assert {job_ids[0]} in bundles
    assert {job_id for bundle in bundles for job_id in bundle} == set(job_ids) - {job_ids[1]}


def test_ingest_waits_while_the_gpus_have_their_fill(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    register_workers(workshop, "gpu")
    for _ in range(30):
        if not dispatcher.tick() and workshop.job(workshop.bulk(BUNDLE)[0]).state is State.QUEUED:
            break
        for message in receive(dispatcher.broker):
            house_ended = [(lease, Done()) for lease in workshop.claim(message.job_ids)]
            workshop.settle(*house_ended)
    with workshop.services.begin() as session:
        ingest, colorize, *_ = tallies.depths(session)
    assert colorize.queued == 2 * ROOM
    assert ingest.ready > 0
    assert ingest.queued == 0


def test_a_job_whose_next_link_was_lost_is_sent_again_from_its_stage(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    register_workers(workshop, "gpu")
    [job_id] = workshop.deposit("a")
    dispatcher.tick()
    receive(dispatcher.broker)
    [lease] = workshop.claim([job_id])
    workshop.settle((lease, Done()))
    dispatcher.tick()
    assert receive(dispatcher.broker, "gpu") == []
    workshop.make_overdue([job_id])
    dispatcher.tick()
    dispatcher.tick()
    assert receive(dispatcher.broker, QUEUES[Stage.COLORIZE]) == [Message(Stage.COLORIZE, [job_id])]
    assert workshop.job(job_id).faults == 0


def test_a_message_that_only_waits_long_is_not_sent_again(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    job_ids = workshop.bulk(6)
    dispatcher.tick()
    for _ in range(3):
        workshop.make_overdue(job_ids)
        assert dispatcher.tick() == 0
    assert workshop.states(job_ids) == {State.QUEUED: 6}
    assert sum(len(message.job_ids) for message in receive(dispatcher.broker)) == 6


def test_a_worker_that_idles_beside_a_waiting_message_is_restarted(workshop: House, dispatcher: Dispatcher) -> None:
    [deaf], [other] = register_workers(workshop), register_workers(workshop, "gpu")
    job_ids = workshop.bulk(1)
    dispatcher.tick()
    with workshop.services.begin() as session:
        session.execute(update(Worker).values(idle_since=now(-1000.0)))
    dispatcher.tick()
    workshop.make_overdue(job_ids)
    dispatcher.tick()
    with workshop.services.begin() as session:
        assert session.get_one(Worker, deaf).restart_at
        assert session.get_one(Worker, other).restart_at is None


def test_all_is_sent_again_at_once_after_the_broker_lost_its_contents(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    job_ids = workshop.bulk(6)
    dispatcher.tick()
    dispatcher.broker.redis.flushdb()
    dispatcher.tick()
    assert {job_id for message in receive(dispatcher.broker) for job_id in message.job_ids} == set(job_ids)


def test_while_the_broker_is_away_jobs_stay_ready_and_leases_are_taken_back(
    workshop: House, dispatcher: Dispatcher, valkey_server: Server
) -> None:
    register_workers(workshop)
    dispatcher.tick()
    job_ids, held = workshop.bulk(3), workshop.bulk(1)
    workshop.claim(held, lease_s=-1)
    valkey_server.kill()
    with pytest.raises(QueueUnavailable):
        dispatcher.tick()
    assert workshop.states([*job_ids, *held]) == {State.READY: 4}
    valkey_server.start()
    dispatcher.tick()
    assert {job_id for message in receive(dispatcher.broker) for job_id in message.job_ids} == {
        *job_ids,
        *held,
    }


class FailingBroker(Broker):
    """A broker that takes one bundle and fails after that."""

    def send(self, first: Stage, job_ids: Sequence[UUID], priority: int = 0) -> None:
        if self.depth()["cpu"]:
            raise QueueUnavailable("The broker did not answer.")
        super().send(first, job_ids, priority)


def test_what_the_broker_did_not_take_is_ready_again_at_once(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    job_ids = workshop.bulk(ROOM)
    dispatcher.broker = FailingBroker(dispatcher.broker.app, dispatcher.broker.redis)
    with pytest.raises(QueueUnavailable):
        dispatcher.tick()
    assert workshop.states(job_ids) == {State.QUEUED: BUNDLE, State.READY: ROOM - BUNDLE}


def test_one_dispatcher_leads_and_another_takes_over(workshop: House, dispatcher: Dispatcher) -> None:
    register_workers(workshop)
    standby = Dispatcher(workshop.services, broker.connect(workshop.settings.broker_url))
    dispatcher.tick()
    standby.tick()
    workshop.bulk(1)
    assert standby.tick() == 0
    assert dispatcher.tick() == 1
    dispatcher.step_down()
    workshop.bulk(1)
    workshop.wait_until(lambda: standby.tick() == 1)


def test_each_priority_is_received_in_its_turn(workshop: House, dispatcher: Dispatcher) -> None:
    sent = {priority: workshop.bulk(1)[0] for priority in (0, 9, 5, 1)}
    for priority, job_id in sent.items():
        dispatcher.broker.send(Stage.INGEST, [job_id], priority)
    assert dispatcher.broker.depth() == {"cpu": 4, "gpu": 0}
    assert dispatcher.broker.waiting() == set(sent.values())
    order = [message.job_ids[0] for message in receive(dispatcher.broker)]
    assert order == [sent[priority] for priority in (9, 5, 1, 0)]


def test_a_broker_that_is_not_there_is_a_fault_and_no_bug_and_told_soon(workshop: House) -> None:
    nobody = dataclasses.replace(broker.connect("redis://127.0.0.1:1/0"))
    for ask in (nobody.depth, nobody.waiting, nobody.is_intact, lambda: nobody.send(Stage.INGEST, [])):
        with pytest.raises(QueueUnavailable):
            ask()
