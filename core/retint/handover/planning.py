"""Which files a hand-over has, and where they lie in its bags."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Final
from uuid import UUID

from retint.handover import bags
from retint.handover.options import Options
from retint.lifecycle import State, Verdict
from retint.reports import ReportRow
from retint.stores import keys


class Kind(StrEnum):
    """What a file of a bag is."""

    ORIGINAL = "original"
    RESULT = "result"
    ACCESS = "access"
    LAYER = "layer"
    PROVENANCE = "provenance"
    TAG = "tag"


FOLDERS: Final = {
    # Archivematica moves `data/objects` to where its objects are, and our own intake of catalogues knows that name.
    Kind.ORIGINAL: "objects",
    Kind.RESULT: "results",
    Kind.ACCESS: "access",
    Kind.LAYER: "layers",
    Kind.PROVENANCE: "provenance",
}
"""Folders of the payload."""
LAYERS: Final = ("color", "density")
"""Files of layers; those of further pages end with a number."""


@dataclass(frozen=True)
class Planned:
    """A file of a hand-over: what it is, where it lies in its bag and in the store, its SHA-256 where that is known."""

    kind: Kind
    path: str
    key: str
    job_id: UUID
    sha256: str | None = None


@dataclass
class Plan:
    """Plans the files of one hand-over, photo by photo; paths are unique among all bags.

    Args:
        tenant_id: the institution.
        handover_id: the hand-over.
        options: what it holds.
    """

    tenant_id: UUID
    handover_id: UUID
    options: Options
    _taken: dict[Kind, set[int]] = field(default_factory=lambda: {kind: set() for kind in FOLDERS})

    def list_files(self, row: ReportRow, written: Mapping[str, str], *, is_withheld: bool) -> Iterator[Planned]:
        """List the files of one deposited photo, the original first.

        Args:
            row: the photo in the batch's report.
            written: every file that its job wrote, name to key.
            is_withheld: whether the catalogue forbids its colors: then its result stays here.
        """
        has_result = row.state is State.RESTORED and "result" in row.files and not is_withheld
        if self.options.which == "approved" and not (has_result and row.said and row.said.verdict is Verdict.APPROVED):
            return
        if self.options.originals:
            suffix = PurePosixPath(row.name).suffix
            yield self._plan(
                Kind.ORIGINAL, row, row.name, suffix, keys.original(self.tenant_id, row.photo_id), row.sha256
            )
        if not has_result or row.result_name is None:
            return
        name, result = row.result_name, row.files["result"]
        yield self._plan(Kind.RESULT, row, name, PurePosixPath(result).suffix, result, row.result_sha256)
        if self.options.access_px is not None:
            key = keys.handover_file(self.tenant_id, self.handover_id, f"access/{row.job_id}.jpg")
            yield self._plan(Kind.ACCESS, row, f"{name}.jpg", ".jpg", key)
        if "provenance" in row.files:
            yield self._plan(Kind.PROVENANCE, row, f"{name}.json", ".json", row.files["provenance"])
        if self.options.layers:
            for layer, key in written.items():
                if layer.partition("-")[0] in LAYERS:
                    suffix = PurePosixPath(key).suffix
                    yield self._plan(Kind.LAYER, row, f"{name}.{layer}{suffix}", suffix, key)

    def _plan(self, kind: Kind, row: ReportRow, name: str, suffix: str, key: str, sha256: str | None = None) -> Planned:
        path = bags.make_path(FOLDERS[kind], name, suffix, self._taken[kind])
        return Planned(kind, path, key, row.job_id, sha256)


def split(sizes: Iterable[tuple[Any, int]], most: int) -> Iterator[tuple[Any, int]]:
    """Put what belongs together into bags of at most so many bytes; what alone is larger has a bag of its own.

    Args:
        sizes: of all files of a photo together, with whatever names it, in their order.
        most: bytes of a bag.

    Returns:
        What names each, with the number of its bag, from 1.
    """
    bag, filled = 1, 0
    for name, size in sizes:
        if filled and filled + size > most:
            bag, filled = bag + 1, 0
        filled += size
        yield name, bag
