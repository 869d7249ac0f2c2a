# SPDX-License-Identifier: Apache-2.0
"""Our Authorization headers equal botocore's, for 10,000 random requests.

Needs the test tool `sigv4_tool` (built with the s3 module): HEADRACE_SIGV4_TOOL, else the dev preset's.
"""

import datetime
import os
import random
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

botocore_auth = pytest.importorskip("botocore.auth")
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402

BUILT = Path(__file__).parents[2] / "build" / "dev" / "src" / "s3" / "sigv4_tool"
TOOL = os.environ.get("HEADRACE_SIGV4_TOOL") or (str(BUILT) if BUILT.exists() else "")
REQUESTS = 10_000
ALPHABET = "abcXYZ019-._~ +%/;=&?#@!$'()*,:[]{}|\\^`\"<>äéß中文🙂\x7f"


def random_text(rng, longest):
    return "".join(rng.choice(ALPHABET) for _ in range(rng.randint(0, longest)))


def random_request(rng):
    """Fields of one request, in the order in which the tool reads them."""
    when = rng.randint(946_684_800, 2_524_608_000)  # 2000 to 2050
    keys = [random_text(rng, 60) or "k", "a//b/../c/./d", "%41%2f", "~user/a b+c.tar", "a" * 1024]
    key = rng.choice(keys) if rng.random() < 0.05 else keys[0]
    pairs = [(random_text(rng, 8) or "q", random_text(rng, 12)) for _ in range(rng.randint(0, 4))]
    query = "&".join(
        quote(k, safe="-_.~") + ("" if not v and rng.random() < 0.3 else "=" + quote(v, safe="-_.~")) for k, v in pairs
    )
    headers = []
    if rng.random() < 0.8:
        headers.append(("range", f"bytes={rng.randint(0, 10**12)}-{rng.randint(0, 10**12)}"))
    if rng.random() < 0.5:
        headers.append(("if-match", '"%032x"' % rng.getrandbits(128)))
    if rng.random() < 0.3:
        headers.append(("x-amz-request-payer", "requester"))
    if rng.random() < 0.3:
        headers.append(("x-amz-meta-gaps", "  a  b\tc   "))
    rng.shuffle(headers)
    body = rng.randbytes(rng.randint(1, 100)) if rng.random() < 0.2 else b""
    return {
        "access": "AKIA%016X" % rng.getrandbits(64),
        "secret": "".join(rng.choice("abcdefXYZ0189/+") for _ in range(40)),
        "token": "FwoG" + "t/+=" * rng.randint(1, 200) if rng.random() < 0.4 else "",
        "region": rng.choice(["us-east-1", "eu-central-1", "auto", "cn-north-1"]),
        "when": when,
        "method": "PUT" if body else rng.choice(["GET", "HEAD"]),
        "key": key,
        "query": query,
        "host": rng.choice(["b.s3.eu-central-1.amazonaws.com", "localhost:9000", "127.0.0.1:8080"]),
        "headers": headers,
        "body": body,
    }


def authorization_of_botocore(r, monkeypatch):
    now = datetime.datetime.fromtimestamp(r["when"], datetime.timezone.utc)
    monkeypatch.setattr(botocore_auth, "get_current_datetime", lambda *a, **k: now)
    url = f"http://{r['host']}/{quote(r['key'], safe='/~')}" + ("?" + r["query"] if r["query"] else "")
    request = AWSRequest(method=r["method"], url=url, headers=dict(r["headers"]), data=r["body"])
    signer = botocore_auth.S3SigV4Auth(Credentials(r["access"], r["secret"], r["token"] or None), "s3", r["region"])
    signer.add_auth(request)
    return request.headers["Authorization"], request.headers["X-Amz-Content-SHA256"]


def line_of(r, payload_hash):
    fields = [r["access"], r["secret"], r["token"], r["region"], str(r["when"]), r["method"], r["key"], r["query"]]
    fields += [payload_hash, r["host"]]
    for name, value in r["headers"]:
        fields += [name, value]
    return "\t".join(f.encode().hex() for f in fields)


@pytest.mark.skipif(not TOOL, reason="no sigv4_tool: tools/setup dev builds it, HEADRACE_SIGV4_TOOL names it")
def test_authorization_equals_botocores(monkeypatch):
    rng = random.Random(20130524)
    requests = [random_request(rng) for _ in range(REQUESTS)]
    expected = [authorization_of_botocore(r, monkeypatch) for r in requests]
    lines = "\n".join(line_of(r, payload_hash) for r, (_, payload_hash) in zip(requests, expected)) + "\n"
    out = subprocess.run([TOOL], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    assert len(out) == REQUESTS
    wrong = [(r, ours, theirs) for r, ours, (theirs, _) in zip(requests, out, expected) if ours != theirs]
    assert not wrong, f"{len(wrong)} differ, first: {wrong[0]}"
