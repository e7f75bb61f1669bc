"""What the networks' part adds to the command `retint`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retint_models.command.arguments import FILE, IMPORTED_FOLDER, refusing
from retint_models.command.evaluate import evaluate
from retint_models.command.train import train
from retint_models.weights.cards import Card, ReportProgress

if TYPE_CHECKING:
    from rich.progress import TaskID

    from retint_models.weights.importing import Taken


@click.group()
def commands() -> None:
    """Commands of the networks."""


@commands.group(
    epilog="""\b
Examples:
  retint weights list
  retint weights show artistic
  retint weights fetch artistic
  retint weights import ColorizeStable_gen.pth --as stable
"""
)
def weights() -> None:
    """Show, get and check the networks' weights."""


@weights.command("list", epilog="\b\nExample:\n  retint weights list --json")
@IMPORTED_FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print all cards as one JSON object.")
def list_cards(folder: Path, as_json: bool) -> None:
    """List all networks, whether their weights are here, and how to get them."""
    from retint_models.weights.cards import read_cards

    with refusing():
        found = read_cards(folder)
    if as_json:
        click.echo(json.dumps({name: values(card) for name, card in found.items()}, indent=2))
        return
    for card in found.values():
        state = f"here, {card.size / 1e6:.1f} MB" if card.is_here else "not here"
        click.echo(f"{card.name:<16} {card.kind:<10} {state:<15} {card.title}")
        if not card.is_here:
            click.echo(f"{'':<43} {card.remedy}")


@weights.command(epilog="\b\nExamples:\n  retint weights show artistic\n  retint weights show compact --json")
@click.argument("name")
@IMPORTED_FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print the card as a JSON object.")
def show(name: str, folder: Path, as_json: bool) -> None:
    """Print all that is known of a network: its card."""
    from retint_models.networks.registry import card

    with refusing():
        known = card(name, folder)
    click.echo(json.dumps(values(known), indent=2) if as_json else known.describe())


@weights.command(epilog="\b\nExample:\n  retint weights verify")
@IMPORTED_FOLDER
@click.pass_context
def verify(ctx: click.Context, folder: Path) -> None:
    """Check every file that is here against its card; exit status 1 if one is missing or another."""
    from retint_models.weights.cards import read_cards

    with refusing():
        found = read_cards(folder)
    failed = False
    for card in found.values():
        if not card.is_expected:
            click.echo(f"{card.name}: not here")
            continue
        try:
            with told_by_a_bar() as tell:
                card.verify(tell)
            click.echo(f"{card.name}: as its card says")
        except (ValueError, OSError) as error:
            failed = True
            click.echo(f"{card.name}: {error}", err=True)
    ctx.exit(1 if failed else 0)


@weights.command(
    "import",
    epilog="""\b
Examples:
  retint weights import ColorizeArtistic_gen.pth --as artistic
  retint weights import G.pth --as yuv-gan --folder /srv/retint/weights

PyTorch's files, old and new, and safetensors are read; nothing in them is ever run.
""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--as", "name", required=True, help="The network whose weights these are.")
@IMPORTED_FOLDER
def import_file(file: Path, name: str, folder: Path) -> None:
    """Check that FILE holds a network's weights, and keep them as safetensors."""
    from retint_models.networks.registry import NETWORKS
    from retint_models.weights import importing

    with refusing(), told_by_a_bar() as tell:
        taken = importing.take(file, name, NETWORKS, folder, tell)
    say_taken(taken)


@weights.command(
    epilog="""\b
Examples:
  retint weights fetch artistic
  retint weights fetch video --from https://mirror.museum.example/ColorizeVideo_gen.pth

Interrupted, start it again: it goes on where it was.
"""
)
@click.argument("name")
@click.option("--from", "address", default="", help="Another address than its authors'.")
@click.option("--sha256", default="", help="What the file must be; by default the official one, where that is known.")
@IMPORTED_FOLDER
def fetch(name: str, address: str, sha256: str, folder: Path) -> None:
    """Download a network's official weights, check them, and keep them as safetensors."""
    from retint_models.networks.registry import NETWORKS
    from retint_models.weights import importing

    with refusing(), told_by_a_bar() as tell:
        taken = importing.fetch(name, NETWORKS, folder, tell, address=address, sha256=sha256.lower())
    say_taken(taken)


@commands.group(epilog="\b\nExample:\n  retint networks run artistic --input x.npy --output y.npy")
def networks() -> None:
    """Run bare networks, without a photo around them."""


@networks.command("list")
def list_networks() -> None:
    """List the networks that can be run bare, and what each is given and gives."""
    from retint_models.command.run_on_array import TENSORS

    for name, tensors in TENSORS.items():
        click.echo(f"{name:<16} {tensors}")


@networks.command(
    epilog="""\b
Examples:
  retint networks run artistic --input x.npy --output y.npy
  retint networks run stable --weights ColorizeStable_gen.pth --input x.npy --output y.npy --threads 2

`retint networks list` tells what each network is given and gives.
"""
)
@click.argument("name")
@click.option("--input", "given", type=FILE, required=True, help="A float32 array in a .npy file.")
@click.option("--output", "made", type=FILE, required=True, help="Where the network's answer is written, as .npy.")
@click.option("--weights", "file", type=FILE, help="PyTorch's file or safetensors; by default the imported ones.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@IMPORTED_FOLDER
def run(name: str, given: Path, made: Path, file: Path | None, device: str, threads: int | None, folder: Path) -> None:
    """Run the bare network NAME, plain and in float32, on a normalised array."""
    from retint_models.command import run_on_array

    with refusing():
        run_on_array.run(name, given, made, file=file, device=device, threads=threads, imported=folder)
    click.echo(f"{given} -> {made}")


commands.add_command(train)
commands.add_command(evaluate)


def values(card: Card) -> dict[str, Any]:
    """Return a card as JSON values."""
    facts = asdict(card) | {"is_here": card.is_here, "bytes": card.size}
    return json.loads(json.dumps(facts, default=str))  # type: ignore[no-any-return]


def say_taken(taken: "Taken") -> None:
    """Say what an import gave."""
    known = {
        True: "It is the official file.",
        False: "It fits the network, but it is not the official file: its SHA-256 is another.",
        None: "It fits the network; whether it is the official file cannot be told: no SHA-256 of that is known.",
    }
    card = taken.card
    click.echo(f"{card.name}: {card.size / 1e6:.1f} MB in {card.path}. {known[taken.is_official]}")


@contextmanager
def told_by_a_bar() -> Iterator[ReportProgress]:
    """Show on a terminal how far something is."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
            progress.update(tasks[what], completed=done, total=total or None)

        yield tell
