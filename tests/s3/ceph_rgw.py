# SPDX-License-Identifier: Apache-2.0
"""A real S3 service for tests: one-node Ceph with its S3 gateway (radosgw) on loopback.

Why: the embedded server and the client were written by the same hands and may share a misreading
of S3; Ceph's gateway was not. It checks signatures, knows ranges, conditions and paging, and keeps
all objects in memory (about 450 MB, up in about 15 seconds).

    with CephGateway.start() as ceph:
        ceph.client().create_bucket(Bucket="train")
        hr.open("s3://train/", **ceph.open_options())

It does not measure speed and it is not a way to run Ceph: one monitor, one store in memory, no
authentication between the daemons.

As a program it starts a gateway, prints shell assignments, and stops it at Ctrl-C:
    python tests/s3/ceph_rgw.py
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ACCESS_KEY = "headracetestkey"
SECRET_KEY = "headracetestsecret"
REGION = "us-east-1"

# Debian and Ubuntu names; the programs that prove each is there.
PACKAGES = {
    "ceph-mon": ("ceph-mon", "monmaptool"),
    "ceph-osd": ("ceph-osd",),
    "ceph-mgr": ("ceph-mgr",),
    "radosgw": ("radosgw", "radosgw-admin"),
    "ceph-common": ("ceph",),
}
_STORE_BYTES = 4 << 30  # a limit, not an allocation: objects take memory as they come
_STEP_SECONDS = 90.0  # one command of the start; on a loaded 2-core machine they take 1 to 10 s
_STOP_SECONDS = 5.0


class CephUnavailable(Exception):
    """The packages are not there and cannot be installed here; the text says how to."""


def missing_packages() -> list[str]:
    """Packages of which a program is not installed."""
    return [
        package
        for package, programs in PACKAGES.items()
        if any(shutil.which(program, path=_path()) is None for program in programs)
    ]


def install_packages() -> None:
    """Installs what is missing through apt when this process may; does nothing when all is there.

    Raises:
        CephUnavailable: no apt, no rights, or apt failed.
    """
    wanted = missing_packages()
    if not wanted:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *wanted]
    line = " ".join(command)
    if shutil.which("apt-get") is None:
        raise CephUnavailable(f"no apt here to install {' '.join(wanted)}")
    if os.geteuid() != 0:
        if subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode:
            raise CephUnavailable(f"not root: type  sudo {line}")
        command = ["sudo", "-n", *command]
    update = [*command[: command.index("apt-get")], "apt-get", "update", "-q"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for attempt in (command, update, command):  # a list of packages may be old or not there at all
        done = subprocess.run(attempt, capture_output=True, text=True, env=environment, check=False)
        if attempt is command and done.returncode == 0:
            return
    raise CephUnavailable(f"{line}: {done.stderr.strip()[-400:]}")


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class CephGateway:
    """A running gateway; a context manager that stops it and removes its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._daemons: list[subprocess.Popen[bytes]] = []

    @classmethod
    def start(cls) -> CephGateway:
        """Starts one; about 15 seconds.

        Raises:
            CephUnavailable: its packages cannot be installed here.
            RuntimeError: a step failed; the text has its output.
        """
        install_packages()
        gateway = cls(Path(tempfile.mkdtemp(prefix="headrace-ceph-")))
        try:
            gateway._start_cluster()
            gateway._start_gateway()
        except BaseException:
            gateway.stop()
            raise
        return gateway

    def __enter__(self) -> CephGateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What AWS tools and headrace read."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
        }

    def open_options(self) -> dict[str, str]:
        """Options of ``headrace.open`` (and, but for the region's name, of boto3)."""
        return {
            "endpoint_url": self.url,
            "region": REGION,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
        }

    def client(self, **options: Any) -> Any:
        """A boto3 S3 client."""
        import boto3
        from botocore.config import Config

        chosen = {
            "endpoint_url": self.url,
            "region_name": REGION,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
            # Ceph 16 is older than the checksums that boto3 has added to every upload since 2025.
            "config": Config(
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path"},
            ),
            **options,
        }
        return boto3.client("s3", **chosen)

    def put_folder(self, folder: Path, bucket: str, prefix: str = "") -> list[str]:
        """Makes the bucket and puts every file below ``folder`` into it; returns the keys."""
        client = self.client()
        client.create_bucket(Bucket=bucket)
        keys = []
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            key = prefix + file.relative_to(folder).as_posix()
            client.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())
            keys.append(key)
        return keys

    def stop(self) -> None:
        """Ends the daemons, last started first, and removes their files. Idempotent."""
        while self._daemons:
            daemon = self._daemons.pop()
            daemon.terminate()
            try:
                daemon.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- steps of the start -------------------------------------------------------------------------

    def _start_cluster(self) -> None:
        cluster_id = str(uuid.uuid4())
        monitor = f"[v2:127.0.0.1:{_free_port()}]"
        for name in ("mon", "osd0", "mgr", "rgw"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "ceph.conf").write_text(_configuration(self.folder, cluster_id, monitor))
        monmap = str(self.folder / "monmap")
        self._run("monmaptool", "--create", "--fsid", cluster_id, "--addv", "a", monitor, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._daemon("ceph-mon", "-i", "a")
        store_id = str(uuid.uuid4())
        self._run("ceph", "osd", "new", store_id)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", store_id)
        self._daemon("ceph-osd", "-i", "0")
        self._daemon("ceph-mgr", "-i", "x")

    def _start_gateway(self) -> None:
        who = ("--uid=headrace", "--display-name=headrace")
        self._run(
            "radosgw-admin", "user", "create", *who,
            f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}",
        )  # fmt: skip
        self._daemon(
            "radosgw", "--name", "client.rgw.a",
            f"--rgw_frontends=beast endpoint=127.0.0.1:{self.port} tcp_nodelay=1",
        )  # fmt: skip
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        limit = time.monotonic() + _STEP_SECONDS
        while time.monotonic() < limit:
            gone = [d.args for d in self._daemons if d.poll() is not None]
            if gone:
                raise RuntimeError(f"start Ceph: {gone[0]} ended: {self._last_lines()}")
            try:
                with urllib.request.urlopen(self.url, timeout=2):
                    return
            except urllib.error.HTTPError:
                return  # an S3 error is an answer
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"start Ceph: no answer at {self.url} in {_STEP_SECONDS:.0f} s")

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "CEPH_CONF": str(self.folder / "ceph.conf"), "PATH": _path()}

    def _run(self, *command: str) -> None:
        """One step that ends by itself."""
        try:
            done = subprocess.run(
                command,
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=_STEP_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(
                f"start Ceph: '{' '.join(command[:3])}' took over {_STEP_SECONDS:.0f} s: "
                f"{self._last_lines()}"
            ) from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-800:]
            raise RuntimeError(f"start Ceph: '{' '.join(command[:3])}' failed: {said}")

    def _daemon(self, *command: str) -> None:
        """A daemon in the foreground; setpriv ends it with this process however that ends."""
        with (self.folder / "daemons.out").open("ab") as out:
            self._daemons.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "TERM", *command, "-f"],
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                )
            )

    def _last_lines(self) -> str:
        try:
            return (self.folder / "daemons.out").read_text(errors="replace")[-800:]
        except OSError as fault:
            return str(fault)


def _configuration(folder: Path, cluster_id: str, monitor: str) -> str:
    return f"""\
[global]
fsid = {cluster_id}
mon host = {monitor}
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
# a disk that others fill is no reason to stop: nothing of size is written
mon data avail crit = 1
mon data avail warn = 2
mon allow pool size one = true
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = {_STORE_BYTES}
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
mon data = {folder}/mon
mgr data = {folder}/mgr
osd data = {folder}/osd$id
# the gateway asks for an encrypted monitor session; without authentication it can only be plain
ms mon client mode = crc
ms client mode = crc
[client.rgw.a]
rgw data = {folder}/rgw
rgw thread pool size = 64
"""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        gateway = CephGateway.start()
    except (CephUnavailable, RuntimeError) as fault:
        sys.exit(f"ceph_rgw: {fault}")
    with gateway:
        for name, value in gateway.environment().items():
            print(f"{name}={value}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
