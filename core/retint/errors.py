"""What can go wrong, as one tree.

    RetintError
    ├── Refused              the input is at fault; trying again gives the same answer
    │   ├── InvalidPhoto     the file is not a photograph that can be restored
    │   ├── NotFound         no such thing, or another tenant's; callers cannot tell which
    │   ├── IllegalMove      the thing is no longer in the state that this needs
    │   ├── NotAllowed       the person may not do this
    │   └── InvalidRequest   the request makes no sense as it stands
    └── Transient            the surroundings are at fault; trying again can help
        ├── StoreUnavailable
        ├── QueueUnavailable
        ├── OutOfMemory
        └── WorkerLost       a process died or outlived its time

All else is a bug.
"""


class RetintError(Exception):
    """What Retint raises on purpose. The message is one sentence that a person understands."""

    code = "error"
    status = 500

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        """Cross a process border whole: the code lies in `__dict__`, not in the arguments."""
        return _rebuild, (type(self), self.message, self.code)


def _rebuild(kind: type[RetintError], message: str, code: str) -> RetintError:
    return kind(message, code=code)


class Refused(RetintError):
    """The input is at fault; trying again gives the same answer.

    `code` is stable and for programs; `status` is the HTTP status that it becomes.
    """

    code = "refused"
    status = 422


class InvalidPhoto(Refused):
    """The file is not a photograph that can be restored."""

    code = "invalid_photo"


class NotFound(Refused):
    """No such thing, or another tenant's; callers cannot tell which."""

    code = "not_found"
    status = 404


class IllegalMove(Refused):
    """The thing is no longer in the state that this needs."""

    code = "illegal_move"
    status = 409


class NotAllowed(Refused):
    """The person may not do this."""

    code = "not_allowed"
    status = 403


class InvalidRequest(Refused):
    """The request makes no sense as it stands."""

    code = "invalid_request"
    status = 400


class Transient(RetintError):
    """The surroundings are at fault; trying again can help."""

    code = "transient"
    status = 503
    backoff_factor = 1.0
    """How many times longer than usual to wait before the next attempt: more where only a person can help."""


class StoreUnavailable(Transient):
    """The store of bytes did not answer."""

    code = "store_unavailable"


class QueueUnavailable(Transient):
    """The broker did not answer."""

    code = "queue_unavailable"


class OutOfMemory(Transient):
    """There was not enough memory, of the machine or of the GPU."""

    code = "out_of_memory"


class WorkerLost(Transient):
    """A process died or outlived its time."""

    code = "worker_lost"
