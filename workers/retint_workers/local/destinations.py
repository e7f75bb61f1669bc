"""Where the results of `retint restore` go: no other file is written over, and nothing is made twice."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any, Final

from retint import recipes
from retint.digests import hash_file
from retint.errors import RetintError, explain
from retint.filetypes import PHOTO_SUFFIXES
from retint.names import NAME_BYTES, shorten, split_suffix
from retint.pages import Page, list_photographs
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.types import Order
from retint_models.weights.cards import read_cards
from retint_workers.beats import beat_for_nobody
from retint_workers.films import decoder
from retint_workers.films import render as film_render
from retint_workers.imaging import ingest, pages, verify
from retint_workers.imaging.decoding import conversion
from retint_workers.local.sources import Source, provide_file
from retint_workers.sandbox.children import run_in_child

PROVENANCE, SHEET = ".json", ".compare.jpg"
LAYERS: Final = ((".color.safetensors", ".density.safetensors"), (".color.mkv", ".density.zip"))
"""Endings of the color layer and the density layer, of a photo and of a film."""
RECORD_BYTES: Final = 1 << 20
"""A larger JSON file is no provenance."""
Identity = tuple[int, ...]
"""Tells whether a path is still the file that was looked at: device, inode, size and time of the last change."""
Record = Mapping[str, str]
"""What a file of Retint says of its making; empty for any other file."""


def is_layer(name: str) -> bool:
    """Whether a file's name, such as `color-2.safetensors`, is that of a layer."""
    return name.partition(".")[0].partition("-")[0] in ("color", "density")


@dataclass(frozen=True)
class Options:
    """What is to be done with the files of one run.

    Attributes:
        recipe: what is done with each.
        keep_layers: keep layers and provenance beside each result.
        compare: put a sheet of before and after beside each photo's result.
        again: make results again that exist already, by the same recipe and networks.
    """

    recipe: Recipe
    keep_layers: bool = False
    compare: bool = False
    again: bool = False

    def sidecars(self, is_film: bool, further: Sequence[Page] = ()) -> tuple[str, ...]:
        """Endings of the files that are wanted beside a result; a photo may have further pages."""
        of_pages = [f".{page.spell(name)}.safetensors" for page in further for name in ("color", "density")]
        wanted = (PROVENANCE, *LAYERS[is_film], *of_pages) if self.keep_layers else ()
        return (*wanted, SHEET) if self.compare and not is_film else wanted


@dataclass(frozen=True)
class Destination:
    """Where one file's result goes.

    Attributes:
        output: the result's path; what belongs beside it has the same path with an ending more.
        sidecars: endings of what is wanted beside it.
        original: SHA-256 of the file.
        stem: the result's name without number and suffix.
        suffix: the result's.
        earlier: earlier files of the same original at these paths, which may be replaced.
        is_done: whether the result and what is wanted beside it exist already, by the same recipe and networks.
    """

    output: Path
    sidecars: tuple[str, ...]
    original: str
    stem: str
    suffix: str
    earlier: Mapping[Path, Identity] = field(default_factory=dict)
    is_done: bool = False

    def beside(self, ending: str) -> Path:
        """Return the path of what has this ending; the empty one is the result's own."""
        return self.output.with_name(self.output.name + ending)


