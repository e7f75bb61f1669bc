"""Which of a TIFF's pictures is the photograph, and what the others are.

Source: TIFF 6.0 (Adobe, 1992), section 8; TIFF Technical Note 1 (SubIFDs); DNG 1.7 (Adobe, 2023), chapter 2.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from retint.errors import InvalidPhoto
from retint.pages import INFRARED, MASK, PHOTOGRAPH, THUMBNAIL
from retint_workers.containers import tiff
from retint_workers.containers.tiff_pixels import PixelLayout, read_layout
from retint_workers.imaging.vips import damaged_file

NEW_SUBFILE, OLD_SUBFILE = 254, 255
REDUCED_BIT, MASK_BIT = 1, 4
"""Bits of NewSubfileType: a smaller copy of the picture; a mask, which is also how scanners mark infrared."""
OLD_REDUCED = 2
MASK_PHOTOMETRIC = 4
PAGE_NAME, DESCRIPTION = 285, 270
RAW_PHOTOMETRICS = {32803, 34892}
"""A mosaic of color filters, and linear raw data."""
RAW_COMPRESSIONS = {262, 32767, 32769, 32770, 32867, 34713, 34892, 65000, 65535}
"""Of Kodak, Sony, Epson, Samsung, Nikon and Pentax."""
DNG_VERSION = 50706
MAX_SUB_DIRECTORIES = 16
SMALLER_COPY = "A smaller copy of the picture, which the file holds as a page of its own, is left out."
HALF = (0.45, 0.55)
"""By how much a level of a pyramid is smaller than the one before."""


@dataclass(frozen=True)
class Page:
    """One picture of a TIFF: its directory, its layout, and what it says of itself."""

    directory: tiff.Directory
    layout: PixelLayout
    is_nested: bool

    @property
    def is_reduced(self) -> bool:
        """Whether it is a smaller copy of another picture."""
        is_old = tiff.first_number(self.directory, OLD_SUBFILE, 1) == OLD_REDUCED
        return is_old or bool(tiff.first_number(self.directory, NEW_SUBFILE, 0) & REDUCED_BIT)

    @property
    def is_mask(self) -> bool:
        """Whether it is a mask or an infrared picture."""
        return (
            bool(tiff.first_number(self.directory, NEW_SUBFILE, 0) & MASK_BIT)
            or self.layout.photometric == MASK_PHOTOMETRIC
        )

    @property
    def is_raw(self) -> bool:
        """Whether it holds what a camera's sensor saw."""
        return self.layout.photometric in RAW_PHOTOMETRICS or self.layout.compression in RAW_COMPRESSIONS

    def is_half_of(self, other: "Page") -> bool:
        """Whether it has half the width and height of another, as the next level of a pyramid has."""
        ratios = (self.layout.width / other.layout.width, self.layout.height / other.layout.height)
        return all(HALF[0] <= ratio <= HALF[1] for ratio in ratios)


@dataclass(frozen=True)
class Choice:
    """The photograph of a TIFF.

    Attributes:
        page: its page.
        is_first: whether it is the one that readers see who look at the first only.
        first: the first directory, which has the metadata.
        levels: `pages`, `subifds` or empty: where smaller copies lie that make the file a pyramid.
        notes: a sentence for each kind of page that is left out.
    """

    page: Page
    is_first: bool
    first: tiff.Directory
    levels: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def directory(self) -> tiff.Directory:
        """The photograph's directory; what a reader needs and it lacks comes from the first one."""
        from_first = {tag: self.first[tag] for tag in (274, 282, 283, 296, 34675) if tag in self.first}
        inherited: Mapping[int, tiff.Field] = {} if self.is_first else from_first
        return {**inherited, **self.page.directory}


def choose_photograph(reader: tiff.Reader) -> Choice:
    """Find the one photograph among a TIFF's pictures.

    Raises:
        ValueError: a directory lies outside the file.
        InvalidPhoto: there is none, there are several, or the file is a camera's raw data.
    """
    chain = list(reader.directories())
    if not chain:
        raise damaged_file()
    pages = [page for directory in chain for page in _read_pages(reader, directory)]
    if DNG_VERSION in chain[0] or any(page.is_raw for page in pages):
        raise raw_file()
    if not pages:
        raise damaged_file()
    whole = _find_whole(pages)
    if len(whole) > 1:
        raise InvalidPhoto("The TIFF has several pages: save each as a file of its own.", code="several_pages")
    chosen = whole[0] if whole else max(pages, key=lambda page: page.layout.width * page.layout.height)
    others = [page for page in pages if page is not chosen]
    levels = _find_levels(chosen, others)
    notes = _tell_left_out([] if levels else [page for page in others if page.is_reduced], others)
    if not whole:
        notes.append("The file says that its only picture is a smaller copy; a larger one is not in it.")
    return Choice(chosen, chosen.directory is chain[0], chain[0], levels, notes)


