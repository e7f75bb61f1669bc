"""The broker, from far away."""

import time

from sqlalchemy.engine import make_url
from tests.proxies import Proxy

from retint import broker

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
