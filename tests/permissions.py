"""Runs commands as a user whom the rights of files stop, also where the tests run as root."""

import os

OBEYING: list[str] = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    if os.getuid() == 0
    else []
)
"""The beginning of a command that obeys the rights of files."""
