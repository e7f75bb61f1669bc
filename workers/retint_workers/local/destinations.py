"""Where the results of `retint restore` go: beside nobody's file but their own, and not twice."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retint import recipes
from retint.digests import hash_file
from retint.errors import InvalidRequest, RetintError
from retint.filetypes import PHOTO_SUFFIXES
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.weights.cards import read_cards
from retint_workers.films import decoder
from retint_workers.films import render as film_render
from retint_workers.imaging import formats, render
from retint_workers.sandbox import run_in_child

Source = Path | str
"""A file, or as text an address on the web."""


class Places:
    """Where the results of one run go.

    Args:
        out: their folder.
        recipe: what is done.
        settings: where weights are.
        taken: paths that are no result's: the originals'. Those that were given are added.
    """

    def __init__(self, out: Path, recipe: Recipe, settings: Settings, taken: set[Path]) -> None:
        self.out, self.recipe, self.settings = out, recipe, settings
        self._taken = taken
        cards = read_cards(settings.weights)
        self._weights = {cards[name].sha256 for name in (recipe.colorizer, recipe.defader) if name in cards}

    def of(self, file: Path) -> tuple[Path, bool]:
        """Name the result of a photo or film, and say whether it is there already, by the same recipe and networks.

        An earlier result of the same file is to be replaced; what else has the name, a photo or another one's
        result, is not.

        Raises:
            InvalidPhoto: it is neither.
        """
        suffix = self._suffix(file)
        original = hash_file(file)
        said: dict[str, str] = {}

        def is_free(candidate: Path) -> bool:
            said.clear()
            if candidate.is_file():
                read = film_render.read_provenance if decoder.is_film(candidate) else render.said_by
                said.update(run_in_child(read, self.settings, lambda: None, candidate))
            return not candidate.exists() or said.get("OriginalSHA256") == original

        output = self.free(self.out / file.name, suffix, is_free)
        return output, bool(said) and self._is_same(said)

    def _suffix(self, file: Path) -> str:
        if decoder.is_film(file):
            return run_in_child(film_render.result_suffix, self.settings, lambda: None, file)
        with file.open("rb") as content:
            return PHOTO_SUFFIXES[formats.sniff(content.read(64))]

    def free(self, path: Path, suffix: str, is_free: Callable[[Path], bool]) -> Path:
        """Name a result as its file; where that is not free in this run, or is an original, with a number."""
        candidate, number = path.with_suffix(path.suffix if path.suffix.lower() == suffix else suffix), 1
        while candidate.resolve() in self._taken or not is_free(candidate):
            number += 1
            candidate = path.with_name(f"{path.stem}-{number}{suffix}")
        self._taken.add(candidate.resolve())
        return candidate

    def _is_same(self, said: Mapping[str, str]) -> bool:
        used = {record.get("weights") for record in json.loads(said.get("Networks", "{}")).values()}
        return said.get("RecipeSHA256") == self.recipe.hash and used <= self._weights


@dataclass(frozen=True)
class Planned:
    """What would become of one file: where its result would go, or why it would be refused."""

    file: Source
    output: Path | None
    reason: str | None
    is_old: bool
    what: str
    """What kind of file it is, in words."""


def plan(files: Sequence[Source], out: Path, recipe: Recipe, settings: Settings) -> Iterator[Planned]:
    """Say what `restore` would do with the same arguments, as far as headers tell. Nothing is written or fetched.

    Raises:
        InvalidRequest: the recipe names or sets what is not here.
    """
    recipes.check(recipe, settings.weights)
    places = Places(out, recipe, settings, {file.resolve() for file in files if isinstance(file, Path)})
    for file in files:
        if isinstance(file, str):
            yield Planned(file, out, None, False, "on the web")
            continue
        try:
            if not file.is_file():
                raise InvalidRequest(f"There is no file {file}.")
            size = f"{file.stat().st_size / (1 << 20):.1f} MiB"
            output, is_old = places.of(file)
            if decoder.is_film(file):
                yield Planned(file, output, None, is_old, f"film, {size}")
                continue
            header = run_in_child(formats.read_header, settings, lambda: None, file, settings.pixel_limit_mp)
        except RetintError as error:
            yield Planned(file, None, error.message, False, "")
            continue
        width, height = header.upright
        what = f"{header.format.upper()}, {width} x {height}, {header.bits} bits, {size}"
        yield Planned(file, output, None, is_old, what)
