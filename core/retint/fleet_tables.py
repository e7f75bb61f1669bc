"""The table of fleets: what the operator wants of each, and how many workers it should have now (see `demand`)."""

from datetime import datetime
from typing import Any

from sqlalchemy import Double, String, text
from sqlalchemy.orm import Mapped, mapped_column

from retint.lifecycle import FIRST_WAIT_S, Mode
from retint.schema import Table


class Fleet(Table):
    """How many workers of a queue the operator wants, and the newest demand, which the dispatcher writes."""

    __tablename__ = "fleets"
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    mode: Mapped[Mode | None] = mapped_column(doc="NULL until somebody chose: automatic on a cluster, else fixed.")
    wanted: Mapped[int] = mapped_column(default=1, doc="Number of workers of a fixed fleet.")
    least: Mapped[int] = mapped_column(default=0, server_default=text("0"), doc="Of an automatic fleet.")
    most: Mapped[int | None] = mapped_column(doc="Of an automatic fleet; NULL for as many as the installation allows.")
    wait_s: Mapped[float] = mapped_column(
        Double, default=FIRST_WAIT_S, server_default=text(f"{FIRST_WAIT_S:g}"), doc="How long work may wait."
    )
    demand: Mapped[int | None] = mapped_column(doc="Workers that it should have; NULL until the first assessment.")
    work: Mapped[dict[str, Any] | None] = mapped_column(doc="What the demand was made from: demand.Work as JSON.")
    rule: Mapped[str | None] = mapped_column(String(16), doc="What decided it: demand.Rule.")
    assessed_at: Mapped[datetime | None]
    lower_since: Mapped[datetime | None] = mapped_column(doc="Since when fewer workers than the demand would do.")
    lower_peak: Mapped[int | None] = mapped_column(doc="The most that were needed since then.")
    short_since: Mapped[datetime | None] = mapped_column(doc="Since when fewer workers live than the demand.")
