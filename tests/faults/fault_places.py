# SPDX-License-Identifier: Apache-2.0
"""Where a cell's client is sent: the fault server, plain or with TLS, and the places that no rule can make: dead
ports, black holes, proxies, odd certificates, missing keys."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_data import BUCKET, DATA_SETS
from fault_proxy import Proxy

from headrace.serve import Server

KEYS = {"aws_access_key_id": "headrace", "aws_secret_access_key": "headrace-secret"}
NO_KEYS = {"AWS_EC2_METADATA_DISABLED": "true"}
ODD_NAMES = ("0 a b.tar", "1+%20&=.tar", "2#?;:@.tar", "3 é漢🙂.tar", "4'\"<>|~.tar")
_CA_CONF = """
[ca]
default_ca = it
[it]
database = {folder}/index.txt
new_certs_dir = {folder}
default_md = sha256
rand_serial = yes
policy = any
x509_extensions = extensions
[any]
commonName = supplied
[extensions]
subjectAltName = {names}
basicConstraints = critical, CA:true
[req]
distinguished_name = any_name
[any_name]
"""
SLOW_WORDS = ["--total-mbps", "0.5"]  # 1.2 MB take 2.5 s: time to act upon the server


@dataclass
class Spot:
    """What a cell needs to know of its place."""

    options: dict[str, Any]
    control: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    canary: str = ""
    lasts: bool = True  # the server with the rules is there afterwards
    url: str = ""  # instead of the data set's
    began: Callable[[], None] = lambda: None  # called when the cell starts
    complaint: Callable[[], str] = lambda: ""  # what is wrong afterwards, or ""


def _control(server: Server) -> dict[str, str]:
    return {"url": server.endpoint_url, "ca": server.ca_file}


class Lane:
    """One line of cells, with servers of its own over the common folder."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root, self.scratch = root, scratch
        self._open = contextlib.ExitStack()
        self.plain = self._open.enter_context(Server(root))
        self._tls: Server | None = None

    @property
    def tls(self) -> Server:
        if self._tls is None:
            self._tls = self._open.enter_context(Server(self.root, tls=True))
        return self._tls

    def close(self) -> None:
        self._open.close()

    def at(self, name: str) -> contextlib.AbstractContextManager[Spot]:
        return _PLACES[name](self)

    def _plain_spot(self, **changes: Any) -> Spot:
        return Spot({**self.plain.options, **changes}, _control(self.plain))

    def _server(self) -> Iterator[Spot]:
        yield self._plain_spot()

    def _with_tls(self) -> Iterator[Spot]:
        yield Spot(self.tls.options, _control(self.tls))

    # --- endpoints that are not there ---------------------------------------------------------------------------

    def _closed_port(self) -> Iterator[Spot]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        yield self._plain_spot(endpoint_url=f"http://127.0.0.1:{port}")

    def _black_hole(self) -> Iterator[Spot]:
        """A listener whose queue is full: the kernel drops further SYNs."""
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(8):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            yield self._plain_spot(endpoint_url=f"http://127.0.0.1:{listener.getsockname()[1]}")

    def _no_name(self) -> Iterator[Spot]:
        yield self._plain_spot(endpoint_url="http://no-such-host.invalid:9000")

    # --- servers that are acted upon ----------------------------------------------------------------------------

    def _acted_upon(self, act: Callable[[Server], None]) -> Iterator[Spot]:
        with Server(self.root, words=SLOW_WORDS) as server:
            spot = Spot(server.options, _control(server), lasts=False)
            actor = threading.Thread(target=act, args=(server,))
            spot.began = actor.start
            yield spot
            actor.join()

    def _paused(self) -> Iterator[Spot]:
        def act(server: Server) -> None:
            time.sleep(0.8)
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(2)
            os.kill(server.pid, signal.SIGCONT)

        yield from self._acted_upon(act)

    def _restarted(self) -> Iterator[Spot]:
        again: list[Server] = []

        def act(server: Server) -> None:
            time.sleep(0.8)
            os.kill(server.pid, signal.SIGKILL)
            time.sleep(0.5)
            again.append(Server(self.root, words=[*SLOW_WORDS, "--port", str(server.port)]))

        yield from self._acted_upon(act)
        for server in again:
            server.close()

    # --- TLS ----------------------------------------------------------------------------------------------------

    def _unknown_ca(self) -> Iterator[Spot]:
        options = {name: value for name, value in self.tls.options.items() if name != "verify"}
        yield Spot(options, _control(self.tls))

    def _tls_to_plain(self) -> Iterator[Spot]:
        yield self._plain_spot(endpoint_url=f"https://127.0.0.1:{self.plain.port}", verify=self.tls.ca_file)

    def _with_certificate(self, names: str, end: str) -> Iterator[Spot]:
        """A certificate of its own CA, from 2020 to ``end``: the one thing that needs `openssl ca` and its files."""
        folder = self.scratch / f"ca-{end}"
        if not folder.exists():
            folder.mkdir()
            (folder / "index.txt").touch()
            (folder / "ca.conf").write_text(_CA_CONF.format(folder=folder, names=names))
            key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem"]
            signing = ["-selfsign", "-keyfile", "key.pem", "-startdate", "20200101000000Z", "-enddate", end]
            self._openssl(folder, "req", "-new", "-subj", "/CN=fault-suite", *key, "-out", "request.pem")
            self._openssl(folder, "ca", "-batch", *signing, "-in", "request.pem", "-out", "cert.pem")
        key_file, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
        with Server(self.root, words=["--tls", "--tls-cert", certificate, "--tls-key", key_file]) as server:
            endpoint = f"https://127.0.0.1:{server.port}"
            options = {**server.options, "endpoint_url": endpoint, "verify": certificate}
            yield Spot(options, _control(self.plain), lasts=False)

    @staticmethod
    def _openssl(folder: Path, *words: str) -> None:
        command = ["openssl", words[0], "-config", "ca.conf", *words[1:]]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    def _other_host(self) -> Iterator[Spot]:
        yield from self._with_certificate("DNS:other.example", "20990101000000Z")

    def _expired(self) -> Iterator[Spot]:
        yield from self._with_certificate("IP:127.0.0.1", "20200102000000Z")

    # --- proxies ------------------------------------------------------------------------------------------------

    def _proxy(self, mode: str, **environment: str) -> Iterator[Spot]:
        with Proxy(mode) as proxy:
            spot = self._plain_spot()
            url = f"http://user:canary-proxy-word@127.0.0.1:{proxy.port}"
            spot.environment = {"http_proxy": url, "HTTP_PROXY": url, **environment}
            spot.complaint = lambda: "" if bool(proxy.requests) != bool(environment) else (
                f"the proxy saw {proxy.requests} requests"
            )  # fmt: skip
            yield spot

    def _proxy_ok(self) -> Iterator[Spot]:
        yield from self._proxy("forward")

    def _proxy_407(self) -> Iterator[Spot]:
        yield from self._proxy("407")

    def _proxy_drops(self) -> Iterator[Spot]:
        yield from self._proxy("drop")

    def _no_proxy(self) -> Iterator[Spot]:
        yield from self._proxy("drop", NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")

    def _proxy_gone(self) -> Iterator[Spot]:
        for spot in self._closed_port():
            url = spot.options["endpoint_url"]
            spot.options = dict(self.plain.options)
            spot.environment = {"http_proxy": url, "HTTP_PROXY": url}
            yield spot

    # --- keys ---------------------------------------------------------------------------------------------------

    def _without_keys(self, **environment: str) -> Iterator[Spot]:
        spot = self._plain_spot()
        spot.options = {name: value for name, value in spot.options.items() if name not in KEYS}
        spot.environment = {**NO_KEYS, **environment}
        yield spot

    def _key_program(self, program: str) -> Iterator[Spot]:
        path = self.scratch / "config"
        path.write_text(f"[default]\ncredential_process = {program}\n")
        path.chmod(0o600)
        yield from self._without_keys(AWS_CONFIG_FILE=str(path))

    def _program_fails(self) -> Iterator[Spot]:
        yield from self._key_program("/bin/false")

    def _program_junk(self) -> Iterator[Spot]:
        yield from self._key_program("/bin/echo canary-junk-of-a-program")

    def _no_keys(self) -> Iterator[Spot]:
        yield from self._without_keys()

    def _wrong_secret(self) -> Iterator[Spot]:
        yield self._plain_spot(aws_secret_access_key="canary-wrong-secret")

    def _wrong_key(self) -> Iterator[Spot]:
        yield self._plain_spot(aws_access_key_id="AKIAUNKNOWN")

    # --- others -------------------------------------------------------------------------------------------------

    def _canary(self) -> Iterator[Spot]:
        """Another host that no request, and so no token, may reach."""
        with Proxy("drop") as other:
            spot = self._plain_spot()
            spot.canary = f"http://127.0.0.1:{other.port}/"
            spot.complaint = lambda: f"{other.requests} requests went to a foreign host" if other.requests else ""
            yield spot

    def _odd_keys(self) -> Iterator[Spot]:
        folder = self.scratch / "odd-root" / BUCKET / "odd"
        if not folder.exists():
            folder.mkdir(parents=True)
            shards = sorted((self.root / BUCKET / "tar").iterdir())
            for shard, name in zip(shards, ODD_NAMES, strict=True):
                shutil.copy(shard, folder / name)
        with Server(self.scratch / "odd-root") as server:
            yield Spot(server.options, _control(server), url=f"s3://{BUCKET}/odd/")


def _place(method: Callable[[Lane], Iterator[Spot]]) -> Callable[[Lane], contextlib.AbstractContextManager[Spot]]:
    return contextlib.contextmanager(method)


_PLACES = {
    "server": _place(Lane._server),
    "closed-port": _place(Lane._closed_port),
    "black-hole": _place(Lane._black_hole),
    "no-name": _place(Lane._no_name),
    "paused": _place(Lane._paused),
    "restarted": _place(Lane._restarted),
    "tls": _place(Lane._with_tls),
    "tls-unknown-ca": _place(Lane._unknown_ca),
    "tls-to-plain": _place(Lane._tls_to_plain),
    "tls-other-host": _place(Lane._other_host),
    "tls-expired": _place(Lane._expired),
    "proxy": _place(Lane._proxy_ok),
    "proxy-407": _place(Lane._proxy_407),
    "proxy-drops": _place(Lane._proxy_drops),
    "proxy-gone": _place(Lane._proxy_gone),
    "no-proxy": _place(Lane._no_proxy),
    "key-program-fails": _place(Lane._program_fails),
    "key-program-junk": _place(Lane._program_junk),
    "no-keys": _place(Lane._no_keys),
    "wrong-secret": _place(Lane._wrong_secret),
    "wrong-key": _place(Lane._wrong_key),
    "canary": _place(Lane._canary),
    "odd-keys": _place(Lane._odd_keys),
}
__all__ = ["DATA_SETS", "Lane", "Spot"]
