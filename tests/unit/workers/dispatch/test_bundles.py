"""Bundles: jobs of one recipe travel together, and those that failed before alone."""

import uuid

from tests.unit.workers.dispatch.loads import make_load

from retint.jobs.queueing import QueuedJob
from retint_workers.dispatch.bundles import _group


def test_a_bundle_has_one_recipe_and_a_job_that_failed_travels_alone() -> None:
    taken = [
        QueuedJob(uuid.uuid4(), faults, recipe) for faults, recipe in ((0, None), (0, "own"), (1, None), (0, None))
    ]
    bundles = list(_group(make_load(), taken))
    ids = [job.id for job in taken]
    assert [bundle.job_ids for bundle in bundles] == [(ids[0], ids[3]), (ids[1],), (ids[2],)]
