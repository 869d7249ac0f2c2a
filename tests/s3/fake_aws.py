# SPDX-License-Identifier: Apache-2.0
"""AWS by its own names, for tests: a proxy that takes every CONNECT to FakeCloud, behind TLS with a CA of its own.

So requests go out as they would to AWS (virtual hosts, dual-stack, FIPS, S3 Express, other regions), and the proxy, the
CA and the names are those of a real server. Nothing leaves this machine: hosts are never looked up.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

_NAMES = (
    "DNS:*.amazonaws.com,DNS:*.s3.us-west-2.amazonaws.com,DNS:*.s3.eu-west-1.amazonaws.com,DNS:s3.us-west-2.amazonaws.com,"
    "DNS:*.s3.us-east-1.amazonaws.com,DNS:*.s3.dualstack.us-west-2.amazonaws.com,DNS:*.s3-fips.us-west-2.amazonaws.com,"
    "DNS:*.s3express-usw2-az1.us-west-2.amazonaws.com,DNS:*.s3-accesspoint.us-west-2.amazonaws.com"
)


class AwsProxy:
    """``url`` is for HTTPS_PROXY, ``ca_file`` for verify= or AWS_CA_BUNDLE. ``hosts``: whom clients asked for."""

    def __init__(self, folder: Path, cloud_url: str, refuses: bytes = b"") -> None:
        key, self.ca_file = folder / "aws-key.pem", str(folder / "aws-cert.pem")
        words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        words += ["-subj", "/CN=fake-aws", "-addext", f"subjectAltName={_NAMES}", "-keyout", str(key)]
        subprocess.run(["openssl", *words, "-out", self.ca_file], check=True, capture_output=True)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self.ca_file, key)
        parts = urlsplit(cloud_url)
        self._cloud = (parts.hostname or "", parts.port or 80)
        self._refuses = refuses
        self.hosts: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> AwsProxy:
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
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                more = client.recv(4096)
                if not more:
                    return
                head += more
            method, target = head.split(b" ")[:2]
            self.hosts.append(target.decode())
            if self._refuses or method != b"CONNECT":
                client.sendall(self._refuses or b"HTTP/1.1 405 Only CONNECT\r\nContent-Length: 0\r\n\r\n")
                return
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with self._tls.wrap_socket(client, server_side=True) as inner, socket.create_connection(self._cloud) as cloud:
                back = threading.Thread(target=_pump, args=(cloud, inner), daemon=True)
                back.start()
                _pump(inner, cloud)
                back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(1 << 16):
            sink.sendall(chunk)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
