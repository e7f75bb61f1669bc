"""What is known of every network, and how its weights are read safely.

`shipped/weights.toml` holds one card a network. Small weights lie beside it, with their SHA-256 on the card; heavy
ones are imported into the folder of the user's data, with a record of what came from where. A file is read only if its
SHA-256 is the one noted, as safetensors (no code in it), and put into a network only if it fits.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from textwrap import TextWrapper
from typing import Any

from platformdirs import user_data_path

FOLDER = Path(__file__).resolve().parent / "shipped"
"""Cards and small weights, part of the package."""

IMPORTED = user_data_path("retint") / "weights"
"""Where heavy weights are imported to by default: the package itself may be read-only."""

WRAP = TextWrapper(width=100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)

Tell = Callable[[str, int, int], None]
"""Told how far something is: what is done, how many bytes are, of how many."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Setting:
    """A number that a recipe may set for a network.

    Attributes:
        default: What holds if the recipe is silent.
        least: Smallest value.
        most: Largest value.
        step: Of a slider; 1 means that only whole numbers are allowed.
        title: What it does, for a person.
    """

    default: float
    least: float
    most: float
    step: float
    title: str

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are allowed."""
        return self.step == 1

    def holds(self, value: float) -> bool:
        """Say whether a value is allowed."""
        return self.least <= value <= self.most and not (self.is_whole and value % 1)


@dataclass(frozen=True)
class Official:
    """The file that a network's authors published.

    Attributes:
        file: Its name.
        address: Where it is downloaded; empty where nobody says.
        bytes: Its size; 0 if not known.
        sha256: In hex; empty if not known.
    """

    file: str
    address: str = ""
    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Card:
    """What is known of a network; the prose is in `models/README.md`.

    Attributes:
        name: The network's name in the registry.
        kind: `colorizer` or `defader`.
        title: One line for people.
        good_at: A sentence for somebody who has to choose.
        weaknesses: A sentence each.
        parameters: How many.
        license: Of the weights: an SPDX expression, or what is known in words.
        source: Who made it, and where it is described.
        data: What it was trained on.
        settings: What a recipe may set.
        preprocessing: How the network sees a proxy.
        scores: Measured on the dev photographs; empty where we have not measured.
        official: The file that its authors published; none for our own.
        file: The weights' file name; several networks may share one.
        sha256: Of that file, in hex; empty while it is not imported.
        folder: Where the file lies.
    """

    name: str
    kind: str
    title: str
    license: str
    file: str
    good_at: str = ""
    weaknesses: list[str] = field(default_factory=list)
    parameters: int = 0
    source: str = ""
    data: list[str] = field(default_factory=list)
    settings: dict[str, Setting] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    official: Official | None = None
    sha256: str = ""
    folder: Path = FOLDER

    @property
    def path(self) -> Path:
        """Where the file should be."""
        return self.folder / self.file

    @property
    def is_here(self) -> bool:
        """Whether the file lies there and it is known what it should be; `check` says whether it is so."""
        return bool(self.sha256) and self.path.is_file()

    @property
    def is_expected(self) -> bool:
        """Whether the file should be there: it is part of the package, or was imported."""
        return self.is_shipped or bool(self.sha256) or self.path.exists()

    @property
    def size(self) -> int:
        """Bytes of the file; 0 where there is none."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def is_shipped(self) -> bool:
        """Whether the weights are part of the package."""
        return self.official is None

    @property
    def remedy(self) -> str:
        """What to do to have the weights."""
        if self.is_shipped:
            return f"{self.file} is part of the package: install Retint again, or restore the file with git."
        by_hand = f"`retint weights import FILE --as {self.name}`"
        if self.official and self.official.address:
            return f"Get them with `retint weights fetch {self.name}`, or with {by_hand} if you have the file."
        return f"They can only be had as a file: {by_hand}."

    def prose(self) -> str:
        """Tell all of this for people, in lines."""
        here = f"{self.size / 1e6:.1f} MB in {self.path}" if self.is_here else f"Not here. {self.remedy}"
        published = [part for part in (self.official.file, self.official.address) if part] if self.official else []
        facts = {
            "Good at": self.good_at,
            "Weak": self.weaknesses,
            "License": self.license,
            "Trained on": self.data,
            "Source": self.source,
            "Parameters": f"{self.parameters:,}",
            "Settings": [
                f"{name} {one.least:g} to {one.most:g}, {one.default:g} by default: {one.title}"
                for name, one in self.settings.items()
            ],
            "Sees": [f"{name}: {said(value)}" for name, value in self.preprocessing.items()],
            "Scores": [f"{name}: {said(value)}" for name, value in self.scores.items()] or "Not measured by us.",
            "Published": ", ".join(published),
            "Weights": here,
            "SHA-256": self.sha256,
        }
        lines = [f"{self.name} ({self.kind})", self.title, ""]
        for label, value in facts.items():
            told = [value] if isinstance(value, str) else value
            wrapped = chain.from_iterable(WRAP.wrap(one) for one in told)
            lines += [f"{label if not number else '':<11} {line}" for number, line in enumerate(wrapped)]
        return "\n".join(lines)

    def settled(self, given: Mapping[str, float]) -> dict[str, float]:
        """Fill in the defaults of what a recipe leaves open.

        Raises:
            ValueError: a setting that the network does not have, or a value out of its range; says which.
        """
        for name in sorted(given.keys() - self.settings.keys()):
            has = f"it has {', '.join(self.settings)}" if self.settings else "it has none"
            raise ValueError(f"{self.name} has no setting {name!r}; {has}")
        for name, setting in self.settings.items():
            value = given.get(name, setting.default)
            if not setting.holds(value):
                whole = "a whole number " if setting.is_whole else ""
                raise ValueError(f"{name} is {whole}between {setting.least:g} and {setting.most:g}, not {value:g}")
        return {name: given.get(name, setting.default) for name, setting in self.settings.items()}

    def check(self, tell: Tell = silent) -> None:
        """See that the file is the one that is described, telling how far that is.

        Raises:
            FileNotFoundError: it is not there; says how to get it.
            ValueError: it is another file.
        """
        if not self.path.is_file():
            raise FileNotFoundError(f"the weights of {self.name} are missing: {self.path}. {self.remedy}")
        if not self.sha256:
            record = record_of(self.name, self.folder).name
            raise ValueError(f"{self.path} lies there without a sound record of its import, {record}. {self.remedy}")
        found = hashed(self.path, tell)
        if found != self.sha256:
            own = " Or correct weights.toml if you trained it yourself." if self.is_shipped else ""
            raise ValueError(
                f"{self.path} is not the file that its card describes (SHA-256 {found[:12]}…, expected"
                f" {self.sha256[:12]}…): damaged, or another. {self.remedy}{own}"
            )


