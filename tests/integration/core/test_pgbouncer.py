"""More processes than PostgreSQL has connections, through PgBouncer's pool of transactions."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from tests import servers
from tests.conftest import run_server
from tests.integration.conftest import Site, open_site
from tests.servers import Server

from retint import database
from retint.database import DatabaseUnavailable
from retint.jobs.leases import Done, claim, settle
from retint.lifecycle import Stage, State
from retint.services import Services
from retint.settings import Settings

CONNECTIONS = 3
WORKERS = 12
PHOTOS = 60


@pytest.fixture
def pooled_url(request: pytest.FixtureRequest, postgresql_server: Server, postgresql_url: str) -> Iterator[str]:
    """The address of a migrated database behind PgBouncer."""

    def start_pgbouncer(folder: Path) -> Server:
        return servers.start_pgbouncer(folder, postgresql_server, CONNECTIONS)

    for pgbouncer in run_server(start_pgbouncer, request):
        yield postgresql_url.replace(f":{postgresql_server.port}/", f":{pgbouncer.port}/")


@pytest.fixture
def pooled_site(pooled_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site whose database is reached through PgBouncer."""
    yield from open_site(Settings(data=tmp_path / "data", database_url=f"{pooled_url}?pgbouncer=true"))


def test_many_processes_share_few_connections(pooled_site: Site) -> None:
    def work(job_ids: Sequence[UUID]) -> int:
        """Run photos through all stages, as a process with an engine of its own."""
        services, done = Services.connect(site.services.settings, connections=2), 0
        for stage in Stage:
            with services.begin() as session:
                leases = claim(session, stage, job_ids, None, 60)
            with services.begin() as session:
                done += len(settle(session, [(lease, Done()) for lease in leases], backoff_s=1, requeue_s=60))
        services.engine.dispose()
        return done

    site = pooled_site
    job_ids = site.add_many_jobs(PHOTOS, site.add_batch())
    with ThreadPoolExecutor(WORKERS) as pool:
        done = sum(pool.map(work, [job_ids[n::WORKERS] for n in range(WORKERS)]))
    assert done == PHOTOS * len(Stage)
    assert site.count_states(job_ids) == {State.RESTORED: PHOTOS}


def test_startup_options_are_what_pgbouncer_refuses(pooled_url: str) -> None:
    engine = database.connect(pooled_url)
    with pytest.raises(DatabaseUnavailable), database.begin(engine) as session:
        session.execute(text("SELECT 1"))
    engine.dispose()
