"""Fair turns: tenants are served by their weight, and idle time earns no credit."""

import uuid
from collections import Counter

from tests.unit.workers.dispatch.loads import make_load

from retint.jobs.tallies import Load
from retint_workers.dispatch.turns import Turns


def serve(turns: Turns, loads: list[Load], times: int) -> Counter[uuid.UUID]:
    """Serve one job at a time; return how many each tenant got."""
    served: Counter[uuid.UUID] = Counter()
    waiting = turns.start(loads)
    for _ in range(times):
        tenant_id = turns.next(waiting)
        turns.serve(tenant_id, 1 / waiting[tenant_id][0].weight)
        served[tenant_id] += 1
    return served


def test_tenants_are_served_by_their_weight() -> None:
    heavy, light = uuid.uuid4(), uuid.uuid4()
    served = serve(Turns(), [make_load(heavy, weight=3), make_load(light)], 400)
    assert abs(served[heavy] - 300) <= 1


def test_a_tenant_that_comes_back_gets_no_credit_for_its_absence() -> None:
    old, new = uuid.uuid4(), uuid.uuid4()
    turns = Turns()
    serve(turns, [make_load(old)], 1000)
    served = serve(turns, [make_load(old), make_load(new)], 100)
    assert abs(served[old] - served[new]) <= 1
    assert not turns.is_ahead(old, 1)


def test_within_a_tenant_priority_goes_before_age() -> None:
    tenant_id = uuid.uuid4()
    old, urgent, young = make_load(tenant_id, age_s=9), make_load(tenant_id, priority=5), make_load(tenant_id)
    assert Turns().start([young, old, urgent]) == {tenant_id: [urgent, old, young]}