def said(value: Any) -> str:
    """Tell a value of a card to people, what it holds in a row."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {said(one)}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def cards(imported: Path = IMPORTED, folder: Path = FOLDER) -> dict[str, Card]:
    """Read the cards of all networks, by name, with what is noted of those that were imported.

    Raises:
        FileNotFoundError: the folder has no weights.toml.
        ValueError: weights.toml is damaged.
    """
    source = folder / "weights.toml"
    try:
        entries = tomllib.loads(source.read_text())
        return {name: _card(name, dict(entry), imported, folder) for name, entry in entries.items()}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no weights here: {source} is missing") from error
    except (tomllib.TOMLDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"{source} is damaged: {error}") from error


def _card(name: str, entry: dict[str, Any], imported: Path, folder: Path) -> Card:
    settings = {key: Setting(**facts) for key, facts in entry.pop("settings", {}).items()}
    if "official" not in entry:
        return Card(name=name, settings=settings, folder=folder, **entry)
    official = Official(**entry.pop("official"))
    sha256 = str(record(name, imported).get("sha256", ""))
    file = f"{name}.safetensors"
    return Card(name=name, settings=settings, official=official, file=file, sha256=sha256, folder=imported, **entry)


def record_of(name: str, imported: Path) -> Path:
    """Return where an import is recorded."""
    return imported / f"{name}.toml"


def record(name: str, imported: Path) -> dict[str, Any]:
    """Read what is noted of an import; nothing where there was none or the note is damaged."""
    try:
        return tomllib.loads(record_of(name, imported).read_text())
    except (OSError, ValueError):
        return {}


def hashed(path: Path, tell: Tell = silent) -> str:
    """Return a file's SHA-256 in hex, telling how far that is."""
    sha256, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as source:
        while piece := source.read(1 << 22):
            sha256.update(piece)
            done += len(piece)
            tell(f"Checking {path.name}", done, total)
    return sha256.hexdigest()
