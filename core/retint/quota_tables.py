"""The table of quotas: what an institution may use, and what it uses. Only migrations change the schema."""

import uuid

from sqlalchemy import BigInteger, ForeignKey, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from retint.schema import Table


class Quota(Table):
    """What an institution may use, NULL where nothing limits it, and what it keeps.

    Triggers on `photos` and `uploads` keep the counts, so that they are exact whichever version writes those tables.
    The row is the lock, too: whoever adds to the counts holds it to the end of the transaction.
    """

    __tablename__ = "quotas"
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    most_bytes: Mapped[int | None] = mapped_column(BigInteger, doc="Of originals, kept and reserved together.")
    most_in_flight: Mapped[int | None] = mapped_column(Integer, doc="Photos that wait or run.")
    highest_priority: Mapped[int | None] = mapped_column(Integer, doc="That its people may ask for, 0 to 9.")
    per_minute: Mapped[int | None] = mapped_column(Integer, doc="API requests; NULL for the usual number.")
    per_second: Mapped[int | None] = mapped_column(Integer, doc="API requests in a burst; NULL for the usual number.")
    photos: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"), doc="Originals that are kept.")
    kept_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"), doc="Their bytes.")
    reserved_bytes: Mapped[int] = mapped_column(
        BigInteger, default=0, server_default=text("0"), doc="Bytes of open uploads, as they were announced."
    )

    @property
    def used_bytes(self) -> int:
        """Bytes that count against `most_bytes`."""
        return self.kept_bytes + self.reserved_bytes
