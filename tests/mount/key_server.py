# SPDX-License-Identifier: Apache-2.0
"""An S3 endpoint in 100 lines of Python for keys that no file system can hold (``a`` beside ``a/``,
``a//b``, ``.``). Speaks what a mount asks for; checks no signatures; ETags are MD5s, as S3's are.
"""

from __future__ import annotations

import hashlib
import random
import re
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape


class KeyServer:
    """``keys`` is the bucket: change it at any time, holding ``lock``."""

    def __init__(self) -> None:
        self.keys: dict[bytes, bytes] = {}
        self.lock = threading.Lock()
        self.page_max = 1000
        self.late_seconds_max = 0.0  # an answer may be as much older than its arrival
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                server.answer(self, with_body=True)

            def do_HEAD(self) -> None:
                server.answer(self, with_body=False)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def put(self, key: bytes, content: bytes) -> None:
        with self.lock:
            self.keys[key] = content

    def remove(self, key: bytes) -> None:
        with self.lock:
            self.keys.pop(key, None)

    def answer(self, call: BaseHTTPRequestHandler, with_body: bool) -> None:
        path, _, query = call.path.partition("?")
        key = urllib.parse.unquote_to_bytes(path).removeprefix(b"/bucket").removeprefix(b"/")
        words = dict(urllib.parse.parse_qsl(query, keep_blank_values=True, encoding="latin-1"))
        with self.lock:
            listed = not key and "list-type" in words
            if listed:
                body = self.listing({k: v.encode("latin-1") for k, v in words.items()})
            content = self.keys.get(key)
        if listed:
            return self.reply(call, 200, {}, body, with_body)
        if content is None:
            return self.reply(call, 404, {}, b"<Error><Code>NoSuchKey</Code></Error>", with_body)
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"ETag": etag, "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"}
        if call.headers.get("If-Match", etag) != etag:
            body = b"<Error><Code>PreconditionFailed</Code></Error>"
            return self.reply(call, 412, {}, body, with_body)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", call.headers.get("Range", ""))
        if wanted is None:
            return self.reply(call, 200, headers, content, with_body)
        first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
        if first > last:
            return self.reply(
                call, 416, headers, b"<Error><Code>InvalidRange</Code></Error>", with_body
            )
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self.reply(call, 206, headers, content[first : last + 1], with_body)

    def reply(
        self, call, status: int, headers: dict[str, str], body: bytes, with_body: bool
    ) -> None:
        time.sleep(random.random() * self.late_seconds_max)
        call.send_response(status)
        for name, value in headers.items():
            call.send_header(name, value)
        call.send_header("Content-Length", str(len(body)))
        call.end_headers()
        if with_body:
            call.wfile.write(body)

    def listing(self, words: dict[str, bytes]) -> bytes:
        prefix, delimiter = words.get("prefix", b""), words.get("delimiter", b"")
        after = (
            bytes.fromhex(words["continuation-token"].decode())
            if "continuation-token" in words
            else None
        )
        after = after if after is not None else words.get("start-after", b"")
        room = min(int(words.get("max-keys", b"1000")), self.page_max)
        items: list[str] = []
        last, more, folder = b"", False, None
        for key in sorted(k for k in self.keys if k.startswith(prefix) and k > after):
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                here = prefix + rest.split(delimiter)[0] + delimiter
                if here == folder or (after and after.startswith(here)):
                    last = key
                    continue
                if len(items) == room:
                    more = True
                    break
                folder = here
                items.append(f"<CommonPrefixes><Prefix>{quoted(here)}</Prefix></CommonPrefixes>")
            else:
                if len(items) == room:
                    more = True
                    break
                content = self.keys[key]
                items.append(
                    f"<Contents><Key>{quoted(key)}</Key><Size>{len(content)}</Size>"
                    f"<LastModified>2025-01-01T00:00:00.000Z</LastModified>"
                    f"<ETag>&quot;{hashlib.md5(content).hexdigest()}&quot;</ETag></Contents>"
                )
            last = key
        token = f"<NextContinuationToken>{last.hex()}</NextContinuationToken>" if more else ""
        return (
            f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{''.join(items)}</ListBucketResult>"
        ).encode()


def quoted(key: bytes) -> str:
    return escape(urllib.parse.quote(key, safe="/"))
