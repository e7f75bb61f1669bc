"""What a film says of itself in words: which of its tags its result inherits, and which a container does not take."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import av.container

NOT_INHERITED = {
    *("encoder", "major_brand", "minor_version", "compatible_brands", "duration", "xmp", "digital_source_type"),
    *("software", "bps", "number_of_frames", "number_of_bytes", "source_id"),
}
"""Tags of the original that describe its container or its bytes, or that Retint writes itself."""
STATISTICS = "_statistics_"
"""What the names of Matroska's tags about other tags begin with."""
TECHNICAL = {"handler_name", "vendor_id", "language", "creation_time", "timecode", "comment", "reel_name"}
"""Tags that every container keeps in a form of its own, or that are looked for by themselves."""


def inherited_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the original's tags that are still true of its result."""
    return {
        name: value
        for name, value in metadata.items()
        if name.lower() not in NOT_INHERITED and not name.lower().startswith(STATISTICS)
    }


def name_lost_tags(film: Any, result: Path, container_name: str) -> list[str]:
    """Return sentences about what the original, a `Film`, says and its result does not."""
    with av.open(str(result.resolve()), metadata_errors="replace") as container:
        kept = {name.lower() for name in _all_tags(container)}
        has_timecode = "timecode" in kept
    lost = {name for name in _all_tags(film.container) if name.lower() not in kept | TECHNICAL}
    notes = []
    if lost:
        names = ", ".join(sorted(lost))
        notes.append(f"Tags of the film are left out, because {container_name} cannot hold them: {names}.")
    if film.timecode and not has_timecode:
        notes.append(f"The timecode ({film.timecode}) is left out, because {container_name} cannot hold it.")
    return notes


def _all_tags(container: av.container.InputContainer) -> Iterator[str]:
    """Yield the names of all tags that could be inherited."""
    sources: Iterable[Mapping[str, str]] = [container.metadata, *(each.metadata for each in container.streams)]
    for metadata in sources:
        yield from inherited_tags(metadata)
