"""A client of the JSON API, for `retint push` and `retint demo`."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx

from retint.digests import hash_file
from retint.errors import InvalidRequest, NotAllowed, Refused, Transient
from retint.recipes import Recipe

BACKOFF_S: Final = (0.5, 1.0, 2.0, 4.0)
"""Waits before a call is tried again."""
CHUNK: Final = 1 << 20
ANSWER_S: Final = 300
"""Longest wait for an answer. After an upload the portal still stores the file, so its size adds to this."""
STORING_RATE: Final = 1 << 20
"""Bytes a second that the slowest portal stores."""
POLL_S: Final = 2.0
LONGEST_WAIT_S: Final = 120.0
"""Longest that is waited at once where the portal asks for it."""
PATIENCE_S: Final = 1800.0
"""How long a call is tried again where the portal asks to wait."""
AT_ONCE: Final = 1000
"""Files that are asked for in one request."""
MAX_QUOTED_NAME: Final = 4000
"""Servers and proxies limit an address, most to 8 kB: a longer name travels in a body."""

T = TypeVar("T")


class PortalUnavailable(Transient):
    """The portal did not answer, or asks to wait."""

    code = "portal_unavailable"
    retry_after_s: float | None = None
    """How long it asks to wait; None where it does not say."""


class QuotaReached(Refused):
    """The institution's quota lets no more in."""

    code = "quota_exceeded"


class WrongToken(NotAllowed):
    """The portal does not accept the token."""

    code = "wrong_token"
    status = 401


class FileChanged(Refused):
    """The file is not the one that was read before."""

    code = "file_changed"

    def __init__(self) -> None:
        super().__init__("The file changed while it was read or sent. Send it again.")

    def __reduce__(self) -> tuple[object, ...]:
        return FileChanged, ()


