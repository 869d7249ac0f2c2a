# SPDX-License-Identifier: Apache-2.0
"""A small HTTP proxy on a thread, good or bad; also the foreign host that nobody may ask."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit

_ANSWERS = {
    "407": b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n",
    "drop": b"",
}


class Proxy:
    """mode: "forward", "407" or "drop" (hangs up). ``requests`` counts heads that came."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, ValueError):
            head = b""
            while b"\r\n\r\n" not in head:
                more = client.recv(65536)
                if not more:
                    return
                head += more
            self.requests += 1
            if self._mode == "forward":
                self._forward(client, head)
            else:
                client.sendall(_ANSWERS[self._mode])

    def _forward(self, client: socket.socket, head: bytes) -> None:
        """One request in absolute form to its host, answered by that host; the connection ends with it."""
        line, rest = head.split(b"\r\n", 1)
        method, url, version = line.split(b" ")
        parts = urlsplit(url.decode())
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        kept = [h for h in rest.split(b"\r\n") if not h.lower().startswith((b"proxy-", b"connection:"))]
        with socket.create_connection((parts.hostname or "", parts.port or 80)) as server:
            first = b" ".join([method, path.encode(), version])
            server.sendall(b"\r\n".join([first, b"Connection: close", *kept]))
            while chunk := server.recv(1 << 16):
                client.sendall(chunk)
