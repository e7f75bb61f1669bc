"""The audit record: written with every change, never changed, and verified."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError

from retint import accounts, audit, database, fleets
from retint.accounts import FAILURES_PER_PAIR, TooManyFailures
from retint.audit import HOUSE, chain, reading
from retint.audit_tables import AuditAddress, AuditEntry, SignInFailure
from retint.errors import NotAllowed
from retint.services import Services
from retint.settings import Settings

TRIGGERS = {
    "postgresql": ("ALTER TABLE {} DISABLE TRIGGER USER",),
    "sqlite": tuple(f"DROP TRIGGER {{}}_refuse_{move}" for move in ("update", "delete")),
}


@pytest.fixture
def connected(database_url: str, tmp_path: Path) -> Iterator[Services]:
    services = Services.connect(Settings(data=tmp_path / "data", database_url=database_url))
    audit.set_origin(audit.Origin(address="192.0.2.7", command="jo on desk"))
    yield services
    audit.set_origin(audit.Origin())
    services.engine.dispose()


@pytest.fixture
def museum(connected: Services) -> UUID:
    """An institution with ten entries."""
    with connected.begin() as session:
        tenant_id = accounts.get_or_create_tenant(session, "museum").id
    for number in range(10):
        with connected.begin() as session:
            before, after = {"priority": number}, {"priority": number + 1, "name": "Schöne \ud800 Box"}
            audit.record(session, "batch_opened", f"box {number}", tenant_id=tenant_id, before=before, after=after)
    return tenant_id


def verify(services: Services, tenant_id: UUID) -> list[tuple[int, str]]:
    with services.read() as session:
        return [(each.number, each.reason) for each in chain.verify(session, tenant_id).broken]


def tamper(services: Services, statement: str, **values: Any) -> None:
    """Change the record as somebody who rules the database can."""
    kind = services.engine.dialect.name
    with services.begin() as session:
        for table in ("audit_entries", "audit_addresses"):
            for trigger in TRIGGERS[kind]:
                if kind == "postgresql" or (table, "delete") != ("audit_addresses", trigger.rpartition("_")[2]):
                    session.execute(text(trigger.format(table)))
        session.execute(text(statement), values)


def key_of(services: Services, tenant_id: UUID) -> str:
    return str(tenant_id) if services.engine.dialect.name == "postgresql" else tenant_id.hex


def test_an_entry_says_who_what_from_where_before_and_after(connected: Services, museum: UUID) -> None:
    with connected.read() as session:
        told, *_ = reading.list_page(session, museum, reading.Query(), address_days=90)
    assert (told.entry.actor, told.address, told.entry.number) == ("jo on desk", "192.0.2.7", 10)
    assert told.entry.before == {"priority": 9}
    assert told.entry.after == {"priority": 10, "name": "Schöne <U+D800> Box"}
    assert next((each.name, each.before, each.after) for each in told.changes) == ("priority", "9", "10")
    assert told.sentence == "opened box 9"


def test_a_change_that_is_taken_back_leaves_no_entry(connected: Services, museum: UUID) -> None:
    with pytest.raises(ZeroDivisionError), connected.begin() as session:
        fleets.set_wanted(session, "gpu", 1 // 0)
    with (
        pytest.raises(RuntimeError, match="outside of savepoints"),
        connected.begin() as session,
        session.begin_nested(),
    ):
        audit.record(session, "batch_paused", "box", tenant_id=museum)
    assert verify(connected, museum) == verify(connected, HOUSE) == []


@pytest.mark.parametrize("move", ["UPDATE {} SET number = 99", "DELETE FROM {}"])
def test_the_database_itself_refuses_to_change_the_record(connected: Services, museum: UUID, move: str) -> None:
    with pytest.raises(DatabaseError, match="append-only"), connected.begin() as session:
        session.execute(text(move.format("audit_entries")))
    if connected.engine.dialect.name == "postgresql":
        with pytest.raises(DatabaseError, match="append-only"), connected.begin() as session:
            session.execute(text("TRUNCATE audit_entries"))
    assert verify(connected, museum) == []


@pytest.mark.parametrize(
    ("statement", "number", "words"),
    [
        ("UPDATE audit_entries SET actor = 'nobody' WHERE number = 4 AND tenant_id = :t", 4, "was changed"),
        ("UPDATE audit_entries SET after = '{}' WHERE number = 10 AND tenant_id = :t", 10, "was changed"),
        ("UPDATE audit_entries SET hash = previous WHERE number = 4 AND tenant_id = :t", 4, "was changed"),
        ("DELETE FROM audit_entries WHERE number = 4 AND tenant_id = :t", 5, "Entry 4 is missing"),
        ("DELETE FROM audit_entries WHERE number < 4 AND tenant_id = :t", 4, "Entries 1 to 3 are missing"),
        ("DELETE FROM audit_entries WHERE number > 8 AND tenant_id = :t", 9, "Entries 9 to 10 are missing"),
        ("DELETE FROM audit_entries WHERE tenant_id = :t", 1, "Entries 1 to 10 are missing"),
        ("UPDATE audit_addresses SET address = '::1' WHERE number = 3 AND tenant_id = :t", 3, "address of entry 3"),
    ],
)
def test_a_row_that_is_changed_or_removed_is_named(
    connected: Services, museum: UUID, statement: str, number: int, words: str
) -> None:
    assert verify(connected, museum) == []
    tamper(connected, statement, t=key_of(connected, museum))
    first, reason = verify(connected, museum)[0]
    assert first == number
    assert words in reason


def test_a_row_that_is_inserted_is_named_also_where_its_hash_is_right(connected: Services, museum: UUID) -> None:
    with connected.begin() as session:
        last = session.get_one(AuditEntry, (museum, 10))
        forged = AuditEntry(tenant_id=museum, at=last.at, actor="jo", action="signed_in", subject="x")
        chain.append([forged], 10, last.hash)
        session.add(forged)
    assert verify(connected, museum) == [(11, "Entry 11 was inserted at the end.")]


def test_a_chain_that_is_written_anew_is_found_by_a_hash_that_was_kept(connected: Services, museum: UUID) -> None:
    with connected.read() as session:
        kept = chain.verify(session, museum).hash
        entries = session.scalars(select(AuditEntry).where(AuditEntry.tenant_id == museum).order_by(AuditEntry.number))
        anew = list(entries.all())
    anew[3].actor = "nobody"
    last = chain.append(anew, 0, chain.BEGIN)
    t = key_of(connected, museum)
    for entry in anew:
        values = {"t": t, "n": entry.number, "a": entry.actor, "p": entry.previous, "h": entry.hash}
        with connected.begin() as session:
            if entry.number == 1:
                for trigger in TRIGGERS[connected.engine.dialect.name]:
                    session.execute(text(trigger.format("audit_entries")))
            change = (
                "UPDATE audit_entries SET actor = :a, previous = :p, hash = :h WHERE tenant_id = :t AND number = :n"
            )
            session.execute(text(change), values)
    with connected.begin() as session:
        session.execute(text("UPDATE audit_chains SET hash = :h WHERE tenant_id = :t"), {"h": last, "t": t})
    assert verify(connected, museum) == []
    with connected.read() as session:
        assert kept not in session.scalars(select(AuditEntry.hash)).all()


def test_many_who_write_at_once_make_one_chain(connected: Services, museum: UUID) -> None:
    def write(number: int) -> None:
        with connected.begin() as session:
            for each in range(1 + number % 3):
                whose = museum if (number + each) % 2 else HOUSE
                audit.record(session, "batch_paused", f"{number} {each}", tenant_id=whose)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(60)))
    with connected.read() as session:
        found = {each: chain.verify(session, each) for each in chain.list_chains(session)}
    assert all(not one.broken for one in found.values())
    assert found[museum].entries + found[HOUSE].entries == 10 + 1 + 120


def test_an_export_proves_itself_also_without_addresses(connected: Services, museum: UUID) -> None:
    """As a client checks it that knows nothing of Retint but what the manual says."""

    def check(settings: Settings) -> list[dict[str, Any]]:
        lines = [
            json.loads(line) for line in reading.export(Services(settings, connected.engine, connected.store), museum)
        ]
        previous = "0" * 64
        for line in lines:
            values = dict(line)
            address, salt, digest = (values.pop(name, None) for name in ("address", "address_salt", "hash"))
            assert values["previous"] == previous
            assert sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest() == digest
            assert address is None or sha256((salt + address).encode()).hexdigest() == values["address_digest"]
            previous = digest
        return lines

    shown = check(connected.settings)
    assert [line["number"] for line in shown] == list(range(1, 11))
    assert {line.get("address") for line in shown} == {"192.0.2.7"}
    hidden = check(connected.settings.model_copy(update={"audit_address_days": 0}))
    assert {line.get("address") for line in hidden} == {None}
    with connected.begin() as session:
        assert reading.count_old_addresses(session, 0) == reading.forget_addresses(session, 0) > 0
    assert {line.get("address") for line in check(connected.settings)} == {None}
    assert verify(connected, museum) == []
    with connected.read() as session:  # of the deletion itself alone
        assert session.scalars(select(AuditAddress.tenant_id)).all() == [HOUSE]


def test_entries_are_found_by_person_action_subject_and_time(connected: Services, museum: UUID) -> None:
    def find(**wanted: Any) -> list[int]:
        with connected.read() as session:
            found = reading.list_page(session, museum, reading.Query(**wanted), address_days=1)
            return [told.entry.number for told in found]

    with connected.read() as session:
        at = session.get_one(AuditEntry, (museum, 4)).at
        assert reading.list_actions(session, museum) == ["batch_opened"]
    assert find(person="DESK") == list(range(10, 0, -1))
    assert find(person="%") == find(action="signed_in") == find(subject="100%") == []
    assert find(subject="box 3") == [4]
    assert find(since=at)[-1] == 4
    assert find(until=at) == [3, 2, 1]
    with connected.read() as session:
        page = reading.list_page(session, museum, reading.Query(), address_days=1, before=5, limit=2)
    assert [told.entry.number for told in page] == [4, 3]


def test_failed_sign_ins_are_counted_beside_the_chain(connected: Services, museum: UUID) -> None:
    with connected.begin() as session:
        accounts.create_user(session, museum, "jo@museum.example", password="a good long password")
    for email in ("jo@museum.example", "nobody@museum.example"):
        for _ in range(FAILURES_PER_PAIR):
            with pytest.raises(NotAllowed):
                accounts.sign_in(connected, email, "wrong", "192.0.2.9")
        with pytest.raises(TooManyFailures):
            accounts.sign_in(connected, email, "wrong", "192.0.2.9")
    with connected.read() as session:
        assert len(session.scalars(select(SignInFailure)).all()) == 2 * FAILURES_PER_PAIR
        told, before, *_ = reading.list_page(session, museum, reading.Query(), address_days=1)
    assert (told.entry.action, told.entry.subject, told.entry.after) == (
        "sign_in_refused",
        "jo@museum.example",
        {"failures": FAILURES_PER_PAIR},
    )
    assert before.entry.action == "user_created"


def test_old_failures_are_forgotten(connected: Services) -> None:
    with connected.begin() as session:
        at = "now() - interval '2 days'" if connected.engine.dialect.name == "postgresql" else "'2020-01-01 00:00:00'"
        for number in range(3):
            row = f"INSERT INTO sign_in_failures (address, email, at) VALUES ('::1', 'a{number}', {at})"
            session.execute(text(row))
    with pytest.raises(NotAllowed):
        accounts.sign_in(connected, "b", "wrong", "::1")
    with connected.read() as session:
        assert session.scalars(select(SignInFailure.email)).all() == ["b"]


BEFORE = "6d1b8e42c9a3"


def test_entries_from_before_are_taken_into_the_chain(database_url: str, tmp_path: Path) -> None:
    """Also those that the version before writes until the migration is finished."""

    def write(action: str, subject: str) -> None:
        values = {"i": key(audit_id := UUID(int=len(written) + 1)), "t": key(tenant_id), "a": action, "s": subject}
        values["d"] = "2026-11-01 00:00:00.000000"
        written.append(audit_id)
        with services.begin() as session:
            row = "INSERT INTO audit (id, tenant_id, at, action, subject) VALUES (:i, :t, :d, :a, :s)"
            session.execute(text(row), values)

    def key(id_: UUID) -> str:
        return str(id_) if services.engine.dialect.name == "postgresql" else id_.hex

    written: list[UUID] = []
    services = Services.connect(Settings(data=tmp_path / "data", database_url=database_url))
    with services.begin() as session:
        tenant_id = accounts.get_or_create_tenant(session, "museum").id
    database.migrate(services.engine, BEFORE)
    for action, subject in (("batch_paused", "a"), ("sign_in_failed", "::1"), ("batch_resumed", "a")):
        write(action, subject)
    assert database.migrate(services.engine, finish=False) is False
    write("batch_paused", "b")
    with services.begin() as session:
        audit.record(session, "batch_resumed", "b", tenant_id=tenant_id)
    assert database.migrate(services.engine, finish=True) is True
    with services.read() as session:
        entries = select(AuditEntry.action, AuditEntry.subject).where(AuditEntry.tenant_id == tenant_id)
        found = session.execute(entries.order_by(AuditEntry.number))
        assert [tuple(row) for row in found] == [
            ("batch_paused", "a"),
            ("batch_resumed", "a"),
            ("chain_begun", "the 2 entries"),
            ("batch_resumed", "b"),
            ("batch_paused", "b"),
        ]
    assert verify(services, tenant_id) == []
    services.engine.dispose()
