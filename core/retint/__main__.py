"""`python -m retint`: the command, where the script `retint` is not on the path."""

from retint.command.cli import main

main()
