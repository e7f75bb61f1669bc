"""The commands `retint weights` and `retint networks`, and the entry point of all the networks' commands."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retint_models.command.arguments import FILE, IMPORTED_FOLDER, translate_errors
from retint_models.command.calibrate import calibrate
from retint_models.command.train import train
from retint_models.weights.cards import Card, ReportProgress
from retint_models.weights.publications import HUB

if TYPE_CHECKING:
    from rich.progress import TaskID


@click.group()
def commands() -> None:
    """Commands of the networks."""


@commands.group(
    epilog="""\b
Examples:
  retint weights list
  retint weights show artistic
  retint weights fetch artistic
  retint weights fetch ddcolor --from piddnad/ddcolor_modelscope@main
  retint weights import ColorizeStable_gen.pth --as stable
"""
)
def weights() -> None:
    """Show, download, import, check and calibrate the weights of networks."""


@weights.command("list", epilog="\b\nExample:\n  retint weights list --json")
@IMPORTED_FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print all cards as one JSON object.")
def list_cards(folder: Path, as_json: bool) -> None:
    """List all networks.

    Also whether their weights are installed, and how to get those that are not.
    """
    from retint_models.weights.cards import read_cards

    with translate_errors():
        found = read_cards(folder)
    if as_json:
        click.echo(json.dumps({name: card_to_json(card) for name, card in found.items()}, indent=2))
        return
    for card in found.values():
        state = f"installed, {card.size / 1e6:.1f} MB" if card.is_here else "not installed"
        click.echo(f"{card.name:<16} {card.kind:<10} {state:<17} {card.title}")
        if not card.is_here:
            click.echo(f"{'':<45} {card.remedy}")


@weights.command(epilog="\b\nExamples:\n  retint weights show artistic\n  retint weights show compact --json")
@click.argument("name")
@IMPORTED_FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print the card as a JSON object.")
def show(name: str, folder: Path, as_json: bool) -> None:
    """Print the model card of a network."""
    from retint_models.networks.registry import card

    with translate_errors():
        known = card(name, folder)
    click.echo(json.dumps(card_to_json(known), indent=2) if as_json else known.describe())


@weights.command(epilog="\b\nExample:\n  retint weights verify")
@IMPORTED_FOLDER
@click.pass_context
def verify(ctx: click.Context, folder: Path) -> None:
    """Check all weights files by their SHA-256, and tell which came from official files.

    The exit status is 1 if an expected file is missing or differs from its card.
    """
    from retint_models.weights.cards import read_cards

    with translate_errors():
        found = read_cards(folder)
    failed = False
    for card in found.values():
        if not card.is_expected:
            click.echo(f"{card.name}: not installed")
            continue
        try:
            with show_progress_bar() as report_progress:
                card.verify(report_progress)
            click.echo(f"{card.name}: as its card says. {card.origin}")
        except (ValueError, OSError) as error:
            failed = True
            click.echo(f"{card.name}: {error}", err=True)
    ctx.exit(1 if failed else 0)


ACCEPTS_UNDISCLOSED_DATA = click.option(
    "--accept-undisclosed-data",
    "accepts_undisclosed_data",
    is_flag=True,
    help="Import a network also if what it was trained on is not disclosed; the record of the import keeps that.",
)


@weights.command(
    "import",
    epilog="""\b
Examples:
  retint weights import ColorizeArtistic_gen.pth --as artistic
  retint weights import G.pth --as yuv-gan --folder /srv/retint/weights
  retint weights import ddcolor_artistic.pth --as ddcolor-artistic --accept-undisclosed-data

FILE is PyTorch's format, old or new, or safetensors. Nothing in it is ever run.
""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--as", "name", required=True, help="Name of the network whose weights these are.")
@ACCEPTS_UNDISCLOSED_DATA
@IMPORTED_FOLDER
def import_file(file: Path, name: str, folder: Path, *, accepts_undisclosed_data: bool) -> None:
    """Import the weights of a network from FILE.

    They are checked and kept as safetensors.
    """
    from retint_models.networks.registry import NETWORKS
    from retint_models.weights import importing

    terms = importing.Terms(accepts_undisclosed_data=accepts_undisclosed_data)
    with translate_errors(), show_progress_bar() as report_progress:
        taken = importing.import_weights(file, name, NETWORKS, folder, report_progress, terms=terms)
    print_import(taken)