class Client:
    """A client for one portal with one token. Calls are retried while the portal does not answer or is busy.

    Methods raise PortalUnavailable after the last retry, WrongToken when the portal does not accept the token, and
    Refused with the portal's own sentence when the request is at fault. Nothing counts as done but the portal's own
    answer: a proxy's page is none.

    Raises:
        InvalidRequest: the server's address is none.
        WrongToken: the token cannot be one.
    """

    def __init__(self, server: str, token: str) -> None:
        self.server = server.rstrip("/")
        if not self.server.lower().startswith(("http://", "https://")):
            raise InvalidRequest(f"{server} is no address of a portal: it begins with https:// or http://.")
        if not (token.isascii() and token.isprintable()):
            raise WrongToken("The token is not valid: it has characters that no token has.")
        try:
            self._http = httpx.Client(
                base_url=self.server,
                headers={"Authorization": f"Bearer {token}"},
                timeout=httpx.Timeout(ANSWER_S, connect=10),
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidRequest(f"{server} is no address of a portal: {error}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def find_known(self, hashes: list[str]) -> set[str]:
        """Return which of these SHA-256 the server has already."""
        found: set[str] = set()
        for start in range(0, len(hashes), AT_ONCE):
            found |= self.retry(partial(self._ask_known, hashes[start : start + AT_ONCE]))
        return found

    def add_known(self, batch_id: str, files: Sequence[tuple[str, str]]) -> tuple[list[bool], QuotaReached | None]:
        """Deposit those of some files, each a name and a SHA-256, whose bytes the server has.

        Returns:
            Which were deposited; and why not all are that the server has, if so.
        """
        had: list[bool] = []
        for start in range(0, len(files), AT_ONCE):
            named = [{"name": name, "sha256": sha256} for name, sha256 in files[start : start + AT_ONCE]]
            answer = self.retry(
                partial(self.call, "POST", f"/api/v1/batches/{batch_id}/known", field="jobs", json={"files": named})
            )
            had += [job is not None for job in answer["jobs"]]
            if left_out := answer.get("left_out"):
                return had + [False] * (len(files) - len(had)), QuotaReached(left_out["detail"])
        return had, None

    def open_batch(
        self, name: str, *, key: str, recipe: Recipe | None = None, priority: int = 0, paused: bool = False
    ) -> dict[str, Any]:
        """Open a batch; the same idempotency key returns the same batch."""
        body: dict[str, Any] = {"name": name, "priority": priority}
        if paused:
            body["paused"] = True
        if recipe:
            body["recipe"] = json.loads(recipe.canonical)  # a portal of the version before knows no newer fields
        headers = {"Idempotency-Key": key}
        return self.retry(partial(self._create, "POST", "/api/v1/batches", json=body, headers=headers))

    def import_catalogue(self, batch_id: str, data: bytes, *, dry_run: bool) -> dict[str, Any]:
        """Import a batch's catalogue, a CSV; or only say what would become of it."""
        address, headers = f"/api/v1/batches/{batch_id}/catalogue", {"Content-Type": "text/csv"}
        query = {"dry_run": dry_run}
        return self.retry(
            partial(self.call, "PUT", address, field="records", params=query, content=data, headers=headers)
        )

    def upload(
        self, batch_id: str, name: str, path: Path, on_progress: Callable[[int], None], *, sha256: str | None = None
    ) -> dict[str, Any]:
        """Deposit one file.

        An answer may get lost, or come later than anybody waits. So before a file is sent again, the portal is asked
        whether it has the bytes by now.

        Args:
            batch_id: the batch.
            name: the file's name there.
            path: the file.
            on_progress: called with the number of bytes sent.
            sha256: of the file's bytes; the portal compares it.

        Raises:
            FileChanged: the file's bytes are others by now.
            OSError: the file cannot be read.
        """
        body, tries = _Body(path, on_progress), count()

        def send() -> dict[str, Any]:
            if next(tries) and sha256 and self._has_by_now(sha256, body.storing_s if body.is_sent else 0):
                return self._add(batch_id, name, sha256)
            try:
                return self._send(batch_id, name, body, sha256)
            except Refused as error:
                if error.code != "damaged":
                    raise
                if hash_file(path) != sha256:
                    raise FileChanged() from error
                raise PortalUnavailable(error.message) from error

        return self.retry(send)

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Read a batch with its counts."""
        return self.get(f"/api/v1/batches/{batch_id}")

    def run_again(self, batch_id: str, **chosen: Any) -> dict[str, Any]:
        """Run photos of a batch again. Called once: its answer may get lost after it was carried out."""
        return self.call("POST", f"/api/v1/batches/{batch_id}/again", json=chosen)

    def jobs(self, batch_id: str) -> Iterator[dict[str, Any]]:
        """Read the batch's jobs, page by page."""
        query: dict[str, Any] = {"limit": 200}
        while True:
            page = self.get(f"/api/v1/batches/{batch_id}/jobs", params=query)
            yield from page["items"]
            if not page["next"]:
                return
            query["after"] = page["next"]

    def job(self, job_id: str) -> dict[str, Any]:
        """Read one job with its attempts and files."""
        return self.get(f"/api/v1/jobs/{job_id}")

    def download(self, job_id: str, file: str, path: Path) -> None:
        """Save one of the job's files, such as `result`."""
        self.save(f"/api/v1/jobs/{job_id}/files/{file}", path)

    def save(self, address: str, path: Path) -> None:
        """Save what is at an address; it appears at `path` when it is complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".retint-", dir=path.parent) as folder:
            part = Path(folder) / "part"
            with (
                self._translate_errors(),
                self._http.stream("GET", address, follow_redirects=True) as answer,
                part.open("wb") as sink,
            ):
                _raise_for_status(answer)
                for chunk in answer.iter_bytes():
                    sink.write(chunk)
            part.replace(path)

    def _send(self, batch_id: str, name: str, body: "_Body", sha256: str | None) -> dict[str, Any]:
        query = {"sha256": sha256} if sha256 else {}
        request: dict[str, Any] = {
            "content": body.read(),
            "timeout": httpx.Timeout(ANSWER_S + body.storing_s, connect=10),
        }
        if len(quote(name)) <= MAX_QUOTED_NAME:
            return self._create("PUT", f"/api/v1/batches/{batch_id}/files", params={"name": name, **query}, **request)
        photo = self._create("PUT", "/api/v1/photos", params=query, **request)
        return self._add(batch_id, name, photo["sha256"])

    def _add(self, batch_id: str, name: str, sha256: str) -> dict[str, Any]:
        return self._create("POST", f"/api/v1/batches/{batch_id}/jobs", json={"sha256": sha256, "name": name})

    def _ask_known(self, hashes: list[str]) -> set[str]:
        return set(self.call("POST", "/api/v1/photos/known", json={"sha256": hashes})["known"])

    def _has_by_now(self, sha256: str, patience_s: float) -> bool:
        """Ask whether the portal has these bytes, until it has or the patience is over."""
        deadline = time.monotonic() + patience_s
        while not (is_known := bool(self._ask_known([sha256]))) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return is_known

    def get(self, url: str, **request: Any) -> dict[str, Any]:
        """Read a JSON object."""
        return self.retry(partial(self.call, "GET", url, **request))

    def _create(self, method: str, url: str, **request: Any) -> dict[str, Any]:
        """Call an operation that makes something: only 201 with its id says that it was made."""
        return self.call(method, url, status=201, field="id", **request)

    def call(
        self, method: str, url: str, *, status: int = 200, field: str | None = None, **request: Any
    ) -> dict[str, Any]:
        """Call the API once and return the JSON object that it answers."""
        answer = self._exchange(method, url, **request)
        try:
            content = answer.json()
        except ValueError:
            content = None
        if answer.status_code != status or not isinstance(content, dict) or (field and not content.get(field)):
            raise self._stranger(answer)
        return content

    def request(self, method: str, url: str, *, status: int, storing: int = 0, **request: Any) -> httpx.Response:
        """Call the API once and return the answer, whose headers count; `storing` are bytes that the portal stores."""
        patience = httpx.Timeout(ANSWER_S + storing / STORING_RATE, connect=10)
        answer = self._exchange(method, url, timeout=patience, **request)
        if answer.status_code != status:
            raise self._stranger(answer)
        return answer

    def _exchange(self, method: str, url: str, **request: Any) -> httpx.Response:
        with self._translate_errors():
            answer = self._http.request(method, url, **request)
        _raise_for_status(answer)
        return answer

    def _stranger(self, answer: httpx.Response) -> PortalUnavailable:
        """Return what is said of an answer that no portal gives."""
        kind = answer.headers.get("content-type", "without a content type")
        return PortalUnavailable(
            f"{self.server} did not answer as a portal of Retint does ({answer.status_code}, {kind})."
            " Is there a proxy that wants a sign-in?"
        )

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise PortalUnavailable(f"{self.server} does not answer ({reason}).") from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise Refused(f"{self.server} cannot be asked: {error}.") from error

    @staticmethod
    def retry(call: Callable[[], T]) -> T:
        """Try a call until the portal answers; where it asks to wait, as long as it says."""
        waits, patience = iter(BACKOFF_S), time.monotonic() + PATIENCE_S
        while True:
            try:
                return call()
            except PortalUnavailable as error:
                asked = error.retry_after_s
                # Who is asked to wait has been heard: that uses up no try.
                wait = asked if asked and time.monotonic() < patience else next(waits, None)
                if wait is None:
                    raise
                time.sleep(wait)


class _Body:
    """The bytes of a file as a request's body, which may be sent more than once."""

    def __init__(self, path: Path, on_progress: Callable[[int], None]) -> None:
        self._path, self._on_progress = path, on_progress
        self.storing_s = path.stat().st_size / STORING_RATE
        """How long the slowest portal stores it."""
        self.is_sent = False
        """Whether the last byte was sent, the last time."""

    def read(self) -> Iterator[bytes]:
        self.is_sent = False
        with self._path.open("rb") as source:
            while chunk := source.read(CHUNK):
                yield chunk
                self._on_progress(source.tell())
        self.is_sent = True


def _raise_for_status(answer: httpx.Response) -> None:
    """Raise the error that an answer of the portal stands for, if it does."""
    if answer.is_success:
        return
    answer.read()
    if answer.has_redirect_location:
        raise Refused(f"This is not the portal's address. It redirects to {answer.headers['location']}.")
    try:
        problem = answer.json()
        sentence, code = str(problem.get("detail") or problem["title"]), str(problem.get("code", "refused"))
    except (ValueError, KeyError, AttributeError):
        sentence, code = f"The portal answered {answer.status_code} {answer.reason_phrase}.", "refused"
    if answer.status_code in (429, 502, 503, 504):
        unavailable = PortalUnavailable(sentence, code=code)
        seconds = answer.headers.get("Retry-After", "")
        if answer.status_code == 429 and seconds.isdecimal():
            unavailable.retry_after_s = min(float(seconds), LONGEST_WAIT_S)
        raise unavailable
    if code == QuotaReached.code:
        raise QuotaReached(sentence)
    kinds = {401: WrongToken, 403: NotAllowed}
    raise kinds.get(answer.status_code, Refused)(sentence, code=code)
