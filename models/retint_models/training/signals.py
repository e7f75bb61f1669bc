"""Ctrl-C and SIGTERM while a network trains."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def catch_stop_signals() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event while the block runs.

    Only the main thread may install signal handlers; in any other thread the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