@weights.command(
    epilog="""\b
Examples:
  retint weights fetch artistic
  retint weights fetch video --from https://mirror.museum.example/ColorizeVideo_gen.pth
  retint weights fetch stable --from /mnt/usb/ColorizeStable_gen.pth
  retint weights fetch ddcolor --from piddnad/DDColor-models@main/ddcolor_modelscope.pth
  retint weights fetch ddcolor --hub https://hub-mirror.museum.example
  retint weights fetch ddcolor-artistic --accept-undisclosed-data

If the download is interrupted, run the same command again: it continues where it was.
"""
)
@click.argument("name")
@click.option(
    "--from",
    "origin",
    metavar="URL|FILE|REPOSITORY@REVISION",
    default="",
    help="Where to get them, instead of from the authors. A repository is OWNER/NAME on the hub; a file in it may"
    " follow: REPOSITORY@REVISION/FILE.",
)
@click.option(
    "--hub",
    envvar="HF_ENDPOINT",
    default=HUB,
    help=f"Address of the hub, or of a mirror of it [env: HF_ENDPOINT; default: {HUB}].",
)
@click.option(
    "--sha256",
    default="",
    help="SHA-256 that the file must have. Without it, the file must be an official one, as far as these are known.",
)
@ACCEPTS_UNDISCLOSED_DATA
@IMPORTED_FOLDER
def fetch(name: str, origin: str, hub: str, sha256: str, folder: Path, *, accepts_undisclosed_data: bool) -> None:
    """Download a network's official weights.

    They are checked and kept as safetensors.
    """
    from retint_models.networks.registry import NETWORKS
    from retint_models.weights import fetching, importing

    terms = importing.Terms(sha256=sha256.lower(), accepts_undisclosed_data=accepts_undisclosed_data)
    with translate_errors(), show_progress_bar() as report_progress:
        taken = fetching.fetch_weights(name, NETWORKS, folder, report_progress, origin=origin, hub=hub, terms=terms)
    print_import(taken)


@commands.group(epilog="\b\nExample:\n  retint networks run artistic --input x.npy --output y.npy")
def networks() -> None:
    """Run networks on arrays, without the pipeline around them."""


@networks.command("list")
def list_networks() -> None:
    """List these networks, their inputs and outputs."""
    from retint_models.command.run_on_array import TENSORS

    for name, tensors in TENSORS.items():
        click.echo(f"{name:<16} {tensors}")


@networks.command(
    epilog="""\b
Examples:
  retint networks run artistic --input x.npy --output y.npy
  retint networks run stable --weights ColorizeStable_gen.pth --input x.npy --output y.npy --threads 2

`retint networks list` prints input and output of each network.
"""
)
@click.argument("name")
@click.option("--input", "input_file", type=FILE, required=True, help="A float32 array in a .npy file.")
@click.option("--output", "output_file", type=FILE, required=True, help="The .npy file to write the output to.")
@click.option("--weights", "weights_file", type=FILE, help="PyTorch's format or safetensors; imported ones by default.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@IMPORTED_FOLDER
def run(
    name: str,
    input_file: Path,
    output_file: Path,
    weights_file: Path | None,
    device: str,
    threads: int | None,
    folder: Path,
) -> None:
    """Run a network on a normalised array.

    It runs in float32, without any acceleration.
    """
    from retint_models.command import run_on_array

    with translate_errors():
        run_on_array.run_on_array(
            name, input_file, output_file, weights_file=weights_file, device=device, threads=threads, imported=folder
        )
    click.echo(f"{input_file} -> {output_file}")


weights.add_command(calibrate)
commands.add_command(train)


def card_to_json(card: Card) -> dict[str, Any]:
    """Return a card as JSON values."""
    facts = asdict(card) | {"is_here": card.is_here, "bytes": card.size}
    return json.loads(json.dumps(facts, default=str))  # type: ignore[no-any-return]


def print_import(card: Card) -> None:
    """Print what was imported, whether it is the official file, and what the file held beside it."""
    sentences = [f"{card.name}: {card.size / 1e6:.1f} MB in {card.path}.", card.origin, card.imported.get("remark", "")]
    click.echo(" ".join(filter(None, sentences)))


@contextmanager
def show_progress_bar() -> Iterator[ReportProgress]:
    """Yield a callback that shows progress in bytes as a bar on a terminal; without a terminal it does nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        tasks: dict[str, TaskID] = {}

        def report_progress(title: str, done: int, total: int) -> None:
            if title not in tasks:
                tasks[title] = progress.add_task(title)
            progress.update(tasks[title], completed=done, total=total or None)

        yield report_progress
