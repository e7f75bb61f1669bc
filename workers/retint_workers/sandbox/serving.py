"""A child's side: it confines itself, then takes work and answers until its parent closes the pipe."""

import faulthandler
import os
import pickle
import socket
from collections.abc import Iterator

import pyvips

from retint_workers import scratch
from retint_workers.sandbox import compiled
from retint_workers.sandbox.access import Access
from retint_workers.sandbox.confinement import confine
from retint_workers.sandbox.failures import Failure
from retint_workers.sandbox.messages import encode
from retint_workers.sandbox.pipes import MessagePipe, PipeClosed, Waiter

ITEM, DONE, FAILED = b"i", b"d", b"f"
"""First byte of an answer."""
VIPS_THREADS = 4
"""Upper limit for libvips' threads in a child: each holds buffers, and there are other children."""
NO_LIMIT = 1 << 40


def serve(connection: socket.socket, access: Access, folder: str) -> None:
    """Serve until the parent closes the connection.

    Args:
        connection: to the parent.
        access: what this child may do.
        folder: for temporary files.
    """
    faulthandler.enable()
    scratch.use_folder(folder)
    os.chdir(access.current)
    pyvips.cache_set_max(0)  # no file is opened twice
    pyvips.concurrency_set(min(pyvips.concurrency_get(), VIPS_THREADS))
    if not access.is_trusted:
        compiled.keep_out_of_cache()
        confine(access)
    pipe, waiter = MessagePipe(connection, NO_LIMIT), Waiter()
    try:
        pipe.send(DONE + encode(None), waiter)
        while True:
            for answer in _answer(pipe.receive(waiter)):
                pipe.send(answer, waiter)
    except PipeClosed:
        return


def _answer(work: bytearray) -> Iterator[bytes]:
    """Run a function on its arguments and yield what to send: its result, or its items, or its error."""
    try:
        function, arguments = pickle.loads(work)  # noqa: S301  the child believes its parent
        with scratch.translate_errors():
            result = function(*arguments)
            if isinstance(result, Iterator):
                for item in result:
                    yield ITEM + encode(item)
                result = None
            last = DONE + encode(result)
    except Exception as error:  # noqa: BLE001  raised again in the parent
        last = FAILED + encode(Failure.describe(error))
    yield last
