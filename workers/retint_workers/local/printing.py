"""Prints what `retint restore` does with files: sentences for people, or JSON for scripts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from retint.folders import count_left_out
from retint.names import escape_surrogates, show_name
from retint.recipes import Recipe
from retint_workers.local.destinations import PlannedFile
from retint_workers.local.restore import FileReport


def print_report(report: FileReport) -> None:
    """Print a line about one file, and one for each note, for people."""
    if report.output:
        click.echo(f"{show_name(str(report.file))} -> {show_name(str(report.output))} ({report.summary})")
        for note in report.all_notes:
            click.echo(f"  {note}")
    else:
        click.echo(f"{show_name(str(report.file))} refused: {escape_surrogates(report.reason or '')}", err=True)


def print_end(reports: Sequence[FileReport], left_out: Sequence[Path], *, as_json: bool) -> None:
    """Print the JSON list of all files; for people, how many files were left out."""
    if as_json:
        rows = [*map(_report_as_json, reports), *map(_left_out_as_json, left_out)]
        click.echo(json.dumps(rows, indent=2))
    elif left_out:
        click.echo(count_left_out(len(left_out)), err=True)


def print_plan(files: Sequence[PlannedFile], left_out: Sequence[Path], recipe: Recipe, *, as_json: bool) -> None:
    """Print what would be done with each file."""
    if as_json:
        rows = [_plan_as_json(file) for file in files]
        names = [escape_surrogates(str(file)) for file in left_out]
        click.echo(json.dumps({"recipe": recipe.model_dump(), "files": rows, "left_out": names}, indent=2))
        return
    click.echo(f"Recipe: {recipe.canonical}")
    for each in files:
        name, output = show_name(str(each.file)), show_name(str(each.output))
        if each.output is None:
            click.echo(f"{name} would be refused: {escape_surrogates(each.reason or '')}", err=True)
        elif each.is_done:
            click.echo(f"{name} is there already: {output}")
        else:
            click.echo(f"{name} ({each.description}) would go to {output}")
    if left_out:
        click.echo(count_left_out(len(left_out)), err=True)


def _report_as_json(report: FileReport) -> dict[str, Any]:
    values = {
        "file": escape_surrogates(str(report.file)),
        "status": report.status,
        "reason": report.reason and escape_surrogates(report.reason),
        "output": str(report.output) if report.output else None,
        "seconds": report.seconds,
        "already_there": report.is_done,
        "notes": list(report.notes),
    }
    return values | ({"film": report.film} if report.film else {})


def _left_out_as_json(file: Path) -> dict[str, Any]:
    values = {"file": escape_surrogates(str(file)), "status": "left_out", "reason": "It is not a photograph."}
    return values | {"output": None, "seconds": 0, "already_there": False, "notes": []}


def _plan_as_json(file: PlannedFile) -> dict[str, Any]:
    return {
        "file": escape_surrogates(str(file.file)),
        "output": str(file.output) if file.output else None,
        "reason": file.reason and escape_surrogates(file.reason),
        "is_old": file.is_done,
        "what": file.description,
    }
