"""The words by which photos are found. They are split here, so that both databases find the same.

A word is a run of letters or of digits, without accents and case: `IMG_0001.tif` has `img`, `0001` and `tif`. A query's
words are beginnings, and all of them must be there. Tenant and batch are words, too, with a mark that no other word
has: so the index finds a batch's photos without passing over those of all others.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, bindparam, delete, false, select, text
from sqlalchemy.orm import Session

from retint import database
from retint.catalogue_tables import SearchEntry

MOST_WORDS: Final = 200
"""Most words of an entry; the name's come first."""
MOST_QUERY_WORDS: Final = 20
LONGEST_WORD: Final = 40
"""Most letters of a word that are compared."""
DIGITS: Final = 12
"""To how many digits numbers are filled up, so that 2 comes before 10."""
SORT_LENGTH: Final = 200

_WORD: Final = re.compile(r"[^\W\d_]+|\d+")
_NUMBER: Final = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class Entry:
    """What a job is found by."""

    job_id: UUID
    tenant_id: UUID
    batch_id: UUID
    name: str
    texts: Sequence[str | None] = ()
    """Title, identifier and rights from the catalogue."""


def split(text: str) -> list[str]:
    """Split a text into its words."""
    plain = text.casefold()
    if not plain.isascii():
        decomposed = unicodedata.normalize("NFKD", plain)
        plain = "".join(character for character in decomposed if not unicodedata.combining(character)).casefold()
    return [word[:LONGEST_WORD] for word in _WORD.findall(plain)]


def sort_key(name: str) -> str:
    """Return what orders names for people: without case, and by the value of the numbers in them."""
    return _NUMBER.sub(lambda number: number[0].zfill(DIGITS), name.casefold())[:SORT_LENGTH]


def write(session: Session, entries: Sequence[Entry]) -> None:
    """Write by what jobs are found, in place of what is there."""
    if entries:
        added = database.insert(session, SearchEntry)
        newer = {"words": added.excluded.words}
        session.execute(
            added.on_conflict_do_update(index_elements=[SearchEntry.job_id], set_=newer), make_rows(entries)
        )


def forget(session: Session, job_ids: Collection[UUID]) -> None:
    """Let jobs be found no more: others took their places."""
    session.execute(delete(SearchEntry).where(SearchEntry.job_id.in_(job_ids)), execution_options=database.NO_SYNC)


def make_rows(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Make the rows of the table `search_entries`."""
    return [
        {
            "job_id": entry.job_id,
            "tenant_id": entry.tenant_id,
            "batch_id": entry.batch_id,
            "sort_name": sort_key(entry.name),
            "words": " ".join((*_marks(entry.tenant_id, entry.batch_id), *_words_of(entry))),
        }
        for entry in entries
    ]


def select_matches(session: Session, tenant_id: UUID, batch_id: UUID | None, query: str) -> Select[int]:
    """Select the ids of the entries of a tenant, or of one of its batches, that have all words of a query.

    A query without a word finds nothing.
    """
    wanted = list(dict.fromkeys(split(query)))[:MOST_QUERY_WORDS]
    if not wanted:
        return select(SearchEntry.id).where(false())
    mark = _marks(tenant_id, batch_id)[-1]
    if session.get_bind().dialect.name == "postgresql":
        condition = text("search_entries.words @@ CAST(:wanted AS tsquery)")
        spelled = " & ".join((f"'{mark}'", *(f"'{word}':*" for word in wanted)))
    else:
        condition = text("search_entries.id IN (SELECT rowid FROM search_index WHERE search_index MATCH :wanted)")
        spelled = " ".join((f'"{mark}"', *(f'"{word}"*' for word in wanted)))
    return select(SearchEntry.id).where(condition.bindparams(bindparam("wanted", spelled)))


def _marks(tenant_id: UUID, batch_id: UUID | None) -> list[str]:
    return [f"~t{tenant_id.hex}", *([f"~b{batch_id.hex}"] if batch_id else [])]


def _words_of(entry: Entry) -> list[str]:
    found = split(" ".join((entry.name, *filter(None, entry.texts))))
    return list(dict.fromkeys(found))[:MOST_WORDS]
