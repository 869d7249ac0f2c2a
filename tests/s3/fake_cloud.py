# SPDX-License-Identifier: Apache-2.0
"""A cloud in one process, for tests of credentials: what hands out keys, and a bucket that takes only the newest.

Speaks as AWS's documentation says: STS (XML), IMDSv2 (401 without its token), the container's agent, the SSO portal
(JSON), and of S3 what a reader needs (HEAD, ranges, ListObjectsV2). Signatures are not checked (the core's are proven
against botocore in test_sigv4_botocore.py): who signed, and with which session token, is.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

SECRET = "CANARY/secret+key"
LOGIN = "CANARY-login"
AGENT_TOKEN = "CANARY-agent"
JWT = "CANARY.jwt.token"


def small_tars(shards: int = 3, samples: int = 16) -> dict[str, bytes]:
    """Keys to WebDataset tars; sample n holds the text n."""
    found = {}
    for shard in range(shards):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(shard * samples, (shard + 1) * samples):
                info = tarfile.TarInfo(f"{number:06d}.txt")
                body = str(number).encode()
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
        found[f"data/train-{shard:03d}.tar"] = buffer.getvalue()
    return found


class FakeCloud:
    """Issues keys ASIA0001, ASIA0002, ...; the bucket refuses all but those not revoked."""

    def __init__(self, life_seconds: int = 3600) -> None:
        self.objects = small_tars()
        self.life_seconds = life_seconds
        self.issued: list[str] = []  # by whom
        self.revoked = 0  # keys up to this number are expired
        self.revoke_at: int | None = None  # after so many reads of objects
        self.reads = 0
        self.refusal: tuple[int, str] | None = None  # what every service answers with instead
        self.lock = threading.Lock()
        self.public = False  # the bucket takes unsigned requests, and no others
        self.region = ""  # the bucket's; "" = any will do
        self.required: dict[str, str] = {}  # headers that every request to the bucket must have
        self.seen: list[tuple[str, str, str]] = []  # (host, method, path) of requests to the bucket
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def __enter__(self) -> FakeCloud:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def issue(self, who: str) -> dict[str, str]:
        with self.lock:
            self.issued.append(who)
            number = len(self.issued)
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.life_seconds))
        return {
            "id": f"ASIA{number:04d}",
            "key": SECRET,
            "token": f"CANARY-token-{number}",
            "expiry": expiry,
        }

    def refuses(self, headers: Any) -> tuple[int, str, dict[str, str]] | None:
        """What the bucket answers a request that it does not take; None: it does."""
        authorization = headers.get("authorization", "")
        if self.public:
            return (403, _error("AccessDenied"), {}) if authorization else None
        if self.region and f"/{self.region}/s3/aws4_request" not in authorization:
            return 301, _error("PermanentRedirect"), {"x_amz_bucket_region": self.region}
        token = headers.get("x-amz-s3session-token") or headers.get("x-amz-security-token", "")
        if not authorization:
            return 403, _error("AccessDenied"), {}
        if not self.is_valid(authorization, token):
            return 400, _error("ExpiredToken"), {}
        if any(headers.get(name) != value for name, value in self.required.items()):
            return 403, _error("AccessDenied"), {}
        return None

    def is_valid(self, authorization: str, token: str) -> bool:
        """Of a request to the bucket."""
        match = re.search(r"Credential=ASIA(\d{4})/", authorization)
        with self.lock:
            if match is None or token != f"CANARY-token-{int(match[1])}":
                return False
            return int(match[1]) > self.revoked

    def count_read(self) -> None:
        with self.lock:
            self.reads += 1
            if self.revoke_at is not None and self.reads >= self.revoke_at:
                self.revoked, self.revoke_at = len(self.issued), None


def _sts(action: str, given: dict[str, str]) -> str:
    return (
        f"<{action}Response><{action}Result><Credentials><AccessKeyId>{given['id']}</AccessKeyId>"
        f"<SecretAccessKey>{given['key']}</SecretAccessKey><SessionToken>{given['token']}</SessionToken>"
        f"<Expiration>{given['expiry']}</Expiration></Credentials></{action}Result></{action}Response>"
    )


def _json(given: dict[str, str]) -> str:
    return json.dumps(
        {
            "Code": "Success",
            "AccessKeyId": given["id"],
            "SecretAccessKey": given["key"],
            "Token": given["token"],
            "Expiration": given["expiry"],
        }
    )


def _error(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>from the fake</Message></Error>"


def _handler(cloud: FakeCloud) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, status: int, body: bytes | str = b"", **headers: str) -> None:
            content = body.encode() if isinstance(body, str) else body
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        # ---- services ----

        def do_PUT(self) -> None:
            if cloud.refusal:
                return self.answer(*cloud.refusal)
            if self.path == "/latest/api/token":
                ttl = self.headers.get("x-aws-ec2-metadata-token-ttl-seconds")
                return self.answer(200 if ttl else 400, "imds-session")
            return self.answer(405)

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if cloud.refusal:
                return self.answer(*cloud.refusal)
            action = form["Action"][0]
            if action == "AssumeRole" and "/sts/aws4_request" not in self.headers["Authorization"]:
                return self.answer(
                    403, f"<ErrorResponse>{_error('SignatureDoesNotMatch')}</ErrorResponse>"
                )
            if action == "AssumeRoleWithWebIdentity" and form["WebIdentityToken"][0] != JWT:
                return self.answer(
                    400, f"<ErrorResponse>{_error('InvalidIdentityToken')}</ErrorResponse>"
                )
            return self.answer(200, _sts(action, cloud.issue(action)))

        def service(self) -> bool:
            """True when the path was one of a service that gives credentials."""
            roles = "/latest/meta-data/iam/security-credentials/"
            if not self.path.startswith((roles, "/agent/", "/federation/")):
                return False
            if cloud.refusal:
                self.answer(*cloud.refusal)
            elif self.path.startswith(roles):
                if self.headers.get("x-aws-ec2-metadata-token") != "imds-session":
                    self.answer(401)
                else:
                    self.answer(200, "node" if self.path == roles else _json(cloud.issue("imds")))
            elif self.path.startswith("/agent/"):
                good = self.headers.get("authorization") == AGENT_TOKEN
                self.answer(200 if good else 403, _json(cloud.issue("agent")) if good else "{}")
            elif self.headers.get("x-amz-sso_bearer_token") != LOGIN:
                self.answer(401, '{"message":"Session token not found or invalid"}')
            else:
                given = cloud.issue("sso")
                keys = {
                    "accessKeyId": given["id"],
                    "secretAccessKey": given["key"],
                    "sessionToken": given["token"],
                    "expiration": int((time.time() + cloud.life_seconds) * 1000),
                }
                self.answer(200, json.dumps({"roleCredentials": keys}))
            return True

        # ---- the bucket, by host name or path ----

        def create_session(self) -> None:
            """S3 Express: the user's own keys for a session's."""
            if cloud.refusal:
                return self.answer(*cloud.refusal)
            if "Credential=AKIDUSER/" not in self.headers.get("authorization", ""):
                return self.answer(403, _error("AccessDenied"))
            return self.answer(200, _sts("CreateSession", cloud.issue("express")))

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if self.service():
                return None
            parts = urlsplit(self.path)
            query = parse_qs(parts.query, keep_blank_values=True)
            host = self.headers["Host"]
            cloud.seen.append((host, self.command, self.path))
            if "session" in query:
                return self.create_session()
            if refused := cloud.refuses(self.headers):
                status, body, headers = refused
                return self.answer(status, body, **headers)
            if "list-type" in query:
                return self.list_objects(query["prefix"][0])
            in_path = host.startswith(("127.0.0.1", "s3."))
            key = unquote(parts.path).removeprefix("/")
            if in_path:
                key = key.split("/", 1)[-1]
            body = cloud.objects.get(key)
            if body is None:
                return self.answer(404, _error("NoSuchKey"))
            cloud.count_read()
            etag = f'"{len(body)}"'
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
            if found is None:
                return self.answer(200, body, ETag=etag, Content_Length=str(len(body)))
            begin, end = int(found[1]), min(int(found[2]) + 1, len(body))
            where = f"bytes {begin}-{end - 1}/{len(body)}"
            return self.answer(206, body[begin:end], ETag=etag, Content_Range=where)

        def list_objects(self, prefix: str) -> None:
            entries = "".join(
                f"<Contents><Key>{quote(key)}</Key><Size>{len(body)}</Size><ETag>{len(body)}</ETag></Contents>"
                for key, body in sorted(cloud.objects.items())
                if key.startswith(prefix)
            )
            self.answer(
                200,
                "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"
                f"{entries}</ListBucketResult>",
            )

    return Handler
