# SPDX-License-Identifier: Apache-2.0
"""No secret is ever said: not on the terminal, in logs, errors, states, indexes, reports or pickles.

Canaries stand for a key, a session token, a customer's key (SSE-C) and a presigned signature; every door of the
product is opened with them, with all logging on, rightly and wrongly, and everything that came out is searched.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fake_cloud import FakeCloud

import headrace as hr

SECRET = "CANARYsecretKey0123456789abcdefghijklmnop"
TOKEN = "CANARYsessionToken"
SIGNATURE = "CANARYsignature"
CUSTOMER_KEY = b"CANARYcustomerKey-32-bytes-long!"
KEY_ID = "AKIDEXAMPLE"  # no secret: stands in some messages
CANARIES = [b"CANARY", base64.b64encode(CUSTOMER_KEY)[:20]]


def _search(where: str, said: str | bytes) -> None:
    data = said.encode() if isinstance(said, str) else said
    for canary in CANARIES:
        assert canary not in data, f"{where}: {data[max(0, data.find(canary) - 200) :][:400]!r}"


@pytest.fixture
def cloud():
    """Takes static keys instead of issued ones."""
    with FakeCloud() as made:
        made.is_valid = lambda authorization, token: KEY_ID in authorization  # type: ignore[method-assign]
        yield made


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def _keys() -> dict[str, Any]:
    return {
        "aws_access_key_id": KEY_ID,
        "aws_secret_access_key": SECRET,
        "aws_session_token": TOKEN,
    }


def _open(cloud: FakeCloud, **more: Any) -> hr.Dataset:
    options = {
        "endpoint_url": cloud.url,
        "region": "us-east-1",
        "attempts_max": 2,
        **_keys(),
        **more,
    }
    return hr.open("s3://bucket/data/", **options)


def _files_under(folder: Path) -> bytes:
    return b"\n".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


def test_of_a_run_with_everything_logged(cloud, machine, caplog, capfd):
    caplog.set_level(1)
    logging.getLogger("headrace").setLevel(1)
    with _open(cloud, index_dir=machine / "index") as ds:
        loader = ds.loader(batch_size=8)
        batches = iter(loader)
        next(batches)
        texts = {
            "repr": repr(ds) + str(ds) + repr(ds._location) + repr(loader) + str(loader),
            "state": json.dumps(loader.state_dict(), default=str),
            "stats": repr(loader.stats) if hasattr(loader, "stats") else "",
            "describe": str(getattr(ds, "url", "")),
        }
        for name, text in texts.items():
            _search(name, text)
    _search("log", caplog.text)
    _search("terminal", "".join(capfd.readouterr()))
    _search("files", _files_under(machine))


REFUSALS = {
    "denied": (403, "<Error><Code>AccessDenied</Code><Message>m</Message></Error>"),
    # S3 echoes what was signed, the token and the key's id.
    "signature": (
        403,
        "<Error><Code>SignatureDoesNotMatch</Code><Message>m</Message>"
        f"<StringToSign>x-amz-security-token:{TOKEN}</StringToSign><SignatureProvided>CANARY</SignatureProvided></Error>",
    ),
    "expired": (
        400,
        f"<Error><Code>ExpiredToken</Code><Message>m</Message><Token-0>{TOKEN}</Token-0></Error>",
    ),
    "html": (502, "<html>bad gateway</html>"),
    "nonsense": (200, "CANARY"),
    "redirect": (307, ""),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_of_requests_that_fail(name, cloud, machine, caplog, capfd):
    caplog.set_level(1)

    def refuse(handler: Any) -> None:
        where = {"Location": f"https://x.example/?X-Amz-Signature={SIGNATURE}"}
        handler.answer(*REFUSALS[name], **(where if name == "redirect" else {}))

    cloud.server.RequestHandlerClass.do_GET = refuse  # type: ignore[attr-defined]
    with pytest.raises(hr.Error) as failure:
        _open(cloud, retry_seconds_max=1)
    error = failure.value
    _search("error", "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)))
    _search("log", caplog.text + "".join(capfd.readouterr()))


def test_of_options_that_are_wrong(cloud):
    for more in (
        {"sse_customer_key": CUSTOMER_KEY},  # over http
        {"sse_customer_key": CUSTOMER_KEY + b"x"},
        {"aws_secret_access_key": SECRET + "\n"},
        {"aws_session_token": TOKEN + "\r\nx: y"},
        {"aws_secret_access_kei": SECRET},
        {"endpoint_url": f"http://user:{SECRET}@127.0.0.1:1"},
        {"endpoint_url": f"http://127.0.0.1:1/?sig={SIGNATURE}"},
        {"endpoint_url": "http://127.0.0.1:1"},
    ):
        with pytest.raises(hr.Error) as failure:
            _open(cloud, retry_seconds_max=1, **more)
        _search(f"error of {list(more)}", str(failure.value))


def test_of_pickles(cloud):
    with _open(cloud) as ds:
        with pytest.raises(
            pickle.PicklingError, match=r"aws_secret_access_key and aws_session_token.*profile="
        ) as no:
            pickle.dumps(ds)
        _search("error", str(no.value))
        assert len(ds) == 48


def test_of_pickles_that_name_their_source(cloud, machine, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    with hr.open("s3://bucket/data/", endpoint_url=cloud.url, region="us-east-1") as ds:
        pickled = pickle.dumps(ds)
        _search("pickle", pickled)
        with pickle.loads(pickled) as again:
            assert again[7] == ds[7]


@pytest.mark.parametrize("command", ["serve", "stream", "plan", "probe", "ls", "index"])
def test_of_the_command_line(command, cloud, machine):
    urls = {
        "serve": [],
        "plan": ["s3://bucket/data/", "--json"],
        "probe": ["s3://bucket/data/", "--json"],
    }
    words = urls.get(command, ["s3://bucket/data/"])
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_ENDPOINT_URL": cloud.url,
        "AWS_REGION": "us-east-1",
        "HEADRACE_LOG": "debug",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "headrace", command, *words],
            env=environment,
            capture_output=True,
            timeout=40 if command == "probe" else 8,
            check=False,
        )
        said = done.stdout + done.stderr
    except subprocess.TimeoutExpired as stopped:  # serve runs until it is stopped
        said = (stopped.stdout or b"") + (stopped.stderr or b"")
    _search(command, said)
    _search("files", _files_under(machine))


# ---- presigned URLs ----


class Presigned:
    """A server that gives a file only under its signature, and, like S3's presigned GETs, no HEAD."""

    def __init__(self, files: dict[str, bytes]) -> None:
        outer = self
        self.status = 0
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self.reply(403, b"")

            def do_GET(self) -> None:
                path, _, query = self.path.lstrip("/").partition("?")
                outer.asked.append(query)
                if outer.status or query != f"X-Amz-Date=1&X-Amz-Signature={SIGNATURE}{path[-5]}":
                    why = b"<Code>AccessDenied</Code><Message>Request has expired</Message>"
                    self.reply(outer.status or 403, b"<Error>" + why + b"</Error>")
                    return
                begin, _, last = self.headers["range"].removeprefix("bytes=").partition("-")
                body = files[path]
                part = body[int(begin) : int(last) + 1]
                self.reply(
                    206,
                    part,
                    {
                        "ETag": '"e"',
                        "Accept-Ranges": "bytes",
                        "Content-Range": f"bytes {begin}-{int(begin) + len(part) - 1}/{len(body)}",
                    },
                )

            def reply(
                self, status: int, body: bytes, headers: dict[str, str] | None = None
            ) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def urls(self, keys: list[str]) -> list[str]:
        return [f"{self.url}/{k}?X-Amz-Date=1&X-Amz-Signature={SIGNATURE}{k[-5]}" for k in keys]


