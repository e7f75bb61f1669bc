"""The command `retint`: the core's own subcommands, and the client of the JSON API behind `push`."""
