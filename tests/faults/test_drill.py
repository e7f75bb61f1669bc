"""The drill: back up while people work, destroy everything, restore, and see that everything is there.

`make drill` runs it with real networks and prints what was done, with times; `make test` runs it with plain stages.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url
from tests.faults import promises
from tests.faults.installation import Installation

from retint import store_identity, sweeps
from retint.lifecycle import State
from retint.stores import keys
from retint.stores.directory import DirectoryStore

FINISHED = 4
"""Photos that are restored before the backup."""
IN_FLIGHT = 8
"""Photos that are worked on while it is made."""
LATER = 2
"""Photos that are deposited after it."""


@dataclass
class Drill:
    """Prints what is done, and how long it took."""

    installation: Installation
    backup: Path
    begun: float = field(default_factory=time.monotonic)

    def say(self, what: str) -> None:
        print(f"  {time.monotonic() - self.begun:6.1f} s  {what}")

    def run(self, *command: str) -> tuple[dict[str, Any], str]:
        """Run `retint admin …` as an operator does; return the JSON that it prints, and what it says besides."""
        at = time.monotonic()
        line = [sys.executable, "-m", "retint", "admin", *command, "--json"]
        environment = self.installation.settings.environment()
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        self.say(f"retint admin {' '.join(command)}: {time.monotonic() - at:.1f} s")
        return json.loads(done.stdout), done.stderr

    def hash_store(self) -> dict[str, str]:
        """Return the SHA-256 of every file of the store."""
        store = self.installation.site.services.store
        hashes = {}
        for blob in store.list(keys.ROOT):
            with store.open(blob.key) as source:
                hashes[blob.key] = hashlib.sha256(source.read()).hexdigest()
        return hashes

    def lose_database(self) -> None:
        """Kill every process, and delete the database."""
        self.installation.stop()
        address = make_url(self.installation.settings.database)
        if address.get_backend_name() == "sqlite":
            for path in Path(str(address.database)).parent.glob("*.db*"):
                path.unlink()
            return
        server = address.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {address.database} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {address.database} TEMPLATE template0".encode())

    def lose_store(self) -> None:
        """Delete every file of the store."""
        store = self.installation.site.services.store
        store.delete([blob.key for blob in store.list("")])
        if self.installation.settings.store.startswith("file://"):
            shutil.rmtree(self.installation.settings.store.removeprefix("file://"))

    def work_to_the_end(self) -> None:
        """Start all processes, and wait until every photo that the database knows is restored."""
        for process in self.installation.processes:
            process.start()
        self.installation.over()
        self.installation.wait_until_ended()


@pytest.mark.parametrize("stages", ["plain", pytest.param("real", marks=pytest.mark.long)])
def test_what_was_backed_up_is_restored_and_work_in_flight_goes_on(
    installation: Installation, request: pytest.FixtureRequest, stages: str, tmp_path: Path
) -> None:
    if stages == "real":
        installation = request.getfixturevalue("real_installation")
    drill = Drill(installation, tmp_path / "backup")
    print(f"\n{installation.settings.database.partition(':')[0]}, {installation.settings.store}")
    before = back_up_while_people_work(drill)
    lose_the_database(drill)
    lose_everything(drill, before)


def back_up_while_people_work(drill: Drill) -> dict[str, str]:
    """Work, back up in the middle, and work on; return the SHA-256 of every file that there is then."""
    installation = drill.installation
    installation.start_all()
    installation.deposit(FINISHED)
    installation.wait_until_ended()
    drill.run("backup", "--to", str(drill.backup))
    drill.say(f"{FINISHED} photos are restored and backed up")
    # It stops in the middle of its work, so that some is in flight however long the backup takes.
    worker = installation.processes[1]
    worker.drain()
    worker.start("--at", "claimed", "--stop")
    installation.deposit(IN_FLIGHT)
    installation.wait_until(lambda: worker.is_stopped)
    outcome, _ = drill.run("backup", "--to", str(drill.backup))
    assert outcome["inventory"]["photos"] == FINISHED + IN_FLIGHT
    assert installation.count_states()[State.RESTORED] == FINISHED
    worker.go_on()
    drill.say(f"backed up again with {IN_FLIGHT} photos in flight: {outcome['files']} new files")
    known = list(installation.inputs)
    installation.deposit(LATER)
    installation.wait_until_ended()
    installation.inputs[:] = known
    store_identity.grow(installation.site.services)  # as the sweep does every day
    drill.say(f"{LATER} more photos are deposited; all {FINISHED + IN_FLIGHT + LATER} are restored")
    return drill.hash_store()


def lose_the_database(drill: Drill) -> None:
    """Lose the database alone: the store then knows more than the dump."""
    installation = drill.installation
    drill.lose_database()
    outcome, _ = drill.run("restore", "--from", str(drill.backup))
    assert outcome["inventory"]["unknown"]["count"] == LATER
    assert outcome["files"] == 0
    assert "adopt-store" in outcome["mismatch"]
    drill.say(f"the database alone was lost and restored: {LATER} photos are told that only the store knows")
    named = promises.list_named(installation.site.services)
    untouched = {key: sha256 for key, sha256 in drill.hash_store().items() if key in named}
    with pytest.raises(store_identity.WrongStore, match="older copy"):
        list(sweeps.sweep(installation.site.services, min_age=timedelta(0)))
    *_, found = sweeps.preview(installation.site.services, min_age=timedelta(0))
    assert found.orphans == 0
    drill.say("the sweep refuses to begin, and would delete nothing")
    drill.work_to_the_end()
    store_identity.adopt(installation.site.services)  # the operator says that this is the right database
    installation.sweep()
    installation.check_promises(State.RESTORED, may_have_strays=True)
    assert untouched.items() <= drill.hash_store().items()
    drill.say("work that was in flight has gone on and ended; after a sweep nothing is lost, done twice or changed")


def lose_everything(drill: Drill, before: dict[str, str]) -> None:
    """Lose the database and the store."""
    installation = drill.installation
    drill.lose_database()
    drill.lose_store()
    outcome, _ = drill.run("restore", "--from", str(drill.backup), "--read")
    restored = drill.hash_store()
    assert restored.items() <= before.items()
    assert set(restored) == {blob.key for blob in DirectoryStore(drill.backup / "store").list(keys.ROOT)}
    assert outcome["inventory"]["read"] >= FINISHED + IN_FLIGHT, "originals and results were read"
    assert not promises.list_files_lost(installation.site.services)
    drill.say(f"everything was lost and restored: {len(restored)} files, bit for bit")
    *_, found = sweeps.preview(installation.site.services, min_age=timedelta(0))
    assert (found.orphans, found.looked_at) == (0, len(restored))
    drill.say("the sweep would delete nothing")
    drill.work_to_the_end()
    if outcome["mismatch"]:
        store_identity.adopt(installation.site.services)
    installation.sweep()
    installation.check_promises(State.RESTORED)
    ended = drill.hash_store()
    assert {key: sha256 for key, sha256 in restored.items() if key in ended}.items() <= ended.items()
    drill.say(f"all {FINISHED + IN_FLIGHT} photos are restored; after a sweep nothing is lost and nothing is left over")
