"""By which words the photos are found that are there already; the index of records, built while Retint runs.

Revision: b7d41f9a6c20, after 6f0c2b8e41da
"""

from retint_migrations import online, search_entries

revision = "b7d41f9a6c20"
down_revision = "6f0c2b8e41da"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.create_index("ix_jobs_record_id", "jobs", ["record_id"], where="record_id IS NOT NULL")
    search_entries.add_missing()


def downgrade() -> None:
    online.drop_index("ix_jobs_record_id", "jobs")