class Destinations:
    """Chooses the paths of one run's results, and puts them there.

    Args:
        out: the folder of the results.
        options: of the run.
        settings: tell where weights are.
        originals: are never written over.
    """

    def __init__(self, out: Path, options: Options, settings: Settings, originals: Sequence[Source]) -> None:
        self.out, self.options, self.settings = out, options, settings
        self._folder = out.resolve()
        self._taken = {file.resolve() for file in originals if isinstance(file, Path)}
        self._first_free: dict[tuple[str, str], int] = {}
        self._records: dict[Path, tuple[Identity, Record]] = {}
        cards = read_cards(settings.weights)
        networks = (options.recipe.colorizer, options.recipe.defader)
        self._weights = {cards[name].sha256 for name in networks if name in cards}

    def choose(self, file: Path) -> Destination:
        """Choose the path of a file's result.

        An earlier result of the same file may be replaced. Any other file of that name stays, and the result gets a
        number, and so does everything beside it.

        Raises:
            InvalidPhoto: the file is neither a photo nor a film.
        """
        is_film = decoder.is_film(file)
        suffix = self._result_suffix(file, is_film)
        stem, ending = split_suffix(file.name, suffix)
        sidecars = self.options.sidecars(is_film, self._list_further_pages(file, is_film))
        destination = Destination(self.out, sidecars, hash_file(file), stem, ending)
        return self._find_older(file.name, suffix, destination) or self._choose_free(destination)

    def place(self, files: Mapping[str, Path], destination: Destination) -> Path:
        """Move a result and what belongs beside it to their places; return the result's.

        Earlier files of the same original are replaced, each in one step. No other file is written over, also not one
        that has come meanwhile: then everything gets another number.

        Args:
            files: path by the ending that it gets, the empty one for the result.
            destination: as it was chosen.
        """
        while True:
            try:
                _move_files(files, destination)
            except FileExistsError:
                destination = self._choose_free(destination)
            else:
                return destination.output

    def _result_suffix(self, file: Path, is_film: bool) -> str:
        if is_film:
            return run_in_child(film_render.result_suffix, self.settings, beat_for_nobody, file)
        return PHOTO_SUFFIXES[conversion.find_result_format(file)]

    def _list_further_pages(self, file: Path, is_film: bool) -> list[Page]:
        """List the photographs behind the first page of a photo, where their layers are wanted."""
        if is_film or not self.options.keep_layers:
            return []
        limit = self.settings.pixel_limit_mp
        listed = run_in_child(pages.list_pages, self.settings, beat_for_nobody, file, limit)
        return list_photographs({"pages": listed})[1:]

    def _choose_free(self, wanted: Destination) -> Destination:
        """Return the destination with the first number whose paths are all free or hold files of the same original."""
        key = wanted.stem, wanted.suffix
        number = self._first_free.setdefault(key, 1)
        while True:
            chosen = replace(wanted, output=self.out / _spell(wanted, number))
            paths = {ending: chosen.beside(ending) for ending in ("", *chosen.sidecars)}
            places = {self._folder / path.name for path in paths.values()}
            if self._taken.isdisjoint(places):
                there = {ending: path for ending, path in paths.items() if os.path.lexists(path)}
                records = {ending: self._read_record(chosen, ending) for ending in there}
                if all(record.get("OriginalSHA256") == wanted.original for record in records.values()):
                    self._taken |= places
                    earlier = {path: _identify(path) for path in there.values()}
                    return replace(chosen, earlier=earlier, is_done=self._is_done(chosen, records))
            elif number == self._first_free[key]:
                self._first_free[key] += 1
            number += 1

    def _find_older(self, name: str, suffix: str, wanted: Destination) -> Destination | None:
        """Return the same result where earlier versions put it: whatever followed the last dot was cut off."""
        older = replace(wanted, stem=PurePosixPath(name).stem, suffix=suffix)
        if wanted.sidecars or self.options.again or (older.stem, older.suffix) == (wanted.stem, wanted.suffix):
            return None
        for number in count(1):
            older = replace(older, output=self.out / _spell(older, number))
            if not older.output.is_file():
                return None
            record = self._read_record(older, "")
            place = self._folder / older.output.name
            if record.get("OriginalSHA256") == wanted.original and place not in self._taken:
                self._taken.add(place)
                return replace(older, is_done=True) if self._is_same(record) else None
        return None

    def _read_record(self, destination: Destination, ending: str) -> Record:
        """Read what a result, or a file beside it, says of its making. A layer's record is the provenance beside it."""
        path = destination.beside(PROVENANCE if is_layer(ending[1:]) else ending)
        try:
            identity = _identify(path)
            if path not in self._records or self._records[path][0] != identity:
                self._records[path] = identity, self._read_record_of(path)
            return self._records[path][1]
        except (OSError, RetintError):  # gone, not readable, or too much for a child: it is not ours
            return {}

    def _read_record_of(self, path: Path) -> Record:
        if path.is_symlink() or not path.is_file():
            return {}
        if path.suffix == PROVENANCE:
            return _read_provenance(path)
        read = film_render.read_provenance if decoder.is_film(path) else verify.read_record_of_file
        return run_in_child(read, self.settings, beat_for_nobody, path)

    def _is_done(self, destination: Destination, records: Mapping[str, Record]) -> bool:
        """Whether the result is there, and with it what is wanted beside it, all of this recipe and these networks."""
        needed = {"", PROVENANCE, SHEET} & {"", *destination.sidecars}
        if not all(ending in records and self._is_same(records[ending]) for ending in needed):
            return False
        kinds = _read_networks(records[PROVENANCE]) if PROVENANCE in needed else {}
        return all(any(f".{kind}." in ending for ending in records) for kind in kinds)

    def _is_same(self, record: Record) -> bool:
        """Whether a result was made by this recipe and these networks, with the layers in today's order."""
        layers = list(_read_networks(record).values())
        used = {layer.get("weights") for layer in layers}
        has_order = len(layers) < 2 or all(layer.get("order") == Order.TONE_FIRST for layer in layers)
        return record.get("RecipeSHA256") == self.options.recipe.hash and used <= self._weights and has_order


