"""The counts of all processes together: of those that have ended, and of the workers that live.

A worker writes its counts into its row with each heartbeat; when it ends they are added to the totals. Other processes
add theirs now and then (see `Services.report_counts`).
"""

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import JSON, Double, String, cast, null, select, union_all
from sqlalchemy.orm import Session

from retint import database
from retint.metrics import Counts
from retint.tables import Table, Total, Worker

TOTALS = Table.metadata.tables["totals"]


def add(session: Session, counts: Mapping[str, float]) -> None:
    """Add counts to the totals."""
    added = database.insert(session, TOTALS)
    statement = added.on_conflict_do_update(index_elements=[TOTALS.c.name], set_={"n": TOTALS.c.n + added.excluded.n})
    # In one order everywhere, so that no two transactions wait for each other's rows.
    if rows := [{"name": name, "n": n} for name, n in sorted(counts.items())]:
        session.execute(statement, rows)


def read(session: Session) -> Counts:
    """Read the totals with the counts of the workers that live.

    Returns:
        Numbers by `Metric.key`, which never decrease from one call to the next.
    """
    # One statement: a worker that ends between two would be counted twice, or not at all.
    ended = select(Total.name, Total.n, cast(null(), JSON).label("counts"))
    living = select(cast(null(), String), cast(null(), Double), Worker.counters).where(Worker.ended_at.is_(None))
    sums = Counter[str]()
    for row in session.execute(union_all(ended, living)):
        sums.update({row.name: row.n} if row.name else row.counts or {})
    return dict(sums)
