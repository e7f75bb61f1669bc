"""What operators and people do"""

from pathlib import Path

import pytest
from tests import films
from tests.faults.conftest import MakeInstallation
from tests.faults.copies import copy_database
from tests.faults.installation import Installation
from tests.faults.report import fault
from tests.platforms import PlatformUnderTest

from retint import fleets, store_identity
from retint.errors import Refused
from retint.jobs import long_moves
from retint.lifecycle import Outcome, State
from retint.services import Services
from retint.stores import keys
from retint.tables import Job

PHOTOS = 16


@fault(
    "workers scaled from 1 to 8 to 1 under load",
    made="`retint up` is asked for 8 workers of the fleet `cpu` while a batch is worked on, and then for 1",
    promise="workers that are not wanted any more finish what they have begun: no attempt is lost",
)
def test_scaling_under_load_loses_no_attempt(real_installation: Installation, platform: PlatformUnderTest) -> None:
    real_installation.deposit(PHOTOS)
    real_installation.wait_for_done(4)
    platform.scale(cpu=8)
    real_installation.wait_until(lambda: count_live(real_installation, "cpu") == 8)
    real_installation.deposit(2 * PHOTOS)
    real_installation.wait_for_done(4 * PHOTOS + 8)
    platform.scale(cpu=1)
    real_installation.over()
    real_installation.wait_until(lambda: count_live(real_installation, "cpu") == 1)
    real_installation.recover()
    assert set(real_installation.count_outcomes()) == {Outcome.DONE}, platform.logs()


def count_live(installation: Installation, fleet: str) -> int:
    with installation.site.services.read() as session:
        return sum(worker.fleet == fleet for worker in fleets.list_live(session))


@fault(
    "two installations on one broker",
    made="two installations with a database and a store each use the same database of one Redis",
    promise="neither sees the other's messages: no message is lost to it",
)
def test_two_installations_on_one_broker_do_not_meet(
    installation: Installation, make_installation: MakeInstallation, another_database: str
) -> None:
    bucket = installation.settings.store_url
    other = make_installation(
        "other",
        database_url=another_database,
        data=installation.folder / "other-data",
        store_url=bucket and f"{bucket}-other",
    )
    other.join_store()
    for each in (installation, other):
        each.start_all()
        each.deposit(2 * PHOTOS)
    installation.over()
    other.over()
    installation.wait_until_ended()
    other.recover()
    installation.recover(remark="as many in the other one")
    for each in (installation, other):
        assert set(each.count_outcomes()) == {Outcome.DONE}


@fault(
    "two installations on one store",
    made="a second installation, with a database of its own, is started on the store of the first",
    promise="the second refuses to work, and says what to do; nothing of the first is deleted",
)
def test_a_second_installation_refuses_the_store_of_another(
    installation: Installation, make_installation: MakeInstallation, another_database: str
) -> None:
    installation.start_all()
    installation.deposit(PHOTOS)
    installation.wait_for_done(PHOTOS)
    other = make_installation("other", database_url=another_database)
    intruder = other.start("dispatcher")
    other.wait_until(lambda: intruder.has_ended)
    installation.over()
    with pytest.raises(Refused, match="belongs to another"):
        other.sweep()
    said = intruder.log.read_text()
    assert "belongs to another" in said, said
    installation.recover()


@fault(
    "film cancelled in its middle",
    made="a person cancels a film while its frames are colored; photos wait behind it",
    promise="the work on it ends within seconds, and the photos follow",
)
def test_a_cancelled_film_frees_its_worker_within_seconds(real_installation: Installation, tmp_path: Path) -> None:
    services = real_installation.site.services
    real_installation.start_all()
    [film] = real_installation.deposit_files([films.write(tmp_path / "walk.mp4", films.two_scenes(600))])
    real_installation.wait_until(lambda: any("/colorize-" in key for key in list_keys(services)))
    real_installation.deposit(4)
    with services.begin() as session:
        job = session.get_one(Job, film)
        move = long_moves.cancel_batch(session, job.tenant_id, job.batch_id)
    long_moves.carry_out(services, move)
    real_installation.over()
    real_installation.wait_until(lambda: not list_activities(real_installation, "gpu"))
    freed_s = real_installation.seconds_since()
    real_installation.recover(State.RESTORED, State.CANCELLED, remark=f"the worker was free after {freed_s:.1f} s")
    assert freed_s < 10
    assert real_installation.count_states() == {State.CANCELLED: 1, State.RESTORED: 4}


def list_keys(services: Services) -> set[str]:
    return {blob.key for blob in services.store.list(keys.ROOT)}


def list_activities(installation: Installation, fleet: str) -> list[str]:
    """List what the workers of a fleet do, without the idle ones, and without what they do for photos."""
    with installation.site.services.read() as session:
        return [worker.activity for worker in fleets.list_live(session) if worker.fleet == fleet and worker.activity]


@fault(
    "database restored from an older dump",
    made="the database is copied, a batch is restored, and the copy takes the database's place; "
    "the batch is deposited again",
    promise="nothing is swept that the lost database knew, until an operator says so; everything else goes on",
)
def test_an_older_database_deletes_nothing(installation: Installation, make_installation: MakeInstallation) -> None:
    installation.start_all()
    installation.deposit(PHOTOS)
    installation.wait_until_ended()
    installation.stop()
    older = copy_database(installation.settings.database, "older")
    known = list(installation.inputs)
    for process in installation.processes:
        process.start()
    installation.deposit(PHOTOS)
    installation.over()
    installation.recover()
    installation.stop()
    stored = list_keys(installation.site.services)

    restored = make_installation("restored", database_url=older)
    restored.inputs += known
    restored.site.tenants |= installation.site.tenants
    restored.start_all()
    restored.over()
    restored.deposit_files(sorted((installation.folder / f"prints-{PHOTOS}").rglob("*.jpg")))
    restored.wait_until_ended()
    with pytest.raises(Refused, match="older copy"):
        restored.sweep()
    restored.recover(is_older=True, remark=f"{len(stored)} files of before are still there")
    store_identity.adopt(restored.site.services)
    restored.sweep()
    assert stored <= list_keys(restored.site.services)
    installation.recovery = restored.recovery
