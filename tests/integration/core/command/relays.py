"""A relay in front of a portal, which fails as a network, a proxy or a dying portal does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx

Answer = tuple[int, dict[str, str], bytes]
Fault = Callable[["Relay", str, str, Callable[[], Answer]], Answer | None]
"""Called with the relay, the method, the address and a function that asks the portal; what it returns is answered.
None: the connection is closed without an answer."""


class Relay:
    """A relay that writes down what it was asked."""

    def __init__(self, portal: str, fault: Fault) -> None:
        self.requests: list[tuple[str, str]] = []
        self.is_gone = False
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def relay_request(self) -> None:
                body = self._read_body()
                relay.requests.append((self.command, self.path))

                def ask() -> Answer:
                    headers = {name: self.headers[name] for name in self.headers if name.lower() in FORWARDED}
                    answer = httpx.request(self.command, portal + self.path, content=body, headers=headers, timeout=60)
                    return answer.status_code, {"Content-Type": answer.headers["content-type"]}, answer.content

                answer = None if relay.is_gone else fault(relay, self.command, self.path, ask)
                self.close_connection = True
                if answer is None:
                    return
                status, headers, content = answer
                self.send_response(status)
                closing = {"Content-Length": str(len(content)), "Connection": "close"}
                for name, value in (headers | closing).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def _read_body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            do_GET = do_PUT = do_POST = relay_request  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def count(self, method: str, part: str) -> int:
        """Count the requests whose address contains a part."""
        return sum(asked == method and part in address for asked, address in self.requests)

    def run(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


FORWARDED = {"authorization", "content-type", "idempotency-key"}


def name_in(address: str) -> str:
    """Return the file's name in an upload's address."""
    return parse_qs(urlsplit(address).query).get("name", [""])[0]


@contextmanager
def run_relay(portal: str, fault: Fault) -> Iterator[Relay]:
    """Run a relay until the block ends."""
    relay = Relay(portal, fault)
    thread = threading.Thread(target=relay.run, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        relay.close()
        thread.join()
