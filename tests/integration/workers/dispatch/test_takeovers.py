"""What is here is taken over by the dispatcher, chunk by chunk, and only the rest is sent."""

from itertools import zip_longest
from uuid import uuid4

import pytest
from tests.integration.conftest import Site
from tests.integration.workers.dispatch.test_dispatcher import receive, register_workers

from retint import recipes
from retint.jobs import changes, queueing
from retint.jobs.leases import Done
from retint.lifecycle import Stage, State
from retint.tables import Job, Photo
from retint_workers.dispatch.dispatcher import Dispatcher


def test_what_is_here_is_not_sent_to_a_worker(sqlite_site: Site, dispatcher: Dispatcher) -> None:
    register_workers(sqlite_site)
    recipe = recipes.parse({})
    made_with = recipes.hash_making(recipe, recipes.find_weights(recipe))
    first, again = sqlite_site.add_batch(recipe=recipe), sqlite_site.add_batch(recipe=recipe)
    with sqlite_site.services.begin() as session:
        known, new = (
            [Photo(tenant_id=first.tenant_id, sha256=uuid4().hex * 2, size=1) for _ in range(n)] for n in (30, 5)
        )
        session.add_all([*known, *new])
        session.flush()
        made = [job.id for job in changes.add_jobs(session, first, [(photo.id, "a") for photo in known])]
        files = [(photo.id, "b") for pair in zip_longest(known, new) for photo in pair if photo]
        asked = [job.id for job in changes.add_jobs(session, again, files)]
    for stage in Stage:
        making = made_with if stage is Stage.RENDER else None
        sqlite_site.settle(*[(lease, Done(made_with=making)) for lease in sqlite_site.claim(made, stage)])
    dispatcher.tick()
    sent = [job_id for message in receive(dispatcher.broker) for job_id in message.job_ids]
    assert len(sent) == 5
    assert set(sent) < set(asked)
    assert sqlite_site.count_states(asked) == {State.RESTORED: 30, State.QUEUED: 5}


def test_a_tick_takes_over_a_chunk_and_the_next_one_goes_on(
    sqlite_site: Site, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queueing, "CHUNK", 10)
    register_workers(sqlite_site)
    recipe = recipes.parse({})
    made_with = recipes.hash_making(recipe, recipes.find_weights(recipe))
    first, again = sqlite_site.add_batch(recipe=recipe), sqlite_site.add_batch(recipe=recipe)
    [made] = sqlite_site.add_jobs("a", batch=first)
    with sqlite_site.services.begin() as session:
        photo_id = session.get_one(Job, made).photo_id
        asked = [job.id for job in changes.add_jobs(session, again, [(photo_id, f"{n}") for n in range(35)])]
    for stage in Stage:
        making = made_with if stage is Stage.RENDER else None
        sqlite_site.settle(*[(lease, Done(made_with=making)) for lease in sqlite_site.claim([made], stage)])
    restored: list[int] = []
    while not restored or restored[-1] < 35:
        dispatcher.tick()
        restored.append(sqlite_site.count_states(asked)[State.RESTORED])
    assert restored == [14, 28, 35]
    assert receive(dispatcher.broker) == []
