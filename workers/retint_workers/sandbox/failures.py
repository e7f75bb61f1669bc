"""How an error crosses from a child to its parent: by name, and only if it is one of a closed set."""

import builtins
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from retint.errors import DeviceFailed, LeaseLost, OutOfMemory, RetintError

MESSAGE_CHARACTERS, TRACEBACK_CHARACTERS = 2000, 20_000


class UnforeseenError(Exception):
    """An error of a library that nobody translated. The message names its type."""


@dataclass(frozen=True)
class Failure:
    """An error, as it is sent.

    Attributes:
        name: of its class.
        message: its text.
        code: of a RetintError; else empty.
        errno: of an OSError; else null.
        traceback: for the log.
    """

    name: str
    message: str
    code: str
    errno: int | None
    traceback: str

    @classmethod
    def describe(cls, error: BaseException) -> "Failure":
        """Describe an error that is being handled."""
        if isinstance(error, MemoryError):
            error = OutOfMemory(f"There was not enough memory to open the file ({error}).")
        is_ours = isinstance(error, RetintError)
        named = isinstance(error, OSError) and error.strerror is not None
        return cls(
            name=type(error).__name__ if is_ours or type(error).__module__ == "builtins" else "UnforeseenError",
            message=str(error if is_ours else _describe_foreign(error))[:MESSAGE_CHARACTERS],
            code=error.code if isinstance(error, RetintError) else "",
            errno=error.errno if isinstance(error, OSError) and named else None,
            traceback=traceback.format_exc()[-TRACEBACK_CHARACTERS:],
        )

    def to_error(self, *, is_trusted: bool) -> Exception:
        """Return the error to raise, with the traceback as a note.

        What a foreign file's process says of the machine's device and of leases is not believed: it has neither.
        """
        error = self._rebuild(is_trusted)
        error.add_note("In the child process:\n" + self.traceback)
        return error

    def _rebuild(self, is_trusted: bool) -> Exception:
        message = self.message[:MESSAGE_CHARACTERS]
        for kind in _list_errors():
            if kind.__name__ == self.name and (is_trusted or not issubclass(kind, DeviceFailed | LeaseLost)):
                return kind(message, code=self.code)
        builtin = getattr(builtins, self.name, None)
        if self.errno is not None:
            return OSError(self.errno, message)
        if isinstance(builtin, type) and issubclass(builtin, Exception) and not issubclass(builtin, UnicodeError):
            try:
                return builtin(message)
            except TypeError:
                pass
        return UnforeseenError(f"{self.name}: {message}")


def _describe_foreign(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror
    if type(error).__module__ == "builtins":
        return str(error)
    return f"{type(error).__module__}.{type(error).__name__}: {error}"


def _list_errors(kind: type[RetintError] = RetintError) -> Iterator[type[RetintError]]:
    """List Retint's errors, as far as they are loaded."""
    yield kind
    for narrower in kind.__subclasses__():
        yield from _list_errors(narrower)
