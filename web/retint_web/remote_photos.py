"""Photos that a person or a program names by a web address, for pages and API alike."""

from dataclasses import dataclass
from functools import partial
from uuid import UUID

from flask import current_app, g

from retint import photos, quotas, remote
from retint.jobs import in_flight
from retint.photos import Incoming
from retint.tables import Batch, Job
from retint.tenancy import get_owned
from retint_web import services
from retint_web.places import Place
from retint_web.waiting import Connection, wait_for


@dataclass(frozen=True)
class RemotePhoto:
    """A photo that was fetched, as the source of an original."""

    name: str
    """As its server calls it."""
    incoming: Incoming

    def fill(self, incoming: Incoming) -> Incoming:
        """Return what was fetched."""
        return self.incoming


def deposit(batch_id: UUID, address: str, name: str | None = None) -> Job:
    """Fetch a photo from a web address and deposit it in a batch.

    Args:
        batch_id: the batch that receives the photo.
        address: http or https.
        name: the photo's name; by default the name that the web server gives.

    Raises:
        Refused: the batch accepts nothing, the address cannot be fetched, or the file is not accepted.
    """
    with services().read() as session:
        get_owned(session, Batch, g.identity.tenant_id, batch_id)
        in_flight.refuse_full(session, g.identity.tenant_id)
    photo = fetch(address)
    return photos.deposit(services(), g.identity.tenant_id, batch_id, name or photo.name, photo)


def fetch(address: str) -> RemotePhoto:
    """Fetch a photo. To be called before anything is changed (see `retint_web.waiting`).

    Raises:
        Refused: the address cannot be fetched.
    """

    def begin() -> _Fetch:
        with services().read() as session:
            quotas.check_bytes(session, g.identity.tenant_id, 1)
        return _Fetch(address.strip())

    return wait_for("photo", begin)


class _Fetch:
    """Download a photo, hash it and send it on to the store, all at the same time."""

    def __init__(self, address: str) -> None:
        settings = services().settings
        self._address, self._policy = address, current_app.config["ACCESS_POLICY"]
        self._limit_bytes = settings.upload_limit_mib << 20
        self._incoming = Incoming(services(), g.identity.tenant_id)
        self._place = Place.take(settings, g.identity.actor_id, None)

    async def run(self, connection: Connection) -> RemotePhoto:
        write = partial(connection.run, self._incoming.write)
        name = await remote.download(self._address, write, self._limit_bytes, policy=self._policy)
        return RemotePhoto(name, self._incoming)

    def end(self) -> None:
        self._place.leave()
        self._incoming.discard()
