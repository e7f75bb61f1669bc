"""Fills the index of words with the jobs that lack an entry, while Retint runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import sqlalchemy as sa
from alembic import op

from retint import words
from retint.catalogue_tables import SearchEntry
from retint_migrations import online

FOLLOWING = sa.text(
    f"""
    SELECT jobs.id, jobs.tenant_id, jobs.batch_id, jobs.name FROM jobs
    JOIN batches ON batches.id = jobs.batch_id AND batches.trial IS NULL
    WHERE jobs.id > :after AND jobs.replaced_by IS NULL
    AND NOT EXISTS (SELECT 1 FROM search_entries WHERE search_entries.job_id = jobs.id)
    ORDER BY jobs.id LIMIT {online.ROWS}
    """
).bindparams(sa.bindparam("after", type_=sa.Uuid()))
JOBS = FOLLOWING.columns(id=sa.Uuid(), tenant_id=sa.Uuid(), batch_id=sa.Uuid(), name=sa.Text())


def add_missing() -> None:
    """Add the entries of jobs that have none; may be repeated."""
    with _commits_by_itself():
        connection, after = op.get_bind(), UUID(int=0)
        while rows := connection.execute(JOBS, {"after": after}).all():
            # By the code of the day: photos are found only by words that are split as those of queries are.
            entries = [words.Entry(row.id, row.tenant_id, row.batch_id, row.name) for row in rows]
            connection.execute(sa.insert(SearchEntry), words.make_rows(entries))
            after = rows[-1].id


@contextmanager
def _commits_by_itself() -> Iterator[None]:
    if online.is_postgresql():
        with op.get_context().autocommit_block():
            yield
    else:
        yield
