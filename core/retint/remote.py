"""Ask servers on the web, for a photo or to tell them something, without giving access to the network around (SSRF).

Whoever names an address makes this machine send a request to it. So a host name is resolved once, all of its addresses
must be public, and the connection goes to exactly one of them; the name is used only for the Host header and the
certificate. A redirection goes through all of this again. Sources: OWASP, Server-Side Request Forgery Prevention;
IANA's registries of special-purpose addresses (RFC 6890); RFC 6052 (NAT64).
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path, PurePosixPath

import httpx

from retint import __version__
from retint.errors import Refused

REDIRECTIONS = 5
PORTS = (80, 443)
CONNECT_S = 10.0
STRETCH = 1 << 18
"""Bytes of a file that have to come within the time limit."""
NAME_BYTES = 200
ACCEPTED = {"Accept": "image/*, video/*;q=0.9, */*;q=0.5", "Accept-Encoding": "identity"}
UNICAST = ip_network("2000::/3")
NAT64 = ip_network("64:ff9b::/96")
EXCLUDED = tuple(ip_network(network) for network in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20"))
"""Global only by number: a cloud's service for its own machines, protocols, 6to4 relays, documentation."""


class NotFetched(Refused):
    """The photo could not be fetched from its address."""

    code = "not_fetched"


