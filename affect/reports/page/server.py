"""The server of a live page, on this machine.

It answers GET alone, for the page, its blocks, and the files of clips that they name. A web site that has its name lead
to this machine (DNS rebinding) is refused by the Host header; where other machines may connect, every address needs a
token that is made anew at each start.
"""

import json
import mimetypes
import re
import secrets
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

from affect.config import ConfigError
from affect.reports.page import building, pages
from affect.reports.page.live import Live

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Beside the policy in the page itself, which cannot forbid frames."""


class PageServer(ThreadingHTTPServer):
    """Serves the page of `live` at `address`, and needs a token where that is not this machine alone. Raises
    ConfigError where it cannot listen there."""

    daemon_threads = True

    def __init__(self, live: Live, address: str, port: int) -> None:
        self.live = live
        self.token = None if is_local(address) else secrets.token_urlsafe(24)
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.html = building.render({}, pages.TITLE, live=True).encode()
        try:
            super().__init__((address, port), Handler)
        except OSError as error:
            raise ConfigError(
                f"{address}, port {port}, cannot be listened at ({error.strerror or error}): name another with"
                " --address and --port"
            ) from error
        host = socket.gethostname() if address in ("0.0.0.0", "::") else address
        host = f"[{host}]" if ":" in host else host
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost", "[::1]", host)}
        self.url = f"http://{host}:{self.server_port}/" + (f"?token={self.token}" if self.token else "")

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that ends a connection is no error of the server.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def is_local(address: str) -> bool:
    """
    >>> is_local("127.0.0.1"), is_local("localhost"), is_local("::1"), is_local("0.0.0.0"), is_local("node7")
    (True, True, True, False, False)
    """
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if self.server.token is None and self.headers.get("Host", "").lower() not in self.server.hosts:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, f"This server answers at {self.server.url} alone.")
        elif self.server.token is not None and not self._has_token(query):
            self._refuse(HTTPStatus.FORBIDDEN, "Open the address with the token that affect report has printed.")
        elif parts.path == "/":
            self._send(self.server.html, "text/html; charset=utf-8")
        elif parts.path == "/state":
            self._send(json.dumps(self.server.live.state()).encode(), "application/json")
        elif parts.path == "/block":
            self._block(query.get("name", [""])[0])
        elif parts.path.startswith("/media/") and parts.path.removeprefix("/media/") in self.server.live.media:
            self._file(
                Path("/" + unquote_to_bytes(parts.path.removeprefix("/media/")).decode(errors="surrogateescape"))
            )
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing at this address.")

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal shows the address of the page, not what it asks for."""

    def _has_token(self, query: dict[str, list[str]]) -> bool:
        assert self.server.token is not None
        return secrets.compare_digest(query.get("token", [""])[0].encode(), self.server.token.encode())

    def _block(self, name: str) -> None:
        try:
            packed = self.server.live.block(name)
        except ConfigError as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
            return
        if packed is None:
            self._refuse(HTTPStatus.NOT_FOUND, "The page has no such data any more.")
        else:
            self._send(packed.encode(), "text/plain; charset=us-ascii")

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        self._send(sentence.encode(), "text/plain; charset=utf-8", status)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._begin(status, kind, len(content))
        self.wfile.write(content)

    def _begin(self, status: HTTPStatus, kind: str, length: int, **more: str) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(length), **more}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _file(self, path: Path) -> None:
        """A file, or the part of it that a player asks for."""
        kind = mimetypes.guess_type(path.name)[0] or ""
        kind = kind if kind.startswith(("audio/", "video/")) else "application/octet-stream"
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                start = int(asked[1]) if asked else 0
                end = min(int(asked[2]), size - 1) if asked and asked[2] else size - 1
                if asked and start > end:
                    self._begin(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, kind, 0, Content_Range=f"bytes */{size}")
                    return
                status = HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK
                parts = {"Content_Range": f"bytes {start}-{end}/{size}"} if asked else {}
                self._begin(status, kind, end - start + 1, Accept_Ranges="bytes", **parts)
                file.seek(start)
                left = end - start + 1
                while left and (content := file.read(min(left, 2**16))):
                    self.wfile.write(content)
                    left -= len(content)
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND, "The file of this clip is not there any more.")
