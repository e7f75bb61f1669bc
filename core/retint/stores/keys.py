"""How the keys of blobs are spelled. No other module builds a key or takes one apart.

tenants/<tenant>/photos/<photo>/original
tenants/<tenant>/photos/<photo>/original.rest-<bytes before and in it>
tenants/<tenant>/photos/<photo>/jobs/<job>/<stage>-<attempt>/<file>
tenants/<tenant>/photos/<photo>/jobs/<job>/render-<attempt>/zoom.szi
tenants/<tenant>/handovers/<handover>/<file>
identity/store.json
"""

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from retint.lifecycle import STAGES, Stage

ROOT: Final = "tenants/"
"""Prefix of every key that belongs to a tenant."""

IDENTITY: Final = "identity/store.json"
"""Key of the blob that says to which database the store belongs (see `store_identity`)."""

MAX_LENGTH: Final = 1024
"""Most characters of a key: S3 allows no more."""

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_KEY: Final = re.compile(
    rf"tenants/{_UUID}/photos/(?P<photo>{_UUID})/"
    rf"(?:original(?P<rest>\.rest-\d+)?|jobs/(?P<job>{_UUID})/(?P<stage>{'|'.join(STAGES)})-\d+/.+)"
)

_ZOOM: Final = re.compile(r"zoom(?:-\d+)?\.szi")

PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
"""One part of a key: no `..`, nothing hidden, nothing that needs quoting in a path, an address or a header."""


@dataclass(frozen=True)
class ParsedKey:
    """Whose blob a key names: an original (no job, no stage), or a file that an attempt at a stage of a job wrote."""

    photo_id: UUID
    job_id: UUID | None = None
    stage: Stage | None = None
    is_rest: bool = False
    """Whether it is no original, but a rest of one that is not whole."""


def original(tenant_id: UUID, photo_id: UUID) -> str:
    """Return the key of a photo's original."""
    return f"{ROOT}{tenant_id}/photos/{photo_id}/original"


def rests(key: str) -> str:
    """Return what the keys of a blob's rests begin with: bytes behind its last part while it is not whole."""
    return f"{key}.rest-"


def stage_prefix(tenant_id: UUID, photo_id: UUID, job_id: UUID, stage: Stage) -> str:
    """Return what the keys of all attempts at one stage of a job begin with."""
    return f"{ROOT}{tenant_id}/photos/{photo_id}/jobs/{job_id}/{stage}-"


def attempt_file(tenant_id: UUID, photo_id: UUID, job_id: UUID, stage: Stage, attempt: int, name: str) -> str:
    """Return the key of a file that one attempt writes.

    Args:
        tenant_id: the tenant.
        photo_id: the photo.
        job_id: the job.
        stage: the stage of the attempt.
        attempt: number of the attempt.
        name: the file's name; a `/` in it makes folders.
    """
    return f"{stage_prefix(tenant_id, photo_id, job_id, stage)}{attempt}/{name}"


def handover_file(tenant_id: UUID, handover_id: UUID, name: str) -> str:
    """Return the key of a file that is made for one hand-over alone; a `/` in its name makes folders."""
    return f"{handover_prefix(tenant_id, handover_id)}{name}"


def handover_prefix(tenant_id: UUID, handover_id: UUID) -> str:
    """Return what the keys of all files that are made for one hand-over begin with."""
    return f"{ROOT}{tenant_id}/handovers/{handover_id}/"


def zoom(result: str, name: str) -> str:
    """Return the key of a result's zoom, which lies beside the result.

    Args:
        result: key of the result.
        name: `zoom`, of a further page `zoom-2` (see `pages.Page.spell`).
    """
    return f"{folder(result)}/{name}.szi"


def is_zoom(key: str) -> bool:
    """Whether it is the key of a zoom, if there is a result in its folder."""
    return _ZOOM.fullmatch(key.rpartition("/")[2]) is not None


def folder(key: str) -> str:
    """Return the folder in which an attempt's file lies, which all files of that attempt share."""
    return key.rpartition("/")[0]


def check_file() -> str:
    """Return a new key for the blob that a health check writes and deletes."""
    return f"checks/{uuid4()}"


def parse(key: str) -> ParsedKey | None:
    """Take a key apart; None for a key of another form."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    photo_id = UUID(match["photo"])
    if match["job"] is None:
        return ParsedKey(photo_id, is_rest=match["rest"] is not None)
    return ParsedKey(photo_id, UUID(match["job"]), Stage(match["stage"]))


def validate_key(key: str) -> str:
    """Return a key that is safe as a path and as an address.

    Raises:
        ValueError: the key has an empty, hidden or odd part, or is too long.
    """
    if len(key) > MAX_LENGTH or not all(PART.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"not a key: {key!r}")
    return key
