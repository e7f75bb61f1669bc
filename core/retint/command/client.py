"""A client of the JSON API, for `retint push` and `retint demo`."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self

import httpx

from retint.errors import NotAllowed, Refused, RetintError, Transient
from retint.recipes import Recipe

RETRIES = 4
CHUNK = 1 << 20


class PortalUnavailable(Transient):
    """The portal did not answer."""

    code = "portal_unavailable"


class Client:
    """A client for one portal with one token. Calls are retried while the portal does not answer or is busy.

    Methods raise PortalUnavailable after the last retry, NotAllowed when the token does not permit the call, and
    Refused with the portal's own sentence when the request is at fault.
    """

    def __init__(self, server: str, token: str) -> None:
        self.server = server.rstrip("/")
        self._http = httpx.Client(
            base_url=self.server,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(300, connect=10),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def find_known(self, hashes: list[str]) -> set[str]:
        """Return which of these SHA-256 the server has already."""
        found: set[str] = set()
        for start in range(0, len(hashes), 500):
            answer = self._request("POST", "/api/v1/photos/known", json={"sha256": hashes[start : start + 500]})
            found.update(answer["known"])
        return found

    def open_batch(self, name: str, *, key: str, recipe: Recipe | None = None, priority: int = 0) -> dict[str, Any]:
        """Open a batch; the same idempotency key returns the same batch."""
        body = {"name": name, "priority": priority} | ({"recipe": recipe.model_dump()} if recipe else {})
        return self._request("POST", "/api/v1/batches", json=body, headers={"Idempotency-Key": key})

    def upload(self, batch_id: str, name: str, path: Path, on_progress: Callable[[int], None]) -> dict[str, Any]:
        """Deposit one file; `on_progress` is called with the number of bytes sent."""
        query = {"name": name}
        return self._request(
            "PUT", f"/api/v1/batches/{batch_id}/files", params=query, file=path, on_progress=on_progress
        )

    def add(self, batch_id: str, name: str, sha256: str) -> dict[str, Any]:
        """Deposit a file whose bytes the server has already."""
        return self._request("POST", f"/api/v1/batches/{batch_id}/jobs", json={"sha256": sha256, "name": name})

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Read a batch with its counts."""
        return self._request("GET", f"/api/v1/batches/{batch_id}")

    def jobs(self, batch_id: str) -> Iterator[dict[str, Any]]:
        """Read the batch's jobs, page by page."""
        query: dict[str, Any] = {"limit": 200}
        while True:
            page = self._request("GET", f"/api/v1/batches/{batch_id}/jobs", params=query)
            yield from page["items"]
            if not page["next"]:
                return
            query["after"] = page["next"]

    def job(self, job_id: str) -> dict[str, Any]:
        """Read one job with its attempts and files."""
        return self._request("GET", f"/api/v1/jobs/{job_id}")

    def download(self, job_id: str, file: str, path: Path) -> None:
        """Save one of the job's files, such as `result`; it appears at `path` when it is complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with (
            self._http.stream("GET", f"/api/v1/jobs/{job_id}/files/{file}", follow_redirects=True) as answer,
            part.open("wb") as sink,
        ):
            _raise_for_status(answer)
            for chunk in answer.iter_bytes():
                sink.write(chunk)
        part.replace(path)

    def _request(
        self,
        method: str,
        url: str,
        *,
        file: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
        **request: Any,
    ) -> dict[str, Any]:
        for retry in range(RETRIES + 1):
            try:
                if file:
                    with file.open("rb") as source:
                        answer = self._http.request(method, url, content=_read_chunks(source, on_progress), **request)
                else:
                    answer = self._http.request(method, url, **request)
                _raise_for_status(answer)
                return answer.json()  # type: ignore[no-any-return]
            except httpx.TransportError as error:
                problem: RetintError = PortalUnavailable(f"{self.server} does not answer ({error}).")
            except PortalUnavailable as error:
                problem = error
            if retry < RETRIES:
                time.sleep(0.5 * 2**retry)
        raise problem


def _read_chunks(source: BinaryIO, on_progress: Callable[[int], None] | None) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk
        if on_progress:
            on_progress(source.tell())


def _raise_for_status(answer: httpx.Response) -> None:
    """Raise the error that an answer of the portal stands for, if it does."""
    if answer.is_success:
        return
    answer.read()
    try:
        problem = answer.json()
        sentence, code = problem.get("detail") or problem["title"], problem.get("code", "refused")
    except (ValueError, KeyError, AttributeError):
        sentence, code = f"The portal answered {answer.status_code} {answer.reason_phrase}.", "refused"
    if answer.status_code in (429, 502, 503, 504):
        raise PortalUnavailable(sentence, code=code)
    kind = NotAllowed if answer.status_code in (401, 403) else Refused
    raise kind(sentence, code=code)
