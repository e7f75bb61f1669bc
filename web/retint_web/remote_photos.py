"""Photos that a person or a program names by a web address, for pages and API alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from uuid import UUID

from flask import current_app, g

from retint import photos, remote
from retint.columns import new_id
from retint.tables import Batch, Job
from retint.tenancy import get_owned
from retint_web import services


def deposit(batch_id: UUID, address: str, name: str | None = None) -> Job:
    """Fetch a photo from a web address and deposit it in a batch.

    Args:
        batch_id: the batch that receives the photo.
        address: http or https.
        name: the photo's name; by default the name that the web server gives.

    Raises:
        Refused: the batch accepts nothing, the address cannot be fetched, or the file is not accepted.
    """
    with services().begin() as session:
        get_owned(session, Batch, g.identity.tenant_id, batch_id)
    with fetch(address) as (server_name, source):
        return photos.deposit(services(), g.identity.tenant_id, batch_id, name or server_name, source)


@contextmanager
def fetch(address: str) -> Iterator[tuple[str, BinaryIO]]:
    """Fetch a file from a web address and yield its name and its bytes; the copy is deleted afterwards.

    Raises:
        Refused: the address cannot be fetched.
    """
    settings = services().settings
    path = photos.make_spool_folder(settings) / f"{photos.SPOOL_PREFIX}{new_id()}"
    try:
        name = remote.fetch(
            address.strip(), path, settings.upload_limit_mib << 20, policy=current_app.config["ACCESS_POLICY"]
        )
        with path.open("rb") as source:
            yield name, source
    finally:
        path.unlink(missing_ok=True)
