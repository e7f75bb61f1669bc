"""What the workers' part adds to the command `retint`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retint import recipes, remote
from retint.command.options import recipe_options
from retint.errors import InvalidRequest
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.weights.cards import read_cards

if TYPE_CHECKING:
    from collections.abc import Iterable

    from retint_workers.local.destinations import Planned


class SourceType(click.Path):
    """A path, or an address on the web, which stays text."""

    name = "file or address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read an argument."""
        return value if isinstance(value, str) and remote.is_address(value) else super().convert(value, param, ctx)


class Numbers(click.ParamType[Any]):
    """Numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read an option."""
        try:
            return tuple(dict.fromkeys(float(part) for part in value.split(","))) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers with commas between them", param, ctx)


@click.group()
def commands() -> None:
    """Commands of the workers."""


@commands.command(
    epilog="""\b
Examples:
  retint restore scan.tif --out restored
  retint restore scans/*.jpg scans/*.tif --out restored --gain 1.2
  retint restore scan.tif --out restored --colorizer artistic --render-factor 25 --watermark --compare
  retint restore https://archive.example/photo.jpg --out restored
  retint restore album/ --out restored --dry-run
  retint restore album/ --out restored --json > report.json
"""
)
@click.argument("files", nargs=-1, required=True, type=SourceType(path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results.")
@recipe_options
@click.option("--layers", is_flag=True, help="Keep the layers and the provenance beside each result, too.")
@click.option("--compare", is_flag=True, help="Put a sheet of before and after beside each photo's result, too.")
@click.option("--again", is_flag=True, help="Make also those photos again that are there already.")
@click.option("--device", default="auto", show_default=True, help="Where the networks run: auto, cpu, cuda, cuda:1 …")
@click.option("--dry-run", is_flag=True, help="Say what would be done, do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print a list with one object per file.")
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
    """Restore photographs and films here and now, without a server.

    A folder stands for all files in it, an address (https://…) for the photo there. Started again, the same command
    goes on where it was: photos that are there already, by the same recipe and networks, are not made again, and a
    film goes on where it was interrupted. What is not a result of the same photo is never written over.
    Exit status: 0 when all were restored, 1 when some were not.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from retint.command.push import files_in
    from retint_workers.local import destinations
    from retint_workers.local import restore as restoring

    settings = Settings().model_copy(update={"device": device} if device != "auto" else {})
    listed: list[Path | str] = []
    for each in files:
        listed.extend(files_in(each) if isinstance(each, Path) and each.is_dir() else [each])
    if dry_run:
        sys.exit(_say_plan(destinations.plan(listed, out, recipe, settings), recipe, as_json=as_json))
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    ended = []
    with Progress(*columns, console=console, disable=as_json or not console.is_terminal) as progress:
        files_done = progress.add_task("Restoring", total=len(listed))
        frames_done = progress.add_task("", visible=False)

        def tell(file: Path, phase: str, frames: int, of: int | None) -> None:
            progress.update(frames_done, description=f"{phase} {file.name}", completed=frames, total=of, visible=True)

        results = restoring.restore(
            listed, out, recipe, settings, layers=layers, compare=compare, again=again, tell=tell
        )
        for result in results:
            ended.append(result)
            progress.update(frames_done, visible=False)
            progress.advance(files_done)
            if not as_json:
                outcome = f"-> {result.output} ({result.told})" if result.output else f"refused: {result.reason}"
                click.echo(f"{result.file} {outcome}", err=not result.output)
    if as_json:
        rows = [
            {
                "file": str(result.file),
                "status": result.status,
                "reason": result.reason,
                "output": str(result.output) if result.output else None,
                "seconds": result.seconds,
                "already_there": result.is_old,
                "notes": list(result.notes),
            }
            | ({"film": result.film} if result.film else {})
            for result in ended
        ]
        click.echo(json.dumps(rows, indent=2))
    sys.exit(any(result.output is None for result in ended))


def _say_plan(planned: "Iterable[Planned]", recipe: Recipe, *, as_json: bool) -> int:
    """Say what would be done; return the exit status."""
    listed = list(planned)
    if as_json:
        rows = [{**each.__dict__, "file": str(each.file), "output": str(each.output or "") or None} for each in listed]
        click.echo(json.dumps({"recipe": recipe.model_dump(), "files": rows}, indent=2))
    else:
        click.echo(f"Recipe: {recipe.canonical}")
        for each in listed:
            if each.output is None:
                click.echo(f"{each.file} would be refused: {each.reason}", err=True)
            elif each.is_old:
                click.echo(f"{each.file} is there already: {each.output}")
            else:
                click.echo(f"{each.file} ({each.what}) would go to {each.output}")
    return int(any(each.output is None for each in listed))


@commands.command(
    epilog="""\b
Examples:
  retint preview scan.jpg --out sheet.png
  retint preview scan.jpg --colorizers compact,compact-vivid --gains 1,2,3 --out sheet.png
  retint preview scan.jpg --colorizers artistic,stable --render-factors 15,25,35 --out sheet.png
"""
)
@click.argument("photo", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The sheet: .png or .jpg.")
@click.option("--colorizers", help="With commas between them; without it all whose weights are here.")
@click.option("--render-factors", type=Numbers(), default=(), help="For the networks that have one, such as 15,25,35.")
@click.option("--gains", type=Numbers(), default=(), help="For the networks that have one, such as 1,2,3.")
@click.option("--defader", default="keep", show_default=True, help="What all of them are defaded by.")
@click.option("--device", default="auto", show_default=True, help="Where the networks run: auto, cpu, cuda, cuda:1 …")
def preview(
    photo: Path,
    out: Path,
    colorizers: str | None,
    render_factors: Sequence[float],
    gains: Sequence[float],
    defader: str,
    device: str,
) -> None:
    """Show one photo by several networks and settings on a sheet, before a thousand are restored.

    The photo is colorized also where it is in color already.
    """
    from rich.console import Console
    from rich.progress import track

    from retint_workers.local import sheets

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise click.BadParameter("a sheet is a .png or a .jpg", param_hint="--out")
    settings = Settings().model_copy(update={"device": device} if device != "auto" else {})
    cards = {name: card for name, card in read_cards(settings.weights).items() if card.kind == "colorizer"}
    named = [name.strip() for name in colorizers.split(",")] if colorizers else list(cards)
    for name in named:
        if name in cards and not cards[name].is_here:
            how = cards[name].command
            click.echo(f"{name} is left out: its weights are not here. Get them with `{how}`.", err=True)
    named = [name for name in named if name not in cards or cards[name].is_here]
    if not named:
        raise InvalidRequest("None of the networks has its weights here.")
    base = recipes.parse({"defader": defader, "insist": True})
    varied = {"render_factor": render_factors, "gain": gains}
    rows = sheets.variants(named, varied, base, settings.weights)
    proxy = sheets.shown(photo, settings)
    console = Console(stderr=True)
    tries = sheets.tries(proxy, [recipe for row in rows for recipe in row], settings)
    total = sum(len(row) for row in rows)
    tried = list(track(tries, "Trying", total, console=console, disable=not console.is_terminal))
    for one in tried:
        click.echo(one.title)
    found = iter(tried)
    sheets.of_tries(photo.name, proxy, [[next(found) for _ in row] for row in rows]).save(out)
    click.echo(f"-> {out}")


@commands.command(epilog="\b\nExample:\n  retint render scan.tif --layers restored/scan.json --out again.tif")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--layers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The provenance that `restore --layers` wrote; the layers lie beside it.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The result.")
def render(file: Path, layers: Path, out: Path) -> None:
    """Make a result again from its layers, bit for bit, without any network."""
    from retint_workers.local import restore as restoring

    restoring.render_again(file, layers, out, Settings())
    click.echo(f"{file} -> {out}")


@commands.command()
@click.option("--fleet", type=click.Choice(["cpu", "gpu"]), required=True, help="Which queue to serve.")
def worker(fleet: str) -> None:
    """Run stages: `cpu` ingests and renders, `gpu` colorizes and defades. SIGTERM ends it after its bundle."""
    from retint import telemetry
    from retint.services import Services
    from retint_workers.inference import loading
    from retint_workers.queue import app
    from retint_workers.queue.stages import STAGES

    settings = Settings()
    telemetry.configure(settings, f"worker-{fleet}")
    if fleet == "gpu":  # missing weights are said now, and the first photo does not wait for them
        loading.preload_networks(settings)
    app.run_worker(Services.connect(settings), fleet, STAGES)


@commands.command()
def dispatcher() -> None:
    """Turn ready jobs into bundles, take back what dead workers held. Several may run; one leads."""
    from retint import telemetry
    from retint.services import Services
    from retint_workers.dispatch import dispatcher as dispatching

    settings = Settings()
    telemetry.configure(settings, "dispatcher")
    dispatching.run(Services.connect(settings))


@commands.command(
    epilog="""\b
Examples:
  retint up
  retint up --data /srv/retint --host 0.0.0.0 --port 80
"""
)
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of database, photos and logs.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Its port; 0 takes a free one."
)
@click.option("--json", "as_json", is_flag=True, help="Say where it runs as one JSON line.")
def up(data: Path | None, host: str, port: int, as_json: bool) -> None:
    """Run the whole platform on this machine until Ctrl-C: portal, broker, dispatcher, workers."""
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
@click.option("--once", is_flag=True, help="End when the photos are done, instead of serving until Ctrl-C.")
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder of your own.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data/demo"),
    show_default=True,
    help="Folder of everything that the demo keeps.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="The portal's port; without it a free one.")
@recipe_options
def demo(once: bool, photos: Path | None, data: Path, port: int | None, recipe: Recipe) -> None:
    """Restore sample photographs through a portal on this machine. Exit status 1 if any was not restored."""
    from retint_workers.supervisor import demo as demonstration

    sys.exit(demonstration.run(data, photos, port, recipe, once=once))
