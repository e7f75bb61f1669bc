"""Where the results of `retint restore` go: no other file is written over, and nothing is made twice."""

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
from retint_workers.imaging import formats, verify
from retint_workers.sandbox import run_in_child

Source = Path | str
"""A file, or a web address as text."""


class Destinations:
    """Chooses the paths of one run's results.

    Args:
        out: the folder of the results.
        recipe: the run's.
        settings: tell where weights are.
        taken: paths that are not free, such as the originals'. The chosen ones are added.
    """

    def __init__(self, out: Path, recipe: Recipe, settings: Settings, taken: set[Path]) -> None:
        self.out, self.recipe, self.settings = out, recipe, settings
        self._taken = taken
        cards = read_cards(settings.weights)
        self._weights = {cards[name].sha256 for name in (recipe.colorizer, recipe.defader) if name in cards}

    def choose(self, file: Path) -> tuple[Path, bool]:
        """Choose the path of a file's result, and say whether this result exists already (same recipe and networks).

        An earlier result of the same file may be replaced. Any other file of that name stays, and the result gets a
        number.

        Raises:
            InvalidPhoto: the file is neither a photo nor a film.
        """
        suffix = self._result_suffix(file)
        original = hash_file(file)
        record: dict[str, str] = {}

        def is_free(candidate: Path) -> bool:
            record.clear()
            if candidate.is_file():
                read = film_render.read_provenance if decoder.is_film(candidate) else verify.read_record_of_file
                record.update(run_in_child(read, self.settings, lambda: None, candidate))
            return not candidate.exists() or record.get("OriginalSHA256") == original

        output = self._choose_free(self.out / file.name, suffix, is_free)
        return output, bool(record) and self._is_same_result(record)

    def _result_suffix(self, file: Path) -> str:
        if decoder.is_film(file):
            return run_in_child(film_render.result_suffix, self.settings, lambda: None, file)
        with file.open("rb") as content:
            return PHOTO_SUFFIXES[formats.sniff(content.read(64))]

    def _choose_free(self, path: Path, suffix: str, is_free: Callable[[Path], bool]) -> Path:
        """Return the path with this suffix, and with a number where it is taken or not free."""
        candidate, number = path.with_suffix(path.suffix if path.suffix.lower() == suffix else suffix), 1
        while candidate.resolve() in self._taken or not is_free(candidate):
            number += 1
            candidate = path.with_name(f"{path.stem}-{number}{suffix}")
        self._taken.add(candidate.resolve())
        return candidate

    def _is_same_result(self, record: Mapping[str, str]) -> bool:
        used = {layer.get("weights") for layer in json.loads(record.get("Networks", "{}")).values()}
        return record.get("RecipeSHA256") == self.recipe.hash and used <= self._weights


def move_results(files: Mapping[str, Path], output: Path, *, keep_layers: bool) -> None:
    """Move a result to its place, and its layers and provenance beside it if they are to be kept.

    An earlier result is replaced in one step.
    """
    if keep_layers:
        for name in ("color", "density"):
            if name in files:
                files[name].replace(output.with_name(f"{output.stem}.{files[name].name}"))
        files["provenance"].replace(output.with_name(f"{output.stem}.json"))
    files["result"].replace(output)


# --- a dry run --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlannedFile:
    """What `restore` would do with one file.

    Attributes:
        file: the file or address.
        output: where its result would go; None where it would be refused.
        reason: why it would be refused; else None.
        is_done: whether the result exists already.
        description: format and size, in words.
    """

    file: Source
    output: Path | None
    reason: str | None = None
    is_done: bool = False
    description: str = ""


def plan(files: Sequence[Source], out: Path, recipe: Recipe, settings: Settings) -> Iterator[PlannedFile]:
    """Say what `restore` would do with the same arguments, as far as headers tell. Nothing is written or fetched.

    Raises:
        InvalidRequest: the recipe names a network or a setting that is not available here.
    """
    recipes.check(recipe, settings.weights)
    destinations = Destinations(out, recipe, settings, {file.resolve() for file in files if isinstance(file, Path)})
    for file in files:
        if isinstance(file, str):
            yield PlannedFile(file, out, description="on the web")
            continue
        try:
            if not file.is_file():
                raise InvalidRequest(f"There is no file {file}.")
            output, is_done = destinations.choose(file)
            yield PlannedFile(file, output, is_done=is_done, description=_describe(file, settings))
        except RetintError as error:
            yield PlannedFile(file, None, error.message)


def _describe(file: Path, settings: Settings) -> str:
    """Describe a file by its header: format and size.

    Raises:
        InvalidPhoto: it is not a photograph that can be restored.
    """
    size = f"{file.stat().st_size / (1 << 20):.1f} MiB"
    if decoder.is_film(file):
        return f"film, {size}"
    header = run_in_child(formats.read_header, settings, lambda: None, file, settings.pixel_limit_mp)
    width, height = header.upright_size
    return f"{header.format.upper()}, {width} x {height}, {header.bits} bits, {size}"
