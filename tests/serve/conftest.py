# SPDX-License-Identifier: Apache-2.0
"""Starts headrace-serve for the tests of this folder: the one beside the package, or $HEADRACE_SERVE."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from headrace.serve import server_program

ACCESS_KEY = "headrace"
SECRET_KEY = "headrace-secret"


@dataclass
class Running:
    """One server: its root folder, URL and process."""

    root: pathlib.Path
    url: str
    process: subprocess.Popen[str]


@contextlib.contextmanager
def running_server(folder: pathlib.Path, *options: str, scheme: str = "http") -> Iterator[Running]:
    root = folder / "root"
    root.mkdir(exist_ok=True)
    port_file = folder / "port"
    process = subprocess.Popen(
        [server_program(), str(root), "--port", "0", "--port-file", str(port_file), *options], stderr=subprocess.PIPE, text=True
    )
    line = process.stderr.readline()  # "serving ... at URL": printed when it listens
    assert " at " in line, line
    try:
        yield Running(root, f"{scheme}://127.0.0.1:{port_file.read_text().strip()}", process)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


@pytest.fixture
def serve(tmp_path: pathlib.Path) -> Iterator[Callable[..., Running]]:
    """serve(*options) starts a server that ends with the test."""
    with contextlib.ExitStack() as stack:
        count = 0

        def start(*options: str, scheme: str = "http") -> Running:
            nonlocal count
            count += 1
            folder = tmp_path / str(count)
            folder.mkdir()
            return stack.enter_context(running_server(folder, *options, scheme=scheme))

        yield start


@pytest.fixture
def client():
    """client(server, secret=..., access=...) makes a boto3 client."""
    return make_client


def make_client(server: Running, *, secret: str = SECRET_KEY, access: str = ACCESS_KEY, **config: object):
    """A boto3 client with path-style addressing and no retries, so that every answer is seen."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, **config),
    )
