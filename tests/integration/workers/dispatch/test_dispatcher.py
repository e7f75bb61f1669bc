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
from structlog.testing import capture_logs
from tests.integration.conftest import Site
from tests.servers import Server

from retint import broker, fleets
from retint.broker import Broker
from retint.columns import now
from retint.errors import QueueUnavailable
from retint.jobs import queueing, tallies
from retint.jobs.leases import Done
from retint.lifecycle import QUEUES, Stage, State
from retint.settings import Settings
from retint.tables import Batch, Job, Worker
from retint_workers.dispatch.dispatcher import Dispatcher
from retint_workers.dispatch.windows import WINDOW

BUNDLE = 4
"""`fast_settings.bundle_size`."""
ROOM = WINDOW * BUNDLE
"""Jobs in flight for one worker."""


@pytest.fixture
def fast_settings(fast_settings: Settings) -> Settings:
    """Settings under which no job is overdue before a test makes it so."""
    return fast_settings.model_copy(update={"requeue_s": 600})


@dataclass(frozen=True)
class Message:
    stage: Stage
    job_ids: list[UUID]
    bundle_id: str = dataclasses.field(default="", compare=False)


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
            ids = [UUID(job_id) for job_id in message.payload[0][0]]
            messages.append(Message(stage, ids, message.headers["root_id"]))


def register_workers(site: Site, fleet: str = "cpu", workers: int = 1) -> list[UUID]:
    """Register workers that have no process."""
    with site.services.begin() as session:
        return [fleets.register_worker(session, fleet, fleet, pid, "none", "1.0") for pid in range(workers)]


def complete(site: Site, message: Message) -> None:
    """Complete the jobs of a message, as workers would, all stages at once."""
    for stage in list(Stage)[list(Stage).index(message.stage) :]:
        site.settle(*[(lease, Done()) for lease in site.claim(message.job_ids, stage)])


def test_a_ready_job_is_sent_once_and_alone_when_there_is_nothing_else(
    sqlite_site: Site, dispatcher: Dispatcher
) -> None:
    register_workers(sqlite_site)
    [job_id] = sqlite_site.add_jobs("a")
    assert dispatcher.tick() == 1
    assert dispatcher.tick() == 0
    assert sqlite_site.get_job(job_id).state is State.QUEUED
    assert receive(dispatcher.broker) == [Message(Stage.INGEST, [job_id])]


def test_nothing_is_sent_where_nobody_works(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site, "gpu")
    [job_id] = sqlite_site.add_jobs("a")
    assert dispatcher.tick() == 0
    assert sqlite_site.get_job(job_id).state is State.READY


def test_under_load_full_bundles_fill_the_window_and_no_more(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site, workers=2)
    job_ids = sqlite_site.add_many_jobs(100)
    dispatcher.tick()
    dispatcher.tick()
    messages = receive(dispatcher.broker)
    assert [len(message.job_ids) for message in messages] == [BUNDLE] * WINDOW * 2
    assert sqlite_site.count_states(job_ids) == {State.QUEUED: 2 * ROOM, State.READY: 100 - 2 * ROOM}
    complete(sqlite_site, messages[0])
    dispatcher.tick()
    assert [len(message.job_ids) for message in receive(dispatcher.broker)] == [BUNDLE]


