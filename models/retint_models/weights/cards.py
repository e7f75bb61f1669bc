"""Cards: what is known of every network, read from `shipped/weights.toml`. Standard library and platformdirs only.

Small weights lie beside the cards, with their SHA-256 on the card. Heavy weights are imported into a folder of the
user's data, with a record of their source and SHA-256 beside them. A file is read only if its SHA-256 is the expected
one, as safetensors (which holds no code), and put into a network only if it fits.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from textwrap import TextWrapper
from typing import Any, Literal

from platformdirs import user_data_path

from retint_models.weights.publications import PublishedFile, PublishedScores

SHIPPED = Path(__file__).resolve().parent / "shipped"
"""Folder of the cards and the small weights, part of the package."""

IMPORTED = user_data_path("retint") / "weights"
"""Default folder of imported weights: the package itself may be read-only."""

Kind = Literal["colorizer", "defader"]

ReportProgress = Callable[[str, int, int], None]
"""Called with what is done, the bytes that are done, and the bytes in total."""

_WRAP = TextWrapper(width=100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def ignore_progress(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Setting:
    """A number that a recipe may set for a network.

    Attributes:
        default: Value where a recipe gives none.
        least: Smallest value.
        most: Largest value.
        step: Step of a slider; where it is a whole number, only its multiples are allowed.
        title: What it does, in words for people.
    """

    default: float
    least: float
    most: float
    step: float
    title: str

    @property
    def range(self) -> str:
        """The allowed values in words, such as `a whole number between 7 and 45`."""
        grain = "" if self.step < 1 else "a whole number " if self.step == 1 else f"a multiple of {self.step:g} "
        return f"{grain}between {self.least:g} and {self.most:g}"

    def allows(self, value: float) -> bool:
        """Whether a value is allowed."""
        return self.least <= value <= self.most and not (self.step >= 1 and value % self.step)


@dataclass(frozen=True)
class Card:
    """What is known of a network. `models/README.md` says more.

    Attributes:
        name: The network's name in recipes and in the registry.
        kind: `colorizer` or `defader`.
        title: One line for people.
        license: License of the weights: an SPDX expression, or what is known in words.
        code_license: License of the authors' code; ours is written anew, from descriptions. Empty for our own networks.
        file: Name of the weights' file; several networks may share one.
        good_at: A sentence for somebody who has to choose.
        weaknesses: A sentence each.
        parameters: Number of parameters; 0 if nobody has counted them.
        source: Who made it, and where it is described.
        data: What it was trained on, and on what terms that may be used.
        not_known: What nobody has published, a sentence each.
        undisclosed_data: Why an operator must accept the training data before an import, in a sentence; empty if not.
        settings: What a recipe may set, by name.
        calibration: What makes a confidence true (see `networks.compact.Calibration`); empty for a network that does
            not say how sure it is.
        square: Side in pixels of the square that a proxy is squeezed into, or pixels of it for each unit of a setting,
            by the setting's name; 0 for a network that keeps a proxy's shape.
        preprocessing: How the network sees a proxy.
        scores: Measured on the dev photographs; empty where we have not measured.
        published_scores: What others measured, and of which weights.
        official: The files that its authors published, and where; the first is fetched by default. None for our own
            networks.
        sha256: The SHA-256 that the file must have, in hex; empty while nothing is imported.
        imported: The record of the import; empty while nothing is imported.
        folder: Folder of the file.
    """

    name: str
    kind: Kind
    title: str
    license: str
    file: str
    code_license: str = ""
    good_at: str = ""
    weaknesses: list[str] = field(default_factory=list)
    parameters: int = 0
    source: str = ""
    data: list[str] = field(default_factory=list)
    not_known: list[str] = field(default_factory=list)
    undisclosed_data: str = ""
    settings: dict[str, Setting] = field(default_factory=dict)
    calibration: dict[str, float] = field(default_factory=dict)
    square: int | dict[str, int] = 0
    preprocessing: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    published_scores: list[PublishedScores] = field(default_factory=list)
    official: list[PublishedFile] | None = None
    sha256: str = ""
    imported: dict[str, Any] = field(default_factory=dict)
    folder: Path = SHIPPED

    @property
    def path(self) -> Path:
        """Path of the weights' file, whether it exists or not."""
        return self.folder / self.file

    @property
    def is_here(self) -> bool:
        """Whether the file exists and its SHA-256 is known; `verify` says whether it has that SHA-256."""
        return bool(self.sha256) and self.path.is_file()

    @property
    def is_expected(self) -> bool:
        """Whether the file should exist: it is part of the package, or was imported."""
        return self.is_shipped or bool(self.sha256) or self.path.exists()

    @property
    def size(self) -> int:
        """Bytes of the file; 0 where it is not here."""
        return self.path.stat().st_size if self.is_here else 0

    @property
    def is_shipped(self) -> bool:
        """Whether the weights are part of the package."""
        return self.official is None

    @property
    def command(self) -> str:
        """What to do to get the weights: a command, or `install Retint again`."""
        if self.official is None:
            return "install Retint again"
        if any(published.is_downloadable for published in self.official):
            return f"retint weights fetch {self.name}{self._acceptance}"
        return self._import_command

    @property
    def _import_command(self) -> str:
        return f"retint weights import FILE --as {self.name}{self._acceptance}"

    @property
    def _acceptance(self) -> str:
        return " --accept-undisclosed-data" if self.undisclosed_data else ""

    @property
    def remedy(self) -> str:
        """What to do to get the weights, in a sentence."""
        if self.official is None:
            return f"{self.file} is part of the package: install Retint again, or restore the file with git."
        by_hand = f"`{self._import_command}`"
        if self.command == self._import_command:
            return f"They can only be had as a file: {by_hand}."
        return f"Get them with `{self.command}`, or with {by_hand} if you have the file."

    def is_official(self, sha256: str, size: int) -> bool | None:
        """Whether a file is one of the official files; None if that cannot be told.

        Args:
            sha256: Of the file, in hex.
            size: Its bytes.
        """
        files = self.official or []
        if any(published.sha256 == sha256 for published in files):
            return True
        unknown = [published for published in files if not published.sha256]
        may_be = any(not published.bytes or published.bytes == size for published in unknown)
        return None if may_be or not files else False

    @property
    def origin(self) -> str:
        """Whether the weights here are the official ones, in a sentence; empty while nothing is imported."""
        if self.official is None:
            return "Part of Retint."
        if not self.imported:
            return ""
        sha256, size = str(self.imported.get("source_sha256")), self.imported.get("source_bytes", 0)
        sentences = {
            True: f"Official: {next((each.place for each in self.official if each.sha256 == sha256), '')}.",
            False: "Not official: the SHA-256 is that of no official file.",
            None: "Whether they are official cannot be told: not every official file's SHA-256 is known.",
        }
        return sentences[self.is_official(sha256, size)] if self.official else "Nobody has published official ones."

    def describe(self) -> str:
        """Return all of this as text for a terminal, wrapped at 100 columns."""
        here = f"{self.size / 1e6:.1f} MB in {self.path}" if self.is_here else f"Not installed. {self.remedy}"
        facts = {
            "Good at": self.good_at,
            "Weak": self.weaknesses,
            "License": self.license,
            "Code": self.code_license,
            "Trained on": self.data,
            "Not known": self.not_known,
            "Source": self.source,
            "Parameters": f"{self.parameters:,}",
            "Settings": [
                f"{name} {setting.least:g} to {setting.most:g}, {setting.default:g} by default: {setting.title}"
                for name, setting in self.settings.items()
            ],
            "Sees": [f"{name}: {format_value(value)}" for name, value in self.preprocessing.items()],
            "Scores": [f"{name}: {format_value(value)}" for name, value in self.scores.items()]
            or "Not measured by us.",
            "By others": [published.line for published in self.published_scores],
            "Official": [published.line for published in self.official or []],
            "To accept": self.undisclosed_data,
            "Weights": f"{here}. {self.origin}" if self.is_here else here,
            "SHA-256": self.sha256,
        }
        lines = [f"{self.name} ({self.kind})", self.title, ""]
        for label, value in facts.items():
            paragraphs = [value] if isinstance(value, str) else value
            wrapped = chain.from_iterable(_WRAP.wrap(paragraph) for paragraph in paragraphs)
            lines += [f"{label if not number else '':<11} {line}" for number, line in enumerate(wrapped)]
        return "\n".join(lines)

    def square_side(self, given: Mapping[str, float]) -> int:
        """Return the side in pixels of the square that the network sees with these settings; 0 if it sees none."""
        if isinstance(self.square, int):
            return self.square
        return max(round(per * given.get(name, self.settings[name].default)) for name, per in self.square.items())

    def fill_settings(self, given: Mapping[str, float]) -> dict[str, float]:
        """Return all settings: the given values, and the defaults of the others.

        Raises:
            ValueError: the network has no such setting, or a value is out of its range; says which.
        """
        for name in sorted(given.keys() - self.settings.keys()):
            has = f"it has {', '.join(self.settings)}" if self.settings else "it has none"
            raise ValueError(f"{self.name} has no setting {name!r}; {has}")
        filled = {name: given.get(name, setting.default) for name, setting in self.settings.items()}
        for name, value in filled.items():
            if not self.settings[name].allows(value):
                raise ValueError(f"{name} is {self.settings[name].range}, not {value:g}")
        return filled

    def verify(self, report_progress: ReportProgress = ignore_progress) -> None:
        """Check that the file has the SHA-256 of this card.

        Raises:
            FileNotFoundError: the file is missing; says how to get it.
            ValueError: it is another file, or nothing is known of its import.
        """
        if not self.path.is_file():
            raise FileNotFoundError(f"the weights of {self.name} are missing: {self.path}. {self.remedy}")
        if not self.sha256:
            record = record_path(self.name, self.folder).name
            raise ValueError(f"{self.path} has no readable record of its import, {record}. {self.remedy}")
        found = hash_file(self.path, report_progress)
        if found != self.sha256:
            own = " If you trained it yourself, correct weights.toml." if self.is_shipped else ""
            raise ValueError(
                f"{self.path} is not the file that its card describes (SHA-256 {found[:12]}…, expected"
                f" {self.sha256[:12]}…): damaged, or another. {self.remedy}{own}"
            )


