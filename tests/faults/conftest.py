"""Installations under fault, and the report of what was seen of them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Backends
from tests.faults import report
from tests.faults.copies import copy_database
from tests.faults.installation import Installation
from tests.faults.report import Fault, Row
from tests.integration.conftest import Site

from retint.services import Services
from retint.settings import Settings

FAST = {"lease_s": 3.0, "requeue_s": 2.0, "backoff_s": 0.1, "tick_s": 0.05, "bundle_size": 4}
"""Settings under which lost work is found within seconds."""
REAL = {"lease_s": 10.0, "requeue_s": 5.0}
"""Those of them that differ where real networks run, on a machine that does other things, too."""

rows: pytest.StashKey[list[Row]] = pytest.StashKey()
sentences = pytest.StashKey[dict[str, str]]()
installed = pytest.StashKey[Installation]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[rows], config.stash[sentences] = [], {}


MakeInstallation = Callable[..., Installation]


@pytest.fixture
def make_installation(settings: Settings, tmp_path: Path) -> Iterator[MakeInstallation]:
    """A function that makes an installation without processes yet, with plain stages and changed settings."""
    made: list[Installation] = []

    def make(name: str, **changes: object) -> Installation:
        changed = settings.model_copy(update=FAST | changes)
        made.append(Installation(Site(Services.connect(changed)), changed, tmp_path / name))
        return made[-1]

    yield make
    for one in made:
        one.close()
        one.print_logs()


@pytest.fixture
def installation(request: pytest.FixtureRequest, make_installation: MakeInstallation) -> Installation:
    """An installation on the database and the store of the test; what it sees is reported."""
    one = make_installation("first")
    one.join_store()
    request.node.stash[installed] = one
    return one


@pytest.fixture
def real_installation(installation: Installation) -> Installation:
    """An installation whose workers run the real stages."""
    installation.is_plain = False
    installation.settings = installation.settings.model_copy(update=REAL)
    return installation


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    made: pytest.TestReport = yield
    marker = item.get_closest_marker("fault")
    if marker and (made.when == "call" or made.outcome != "passed") and isinstance(item, pytest.Function):
        _add_rows(item, marker.args[0], made)
    return made


def _add_rows(item: pytest.Function, fault: Fault, made: pytest.TestReport) -> None:
    """Keep what a test saw, and why the other backends cannot have its fault."""
    subject = item.module.__name__.rpartition("test_")[2]
    item.config.stash[sentences][subject] = (item.module.__doc__ or "").strip()
    installation = item.stash.get(installed, None)
    recovery = installation.recovery if installation and made.passed else None
    outcome = "**broken**"
    if made.skipped and isinstance(made.longrepr, tuple):
        outcome = made.longrepr[2].replace("Skipped: ", "not run: ")
    backends = str(item.callspec.params["backends"])
    item.config.stash[rows].append(Row(subject, fault, backends, recovery, outcome))
    for name, reason in fault.missing.items():
        item.config.stash[rows].append(Row(subject, fault, name, None, reason))


def pytest_sessionfinish(session: pytest.Session) -> None:
    path, seen = session.config.getoption("--faults-report"), session.config.stash[rows]
    if path:
        figures = {"cores": os.cpu_count(), "lease_s": FAST["lease_s"], "real_lease_s": REAL["lease_s"]}
        default_lease_s = Settings.model_fields["lease_s"].default
        report.write(path, seen, session.config.stash[sentences], default_lease_s=default_lease_s, **figures)


@pytest.fixture
def another_database(request: pytest.FixtureRequest, backends: Backends) -> str:
    """The address of a second, migrated database."""
    source = "migrated" if backends.database else str(request.getfixturevalue("migrated_sqlite"))
    return copy_database(backends.values["database_url"], "another", source)