def test_the_window_widens_where_workers_empty_it_between_two_ticks(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    sqlite_site.add_many_jobs(300)
    sent = []
    for _ in range(3):
        sent.append(dispatcher.tick())
        for message in receive(dispatcher.broker):
            complete(sqlite_site, message)
    assert sent == [WINDOW, 2 * WINDOW, 4 * WINDOW]


def test_a_small_deposit_is_spread_over_the_workers(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site, workers=2)
    sqlite_site.add_many_jobs(8)
    dispatcher.tick()
    assert [len(message.job_ids) for message in receive(dispatcher.broker)] == [2] * 4


def test_a_bundle_holds_jobs_of_one_batch(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    batches = [sqlite_site.add_many_jobs(6, sqlite_site.add_batch()) for _ in range(2)]
    dispatcher.tick()
    for message in receive(dispatcher.broker):
        assert any(set(message.job_ids) <= set(batch) for batch in batches)


def test_tenants_are_served_by_their_weight_however_much_they_deposited(
    sqlite_site: Site, dispatcher: Dispatcher
) -> None:
    sqlite_site.get_tenant("heavy", weight=3)
    whose = dict.fromkeys(sqlite_site.add_many_jobs(600, sqlite_site.add_batch("heavy")), "heavy")
    whose |= dict.fromkeys(sqlite_site.add_many_jobs(1000, sqlite_site.add_batch("light")), "light")
    register_workers(sqlite_site)
    served: Counter[str] = Counter()
    for _ in range(6):
        dispatcher.tick()
        for message in receive(dispatcher.broker):
            served.update(whose[job_id] for job_id in message.job_ids)
            complete(sqlite_site, message)
    assert served["heavy"] / served["light"] == pytest.approx(3, rel=0.15)


def test_a_newcomer_gets_the_next_free_place_and_no_credit_for_its_absence(
    sqlite_site: Site, dispatcher: Dispatcher
) -> None:
    register_workers(sqlite_site)
    sqlite_site.add_many_jobs(1500, sqlite_site.add_batch("early"))
    for _ in range(4):
        dispatcher.tick()
        for message in receive(dispatcher.broker):
            complete(sqlite_site, message)
    dispatcher.tick()
    late = set(sqlite_site.add_many_jobs(100, sqlite_site.add_batch("late")))
    [first, *_] = receive(dispatcher.broker)
    complete(sqlite_site, first)
    dispatcher.tick()
    first, *others = receive(dispatcher.broker)
    assert set(first.job_ids) <= late
    served: Counter[bool] = Counter()
    for message in (first, *others):
        complete(sqlite_site, message)
    with sqlite_site.services.begin() as session:
        queueing.unqueue(session, None)  # what stood in the window is sent again
    while served[True] + served[False] < 12 * BUNDLE:
        dispatcher.tick()
        for message in receive(dispatcher.broker):
            served.update(job_id in late for job_id in message.job_ids)
            complete(sqlite_site, message)
    assert abs(served[True] - served[False]) <= 2 * BUNDLE


def test_inside_a_tenant_priority_goes_before_age(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    old, urgent, young = (
        sqlite_site.add_many_jobs(4, sqlite_site.add_batch(priority=priority)) for priority in (0, 7, 0)
    )
    dispatcher.tick()
    order = [job_id for message in receive(dispatcher.broker) for job_id in message.job_ids]
    assert [set(order[start : start + 4]) for start in (0, 4, 8)] == [set(urgent), set(old), set(young)]


def test_an_urgent_photo_overtakes_a_full_window_in_dispatcher_and_broker(
    sqlite_site: Site, dispatcher: Dispatcher
) -> None:
    register_workers(sqlite_site)
    sqlite_site.add_many_jobs(1000, sqlite_site.add_batch("archive"))
    dispatcher.tick()
    urgent = sqlite_site.add_many_jobs(3, sqlite_site.add_batch("browser", priority=5))
    dispatcher.tick()
    messages = receive(dispatcher.broker)
    sent = [job_id for message in messages for job_id in message.job_ids]
    assert set(sent[:3]) == set(urgent)
    assert len(sent) == ROOM + 3


def test_a_million_urgent_photos_starve_nobody(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    patient = set(sqlite_site.add_many_jobs(200, sqlite_site.add_batch("patient")))
    dispatcher.tick()
    sqlite_site.add_many_jobs(1000, sqlite_site.add_batch("pushing", priority=9))
    queue: list[Message] = []
    served: Counter[bool] = Counter()
    for _ in range(40):  # one bundle is worked off between two ticks, the urgent first, as the broker hands them out
        dispatcher.tick()
        queue = sorted([*queue, *receive(dispatcher.broker)], key=lambda message: message.job_ids[0] in patient)
        message = queue.pop(0)
        served.update(job_id in patient for job_id in message.job_ids)
        complete(sqlite_site, message)
    assert served[True] >= 0.35 * served.total()


def test_a_paused_batch_is_not_sent(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    batch = sqlite_site.add_batch()
    sqlite_site.add_many_jobs(3, batch)
    with sqlite_site.services.begin() as session:
        session.execute(update(Batch).where(Batch.id == batch.id).values(paused_at=now()))
    assert dispatcher.tick() == 0


def test_what_failed_before_travels_alone_and_not_before_its_time(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    job_ids = sqlite_site.add_many_jobs(4)
    with sqlite_site.services.begin() as session:
        session.execute(update(Job).where(Job.id == job_ids[0]).values(faults=1))
        session.execute(update(Job).where(Job.id == job_ids[1]).values(faults=1, not_before=now(60.0)))
    dispatcher.tick()
    bundles = [set(message.job_ids) for message in receive(dispatcher.broker)]
    assert {job_ids[0]} in bundles
    assert {job_id for bundle in bundles for job_id in bundle} == set(job_ids) - {job_ids[1]}


def test_ingest_waits_while_the_gpus_have_their_fill(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    register_workers(sqlite_site, "gpu")
    for _ in range(30):
        if not dispatcher.tick() and sqlite_site.get_job(sqlite_site.add_many_jobs(BUNDLE)[0]).state is State.QUEUED:
            break
        for message in receive(dispatcher.broker):
            ended = [(lease, Done()) for lease in sqlite_site.claim(message.job_ids)]
            sqlite_site.settle(*ended)
    with sqlite_site.services.begin() as session:
        ingest, colorize, *_ = tallies.measure_depths(session)
    assert colorize.queued == 2 * ROOM
    assert ingest.ready > 0
    assert ingest.queued == 0


def test_a_job_whose_next_link_was_lost_is_sent_again_from_its_stage(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    register_workers(sqlite_site, "gpu")
    [job_id] = sqlite_site.add_jobs("a")
    dispatcher.tick()
    receive(dispatcher.broker)
    [lease] = sqlite_site.claim([job_id])
    sqlite_site.settle((lease, Done()))
    dispatcher.tick()
    assert receive(dispatcher.broker, "gpu") == []
    sqlite_site.make_overdue([job_id])
    dispatcher.tick()
    dispatcher.tick()
    assert receive(dispatcher.broker, QUEUES[Stage.COLORIZE]) == [Message(Stage.COLORIZE, [job_id])]
    assert sqlite_site.get_job(job_id).faults == 0


def test_a_message_that_only_waits_long_is_not_sent_again(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    job_ids = sqlite_site.add_many_jobs(6)
    dispatcher.tick()
    for _ in range(3):
        sqlite_site.make_overdue(job_ids)
        assert dispatcher.tick() == 0
    assert sqlite_site.count_states(job_ids) == {State.QUEUED: 6}
    assert sum(len(message.job_ids) for message in receive(dispatcher.broker)) == 6


def test_a_worker_that_idles_beside_a_waiting_message_is_restarted(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    [deaf], [other] = register_workers(sqlite_site), register_workers(sqlite_site, "gpu")
    job_ids = sqlite_site.add_many_jobs(1)
    dispatcher.tick()
    with sqlite_site.services.begin() as session:
        session.execute(update(Worker).values(idle_since=now(-1000.0)))
    dispatcher.tick()
    sqlite_site.make_overdue(job_ids)
    dispatcher.tick()
    with sqlite_site.services.begin() as session:
        assert session.get_one(Worker, deaf).restart_at
        assert session.get_one(Worker, other).restart_at is None


def test_all_is_sent_again_at_once_after_the_broker_lost_its_contents(
    sqlite_site: Site, dispatcher: Dispatcher
) -> None:
    register_workers(sqlite_site)
    job_ids = sqlite_site.add_many_jobs(6)
    dispatcher.tick()
    dispatcher.broker.redis.flushdb()
    dispatcher.tick()
    assert {job_id for message in receive(dispatcher.broker) for job_id in message.job_ids} == set(job_ids)


def test_a_dispatcher_counts_what_it_sends_and_what_was_lost(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    job_ids = sqlite_site.add_many_jobs(6)
    dispatcher.tick()
    sqlite_site.claim(job_ids[:2], lease_s=-1)
    dispatcher.broker.redis.flushdb()
    dispatcher.tick()
    counts = sqlite_site.services.counters.take()
    assert counts["retint_leads_taken_total"] == 1
    assert counts["retint_attempts_total ingest expired"] == 2
    assert counts["retint_messages_lost_total"] == 4
    assert counts["retint_bundled_jobs_total ingest"] >= 10


def test_a_message_names_its_bundle(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    sqlite_site.add_many_jobs(1, batch := sqlite_site.add_batch())
    with capture_logs() as lines:
        dispatcher.tick()
    [sent] = [line for line in lines if line["event"] == "bundle_sent"]
    [message] = receive(dispatcher.broker)
    assert (message.bundle_id, str(batch.id)) == (sent["bundle_id"], sent["batch_id"])


def test_while_the_broker_is_away_jobs_stay_ready_and_leases_are_taken_back(
    sqlite_site: Site, dispatcher: Dispatcher, valkey_server: Server
) -> None:
    register_workers(sqlite_site)
    dispatcher.tick()
    job_ids, held = sqlite_site.add_many_jobs(3), sqlite_site.add_many_jobs(1)
    sqlite_site.claim(held, lease_s=-1)
    valkey_server.kill()
    with pytest.raises(QueueUnavailable):
        dispatcher.tick()
    assert sqlite_site.count_states([*job_ids, *held]) == {State.READY: 4}
    valkey_server.start()
    dispatcher.tick()
    assert {job_id for message in receive(dispatcher.broker) for job_id in message.job_ids} == {
        *job_ids,
        *held,
    }


class FailingBroker(Broker):
    """A broker that takes one bundle and fails after that."""

    def send(self, first: Stage, job_ids: Sequence[UUID], priority: int = 0) -> str:
        if self.count_messages()["cpu"]:
            raise QueueUnavailable("The broker did not answer.")
        return super().send(first, job_ids, priority)


def test_what_the_broker_did_not_take_is_ready_again_at_once(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    job_ids = sqlite_site.add_many_jobs(ROOM)
    dispatcher.broker = FailingBroker(**vars(dispatcher.broker))
    with pytest.raises(QueueUnavailable):
        dispatcher.tick()
    assert sqlite_site.count_states(job_ids) == {State.QUEUED: BUNDLE, State.READY: ROOM - BUNDLE}


def test_one_dispatcher_leads_and_another_takes_over(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    standby = Dispatcher(sqlite_site.services, sqlite_site.services.connect_broker())
    dispatcher.tick()
    standby.tick()
    sqlite_site.add_many_jobs(1)
    assert standby.tick() == 0
    assert dispatcher.tick() == 1
    dispatcher.step_down()
    sqlite_site.add_many_jobs(1)
    sqlite_site.wait_until(lambda: standby.tick() == 1)


def test_each_priority_is_received_in_its_turn(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    sent = {priority: sqlite_site.add_many_jobs(1)[0] for priority in (0, 9, 5, 1)}
    for priority, job_id in sent.items():
        dispatcher.broker.send(Stage.INGEST, [job_id], priority)
    assert dispatcher.broker.count_messages() == {"cpu": 4, "gpu": 0}
    assert dispatcher.broker.list_waiting_jobs() == set(sent.values())
    order = [message.job_ids[0] for message in receive(dispatcher.broker)]
    assert order == [sent[priority] for priority in (9, 5, 1, 0)]


def test_a_broker_that_is_not_there_is_a_fault_and_no_bug_and_told_soon(sqlite_site: Site) -> None:
    nobody = dataclasses.replace(broker.connect("redis://127.0.0.1:1/0", "nobody"))
    for ask in (
        nobody.count_messages,
        nobody.list_waiting_jobs,
        nobody.is_intact,
        lambda: nobody.send(Stage.INGEST, []),
    ):
        with pytest.raises(QueueUnavailable):
            ask()
