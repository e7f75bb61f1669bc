"""What a hand-over holds, as a person asks for it."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

GIGABYTE: Final = 10**9
LEAST_BAG, USUAL_BAG, MOST_BAG = 100 * 10**6, 20 * GIGABYTE, 2000 * GIGABYTE


class Options(BaseModel):
    """What a hand-over holds, and how large its bags are. Provenance and PREMIS events are always there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    which: Literal["all", "approved"] = Field("all", description="All results, or only those that were approved.")
    originals: bool = Field(True, description="Whether the originals are there, too.")
    layers: bool = Field(False, description="Whether the networks' decisions are there, too.")
    access_px: int | None = Field(
        None, ge=200, le=10_000, description="Longer side of a JPEG of each result for looking at; null for none."
    )
    mark: bool = Field(False, description="Whether these have the palette in the corner, which says what colors are.")
    bag_bytes: int = Field(
        USUAL_BAG,
        ge=LEAST_BAG,
        le=MOST_BAG,
        description="Bytes after which a new bag begins; one photo may be larger.",
    )