def _spell(destination: Destination, number: int) -> str:
    """Spell a result's name with its number; a stem is shortened where the name or a sidecar's would be too long."""
    end = destination.suffix if number == 1 else f"-{number}{destination.suffix}"
    room = NAME_BYTES - len(end) - max(map(len, destination.sidecars), default=0)
    return shorten(destination.stem, room) + end


def _identify(path: Path) -> Identity:
    status = path.lstat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read_provenance(path: Path) -> Record:
    """Read a provenance file as if it were a picture's record; empty where it is another JSON file."""
    with path.open("rb") as file:
        content = file.read(RECORD_BYTES)
    try:
        values = json.loads(content)
        return {
            "OriginalSHA256": str(values["original_sha256"]),
            "RecipeSHA256": str(values["recipe_sha256"]),
            "Networks": json.dumps(values["networks"]),
        }
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}


def _read_networks(record: Record) -> dict[str, dict[str, Any]]:
    return dict(json.loads(record.get("Networks", "{}")))


def _move_files(files: Mapping[str, Path], destination: Destination) -> None:
    """Move files to their places, the result last.

    Raises:
        FileExistsError: another file has come there; nothing was left behind.
    """
    earlier = destination.earlier
    for ending in files:
        path = destination.beside(ending)
        if os.path.lexists(path) and earlier.get(path) != _identify(path):
            raise FileExistsError(path)
    placed: list[tuple[Path, Path]] = []
    for ending, source in sorted(files.items(), reverse=True):
        path = destination.beside(ending)
        if path in earlier:
            source.replace(path)
            continue
        try:
            _move_to_free_place(source, path)
        except FileExistsError:
            for back, at in placed:
                at.replace(back)
            raise
        placed.append((source, path))
    if PROVENANCE in files:  # layers of an earlier recipe do not belong to this provenance
        for ending in set(destination.sidecars) - files.keys():
            if destination.beside(ending) in earlier:
                destination.beside(ending).unlink()


def _move_to_free_place(source: Path, path: Path) -> None:
    """Move a file to a path at which nothing is.

    Raises:
        FileExistsError: something is there.
    """
    try:
        os.link(source, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: take the place, then fill it
        path.touch(exist_ok=False)
        source.replace(path)
    else:
        source.unlink()


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


def plan(files: Sequence[Source], out: Path, options: Options, settings: Settings) -> Iterator[PlannedFile]:
    """Say what `restore` would do with the same arguments, as far as headers tell. Nothing is written or fetched.

    Raises:
        InvalidRequest: the recipe names a network or a setting that is not available here.
    """
    recipes.check(options.recipe, settings.weights)
    destinations = Destinations(out, options, settings, files)
    for source in files:
        if isinstance(source, str):
            yield PlannedFile(source, out, description="on the web")
            continue
        try:
            with provide_file(source, settings) as file:
                destination = destinations.choose(file)
                is_done = destination.is_done and not options.again
                planned = PlannedFile(source, destination.output, None, is_done, _describe(file, settings))
        except Exception as error:  # noqa: BLE001  as in `restore`: whatever it is, it is this file's
            planned = PlannedFile(source, None, explain(error))
        yield planned


def _describe(file: Path, settings: Settings) -> str:
    """Describe a file by its header: format and size.

    Raises:
        InvalidPhoto: it is not a photograph that can be restored.
    """
    size = f"{file.stat().st_size / (1 << 20):.1f} MiB"
    if decoder.is_film(file):
        return f"film, {size}"
    described = run_in_child(ingest.describe, settings, beat_for_nobody, file, settings.pixel_limit_mp)
    return f"{described}, {size}"
