"""Every error that Retint raises on purpose, as one tree.

    RetintError
    ├── Refused              the input is at fault; a retry gives the same answer
    │   ├── InvalidPhoto     the file is not a photograph that can be restored
    │   ├── NotFound         it does not exist, or is another tenant's; callers cannot tell which
    │   ├── IllegalMove      the thing is no longer in the state that this needs
    │   ├── NotAllowed       the person has no right to do this
    │   └── InvalidRequest   the request is malformed
    ├── Transient            the surroundings are at fault; a retry can help
    │   ├── QueueUnavailable
    │   ├── WorkerLost       a process died or exceeded its time limit
    │   └── MachineFault     the machine may be at fault: a worker tests it before it blames the photo
    │       ├── StoreUnavailable
    │       ├── OutOfMemory
    │       ├── DiskUnavailable
    │       └── DeviceFailed
    └── LeaseLost            the job is not this worker's any more: it stops, and writes nothing

Every other exception is a bug.
"""


class RetintError(Exception):
    """Base of all errors that Retint raises on purpose. The message is one sentence for people."""

    code = "error"
    status = 500

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the code, which is not among the arguments of the exception."""
        return _rebuild, (type(self), self.message, self.code)


def _rebuild(kind: type[RetintError], message: str, code: str) -> RetintError:
    return kind(message, code=code)


class Refused(RetintError):
    """The input is at fault; a retry gives the same answer.

    `code` is a stable name for programs; `status` is the HTTP status of the answer.
    """

    code = "refused"
    status = 422


class InvalidPhoto(Refused):
    """The file is not a photograph that can be restored."""

    code = "invalid_photo"


class NotFound(Refused):
    """It does not exist, or belongs to another tenant; callers cannot tell which."""

    code = "not_found"
    status = 404


class IllegalMove(Refused):
    """The thing is no longer in the state that this needs."""

    code = "illegal_move"
    status = 409


class NotAllowed(Refused):
    """The person has no right to do this."""

    code = "not_allowed"
    status = 403


class InvalidRequest(Refused):
    """The request is malformed."""

    code = "invalid_request"
    status = 400


class Transient(RetintError):
    """The surroundings are at fault; a retry can help."""

    code = "transient"
    status = 503
    backoff_factor = 1.0
    """How many times longer than usual to wait before the next attempt: more where only a person can help."""


class QueueUnavailable(Transient):
    """The broker did not answer."""

    code = "queue_unavailable"


class WorkerLost(Transient):
    """A process died or exceeded its time limit."""

    code = "worker_lost"


class MachineFault(Transient):
    """The machine may be at fault, and not what it worked on; a test of the machine tells.

    Where the test fails, too, the job returns to the queue, and nothing is counted against it.
    """

    code = "machine_fault"


class StoreUnavailable(MachineFault):
    """The store of bytes did not answer."""

    code = "store_unavailable"


class OutOfMemory(MachineFault):
    """The machine or the GPU has too little memory."""

    code = "out_of_memory"


class DiskUnavailable(MachineFault):
    """The machine's own disk is full, or cannot be written."""

    code = "disk_unavailable"


class DeviceFailed(MachineFault):
    """The device that networks run on reported an error. Its process can do nothing more with it."""

    code = "device_failed"


class LeaseLost(RetintError):
    """The job is not this worker's any more: its lease ran out, or somebody cancelled it."""

    code = "lease_lost"


def explain(error: BaseException) -> str:
    """Return a sentence about an exception for the row of one file; where it is a bug, its type and text."""
    if isinstance(error, RetintError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}." if error.filename is not None else f"{error.strerror}."
    if isinstance(error, MemoryError):
        return "There was not enough memory."
    return f"An error occurred in Retint or in one of its libraries ({type(error).__name__}: {error})."