@pytest.fixture
def presigned(cloud):
    made = Presigned(cloud.objects)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_presigned_urls_are_read_and_never_shown(presigned, cloud, machine, caplog, capfd):
    caplog.set_level(1)
    urls = presigned.urls(sorted(cloud.objects))
    with hr.open(urls, index_dir=machine / "index") as ds:
        assert [int(ds[i]["txt"]) for i in range(len(ds))] == list(range(48))
        loader = ds.loader(batch_size=8)
        assert sum(len(batch["txt"]) for batch in loader) == 48
        _search(
            "repr",
            repr(ds)
            + repr(ds._location)
            + str(loader)
            + json.dumps(loader.state_dict(), default=str),
        )
        with pytest.raises(pickle.PicklingError, match="presigned URL"):
            pickle.dumps(ds)
        presigned.status = 403
        with pytest.raises(hr.Error, match="presigned URLs that have not expired") as failure:
            ds[3]
    _search("error", str(failure.value))
    _search("log", caplog.text + "".join(capfd.readouterr()))
    _search("files", _files_under(machine))
    assert all(SIGNATURE in query for query in presigned.asked)


def test_presigned_urls_that_cannot_be_read_are_not_shown_either(presigned):
    wrong = [
        presigned.urls(["data/"])[0],
        presigned.urls(["data/index.json"])[0],
        f"{presigned.url}/a.tar?password={SIGNATURE}",
        f"http://user:{SECRET}@127.0.0.1/a.tar",
        presigned.urls(["data/{0..9.tar"])[0],
        presigned.urls(["data/{0..99999999}.tar"])[0],
        *presigned.urls(["data/train-000.tar"]),
    ]
    for url in [*wrong, wrong[-1:] * 2, [wrong[-1], f"https://other/b.tar?sig={SIGNATURE}"]]:
        presigned.status = 404
        with pytest.raises(hr.Error) as failure:
            hr.open(url, attempts_max=1)
        _search("error", str(failure.value))