def format_value(value: Any) -> str:
    """Return a value of a card as text: the items of a list or a table in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_value(item)}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def read_cards(imported: Path = IMPORTED, folder: Path = SHIPPED) -> dict[str, Card]:
    """Read the cards of all networks, by name, with the records of imported weights.

    Args:
        imported: folder of imported weights.
        folder: folder of weights.toml.

    Raises:
        FileNotFoundError: the folder has no weights.toml.
        ValueError: weights.toml is damaged.
    """
    source = folder / "weights.toml"
    try:
        return {name: _read_card(name, dict(entry), imported, folder) for name, entry in _parse(source).items()}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no weights here: {source} is missing") from error
    except (tomllib.TOMLDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"{source} is damaged: {error}") from error


@cache  # the file is part of the package and does not change; pages read the cards again and again
def _parse(source: Path) -> dict[str, Any]:
    return tomllib.loads(source.read_text())


def _read_card(name: str, entry: dict[str, Any], imported: Path, folder: Path) -> Card:
    entry["settings"] = {key: Setting(**facts) for key, facts in entry.get("settings", {}).items()}
    entry["published_scores"] = [PublishedScores(**facts) for facts in entry.get("published_scores", [])]
    record = read_record(name, imported)
    if "official" in entry:
        entry["official"] = [PublishedFile(**facts) for facts in entry["official"]]
    elif not record:
        return Card(name=name, folder=folder, **entry)
    # Weights that stand for shipped ones, as evaluation tries them, have a record as well.
    entry |= {"file": f"{name}.safetensors", "sha256": str(record.get("sha256", ""))}
    return Card(name=name, imported=record, folder=imported, **entry)


def record_path(name: str, imported: Path) -> Path:
    """Return the path of the record of an import."""
    return imported / f"{name}.toml"


def read_record(name: str, imported: Path) -> dict[str, Any]:
    """Read the record of an import; empty where there is none or it is damaged."""
    try:
        return tomllib.loads(record_path(name, imported).read_text())
    except (OSError, ValueError):
        return {}


def hash_file(path: Path, report_progress: ReportProgress = ignore_progress) -> str:
    """Return a file's SHA-256 in hex."""
    sha256, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as source:
        while piece := source.read(1 << 22):
            sha256.update(piece)
            done += len(piece)
            report_progress(f"Checking {path.name}", done, total)
    return sha256.hexdigest()