@dataclass(frozen=True)
class Group:
    """A page of a TIFF's chain, with the smaller copies behind it that make it a pyramid.

    Attributes:
        number: of the page, from 1; the levels of pyramids are not counted.
        role: `photograph`, `thumbnail`, `mask` or `infrared`.
        page: the page.
        at: index of its directory in the chain.
        levels: the pyramid's smaller levels, which lie in the chain.
    """

    number: int
    role: str
    page: Page
    at: int
    levels: tuple[Page, ...] = ()


def group_pages(reader: tiff.Reader) -> list[Group]:
    """List the pages of a TIFF that has several, in their order; none for a file whose only picture is a photograph.

    Smaller copies before the first photograph are left out, and so is what has no picture. Where the photograph lies
    below another directory, the file counts as one picture, see `choose_photograph`.

    Raises:
        ValueError: a directory lies outside the file.
        InvalidPhoto: the file is a camera's raw data.
    """
    chain = list(reader.directories())
    pages = [page for directory in chain for page in _read_pages(reader, directory)]
    if any(page.is_raw for page in pages) or (chain and DNG_VERSION in chain[0]):
        raise raw_file()
    whole = [page for page in _find_whole(pages) if not page.is_nested]
    groups: list[Group] = []
    for at, directory in enumerate(chain):
        layout = read_layout(directory)
        if layout is None:
            continue
        page = Page(directory, layout, is_nested=False)
        last = [groups[-1].page, *groups[-1].levels][-1] if groups else None
        if last and layout.tile and last.layout.tile and page.is_half_of(last) and not page.is_mask:
            groups[-1] = replace(groups[-1], levels=(*groups[-1].levels, page))
            continue
        groups.append(Group(len(groups) + 1, _find_role(page, whole), page, at))
    photographs = [group for group in groups if group.role == PHOTOGRAPH]
    first = groups.index(photographs[0]) if photographs else 0
    groups = [group for index, group in enumerate(groups) if index >= first or group.role != THUMBNAIL]
    return groups if photographs and len(groups) > 1 else []


def _find_role(page: Page, whole: Sequence[Page]) -> str:
    if any(page.directory is each.directory for each in whole):
        return INFRARED if page.directory is not whole[0].directory and _says_infrared(page) else PHOTOGRAPH
    if not page.is_mask:
        return THUMBNAIL
    return MASK if page.layout.photometric == MASK_PHOTOMETRIC or page.layout.bits[0] < 8 else INFRARED


def _says_infrared(page: Page) -> bool:
    """Whether a gray picture's name or description says so, where NewSubfileType does not."""
    texts = [page.directory[tag].data.lower() for tag in (PAGE_NAME, DESCRIPTION) if tag in page.directory]
    return page.layout.photometric in (0, 1) and any(b"infrared" in text for text in texts)


def _read_pages(reader: tiff.Reader, directory: tiff.Directory) -> Iterator[Page]:
    """Yield a directory's picture and those of the directories that it names."""
    if layout := read_layout(directory):
        yield Page(directory, layout, is_nested=False)
    nested = reader.nested(directory[tiff.SUB_DIRECTORIES]) if tiff.SUB_DIRECTORIES in directory else []
    for inner in nested[:MAX_SUB_DIRECTORIES]:
        if layout := read_layout(inner):
            yield Page(inner, layout, is_nested=True)


def _find_whole(pages: Sequence[Page]) -> list[Page]:
    """Return the pictures that are neither masks nor smaller copies, by what they say and by their sizes."""
    candidates = [page for page in pages if not page.is_reduced and not page.is_mask]
    whole: list[Page] = []
    last = None
    for page in candidates:
        is_level = last is not None and last.layout.tile and page.layout.tile and page.is_half_of(last)
        if not is_level:
            whole.append(page)
        last = page
    nested = [page for page in whole if page.is_nested]
    top = [page for page in whole if not page.is_nested]
    if len(top) == 1 and nested:  # a preview before the photograph, or copies behind it
        return [max(whole, key=lambda page: page.layout.width * page.layout.height)]
    return top or nested


def _find_levels(chosen: Page, others: Sequence[Page]) -> str:
    """Tell where the next smaller level of a pyramid lies: `pages`, `subifds`, or nowhere."""
    halves = [page for page in others if chosen.layout.tile and page.layout.tile and page.is_half_of(chosen)]
    if not halves:
        return ""
    return "subifds" if halves[0].is_nested else "pages"


def _tell_left_out(reduced: Sequence[Page], others: Sequence[Page]) -> list[str]:
    notes = []
    if reduced:
        notes.append(SMALLER_COPY)
    if any(page.is_mask for page in others):
        notes.append("The file's page with a mask or infrared picture is left out of the result.")
    return notes


def raw_file() -> InvalidPhoto:
    """Return the refusal of what a camera's sensor saw."""
    return InvalidPhoto("The file is a camera's raw data: develop it and save it as TIFF.", code="unsupported_format")
