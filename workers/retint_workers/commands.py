"""The workers' subcommands of `retint`."""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retint import recipes, remote
from retint.command.options import recipe_options
from retint.errors import InvalidRequest
from retint.folders import list_files
from retint.names import escape_surrogates, show_name
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.weights.cards import read_cards
from retint_workers import beats
from retint_workers.local.evaluate import evaluate

if TYPE_CHECKING:
    from rich.progress import Progress

    from retint_workers.beats import Beat
    from retint_workers.local.restore import FileReport, FilmProgress


class SourceType(click.Path):
    """A path, or a web address, which stays text."""

    name = "file or address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a value of the command line."""
        return value if isinstance(value, str) and remote.is_web_address(value) else super().convert(value, param, ctx)


class NumberList(click.ParamType[Any]):
    """Numbers, separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a value of the command line."""
        try:
            return tuple(dict.fromkeys(float(part) for part in value.split(","))) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers separated by commas", param, ctx)


@click.group()
def commands() -> None:
    """Commands of the workers."""


commands.add_command(evaluate)

DEVICE = click.option(
    "--device", default="auto", show_default=True, help="Where the networks run: auto, cpu, cuda, cuda:1, …"
)


@commands.command(
    epilog="""\b
Examples:
  retint restore scans/*.jpg scan.tif --out restored --gain 1.2
  retint restore scan.tif --out restored --colorizer artistic --render-factor 25 --watermark --compare
  retint restore https://archive.example/photo.jpg --out restored
  retint restore album-page.tif --out restored --region 0.05,0.1,0.4,0.5 --region 0.5,0.1,0.45,0.5
  retint restore negatives/ --out restored --invert --region whole --dry-run
  retint restore album/ --out restored --json > report.json
"""
)
@click.argument("files", nargs=-1, required=True, type=SourceType(path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the results.")
@recipe_options
@click.option("--layers", is_flag=True, help="Also keep the layers and the provenance beside each result.")
@click.option("--compare", is_flag=True, help="Also put a sheet of before and after beside each photo's result.")
@click.option("--again", is_flag=True, help="Restore again what is restored already.")
@DEVICE
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list with one object per file.")
def restore(
    files: tuple[Path | str, ...],
    out: Path,
    recipe: Recipe,
    layers: bool,
    compare: bool,
    again: bool,
    device: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Restore photographs and films on this machine, without a server.

    FILES are photos, films, folders (all photos and films in them) or web addresses (https://…). Only earlier results
    of the same file are written over. Trouble with one file stops no other.

    The same command can be started again: photos that were restored by the same recipe and networks are skipped, and an
    interrupted film continues where it stopped.

    Exit status: 0 when every file was restored, 1 when some were not.
    """
    from retint_workers.local import printing
    from retint_workers.local.destinations import Options, plan
    from retint_workers.local.restore import restore as restore_files

    settings = _settings_on(device)
    sources, left_out = _expand_folders(files)
    options = Options(recipe, keep_layers=layers, compare=compare, again=again)
    if dry_run:
        planned = list(plan(sources, out, options, settings))
        printing.print_plan(planned, left_out, recipe, as_json=as_json)
        sys.exit(any(each.output is None for each in planned))
    reports: list[FileReport] = []
    try:
        with _progress_bar(is_quiet=as_json) as progress:
            files_done = progress.add_task("Restoring", total=len(sources))
            frames_done = progress.add_task("", visible=False)
            for report in restore_files(sources, out, options, settings, _show_frames(progress, frames_done)):
                reports.append(report)
                progress.update(frames_done, visible=False)
                progress.advance(files_done)
                if not as_json:
                    printing.print_report(report)
    finally:  # also where the whole could not begin, or was interrupted
        printing.print_end(reports, left_out, as_json=as_json)
    sys.exit(any(report.output is None for report in reports))


def _settings_on(device: str) -> Settings:
    """Return the settings with a device from the command line; `auto` leaves that of the settings."""
    return Settings().model_copy(update={"device": device} if device != "auto" else {})


def _expand_folders(files: Iterable[Path | str]) -> tuple[list[Path | str], list[Path]]:
    """Replace folders by the files in them. Returns the files, and what is left out because it is no photograph.

    A folder in which there is nothing stays, so that it is told.
    """
    sources: list[Path | str] = []
    left_out: list[Path] = []
    for file in files:
        if isinstance(file, Path) and file.is_dir():
            listing = list_files(file)
            sources.extend(listing.files or [file])
            left_out.extend(listing.left_out)
        else:
            sources.append(file)
    return sources, left_out


def _progress_bar(*, is_quiet: bool) -> "Progress":
    """Make a progress bar on standard error; it stays hidden where nobody looks."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    return Progress(*columns, console=console, disable=is_quiet or not console.is_terminal)


def _show_frames(progress: "Progress", task: Any) -> "FilmProgress":
    """Return a function that shows a film's progress as a task of the progress bar."""

    def show(film: Path, step: str, done: int, total: int | None) -> None:
        progress.update(task, description=f"{step} {film.name}", completed=done, total=total, visible=True)

    return show


@commands.command(
    epilog="""\b
Examples:
  retint preview scan.jpg --out sheet.png
  retint preview scan.jpg --colorizers compact,compact-vivid --gains 1,2,3 --out sheet.png
  retint preview scan.jpg --colorizers artistic,stable --render-factors 15,25,35 --out sheet.png
"""
)
@click.argument("photo", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The sheet, a .png or .jpg file."
)
@click.option("--colorizers", help="Colorizers to show, separated by commas. Default: all that are installed.")
@click.option("--render-factors", type=NumberList(), default=(), help="Render factors to show, such as 15,25,35.")
@click.option("--sides", type=NumberList(), default=(), help="Sides of DDColor's square to show, such as 256,512.")
@click.option("--gains", type=NumberList(), default=(), help="Gains to show, such as 1,2,3.")
@click.option("--defader", default="keep", show_default=True, help="Defader for all pictures, or `keep` for none.")
@DEVICE
def preview(
    photo: Path,
    out: Path,
    colorizers: str | None,
    render_factors: Sequence[float],
    sides: Sequence[float],
    gains: Sequence[float],
    defader: str,
    device: str,
) -> None:
    """Show one photo by several networks and settings side by side on a sheet, to choose a recipe for many photos.

    Each network is shown with every value of the settings that it has. The photo is colorized even if it is in color
    already.
    """
    from rich.console import Console
    from rich.progress import track

    from retint_workers.local import sheets, sources

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise click.BadParameter("the sheet must be a .png or .jpg file", param_hint="--out")
    settings = _settings_on(device)
    names = _choose_colorizers(colorizers, settings)
    base = recipes.parse({"defader": defader, "insist": True})
    values = {"render_factor": render_factors, "side": sides, "gain": gains}
    rows = sheets.combine_recipes(names, values, base, settings.weights)
    chosen = [recipe for row in rows for recipe in row]
    sources.refuse_original(photo, out)
    with sources.provide_file(photo, settings) as file:
        proxy, kind = sheets.load_proxy(file, chosen, settings)
    console = Console(stderr=True)
    rendered = sheets.render_variants(proxy, kind, chosen, settings)
    disable = not console.is_terminal
    variants = list(track(rendered, "Trying", len(chosen), console=console, disable=disable))
    for variant in variants:
        click.echo(variant.title)
    remaining = iter(variants)
    sheets.draw_variants(escape_surrogates(photo.name), proxy, [[next(remaining) for _ in row] for row in rows]).save(
        out
    )
    click.echo(f"-> {show_name(str(out))}")


def _choose_colorizers(names: str | None, settings: Settings) -> list[str]:
    """Return the named colorizers (default: all), without those whose weights are missing; say which are left out.

    Raises:
        InvalidRequest: none is left.
    """
    cards = {name: card for name, card in read_cards(settings.weights).items() if card.kind == "colorizer"}
    chosen = [name.strip() for name in names.split(",")] if names else list(cards)
    for name in chosen:
        if name in cards and not cards[name].is_here:
            how = cards[name].command
            click.echo(f"{name} is left out: its weights are not installed. Get them with `{how}`.", err=True)
    available = [name for name in chosen if name not in cards or cards[name].is_here]
    if not available:
        raise InvalidRequest("None of the networks has its weights here.")
    return available


@commands.command(
    "render", epilog="\b\nExample:\n  retint render scan.tif --layers restored/scan.tif.json --out again.tif"
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--layers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The provenance (.json) that `retint restore --layers` wrote; the layers lie beside it.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The result's file.")
def render(file: Path, layers: Path, out: Path) -> None:
    """Make a result again, bit for bit, from an original FILE and its layers, without any network."""
    from retint_workers.local.render_again import render_again

    notes = render_again(file, layers, out, Settings())
    click.echo(f"{show_name(str(file))} -> {show_name(str(out))}")
    for note in notes:
        click.echo(f"  {note}")


HEARTBEAT_FILE = click.Path(dir_okay=False, path_type=Path)
HEARTBEAT = click.option("--heartbeat", type=HEARTBEAT_FILE, help="File that tells `retint worker-alive` of each one.")


@commands.command()
@click.option("--fleet", type=click.Choice(["cpu", "gpu"]), required=True, help="Which queue to serve.")
@HEARTBEAT
def worker(fleet: str, heartbeat: Path | None) -> None:
    """Run a worker: `cpu` ingests and renders, `gpu` colorizes and defades. On SIGTERM it ends after its bundle."""
    from retint import telemetry
    from retint.services import Services
    from retint_workers.inference import loading
    from retint_workers.queue import app
    from retint_workers.queue.stages import STAGES

    settings = Settings()
    telemetry.configure(settings, f"worker-{fleet}")

    def prepare(beat: "Beat") -> None:
        if fleet == "gpu":  # report missing weights now, and do not let the first photo wait
            loading.preload_networks(settings, beat)

    app.run_worker(Services.connect(settings, connections=2), fleet, STAGES, heartbeat_file=heartbeat, prepare=prepare)


@commands.command("worker-alive")
@click.option("--heartbeat", type=HEARTBEAT_FILE, required=True, help="The file that the process was given.")
def worker_alive(heartbeat: Path) -> None:
    """Tell whether a worker or dispatcher of this machine makes progress: for health checks of containers.

    Exit status: 0 when it does or waits for work, 1 when it hangs or does not run.
    """
    silence_s = beats.read_silence_s(heartbeat)
    if silence_s > beats.HANG_S:
        sys.exit("There was no heartbeat yet." if math.isinf(silence_s) else f"No heartbeat for {silence_s:.0f} s.")
    click.echo(f"A heartbeat {silence_s:.0f} s ago.")


@commands.command()
@HEARTBEAT
def dispatcher(heartbeat: Path | None) -> None:
    """Send ready jobs to the workers, and take back those of dead workers. Several may run; one is the leader."""
    from retint import store_identity, telemetry
    from retint.services import Services
    from retint_workers.dispatch import dispatcher as dispatching

    settings = Settings()
    telemetry.configure(settings, "dispatcher")
    services = Services.connect(settings, connections=2)
    store_identity.verify_at_start(services)
    services.keep_reporting()
    dispatching.run(services, heartbeat=heartbeat)


@commands.command(
    epilog="""\b
Examples:
  retint up
  retint up --data /srv/retint --host 0.0.0.0 --port 80
"""
)
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Folder for the database, photos and logs."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one JSON line.")
def up(data: Path | None, host: str, port: int, as_json: bool) -> None:
    """Run the whole platform on this machine until Ctrl-C: portal, broker, dispatcher and workers."""
    from retint import telemetry
    from retint_workers.supervisor import up as platform

    settings = Settings()
    if data:
        settings = settings.model_copy(update={"data": data})
    telemetry.configure(settings, "up")

    def announce(running: platform.Platform) -> None:
        if as_json:
            where = {"url": running.url, "sign_in": running.sign_in_link, "data": str(running.settings.data)}
            click.echo(json.dumps(where))
            return
        click.echo(f"Retint runs at {running.url}")
        if running.sign_in_link:
            click.echo(f"Sign in, once and within a day, with {running.sign_in_link}")
        else:
            click.echo(f"A new sign-in link: retint admin sign-in-link {platform.ADMIN}")
        click.echo(f"Data and logs: {running.settings.data}. Ctrl-C ends it.")

    platform.run_platform(settings, host, port, announce)


@commands.command()
@click.option("--once", is_flag=True, help="End when the photos are done, instead of running until Ctrl-C.")
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of your own photos, instead of the samples.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data/demo"),
    show_default=True,
    help="Folder for everything that the demo writes.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="The portal's port. Default: a free one.")
@recipe_options
def demo(once: bool, photos: Path | None, data: Path, port: int | None, recipe: Recipe) -> None:
    """Restore sample photographs through a portal on this machine.

    Exit status: 0 when every photo was restored, 1 when some were not.
    """
    from retint_workers.supervisor import demo as demonstration

    sys.exit(demonstration.run(data, photos, port, recipe, once=once))
