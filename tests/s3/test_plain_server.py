# SPDX-License-Identifier: Apache-2.0
"""https:// (here http://) data sets on plain web servers: files named one by one, read by ranges."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fake_cloud import small_tars

import headrace as hr


class PlainServer:
    """Files under /, as nginx serves them; attributes change its manners."""

    def __init__(self) -> None:
        self.files = small_tars()
        self.ranges = True
        self.promises_ranges = True
        self.etag = '"{}"'
        self.moved_to = ""
        self.methods: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def _handler(plain: PlainServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            plain.methods.append(self.command)
            body = plain.files.get(self.path.lstrip("/"))
            status, headers = 200, {"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}
            if plain.moved_to:
                status, body, headers["Location"] = 302, b"", plain.moved_to
            elif body is None:
                status, body = 404, b"not here"
            else:
                if plain.etag:
                    headers["ETag"] = plain.etag.format(len(body))
                if plain.promises_ranges:
                    headers["Accept-Ranges"] = "bytes"
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
                if asked and plain.ranges:
                    begin, end = int(asked[1]), min(int(asked[2]) + 1, len(body))
                    status, headers["Content-Range"] = 206, f"bytes {begin}-{end - 1}/{len(body)}"
                    body = body[begin:end]
            assert "authorization" not in self.headers
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


@pytest.fixture
def plain(monkeypatch):
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = PlainServer()
    yield made
    made.server.shutdown()
    made.server.server_close()


def _open(plain, pattern="data/train-{000..002}.tar"):
    return hr.open(f"{plain.url}/{pattern}", save=None, attempts_max=2)


@pytest.mark.parametrize("etag", ['"{}"', 'W/"{}"', ""], ids=["strong", "weak", "none"])
@pytest.mark.parametrize("promises", [True, False])
def test_reads_files_named_one_by_one(plain, etag, promises):
    plain.etag, plain.promises_ranges = etag, promises
    with _open(plain) as ds:
        assert [int(ds[i]["txt"]) for i in range(len(ds))] == list(range(48))
        got = sorted(int(text) for batch in ds.loader(batch_size=8) for text in batch["txt"])
        assert got == list(range(48))
    assert set(plain.methods) <= {"HEAD", "GET"}


def test_a_missing_file_is_named(plain):
    with pytest.raises(hr.NotFoundError, match=r"train-003\.tar"):
        _open(plain, "data/train-{000..003}.tar")


def test_a_folder_cannot_be_listed(plain):
    with pytest.raises(hr.UnsupportedError, match="no listing"):
        _open(plain, "data/")


def test_a_server_without_ranges_is_refused(plain):
    plain.ranges = plain.promises_ranges = False
    with pytest.raises(hr.UnsupportedError, match="does not answer ranges"):
        _open(plain)


def test_a_server_that_lies_about_ranges_never_gives_wrong_bytes(plain):
    plain.ranges = False
    with pytest.raises(hr.CorruptError, match="ignores Range"), _open(plain) as ds:
        ds[5]


def test_a_file_that_changed_is_an_error(plain):
    with _open(plain) as ds:
        plain.etag = '"other"'
        with pytest.raises(hr.MismatchError):
            ds[0]


def test_a_redirect_names_the_host_and_not_the_signature(plain):
    plain.moved_to = "https://cdn.example/x?X-Amz-Signature=CANARY"
    with pytest.raises(hr.UnsupportedError, match=r"https://cdn\.example") as failure:
        _open(plain)
    assert "CANARY" not in str(failure.value)


def test_urls_with_secrets_are_refused_and_not_shown(plain):
    for url in (f"{plain.url}/a.tar?key=CANARY", plain.url.replace("//", "//u:CANARY@") + "/a.tar"):
        with pytest.raises(hr.OptionError) as failure:
            hr.open(url)
        assert "CANARY" not in str(failure.value)
