"""The broker, from far away."""

import time
from uuid import uuid4

from sqlalchemy.engine import make_url
from tests.proxies import Proxy

from retint import broker
from retint.lifecycle import Stage

DELAY_S = 0.05


def test_all_queues_are_asked_in_one_round_trip(valkey_url: str) -> None:
    address = make_url(valkey_url)
    assert address.port
    with Proxy(address.port) as proxy:
        link = broker.connect(address.set(port=proxy.port).render_as_string(), "tests")
        link.is_intact()
        with proxy.slow(DELAY_S):
            for ask in (link.count_messages, link.list_waiting_jobs):
                started = time.monotonic()
                ask()
                assert time.monotonic() - started < 3 * 2 * DELAY_S
        link.redis.close()


def test_installations_on_one_redis_see_their_own_messages_only(valkey_url: str) -> None:
    first, second = (broker.connect(valkey_url, name) for name in ("first", "second"))
    job_ids = [uuid4(), uuid4()]
    first.send(Stage.INGEST, job_ids, 5)
    second.send(Stage.COLORIZE, job_ids[:1])
    assert (first.count_messages(), second.count_messages()) == ({"cpu": 1, "gpu": 0}, {"cpu": 0, "gpu": 1})
    assert (first.list_waiting_jobs(), second.list_waiting_jobs()) == (set(job_ids), {job_ids[0]})
    assert [link.is_intact() for link in (first, second, first, second)] == [False, False, True, True]
    for link in (first, second):
        link.redis.close()


def test_a_zoom_is_asked_for_once_a_minute_and_is_no_job(valkey_url: str) -> None:
    link = broker.connect(valkey_url, "tests")
    tenant_id, job_id = uuid4(), uuid4()
    link.send(Stage.INGEST, [job_id])
    asked = [link.ask_for_zoom(tenant_id, job_id, page) for page in (1, 1, 2)]
    assert asked == [True, False, True]
    assert link.count_messages() == {"cpu": 3, "gpu": 0}
    assert link.list_waiting_jobs() == {job_id}
    [first, *_] = sorted(link.redis.keys(f"{link.prefix}zoom:*"))
    assert 0 < link.redis.ttl(first) <= broker.ZOOM_AGAIN_S
    link.redis.delete(first)
    assert link.ask_for_zoom(tenant_id, job_id, 1)
    link.redis.close()
