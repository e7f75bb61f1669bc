"""Jobs that the version before added during the upgrade are found by words, too; the index that only it needs goes.

Revision: c95b20e7f1d8, after 5c8e1d7a9b24
"""

from retint_migrations import online, search_entries

revision = "c95b20e7f1d8"
down_revision = "5c8e1d7a9b24"
branch_labels = None
depends_on = None

FINISHES = True
"""Runs when no process of the version before is left (`retint admin migrate --finish`)."""


def upgrade() -> None:
    search_entries.add_missing()
    online.drop_index("ix_jobs_phase", "jobs")


def downgrade() -> None:
    online.create_index("ix_jobs_phase", "jobs", ["batch_id", "phase", "id"])