def is_public(address: str, port: int) -> bool:
    """Whether a server may be asked: a public unicast address, and port 80 or 443."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped or ip in NAT64:
            ip = ip.ipv4_mapped or IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip not in UNICAST or ip.sixtofour or ip.teredo:
            return False
    is_special = ip.is_multicast or ip.is_reserved or any(ip in network for network in EXCLUDED)
    return port in PORTS and ip.is_global and not is_special


def resolve(host: str, port: int) -> list[str]:
    """Resolve a host name.

    Raises:
        OSError, UnicodeError: there is no such host.
    """
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


@dataclass(frozen=True)
class AccessPolicy:
    """How host names are resolved, and which servers may be asked. Tests use another one to reach their own servers."""

    resolve: Callable[[str, int], list[str]] = resolve
    is_allowed: Callable[[str, int], bool] = is_public
    trust: ssl.SSLContext | bool = True
    inside: frozenset[str] = frozenset()
    """Servers, as `host:port`, that an operator lets be asked wherever they are."""


INTERNET = AccessPolicy()


def is_web_address(text: str) -> bool:
    """Whether a text is an address on the web, not the path of a file."""
    return text.lower().startswith(("http://", "https://"))


def fetch(url: str, path: Path, limit_bytes: int, timeout_s: float = 30, policy: AccessPolicy = INTERNET) -> str:
    """Fetch a file from the web into a file, which is not left there on failure (see `download`)."""

    async def write(data: bytes) -> None:
        file.write(data)

    try:
        with path.open("wb") as file:
            return asyncio.run(download(url, write, limit_bytes, timeout_s, policy))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def download(
    url: str,
    write: Callable[[bytes], Awaitable[None]],
    limit_bytes: int,
    timeout_s: float = 30,
    policy: AccessPolicy = INTERNET,
) -> str:
    """Download a file from the web. Its content is not checked here.

    Args:
        url: `http://` or `https://`, without a password in it.
        write: takes the bytes.
        limit_bytes: largest size.
        timeout_s: from resolving the name to the first bytes, and then for every `STRETCH`: a large file may take long,
            but a server that sends next to nothing is left.
        policy: which servers may be asked.

    Returns:
        The file's name as the server gives it, else from the address; safe to use as a file's name.

    Raises:
        NotFetched: the message says why.
    """
    at = _parse_url(url)
    resolver = ThreadPoolExecutor(1, "retint-resolver")
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            for _ in range(REDIRECTIONS + 1):
                async with _request(at, policy, resolver, ACCEPTED) as answer:
                    if not answer.has_redirect_location:
                        async for chunk in _read_body(answer, at, limit_bytes):
                            deadline.reschedule(None)
                            await write(chunk)
                            deadline.reschedule(asyncio.get_running_loop().time() + timeout_s)
                        return _file_name(answer.headers.get("content-disposition"), at)
                    at = _parse_url(answer.headers["location"], at)
    except TimeoutError as error:
        sentence = f"{at.host} took longer than {timeout_s:g} seconds for the next bytes."
        raise NotFetched(sentence, code="fetch_timeout") from error
    except httpx.HTTPError as error:
        raise NotFetched(f"Nothing came from {at.host}: {_explain(error)}.") from error
    finally:
        resolver.shutdown(wait=False)  # do not wait: the system's timeout for name servers is longer
    raise NotFetched(f"The address redirects more than {REDIRECTIONS} times.")


def _parse_url(url: str, base: httpx.URL | None = None) -> httpx.URL:
    """Parse an address; a redirection is relative to `base`.

    Raises:
        NotFetched: it is not an address that can be fetched.
    """
    try:
        parsed = base.join(url) if base else httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise NotFetched("This is not an address on the web.", code="no_address") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise NotFetched("An address on the web begins with https:// or http://.", code="no_address")
    if parsed.userinfo:
        raise NotFetched("An address with a name or a password in it cannot be fetched.", code="no_address")
    return parsed


async def find_addresses(url: httpx.URL, policy: AccessPolicy, resolver: ThreadPoolExecutor) -> list[str]:
    """Return the addresses of a host, of which one is to be connected to: a second look-up may give others.

    Raises:
        NotFetched: there is no such host, or it may not be asked.
    """
    host, port = url.raw_host.decode(), port_of(url)
    try:
        addresses = await asyncio.get_running_loop().run_in_executor(resolver, policy.resolve, host, port)
    except (OSError, UnicodeError) as error:
        raise NotFetched(f"There is no server {url.host}.", code="no_server") from error
    is_allowed = f"{host}:{port}" in policy.inside or all(policy.is_allowed(address, port) for address in addresses)
    if not addresses or not is_allowed:
        sentence = f"{url.netloc.decode()} is not asked: only public servers on ports 80 and 443 may be."
        raise NotFetched(sentence, code="not_public")
    return addresses


def port_of(url: httpx.URL) -> int:
    """Return the port of an address on the web."""
    return url.port or (443 if url.scheme == "https" else 80)


@dataclass(frozen=True)
class Answer:
    """What a server answered to `post`; never its body."""

    status: int
    retry_after: str | None
    """The header of that name."""


async def post(url: str, body: bytes, headers: dict[str, str], timeout_s: float, policy: AccessPolicy) -> Answer:
    """Send something to a server and read no more than the head of its answer. Redirections are not followed.

    Args:
        url: `http://` or `https://`, without a password in it.
        body: what is sent.
        headers: of the request, beside those that name host and sender.
        timeout_s: for all of it.
        policy: which servers may be asked.

    Raises:
        NotFetched: it may not be asked, or did not answer; the message says why.
    """
    at = _parse_url(url)
    resolver = ThreadPoolExecutor(1, "retint-resolver")
    try:
        async with asyncio.timeout(timeout_s), _request(at, policy, resolver, headers, body) as answer:
            return Answer(answer.status_code, answer.headers.get("retry-after"))
    except TimeoutError as error:
        raise NotFetched(f"{at.host} did not answer within {timeout_s:g} seconds.", code="fetch_timeout") from error
    except httpx.HTTPError as error:
        raise NotFetched(f"Nothing came from {at.host}: {_explain(error)}.") from error
    finally:
        resolver.shutdown(wait=False)


def _explain(error: httpx.HTTPError) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is not valid for this server"
    return str(error).rstrip(".") or type(error).__name__


@asynccontextmanager
async def _request(
    url: httpx.URL,
    policy: AccessPolicy,
    resolver: ThreadPoolExecutor,
    headers: dict[str, str],
    body: bytes | None = None,
) -> AsyncIterator[httpx.Response]:
    """Send the request, to the first of the host's addresses that accepts a connection; with a body it is a POST.

    Raises:
        NotFetched: there is no such host, or it may not be asked.
    """
    host = url.raw_host.decode()
    addresses = await find_addresses(url, policy, resolver)
    headers = {"Host": url.netloc.decode(), "User-Agent": f"Retint/{__version__}", **headers}
    method = "GET" if body is None else "POST"
    limits = httpx.Timeout(None, connect=CONNECT_S)  # everything else falls under the time limit of `download`
    async with httpx.AsyncClient(trust_env=False, verify=policy.trust, timeout=limits) as client:
        for left, address in zip(reversed(range(len(addresses))), addresses, strict=True):
            pinned = url.copy_with(host=address)
            request = client.build_request(
                method, pinned, headers=headers, content=body, extensions={"sni_hostname": host}
            )
            try:
                answer = await client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if left:
                    continue
                raise
            try:
                yield answer
            finally:
                await answer.aclose()
            return


async def _read_body(answer: httpx.Response, url: httpx.URL, limit_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body of the answer, in pieces of `STRETCH` bytes.

    Raises:
        NotFetched: there is no file, or it is too large.
    """
    if answer.status_code != httpx.codes.OK:
        status = f"{answer.status_code} {httpx.codes.get_reason_phrase(answer.status_code)}".strip()
        raise NotFetched(f"{url.host} has no photo at this address: it answered {status}.", code="no_photo")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise NotFetched(f"{url.host} sends the photo compressed, although it was asked not to.", code="no_photo")
    too_large = NotFetched(f"The file is larger than {limit_bytes >> 20} MiB.", code="too_large")
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit_bytes:
        raise too_large
    size = 0
    async for chunk in answer.aiter_raw(STRETCH):
        size += len(chunk)
        if size > limit_bytes:
            raise too_large
        yield chunk
    if size == 0:
        raise NotFetched(f"{url.host} sent an empty file.", code="no_photo")


def _file_name(disposition: str | None, url: httpx.URL) -> str:
    """Return the file's name from the server's header (RFC 6266), else from the address; without folders, printable."""
    message = Message()
    message["Content-Disposition"] = disposition or "attachment"
    try:
        path = message.get_filename() or url.path
    except (LookupError, ValueError):  # it names a character set in which these bytes are no text
        path = url.path
    last = "".join(c for c in path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if c.isprintable())
    name = PurePosixPath(last.strip(" .") or "photo")
    suffix = name.suffix[:16]
    return name.stem.encode()[: NAME_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix
