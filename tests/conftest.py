"""Fixtures of all kinds of tests: real servers, and Retint connected to them."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from tests import platforms, servers
from tests.platforms import PlatformUnderTest
from tests.servers import Server

from retint import database, store_identity
from retint.services import Services
from retint.settings import Settings

numbers = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="fail where a server is missing, instead of skipping")
    parser.addoption("--faults-report", type=Path, help="write what was seen of the faults into this document")


def run_server(start: Callable[[Path], Server], request: pytest.FixtureRequest) -> Iterator[Server]:
    # PostgreSQL's own user must reach it, and pytest's temporary folders are closed to others.
    folder = Path(tempfile.mkdtemp(prefix=f"retint-{start.__name__}-"))
    folder.chmod(0o755)
    try:
        server = start(folder)
    except servers.NotInstalled as error:
        (pytest.fail if request.config.getoption("--no-skips") else pytest.skip)(str(error))
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def valkey_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    yield from run_server(servers.start_valkey, request)


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    yield from run_server(servers.start_redis, request)


@pytest.fixture(scope="session")
def s3_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    yield from run_server(servers.start_seaweedfs, request)


@pytest.fixture(scope="session")
def postgresql_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """PostgreSQL with a database `migrated`, which is copied for each test."""
    for server in run_server(servers.start_postgresql, request):
        _execute(server, "CREATE DATABASE migrated")
        _migrate(_postgresql_url(server, "migrated"))
        yield server


@pytest.fixture
def standby(request: pytest.FixtureRequest, postgresql_server: Server) -> Iterator[Server]:
    """A server that follows the PostgreSQL server and can only be read."""

    def start_standby(folder: Path) -> Server:
        return servers.start_standby(postgresql_server, folder)

    yield from run_server(start_standby, request)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file, which is copied for each test."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    _migrate(f"sqlite:///{path}")
    return path


def _migrate(url: str) -> None:
    engine = database.connect(url)
    database.migrate(engine)
    engine.dispose()


def _postgresql_url(server: Server, name: str) -> str:
    return f"postgresql+psycopg://retint@127.0.0.1:{server.port}/{name}"


def _execute(server: Server, statement: str) -> None:
    with psycopg.connect(f"postgresql://retint@127.0.0.1:{server.port}/postgres", autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def postgresql_url(postgresql_server: Server) -> Iterator[str]:
    """A migrated database of the test's own, on PostgreSQL."""
    postgresql_server.ensure_running()
    name = f"test_{next(numbers)}"
    _execute(postgresql_server, f"CREATE DATABASE {name} TEMPLATE migrated")
    yield _postgresql_url(postgresql_server, name)
    _execute(postgresql_server.ensure_running(), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A migrated database of the test's own, on SQLite."""
    path = tmp_path / "retint.db"
    shutil.copyfile(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["postgresql", "sqlite"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database, of each kind in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def s3_settings(s3_server: Server) -> dict[str, Any]:
    """The settings of a bucket of the test's own, which `prepare` has not made yet."""
    return {
        "store_url": f"s3://test-{next(numbers)}",
        "s3_endpoint": f"http://127.0.0.1:{s3_server.ensure_running().port}",
        "s3_key": servers.S3_KEY,
        "s3_secret": servers.S3_SECRET,
    }


def _broker_url(server: Server) -> str:
    """Return a Redis database of the test's own: no process of an earlier test uses it."""
    return f"redis://127.0.0.1:{server.ensure_running().port}/{next(numbers) % 1000}"


@pytest.fixture
def valkey_url(valkey_server: Server) -> str:
    return _broker_url(valkey_server)


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    return _broker_url(redis_server)


@dataclass(frozen=True)
class Backends:
    """Broker, database and store of one Retint: the settings, and the servers, which a test may kill and restart."""

    values: dict[str, Any]
    broker: Server
    database: Server | None = None
    store: Server | None = None


@pytest.fixture(params=["service", "embedded"])
def backends(request: pytest.FixtureRequest) -> Backends:
    """PostgreSQL, an S3 server and Redis (`service`), or SQLite, a directory and Valkey (`embedded`)."""
    get = request.getfixturevalue
    if request.param == "service":
        values = {"database_url": get("postgresql_url"), **get("s3_settings"), "broker_url": get("redis_url")}
        return Backends(values, get("redis_server"), get("postgresql_server"), get("s3_server"))
    return Backends({"database_url": get("sqlite_url"), "broker_url": get("valkey_url")}, get("valkey_server"))


@pytest.fixture
def settings(backends: Backends, tmp_path: Path) -> Settings:
    """Settings of a new Retint on the backends."""
    return Settings(data=tmp_path / "data", secret=SecretStr("a secret of the tests only"), **backends.values)


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    """A new Retint with an empty database and an empty store."""
    made = Services.connect(settings)
    made.store.prepare()
    store_identity.verify(made)
    yield made
    made.engine.dispose()


@pytest.fixture
def platform(backends: Backends, settings: Settings) -> Iterator[PlatformUnderTest]:
    """A whole platform on the backends, run by `retint up`; the embedded one starts its own broker."""
    quick = {"lease_s": 10, "requeue_s": 5, "tick_s": 0.1, "backoff_s": 0.5}
    values = settings.model_dump(include=settings.model_fields_set) | quick
    if backends.database is None:
        del values["broker_url"]
    with platforms.run_platform(Settings(**values)) as running:
        yield running
