"""Networks to be scored that need not be installed: with weights of their own, with settings of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from retint_models.weights import cards
from retint_models.weights.cards import Card

ALL = "all"


@dataclass(frozen=True)
class Candidate:
    """A network with other weights or settings than it has where it is installed.

    Attributes:
        title: As it was asked for: `NAME`, `NAME=FILE`, `NAME:SETTING=NUMBER`, or `NAME=FILE:SETTING=NUMBER`.
        name: Of the network in the registry.
        weights: Its weights, such as a training run's `best.safetensors`; None for those that are installed.
        settings: A colorizer's settings; defaults for the others.
    """

    title: str
    name: str
    weights: Path | None = None
    settings: Mapping[str, float] = field(default_factory=dict)


KEEP = Candidate("keep", "keep")
"""No network: what there is to decide is left as it is."""


def read_candidates(text: str, known: Mapping[str, Card]) -> list[Candidate]:
    """Read candidates with commas between them; `all` stands for the networks whose weights are here.

    Args:
        text: What was asked for.
        known: The cards of the networks that there are.

    Raises:
        ValueError: a name is unknown or empty, a network does not have a setting, or one is there twice.
        FileNotFoundError: there is no such file.
    """
    if text == ALL:
        return [Candidate(name, name) for name, card in known.items() if card.is_here]
    candidates = [_read_candidate(part.strip(), known) for part in text.split(",")] if text.strip() else []
    titles = [candidate.title for candidate in candidates]
    for title in titles:
        if titles.count(title) > 1:
            raise ValueError(f"{title} is named twice")
    return candidates


def _read_candidate(title: str, known: Mapping[str, Card]) -> Candidate:
    start, *settings = title.split(":")
    name, _, file = start.partition("=")
    if name not in known:
        raise ValueError(f"no such network: {name!r}; there are {', '.join(known)}")
    if file and not Path(file).is_file():
        raise FileNotFoundError(f"there are no weights of {name} in {file}: it is no file")
    given = dict(map(_read_setting, settings))
    known[name].fill_settings(given)
    return Candidate(title, name, Path(file) if file else None, given)


def _read_setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise ValueError(f"{text!r} is no setting: write NAME=NUMBER, such as gain=2.4") from error


def provide_weights(candidates: Sequence[Candidate], imported: Path, scratch: Path) -> Path:
    """Return a folder of imported weights in which candidates' files stand for the weights of their networks.

    Args:
        candidates: At most one of each network.
        imported: The folder of imported weights that the others are taken from.
        scratch: A folder for the new one, which holds links.
    """
    own = {candidate.name: candidate.weights for candidate in candidates if candidate.weights}
    if not own:
        return imported
    folder = Path(mkdtemp(dir=scratch))
    for path in imported.iterdir() if imported.is_dir() else ():
        if path.stem not in own:
            (folder / path.name).symlink_to(path.resolve())
    for name, file in own.items():
        (folder / f"{name}.safetensors").symlink_to(file.resolve())
        cards.record_path(name, folder).write_text(f'sha256 = "{cards.hash_file(file)}"\n')
    return folder
