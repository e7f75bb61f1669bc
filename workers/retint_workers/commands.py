"""What the workers' part adds to the command `retint`."""

import json
import sys
from pathlib import Path

import click

from retint import recipes
from retint.recipes import Recipe
from retint.settings import Settings


def recipe_options(command: "click.decorators.FC") -> "click.decorators.FC":
    """Let a command take a recipe."""
    for option in reversed(
        [
            click.option("--colorizer", default="compact", show_default=True, help="Colorizer, or `keep` for none."),
            click.option("--gain", type=click.FloatRange(0, 4), help="How vivid; each colorizer has its own default."),
            click.option("--defader", default="compact-defade", show_default=True, help="Defader, or `keep` for none."),
            click.option(
                "--strength", type=click.FloatRange(0, 1), default=1, show_default=True, help="How much is defaded."
            ),
            click.option("--insist", is_flag=True, help="Colorize photos that are already in color, too."),
        ]
    ):
        command = option(command)
    return command


def make_recipe(colorizer: str, gain: float | None, defader: str, strength: float, *, insist: bool) -> Recipe:
    """Read the options of `recipe_options`."""
    settings = {} if gain is None else {"gain": gain}
    return recipes.parse(
        {
            "colorizer": colorizer,
            "colorizer_settings": settings,
            "defader": defader,
            "strength": strength,
            "insist": insist,
        }
    )


@click.group()
def commands() -> None:
    """Commands of the workers."""


@commands.command(
    epilog="""\b
Examples:
  retint restore scan.tif --out restored
  retint restore scans/*.jpg scans/*.tif --out restored --gain 1.2
  retint restore album/ --out restored --json > report.json
"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results.")
@recipe_options
@click.option("--layers", is_flag=True, help="Keep the layers and the provenance beside each result, too.")
@click.option("--device", default="auto", show_default=True, help="Where the networks run: auto, cpu, cuda, cuda:1 …")
@click.option("--json", "as_json", is_flag=True, help="Print a list with one object per file.")
def restore(
    files: tuple[Path, ...],
    out: Path,
    colorizer: str,
    gain: float | None,
    defader: str,
    strength: float,
    insist: bool,
    layers: bool,
    device: str,
    as_json: bool,
) -> None:
    """Restore photographs and films here and now, without a server.

    A folder stands for all files in it. A film that was interrupted goes on where it was with the same command.
    Exit status: 0 when all were restored, 1 when some were not.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from retint.push import files_in
    from retint_workers import restore as restoring

    recipe = make_recipe(colorizer, gain, defader, strength, insist=insist)
    settings = Settings().model_copy(update={"device": device} if device != "auto" else {})
    listed = [file for path in files for file in (files_in(path) if path.is_dir() else [path])]
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    ended = []
    with Progress(*columns, console=console, disable=as_json or not console.is_terminal) as progress:
        files_done = progress.add_task("Restoring", total=len(listed))
        frames_done = progress.add_task("", visible=False)

        def tell(file: Path, phase: str, frames: int, of: int | None) -> None:
            progress.update(frames_done, description=f"{phase} {file.name}", completed=frames, total=of, visible=True)

        for result in restoring.restore(listed, out, recipe, settings, layers=layers, tell=tell):
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
            }
            | ({"film": result.film} if result.film else {})
            for result in ended
        ]
        click.echo(json.dumps(rows, indent=2))
    sys.exit(any(result.output is None for result in ended))


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
    from retint_workers import restore as restoring

    restoring.render_again(file, layers, out, Settings())
    click.echo(f"{file} -> {out}")


@commands.command()
@click.option("--fleet", type=click.Choice(["cpu", "gpu"]), required=True, help="Which queue to serve.")
def worker(fleet: str) -> None:
    """Run stages: `cpu` ingests and renders, `gpu` colorizes and defades. SIGTERM ends it after its bundle."""
    from retint import telemetry
    from retint.services import Services
    from retint_workers import app, networks
    from retint_workers.stages import STAGES

    settings = Settings()
    telemetry.configure(settings, f"worker-{fleet}")
    if fleet == "gpu":  # missing weights are said now, and the first photo does not wait for them
        networks.survey(settings)
    app.work(Services.connect(settings), fleet, STAGES)


@commands.command()
def dispatcher() -> None:
    """Turn ready jobs into bundles, take back what dead workers held. Several may run; one leads."""
    from retint import telemetry
    from retint.services import Services
    from retint_workers import dispatcher as dispatching

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
    from retint_workers import up as platform

    settings = Settings()
    if data:
        settings = settings.model_copy(update={"data": data})
    telemetry.configure(settings, "up")

    def announce(running: platform.Platform) -> None:
        if as_json:
            where = {"url": running.url, "sign_in": running.sign_in, "data": str(running.settings.data)}
            click.echo(json.dumps(where))
            return
        click.echo(f"Retint runs at {running.url}")
        if running.sign_in:
            click.echo(f"Sign in, once and within a day, with {running.sign_in}")
        else:
            click.echo(f"A new sign-in link: retint admin sign-in-link {platform.ADMIN}")
        click.echo(f"Data and logs: {running.settings.data}. Ctrl-C ends it.")

    platform.up(settings, host, port, announce)


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
def demo(once: bool, photos: Path | None, data: Path, port: int | None) -> None:
    """Restore sample photographs through a portal on this machine. Exit status 1 if any was not restored."""
    from retint_workers import demo as demonstration

    sys.exit(demonstration.run(data, photos, port, once=once))
