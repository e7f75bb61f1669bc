"""A photo from an address on the web, fetched without opening a door into the network that Retint stands in.

Who names an address makes this machine ask for it. So a name is resolved once, every address that it stands for must
be a public one, and the connection goes to exactly that address; the name itself is then only a header and what the
certificate must be for. A redirection is a new address and goes through all of it again. Sources: OWASP, Server-Side
Request Forgery Prevention; IANA's registries of special-purpose addresses (RFC 6890); RFC 6052 (NAT64).
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
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
NAME_BYTES = 200
UNICAST = ip_network("2000::/3")
NAT64 = ip_network("64:ff9b::/96")
KEPT_OUT = tuple(ip_network(network) for network in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20"))
"""Global by their number only: a cloud's service for its own machines, protocols, relays of 6to4, documentation."""


class NotFetched(Refused):
    """The photo could not be fetched from its address."""

    code = "not_fetched"


def is_public(address: str, port: int) -> bool:
    """Say whether a server may be asked: a public unicast address, and one of the web's own two ports."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped or ip in NAT64:
            ip = ip.ipv4_mapped or IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip not in UNICAST or ip.sixtofour or ip.teredo:
            return False
    is_special = ip.is_multicast or ip.is_reserved or any(ip in network for network in KEPT_OUT)
    return port in PORTS and ip.is_global and not is_special


def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a host.

    Raises:
        OSError, UnicodeError: it knows none.
    """
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


@dataclass(frozen=True)
class Way:
    """How servers are found and which may be asked. There is one; tests lay another to servers of their own."""

    resolve: Callable[[str, int], list[str]] = resolve
    is_allowed: Callable[[str, int], bool] = is_public
    trust: ssl.SSLContext | bool = True


INTERNET = Way()


def is_address(text: str) -> bool:
    """Say whether somebody means an address on the web, not a file."""
    return text.lower().startswith(("http://", "https://"))


def fetch(url: str, path: Path, limit_bytes: int, timeout_s: float = 30, way: Way = INTERNET) -> str:
    """Fetch a file from the web. What it holds is for `ingest` to judge.

    Args:
        url: `http://` or `https://`, without a password in it.
        path: where the bytes go; nothing is left there when they do not come.
        limit_bytes: the most that are taken.
        timeout_s: for everything together, from the name to the last byte.
        way: how to get there.

    Returns:
        What the file is called: by the server, else by its address; fit to be a file's name.

    Raises:
        NotFetched: the sentence says why.
    """
    resolver = ThreadPoolExecutor(1, "retint-resolver")
    try:
        return asyncio.run(_fetch(url, path, limit_bytes, timeout_s, way, resolver))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        resolver.shutdown(wait=False)  # the system's own patience with a name server is longer than ours


async def _fetch(
    url: str, path: Path, limit_bytes: int, timeout_s: float, way: Way, resolver: ThreadPoolExecutor
) -> str:
    at = _parsed(url)
    try:
        async with asyncio.timeout(timeout_s):
            for _ in range(REDIRECTIONS + 1):
                async with _asked(at, way, resolver) as answer:
                    if not answer.has_redirect_location:
                        await _take(answer, at, path, limit_bytes)
                        return _name(answer.headers.get("content-disposition"), at)
                    at = _parsed(answer.headers["location"], at)
    except TimeoutError as error:
        raise NotFetched(f"{at.host} took longer than {timeout_s:g} seconds.", code="fetch_timeout") from error
    except httpx.HTTPError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            problem = "it cannot prove that it is this server: its certificate is not good"
        else:
            problem = str(error).rstrip(".") or type(error).__name__
        raise NotFetched(f"Nothing came from {at.host}: {problem}.") from error
    raise NotFetched(f"The address leads on more than {REDIRECTIONS} times.")


def _parsed(url: str, base: httpx.URL | None = None) -> httpx.URL:
    """Read an address, or a redirection's from `base`.

    Raises:
        NotFetched: it is none that is fetched from.
    """
    try:
        parsed = base.join(url) if base else httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise NotFetched("This is not an address on the web.", code="no_address") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise NotFetched("An address on the web begins with https:// or http://.", code="no_address")
    if parsed.userinfo:
        raise NotFetched("An address with a name or a password in it is not fetched from.", code="no_address")
    return parsed


@asynccontextmanager
async def _asked(url: httpx.URL, way: Way, resolver: ThreadPoolExecutor) -> AsyncIterator[httpx.Response]:
    """Ask the server of an address for it, at the first of the server's addresses that can be connected to.

    Raises:
        NotFetched: there is no such server, or it is not to be asked.
    """
    host = url.raw_host.decode()
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        addresses = await asyncio.get_running_loop().run_in_executor(resolver, way.resolve, host, port)
    except (OSError, UnicodeError) as error:
        raise NotFetched(f"There is no server {url.host}.", code="no_server") from error
    if not addresses or not all(way.is_allowed(address, port) for address in addresses):
        sentence = f"{url.netloc.decode()} is not asked: only public servers on the ports 80 and 443 are."
        raise NotFetched(sentence, code="not_public")
    headers = {
        "Host": url.netloc.decode(),
        "User-Agent": f"Retint/{__version__}",
        "Accept": "image/*, video/*;q=0.9, */*;q=0.5",
        "Accept-Encoding": "identity",
    }
    limits = httpx.Timeout(None, connect=CONNECT_S)  # all else has the one limit of `fetch`
    async with httpx.AsyncClient(trust_env=False, verify=way.trust, timeout=limits) as client:
        for left, address in zip(reversed(range(len(addresses))), addresses, strict=True):
            pinned = url.copy_with(host=address)
            request = client.build_request("GET", pinned, headers=headers, extensions={"sni_hostname": host})
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


async def _take(answer: httpx.Response, url: httpx.URL, path: Path, limit_bytes: int) -> None:
    """Write what the server sends to a file.

    Raises:
        NotFetched: it is no file, or too large.
    """
    if answer.status_code != httpx.codes.OK:
        said = f"{answer.status_code} {httpx.codes.get_reason_phrase(answer.status_code)}".strip()
        raise NotFetched(f"{url.host} has no photo at this address: it answered {said}.", code="no_photo")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise NotFetched(f"{url.host} sends the photo packed, although it was asked not to.", code="no_photo")
    too_large = NotFetched(f"The file is larger than {limit_bytes >> 20} MiB.", code="too_large")
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit_bytes:
        raise too_large
    size = 0
    with path.open("wb") as file:
        async for chunk in answer.aiter_raw():
            size += len(chunk)
            if size > limit_bytes:
                raise too_large
            file.write(chunk)
    if size == 0:
        raise NotFetched(f"{url.host} sent an empty file.", code="no_photo")


def _name(disposition: str | None, url: httpx.URL) -> str:
    """Name a file as the server does (RFC 6266), else as its address ends: no folders, nothing unprintable."""
    message = Message()
    message["Content-Disposition"] = disposition or "attachment"
    said = message.get_filename() or url.path
    last = "".join(c for c in said.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if c.isprintable())
    name = PurePosixPath(last.strip(" .") or "photo")
    suffix = name.suffix[:16]
    return name.stem.encode()[: NAME_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix
