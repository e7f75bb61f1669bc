"""The networks' commands, run in this process."""

from click.testing import CliRunner, Result

from retint_models.command.commands import commands


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])
