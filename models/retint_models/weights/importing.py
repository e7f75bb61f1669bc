"""Import published weights: check them against the network, store them as safetensors with a record."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from retint_models.weights import cards, checkpoints
from retint_models.weights.cards import IMPORTED, Card, ReportProgress, ignore_progress

Makers = Mapping[str, Callable[[str, Mapping[str, Tensor]], nn.Module]]
"""Name of a network to the function that fills it with tensors and refuses those that do not fit."""


@dataclass(frozen=True)
class Terms:
    """What an operator demands of a weights file, and accepts of its network.

    Attributes:
        sha256: SHA-256 that the file must have, in hex; any if empty.
        only_official: Whether to refuse a file that is known to be none of the official ones.
        accepts_undisclosed_data: Whether the network may have been trained on data that nobody discloses.
    """

    sha256: str = ""
    only_official: bool = False
    accepts_undisclosed_data: bool = False


DEFAULT_TERMS = Terms()
"""Any file that fits, of a network whose training data is known."""


def import_weights(
    file: Path,
    name: str,
    makers: Makers,
    folder: Path = IMPORTED,
    report_progress: ReportProgress = ignore_progress,
    *,
    source: str = "",
    terms: Terms = DEFAULT_TERMS,
) -> Card:
    """Import a network's weights; nothing is stored unless they fit.

    Args:
        file: A PyTorch file, old or new, or safetensors.
        name: The network whose weights they are.
        makers: Of all networks, to check whether the weights fit.
        folder: Where imported weights are stored; older ones of the same network are replaced.
        report_progress: Called with what is done, how many bytes, and of how many.
        source: Where the file came from, for the record; its name by default.
        terms: What the file must be.

    Returns:
        The network's card, with the record of this import.

    Raises:
        FileNotFoundError: no such file.
        OSError: it cannot be read, or the folder not be written to.
        ValueError: no such network, its data is not accepted, or these are not its weights; says whose they are if that
            is known.
    """
    card = find_importable(name, makers, folder, terms)
    sha256, size = cards.hash_file(file, report_progress), file.stat().st_size
    _check_hash(file, sha256, card, terms, cards.read_cards(folder))
    checkpoint = checkpoints.read(file)
    network = _make_network(file.name, checkpoint.tensors, name, makers)
    if terms.only_official and card.is_official(sha256, size) is False:
        raise ValueError(
            f"{file.name} fits {name}, but is none of its official files: its SHA-256 is {sha256}. If you mean this"
            " file, give that as --sha256"
        )
    record: dict[str, str | int] = {
        "source_name": source or file.name,
        "source_sha256": sha256,
        "source_bytes": size,
        "remark": checkpoint.remark,
        "accepted": card.undisclosed_data,
    }
    _store(network.state_dict(), card, folder, {key: value for key, value in record.items() if value})
    return cards.read_cards(folder)[name]


def find_importable(name: str, makers: Makers, folder: Path, terms: Terms) -> Card:
    """Return the card of a network whose weights can be imported.

    Raises:
        ValueError: no such network, its weights are part of the package, or its undisclosed data is not accepted.
    """
    importable = {
        other: card for other, card in cards.read_cards(folder).items() if other in makers and not card.is_shipped
    }
    if name not in importable:
        raise ValueError(f"weights can be imported for {', '.join(importable)}, not for {name!r}")
    if importable[name].undisclosed_data and not terms.accepts_undisclosed_data:
        raise ValueError(
            f"{importable[name].undisclosed_data} To use {name} all the same, give --accept-undisclosed-data; the"
            " record of the import keeps that"
        )
    return importable[name]


def _check_hash(file: Path, sha256: str, card: Card, terms: Terms, known: Mapping[str, Card]) -> None:
    """Refuse a file by its SHA-256, before anything in it is read.

    Raises:
        ValueError: another SHA-256 was named, or this is an official file of another network.
    """
    if terms.sha256 and sha256 != terms.sha256:
        raise ValueError(f"{file.name} has another checksum than it should: SHA-256 {sha256}, expected {terms.sha256}")
    for other in known.values():
        if other.name != card.name and other.is_official(sha256, file.stat().st_size):
            raise ValueError(f"{file.name} is an official file of {other.name}, not of {card.name}")


def _make_network(file: str, tensors: Mapping[str, Tensor], name: str, makers: Makers) -> nn.Module:
    """Fill a network with the tensors of a file.

    Raises:
        ValueError: they do not fit; says whose they are if that is known.
    """
    try:
        return makers[name](name, tensors)
    except ValueError as error:
        raise ValueError(f"{file}: {_find_owners(tensors, makers) or error}") from error


def _find_owners(tensors: Mapping[str, Tensor], makers: Makers) -> str:
    """Return a sentence that says whose weights these are; empty if they fit no network."""
    fitting = []
    for name, make in makers.items():
        try:
            make(name, tensors)
        except ValueError:
            continue
        fitting.append(name)
    return f"these are the weights of {' or '.join(fitting)}" if fitting else ""


def _store(tensors: Mapping[str, Tensor], card: Card, folder: Path, record: Mapping[str, str | int]) -> None:
    """Write weights and record. While they are replaced there is neither, so readers find no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    place = cards.record_path(card.name, folder)
    with TemporaryDirectory(prefix=".importing-", dir=folder) as scratch:
        kept, noted = Path(scratch) / card.file, Path(scratch) / place.name
        try:
            save_file(_with_own_memory(tensors), kept)
        except SafetensorError as error:
            raise OSError(f"the weights of {card.name} cannot be written to {folder}: {error}") from error
        facts = {
            "sha256": cards.hash_file(kept),
            "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **record,
        }
        noted.write_text("".join(f"{key} = {_to_toml(value)}\n" for key, value in facts.items()))
        for path in (kept, noted):
            path.chmod(0o644)  # another user may serve the files
            with path.open("rb") as written:
                os.fsync(written)
        place.unlink(missing_ok=True)
        kept.replace(card.path)
        noted.replace(place)


def _with_own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory, because safetensors requires memory of their own."""
    seen: set[int] = set()
    apart = {}
    for key, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[key] = tensor.clone().contiguous() if place in seen else tensor.contiguous()
        seen.add(place)
    return apart


def _to_toml(value: str | int) -> str:
    """Write a value as TOML; characters that a file name should not have become question marks."""
    if isinstance(value, int):
        return str(value)
    clean = "".join(letter if letter.isprintable() and letter not in '"\\' else "?" for letter in value)
    return f'"{clean}"'
