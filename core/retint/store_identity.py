"""Which store belongs to which database: an id that both have, and a mark that only grows.

Where the ids differ, nothing is written and nothing is deleted. A database gets its id when it is first asked for. A
store takes the id of the first database that fits it: an empty database fits an empty store; after an upgrade from a
version without identities, a database fits the store that has the originals of its photos. From then on the two belong
together.

The mark tells an older copy of the database, such as a dump that was restored, from the newest one. It grows at the
start of every sweep, and minutes after a deposit: first in the database, then in the store, so that a crash between
leaves the store's never larger. A database whose mark is smaller than the store's has forgotten something: nothing is
swept until an operator says so. What happened since the mark last grew is not told. It is safe nevertheless: the sweep
never deletes an original, nor a file that any later state of the database may name (see `sweeps`).

Nothing is asked of a store but to overwrite one small blob. Two processes that do so at the same time may leave the
smaller mark, which grows again at the next sweep.
"""

import json
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from sqlalchemy import inspect, select, update
from sqlalchemy.orm import Session

from retint import audit
from retint.columns import new_id, now
from retint.database import NO_SYNC
from retint.errors import NotFound, Refused, Transient
from retint.filetypes import content_type_for
from retint.store_tables import StoreIdentity, Sweep
from retint.stores import BlobStore, keys
from retint.tables import Leader, Photo

if TYPE_CHECKING:
    from retint.services import Services

SAMPLE: Final = 10
"""How many of the oldest photos, and of the newest, show whether a store has a database's originals."""
ROLE: Final = "store_identity"
"""Role of the process that gives a database its id."""

log = structlog.get_logger()


class WrongStore(Refused):
    """Database and store do not belong together."""

    code = "wrong_store"
    status = 503


NOBODY: Final = StoreIdentity(id=UUID(int=0), mark=0)
"""Stands for the side that has no identity."""


def identify(services: "Services") -> StoreIdentity:
    """Return the database's identity; one that has none gets it now, whichever process asks first.

    Raises:
        Refused: the database has no schema, or that of an older version.
    """
    services = services.for_house()
    with services.read() as session:
        if found := _read(session):
            return found
    with services.begin() as session:
        session.add(lead := Leader(role=ROLE, holder=ROLE, until=now()))
        session.flush()  # waits for another process that makes one, until it has committed
        found = _read(session)
        if found is None:
            session.add(found := StoreIdentity(id=new_id(), mark=0))
        session.delete(lead)
    return found


def verify(services: "Services") -> None:
    """Compare database and store, and join them where neither knows another one and they fit.

    An older copy of the right database passes; the log tells.

    Raises:
        WrongStore: they do not belong together; the message says what to do.
        Transient: the database or the store did not answer.
    """
    services = services.for_house()
    own, theirs = identify(services), _read_store(services.store)
    _require_match(services, own, theirs)
    if theirs is None:
        _write_store(services.store, own)
        theirs = _read_store(services.store)
        _require_same(own, theirs)  # another database may have been as fast
    if own.mark == 0:
        with services.begin() as session:
            session.execute(update(StoreIdentity).where(StoreIdentity.mark == 0).values(mark=1))
        own = StoreIdentity(id=own.id, mark=1)
        log.info("store_joined", id=str(own.id))
    services.verified.set()
    try:
        _require_newest(own, theirs)
    except WrongStore as error:
        log.warning("database_older_than_store", reason=error.message)


def verify_once(services: "Services") -> None:
    """Compare database and store unless this process has done so (see `verify`): before it writes into the store."""
    if not services.verified.is_set():
        verify(services)


def verify_at_start(services: "Services") -> None:
    """Compare database and store if both answer (see `verify`); who writes into the store does so in any case."""
    try:
        verify(services)
    except Transient as error:
        log.warning("store_not_verified", reason=error.message)


def check(services: "Services") -> None:
    """Compare database and store, and change nothing (for `retint doctor`).

    Raises:
        WrongStore: they do not belong together, or the database is older.
    """
    with services.read() as session:
        own = _read(session) or NOBODY
    theirs = _read_store(services.store)
    _require_match(services, own, theirs)
    _require_newest(own, theirs)


def grow(services: "Services") -> None:
    """Compare database and store, and let the mark grow in both; before each sweep, and now and then.

    Raises:
        WrongStore: they do not belong together, or the database is older.
        Transient: the database or the store did not answer.
    """
    verify(services)
    check(services)
    with services.begin() as session:
        grown = update(StoreIdentity).values(mark=StoreIdentity.mark + 1)
        row = session.execute(grown.returning(StoreIdentity.id, StoreIdentity.mark), execution_options=NO_SYNC).one()
    _write_store(services.store, StoreIdentity(id=row.id, mark=row.mark))


