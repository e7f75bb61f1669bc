"""Backups: what is copied, what is told, and what is refused."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from tests.faults.copies import make_empty_database
from tests.integration.conftest import Site
from tests.scraping import scrape

from retint import backups, database, inventory, photos
from retint.audit_tables import AuditEntry
from retint.backups import Outcome
from retint.dumps import BackupFailed
from retint.errors import IllegalMove
from retint.services import Services
from retint.store_identity import WrongStore
from retint.stores import keys
from retint.tables import Photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def deposit(site: Site, *contents: bytes) -> list[Photo]:
    """Deposit files; what is in them does not matter here."""
    batch = site.add_batch()
    found = []
    for content in contents:
        path = site.settings.data / "original.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        with path.open("rb") as source:
            job = photos.deposit(site.services, batch.tenant_id, batch.id, "a.jpg", photos.Stream(source))
        with site.services.read() as session:
            found.append(session.get_one(Photo, job.photo_id))
    return found


def run(steps: Iterable[Outcome]) -> Outcome:
    return list(steps)[-1]


def connect_elsewhere(site: Site, tmp_path: Path) -> Services:
    """An empty database and an empty store."""
    changes = {
        "database_url": make_empty_database(site.settings.database, "empty"),
        "store_url": f"file://{tmp_path}/another-store",
    }
    return Services.connect(site.settings.model_copy(update=changes))


def test_only_new_files_are_copied_and_what_was_backed_up_comes_back(site: Site, folder: Path, tmp_path: Path) -> None:
    first, second = deposit(site, b"one", b"two")
    assert run(backups.back_up(site.services, folder)).files == 3  # and the identity
    [third] = deposit(site, b"three")
    outcome = run(backups.back_up(site.services, folder))
    assert (outcome.files, outcome.is_whole, outcome.inventory.photos) == (2, True, 3)
    elsewhere = connect_elsewhere(site, tmp_path)
    restored = run(backups.restore(elsewhere, folder, read=True))
    assert (restored.files, restored.inventory.read, restored.is_whole, restored.mismatch) == (4, 3, True, None)
    with elsewhere.read() as session:
        assert set(session.scalars(select(Photo.id))) == {first.id, second.id, third.id}
        [entry] = session.scalars(select(AuditEntry).where(AuditEntry.action == "database_restored"))
        assert restored.dump
        assert entry.after == {"made": restored.dump.at}
    with elsewhere.store.open(third.original_key) as source:
        assert source.read() == b"three"
    database.migrate(elsewhere.engine)
    elsewhere.engine.dispose()


def test_an_older_dump_is_restored_by_its_name_and_tells_what_only_the_store_knows(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    deposit(site, b"one")
    older = run(backups.back_up(site.services, folder)).dump
    [later] = deposit(site, b"two")
    run(backups.back_up(site.services, folder))
    elsewhere = connect_elsewhere(site, tmp_path)
    assert older
    restored = run(backups.restore(elsewhere, folder, name=older.name))
    assert restored.inventory.unknown.examples == [later.original_key]
    assert restored.is_whole
    with elsewhere.read() as session:
        assert session.scalar(select(func.count()).select_from(Photo)) == 1
    elsewhere.engine.dispose()


def test_a_damaged_original_is_told_not_copied_and_the_backup_is_not_whole(site: Site, folder: Path) -> None:
    [photo] = deposit(site, b"one")
    (site.settings.data / "store" / photo.original_key).write_bytes(b"0ne")
    outcome = run(backups.back_up(site.services, folder))
    assert outcome.damaged.examples == outcome.inventory.missing.examples == [photo.original_key]
    assert not outcome.is_whole
    assert not (folder / "store" / photo.original_key).exists()


def test_what_is_missing_damaged_or_unknown_is_found(site: Site) -> None:
    first, second, third = deposit(site, b"one", b"two", b"three")
    site.services.store.delete([first.original_key])
    path = site.settings.data / "store" / second.original_key
    path.write_bytes(b"tw0")
    stranger = keys.original(third.tenant_id, first.tenant_id)
    site.services.store.put(stranger, b"four")
    *_, found = inventory.compare(site.services)
    assert found.missing.examples == [first.original_key]
    assert found.damaged.count == 0, "its size is right"
    assert found.unknown.examples == [stranger]
    *_, found = inventory.compare(site.services, read=True)
    assert found.damaged.examples == [second.original_key]
    path.write_bytes(b"longer")
    *_, found = inventory.compare(site.services)
    assert found.damaged.examples == [second.original_key]


def test_a_dump_with_policies_for_a_role_is_restored_where_there_is_no_such_role(
    postgresql_site: Site, folder: Path, tmp_path: Path
) -> None:
    deposit(postgresql_site, b"one")
    with postgresql_site.services.begin() as session:
        for statement in (
            "CREATE ROLE passing NOLOGIN",
            "GRANT SELECT ON photos TO passing",
            "ALTER TABLE photos ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY mine ON photos TO passing USING (false)",
        ):
            session.execute(text(statement))
    run(backups.back_up(postgresql_site.services, folder))
    with postgresql_site.services.begin() as session:
        session.execute(text("DROP OWNED BY passing"))
        session.execute(text("DROP ROLE passing"))
    elsewhere = connect_elsewhere(postgresql_site, tmp_path)
    assert run(backups.restore(elsewhere, folder)).is_whole
    elsewhere.engine.dispose()


def test_old_dumps_go_and_the_files_of_the_store_stay(site: Site, folder: Path) -> None:
    deposit(site, b"one")
    names = []
    for _ in range(3):
        dump = run(backups.back_up(site.services, folder, keep=2)).dump
        assert dump
        names.append(dump.name)
    assert [dump.name for dump in backups.list_dumps(folder)] == names[1:]
    assert len(list((folder / "databases").iterdir())) == 4


def test_nothing_is_written_over(site: Site, folder: Path) -> None:
    run(backups.back_up(site.services, folder))
    with pytest.raises(BackupFailed, match="database is not empty"):
        run(backups.restore(site.services, folder))


def test_a_damaged_dump_and_a_folder_that_is_none_are_refused(site: Site, folder: Path, tmp_path: Path) -> None:
    elsewhere = connect_elsewhere(site, tmp_path)
    with pytest.raises(BackupFailed, match="There is no dump"):
        run(backups.restore(elsewhere, folder))
    dump = run(backups.back_up(site.services, folder)).dump
    assert dump
    with pytest.raises(BackupFailed, match=f"there are {dump.name}"):
        run(backups.restore(elsewhere, folder, name="another"))
    with (folder / "databases" / dump.name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(BackupFailed, match="is damaged"):
        run(backups.restore(elsewhere, folder))
    elsewhere.engine.dispose()


def test_another_installations_folder_or_store_is_refused(site: Site, folder: Path, tmp_path: Path) -> None:
    deposit(site, b"one")
    dump = run(backups.back_up(site.services, folder)).dump
    assert dump
    identity = folder / "store" / keys.IDENTITY
    values = json.loads(identity.read_text())
    identity.write_text(json.dumps(values | {"id": "00000000-0000-0000-0000-000000000001"}))
    with pytest.raises(WrongStore, match="another installation"):
        run(backups.back_up(site.services, folder))
    elsewhere = connect_elsewhere(site, tmp_path)
    elsewhere.store.prepare()
    elsewhere.store.put(keys.IDENTITY, identity.read_bytes())
    with pytest.raises(WrongStore, match="another installation"):
        run(backups.restore(elsewhere, folder))
    elsewhere.engine.dispose()


def test_two_backups_into_one_folder_wait_for_each_other(site: Site, folder: Path) -> None:
    running = backups.back_up(site.services, folder)
    next(running)
    with pytest.raises(IllegalMove, match="wait until it has ended"):
        run(backups.back_up(site.services, folder))
    running.close()  # type: ignore[attr-defined]


def test_the_metric_tells_the_age_of_whole_backups_only(site: Site, folder: Path) -> None:
    assert ("retint_backup_age_seconds",) not in scrape(site.services)
    [photo] = deposit(site, b"one")
    site.services.store.delete([photo.original_key])
    run(backups.back_up(site.services, folder))
    assert ("retint_backup_age_seconds",) not in scrape(site.services)
    site.services.store.put(photo.original_key, b"one")
    run(backups.back_up(site.services, folder))
    assert 0 <= scrape(site.services)["retint_backup_age_seconds",] < 60
