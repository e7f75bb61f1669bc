"""Which pages a photo has, by what ingest found. Most photos are one page, of which nothing is said."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retint.region import WHOLE, Region

PHOTOGRAPH, THUMBNAIL, MASK, INFRARED = "photograph", "thumbnail", "mask", "infrared"
"""What a page is. Photographs have layers and previews of their own, thumbnails get the layers of the photograph before
them, masks and infrared pictures stay as they are."""

PREVIEW_SIDE = 2048
"""Most pixels of the long side of a photo's preview."""


@dataclass(frozen=True)
class Page:
    """A page that is a photograph.

    Attributes:
        number: in the file, from 1.
        is_first: whether it is the first photograph of the file.
        facts: what ingest found out about it: `width`, `height`, `bits`, `kind` …
    """

    number: int
    is_first: bool
    facts: Mapping[str, Any]

    @property
    def can_be_zoomed(self) -> bool:
        """Whether its result is a picture that shows more than the preview; False before ingest, and for films."""
        facts = self.facts
        return not facts.get("film") and max(facts.get("width", 0), facts.get("height", 0)) > PREVIEW_SIDE

    @property
    def region(self) -> Region:
        """Where the picture lies on the page; the whole page for films, and before ingest."""
        return Region.from_facts(self.facts["region"]) if "region" in self.facts else WHOLE

    @property
    def proxy_name(self) -> str:
        """The name of the file that networks look at: `crop` where that is not the page as it is.

        A worker of the version before knows no regions and would apply what it decides to the whole page. It looks for
        `proxy`, and leaves the photo to another worker.
        """
        is_page = self.region.is_whole and not self.facts.get("inverted")
        return self.spell("proxy" if is_page else "crop")

    def spell(self, name: str) -> str:
        """Return the name of this page's file of a kind: `color`, of further pages `color-2`."""
        return name if self.is_first else f"{name}-{self.number}"


def list_photographs(facts: Mapping[str, Any]) -> list[Page]:
    """List the pages of a photo that are photographs, by the facts of ingest: at least one."""
    found = [page for page in facts.get("pages", ()) if page["role"] == PHOTOGRAPH]
    further = [Page(page["number"], False, page) for page in found[1:]]
    return [Page(found[0]["number"] if found else 1, True, facts), *further]


def find_entry(facts: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return what is known of one page of several, by its number."""
    entry: dict[str, Any] = next(page for page in facts["pages"] if page["number"] == number)
    return entry


def merge_sentences(said: Mapping[int, list[str]]) -> list[str]:
    """Return each sentence once, with the numbers of the pages that it is about, unless it is about all of them.

    Args:
        said: sentences by the number of the page.
    """
    pages: dict[str, list[int]] = {}
    for number, sentences in said.items():
        for sentence in dict.fromkeys(sentences):
            pages.setdefault(sentence, []).append(number)
    return [
        sentence if len(numbers) == len(said) else f"{_name(numbers)}: {sentence}"
        for sentence, numbers in pages.items()
    ]


def _name(numbers: list[int]) -> str:
    return f"Page{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