def adopt(services: "Services") -> StoreIdentity:
    """Join this database and this store, whatever they knew before, because an operator says so.

    If they were joined with others, both get a new id, so that the others' processes refuse to work with either.
    """
    own = identify(services)
    try:
        theirs = _read_store(services.store) or NOBODY
    except WrongStore:
        theirs = NOBODY
    id_ = own.id if own.id == theirs.id else new_id()
    joined = StoreIdentity(id=id_, mark=max(own.mark, theirs.mark) + 1)
    with services.begin() as session:
        session.execute(update(StoreIdentity).values(id=joined.id, mark=joined.mark), execution_options=NO_SYNC)
        session.execute(update(Sweep).values(cursor=None, stopped=None), execution_options=NO_SYNC)
        audit.record(session, "store_adopted", joined.id, before={"id": own.id}, after={"id": joined.id})
    _write_store(services.store, joined)
    log.info("store_adopted", id=str(joined.id), mark=joined.mark)
    return joined


def count_originals(services: "Services") -> tuple[int, int]:
    """Look for the originals of the oldest and the newest photos; return how many are in the store, of how many."""
    with services.read() as session:
        chosen = {
            photo.id: photo.original_key
            for order in (Photo.id, Photo.id.desc())
            for photo in session.scalars(select(Photo).order_by(order).limit(SAMPLE))
        }
    return sum(_has(services.store, key) for key in chosen.values()), len(chosen)


def _require_match(services: "Services", own: StoreIdentity, theirs: StoreIdentity | None) -> None:
    """Raise WrongStore unless both have the same id, or neither has been joined and they fit."""
    if theirs is None and own.mark == 0:
        _require_fit(services)
    else:
        _require_same(own, theirs)


def _require_fit(services: "Services") -> None:
    found, of = count_originals(services)
    if 2 * found < of:
        raise WrongStore(
            f"The store has the originals of only {found} of {of} photos of the database that were looked for: "
            f"{_CORRECT}"
        )
    if of == 0 and next(services.store.list(keys.ROOT), None):
        raise WrongStore(f"The database knows no photos, but the store has files of photos: {_RESTORE}")


def _require_same(own: StoreIdentity, theirs: StoreIdentity | None) -> None:
    if theirs is None:
        raise WrongStore(f"The store is not the one of this database, or has lost its identity: {_CORRECT}")
    if own.id != theirs.id and own.mark == 0:
        raise WrongStore(f"The database is new, and the store belongs to another one: {_RESTORE}")
    if own.id != theirs.id:
        raise WrongStore(f"The store belongs to another database: {_CORRECT}")


def _require_newest(own: StoreIdentity, theirs: StoreIdentity | None) -> None:
    if theirs and own.mark < theirs.mark:
        raise WrongStore(
            f"The store knows more than the database, which is an older copy (its mark is {own.mark}, the store's "
            f"{theirs.mark}): nothing is swept until `retint admin adopt-store` says that this is the right database."
        )


def _read(session: Session) -> StoreIdentity | None:
    if not inspect(session.connection()).has_table(StoreIdentity.__tablename__):
        raise Refused("The database is not set up for this version: run `retint admin migrate`.", code="not_migrated")
    return session.scalar(select(StoreIdentity))


def _read_store(store: BlobStore) -> StoreIdentity | None:
    try:
        with store.open(keys.IDENTITY) as blob:
            values = json.loads(blob.read())
        return StoreIdentity(id=UUID(values["id"]), mark=int(values["mark"]))
    except NotFound:
        return None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise WrongStore(f"The store's identity ({keys.IDENTITY}) cannot be read: restore it, {_ADOPT}") from error


def _write_store(store: BlobStore, identity: StoreIdentity) -> None:
    values = {"what": "the identity of a store of Retint", "id": str(identity.id), "mark": identity.mark}
    store.put(keys.IDENTITY, json.dumps(values).encode(), content_type_for(keys.IDENTITY))


def _has(store: BlobStore, key: str) -> bool:
    try:
        store.size(key)
    except NotFound:
        return False
    return True


_ADOPT: Final = "or join the two on purpose with `retint admin adopt-store`."
_CORRECT: Final = f"correct RETINT_STORE_URL or RETINT_DATABASE_URL, {_ADOPT}"
_RESTORE: Final = f"restore the dump of the right database, correct RETINT_DATABASE_URL, {_ADOPT}"
