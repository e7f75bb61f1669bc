"""Which record of a batch's catalogue belongs to which file.

A record belongs to a file by its path; else by the path without folders, if no other record and no other file has the
same; else by the identifier, which is the file's name without its ending, or its path. Where several could be meant,
none is taken. What is not to be colorized holds for every file that could be meant: a photo that stayed gray can be
colorized later.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from retint import database, words
from retint.catalogue_tables import CatalogueRecord
from retint.database import NO_SYNC
from retint.recipes import Recipe
from retint.tables import Batch, Job, StoredRecipe

_PREFIX: Final = re.compile(r"^(?:(?:data/)?objects|data)/")
"""Folders that Archivematica puts in front of a path."""


@dataclass(frozen=True)
class Known:
    """A record, as far as files are compared with it."""

    id: UUID
    path_key: bytes | None
    base_key: bytes | None
    identifier_key: bytes | None
    do_not_colorize: bool
    contested: bool = False


@dataclass(frozen=True)
class Choice:
    """What the catalogue says of one file."""

    record: UUID | None = None
    do_not_colorize: bool = False
    candidates: tuple[UUID, ...] = ()
    """Records that could be meant, where it is not clear which."""


@dataclass(frozen=True)
class Keys:
    """What a file's name is compared by."""

    path: bytes
    base: bytes
    identifiers: tuple[bytes, ...]


@dataclass
class Catalogue:
    """Records by what files are compared with."""

    paths: dict[bytes, list[Known]] = field(default_factory=dict)
    bases: dict[bytes, list[Known]] = field(default_factory=dict)
    identifiers: dict[bytes, list[Known]] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Known]) -> Self:
        """Sort records."""
        made = cls()
        for record in records:
            for index, key in (
                (made.paths, record.path_key),
                (made.bases, record.base_key),
                (made.identifiers, record.identifier_key),
            ):
                if key is not None:
                    index.setdefault(key, []).append(record)
        return made


def normalize_path(path: str) -> str:
    """Spell a path as deposited files are: with `/`, without a root, and without Archivematica's folders."""
    plain = unicodedata.normalize("NFC", path.strip().replace("\\", "/")).removeprefix("./").lstrip("/")
    return _PREFIX.sub("", plain)


def key_of(text: str) -> bytes:
    """Return a digest of a text, 16 bytes; the same however its accents are encoded."""
    return hashlib.blake2b(unicodedata.normalize("NFC", text).encode(errors="replace"), digest_size=16).digest()


def keys_of(name: str) -> Keys:
    """Return what a name is compared by. Case counts in a whole path, and not in a part of it or an identifier."""
    path = normalize_path(name)
    base = path.rpartition("/")[2].casefold()
    stem = base.rpartition(".")[0] or base
    return Keys(key_of(path), key_of(base), (key_of(stem), key_of(path.casefold())))


def choose(catalogue: Catalogue, names: Collection[str]) -> tuple[dict[str, Choice], set[UUID]]:
    """Choose the record of each file.

    Returns:
        What is chosen, by name, and the records that several files could mean.
    """
    keys = {name: keys_of(name) for name in names}
    by_path = {name: catalogue.paths[given.path] for name, given in keys.items() if given.path in catalogue.paths}
    taken = {record.id for records in by_path.values() for record in records}
    guesses = {name: _guess(catalogue, given, taken) for name, given in keys.items() if name not in by_path}
    times = Counter(record.id for records in guesses.values() for record in records)
    contested = {record for record, n in times.items() if n > 1}
    choices = {}
    for name in keys:
        records = by_path.get(name) or guesses[name]
        forbids, ids = any(record.do_not_colorize for record in records), tuple(record.id for record in records)
        is_clear = len(records) == 1 and (name in by_path or not (records[0].contested or ids[0] in contested))
        choices[name] = Choice(ids[0], forbids) if is_clear else Choice(None, forbids, ids)
    return choices, contested


def _guess(catalogue: Catalogue, keys: Keys, taken: Collection[UUID]) -> list[Known]:
    """List the records that a file without one of its path may have: those that no other file has by its path."""
    if found := [record for record in catalogue.bases.get(keys.base, ()) if record.id not in taken]:
        return found
    named = (record for key in keys.identifiers for record in catalogue.identifiers.get(key, ()))
    return list({record.id: record for record in named if record.id not in taken}.values())


def keep_colors(recipe: Mapping[str, Any]) -> Recipe | None:
    """Return a recipe without its colorizer; None where it has none."""
    given = Recipe.model_validate(recipe)
    if given.colorizer == "keep":
        return None
    return given.model_copy(update={"colorizer": "keep", "colorizer_settings": {}})


def store_recipe(session: Session, recipe: Recipe) -> str:
    """Store a recipe that jobs name by its hash, and return that."""
    row = {"hash": recipe.hash, "recipe": json.loads(recipe.canonical)}
    session.execute(database.insert(session, StoredRecipe).on_conflict_do_nothing(), row)
    return recipe.hash


