"""A client of the JSON API: what `retint push` and `retint demo` talk to a portal with."""

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
    """One portal, one token. Every call is tried again when the portal does not answer or is busy.

    Every method raises PortalUnavailable when it stays so, NotAllowed when the token is not good for it, and Refused
    with the portal's own sentence when the request is at fault.
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

    def known(self, hashes: list[str]) -> set[str]:
        """Ask which of these SHA-256 the server has already."""
        found: set[str] = set()
        for start in range(0, len(hashes), 500):
            answer = self._json("POST", "/api/v1/photos/known", json={"sha256": hashes[start : start + 500]})
            found.update(answer["known"])
        return found

    def open_batch(self, name: str, *, key: str, recipe: Recipe | None = None, priority: int = 0) -> dict[str, Any]:
        """Open a batch; the same key gives the same batch again."""
        body = {"name": name, "priority": priority} | ({"recipe": recipe.model_dump()} if recipe else {})
        return self._json("POST", "/api/v1/batches", json=body, headers={"Idempotency-Key": key})

    def upload(self, batch_id: str, name: str, path: Path, sent: Callable[[int], None]) -> dict[str, Any]:
        """Deposit one file; `sent` hears how many of its bytes have gone."""
        query = {"name": name}
        return self._json("PUT", f"/api/v1/batches/{batch_id}/files", params=query, file=path, sent=sent)

    def add(self, batch_id: str, name: str, sha256: str) -> dict[str, Any]:
        """Deposit a file whose bytes the server has."""
        return self._json("POST", f"/api/v1/batches/{batch_id}/jobs", json={"sha256": sha256, "name": name})

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Read a batch with its counts."""
        return self._json("GET", f"/api/v1/batches/{batch_id}")

    def jobs(self, batch_id: str) -> Iterator[dict[str, Any]]:
        """Read the batch's jobs, page by page."""
        query: dict[str, Any] = {"limit": 200}
        while True:
            page = self._json("GET", f"/api/v1/batches/{batch_id}/jobs", params=query)
            yield from page["items"]
            if not page["next"]:
                return
            query["after"] = page["next"]

    def job(self, job_id: str) -> dict[str, Any]:
        """Read one job with its attempts and files."""
        return self._json("GET", f"/api/v1/jobs/{job_id}")

    def download(self, job_id: str, file: str, path: Path) -> None:
        """Save one of the job's files, such as `result`; the file appears when it is whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with (
            self._http.stream("GET", f"/api/v1/jobs/{job_id}/files/{file}", follow_redirects=True) as answer,
            part.open("wb") as sink,
        ):
            _check(answer)
            for chunk in answer.iter_bytes():
                sink.write(chunk)
        part.replace(path)

    def _json(
        self,
        method: str,
        url: str,
        *,
        file: Path | None = None,
        sent: Callable[[int], None] | None = None,
        **request: Any,
    ) -> dict[str, Any]:
        for retry in range(RETRIES + 1):
            try:
                if file:
                    with file.open("rb") as source:
                        answer = self._http.request(method, url, content=_reading(source, sent), **request)
                else:
                    answer = self._http.request(method, url, **request)
                _check(answer)
                return answer.json()  # type: ignore[no-any-return]
            except httpx.TransportError as error:
                problem: RetintError = PortalUnavailable(f"{self.server} does not answer ({error}).")
            except PortalUnavailable as error:
                problem = error
            if retry < RETRIES:
                time.sleep(0.5 * 2**retry)
        raise problem


def _reading(source: BinaryIO, sent: Callable[[int], None] | None) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk
        if sent:
            sent(source.tell())


def _check(answer: httpx.Response) -> None:
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