def look_up(session: Session, batch: Batch, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Look up what a batch's catalogue says of files that are added: what their jobs' rows have, by name.

    A file takes the record of its path from one that had it otherwise. Where a second file could be meant, the first
    one loses its record, too.
    """
    nothing = {"record_id": None, "recipe_hash": None}
    if not _has_catalogue(session, batch):
        return dict.fromkeys(names, nothing)
    holders, choices, contested = _choose(session, batch, names)
    lost = [name for name, record in holders.items() if choices[name].record != record]
    if lost:
        given_up = update(Job).where(Job.record_id.in_({holders[name] for name in lost}), Job.name.in_(lost))
        session.execute(given_up.values(record_id=None), execution_options=NO_SYNC)
    if contested:
        mark = update(CatalogueRecord).where(CatalogueRecord.id.in_(contested)).values(contested=True)
        session.execute(mark, execution_options=NO_SYNC)
    gray = make_gray(session, batch, None) if any(choices[name].do_not_colorize for name in names) else None
    return {
        name: {"record_id": choices[name].record, "recipe_hash": gray if choices[name].do_not_colorize else None}
        for name in names
    }


def obey(session: Session, batch: Batch, rows: Sequence[dict[str, Any]]) -> None:
    """Take the colorizer from the recipe of new jobs that the catalogue forbids to color, whatever was asked for."""
    forbidden = find_forbidden(session, batch, {row["name"] for row in rows})
    for row in rows:
        if row["name"] in forbidden:
            row["recipe_hash"] = make_gray(session, batch, row["recipe_hash"])


def find_forbidden(session: Session, batch: Batch, names: Collection[str]) -> set[str]:
    """Find those of a batch's files that are not to be colorized by any record that could be meant."""
    if not _has_catalogue(session, batch):
        return set()
    _, choices, _ = _choose(session, batch, names)
    return {name for name in names if choices[name].do_not_colorize}


def _has_catalogue(session: Session, batch: Batch) -> bool:
    return session.scalar(select(CatalogueRecord.id).where(CatalogueRecord.batch_id == batch.id).limit(1)) is not None


def _choose(
    session: Session, batch: Batch, names: Collection[str]
) -> tuple[dict[str, UUID | None], dict[str, Choice], set[UUID]]:
    """Choose the records of these files and of those that have one of theirs; also say who has one, as `choose`."""
    known = _load(session, batch.id, names)
    held = select(Job.name, Job.record_id).where(Job.batch_id == batch.id, Job.record_id.in_(known))
    holders = {row.name: row.record_id for row in session.execute(held)}
    return holders, *choose(Catalogue.of(known.values()), {*names, *holders})


def make_gray(session: Session, batch: Batch, recipe_hash: str | None) -> str | None:
    """Return the hash of a recipe without its colorizer: of a job's own, or where it has none of its batch's."""
    recipe = keep_colors(read_recipe(session, batch, recipe_hash))
    return store_recipe(session, recipe) if recipe else recipe_hash


def read_recipe(session: Session, batch: Batch, recipe_hash: str | None) -> dict[str, Any]:
    """Read a job's own recipe, or where it has none its batch's."""
    own = session.scalar(select(StoredRecipe.recipe).where(StoredRecipe.hash == recipe_hash)) if recipe_hash else None
    return own or batch.recipe


def _load(session: Session, batch_id: UUID, names: Collection[str]) -> dict[UUID, Known]:
    """Load the records that these files may have: by their paths, else by the rest of their names."""
    known, keys = CatalogueRecord, {name: keys_of(name) for name in names}
    columns = (known.path_key, known.base_key, known.identifier_key, known.do_not_colorize, known.contested)
    query = select(known.id, *columns).where(known.batch_id == batch_id)
    found = [Known(*row) for row in session.execute(query.where(known.path_key.in_({k.path for k in keys.values()})))]
    by_path = {record.path_key for record in found}
    rest = [given for given in keys.values() if given.path not in by_path]
    identifiers = {key for given in rest for key in given.identifiers}
    guesses = or_(known.base_key.in_({given.base for given in rest}), known.identifier_key.in_(identifiers))
    found += [Known(*row) for row in session.execute(query.where(guesses))] if rest else []
    return {record.id: record for record in found}


def index_words(session: Session, batch: Batch, jobs: Sequence[Job]) -> None:
    """Write by which words jobs are found; tries of trials and proofs are not searched."""
    if not batch.is_deposit or not jobs:
        return
    columns = (CatalogueRecord.id, CatalogueRecord.title, CatalogueRecord.identifier, CatalogueRecord.rights)
    record_ids = {job.record_id for job in jobs if job.record_id}
    rows = session.execute(select(*columns).where(CatalogueRecord.id.in_(record_ids))) if record_ids else ()
    texts: dict[UUID | None, Sequence[str | None]] = {row.id: row[1:] for row in rows}
    words.write(
        session,
        [words.Entry(job.id, job.tenant_id, job.batch_id, job.name, texts.get(job.record_id, ())) for job in jobs],
    )
