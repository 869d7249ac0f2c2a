# SPDX-License-Identifier: Apache-2.0
"""Requests go to the host, under the path and with the scope that botocore's endpoint rules give.

Needs the test tool `route_tool` (built with the s3 module): HEADRACE_ROUTE_TOOL, else the dev preset's.
"""

import functools
import itertools
import os
import re
import subprocess
from pathlib import Path

import pytest

botocore_session = pytest.importorskip("botocore.session")
from botocore.config import Config  # noqa: E402
from botocore.exceptions import BotoCoreError  # noqa: E402

BUILT = Path(__file__).parents[2] / "build" / "dev" / "src" / "s3" / "route_tool"
TOOL = os.environ.get("HEADRACE_ROUTE_TOOL") or (str(BUILT) if BUILT.exists() else "")

ARN = "arn:aws:s3:us-west-2:123456789012:accesspoint"
BUCKETS = ["bucket", "my.bucket", "a-b-c", f"{ARN}:point", f"{ARN}/point", "data--usw2-az1--x-s3"]
REGIONS = ["us-east-1", "us-west-2", "us-gov-west-1", "cn-north-1"]
ENDPOINTS = ["", "http://localhost:9000", "https://minio.example"]


def places():
    for place in itertools.product(
        BUCKETS, REGIONS, ENDPOINTS, ["auto", "path", "virtual"], "01", "01"
    ):
        bucket, region, endpoint, style, dual, fips = place
        if endpoint and ("1" in (dual, fips) or bucket.endswith("--x-s3")):
            continue  # botocore refuses the first; the second is a name like any other to us
        if bucket.endswith("--x-s3") and (region != "us-west-2" or dual == "1"):
            continue
        if bucket.startswith("arn:") and (not region.startswith("us-w") or style == "path"):
            continue  # botocore wants the partition to agree, and refuses path style
        if style == "auto" and endpoint:
            continue  # botocore takes virtual hosts everywhere; most other stores do not
        yield place


@functools.cache
def client_of(region, endpoint, style, dual, fips):
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": style, "us_east_1_regional_endpoint": "regional"},
        use_dualstack_endpoint=dual == "1",
        use_fips_endpoint=fips == "1",
    )
    session = botocore_session.Session()
    session.set_credentials("AKID", "secret")
    client = session.create_client(
        "s3", region_name=region, endpoint_url=endpoint or None, config=config
    )
    client.meta.events.register("before-send.s3", _caught)
    return client


def of_botocore(place):
    """(URL, region, service), or None where botocore refuses."""
    bucket, *rest = place
    client = client_of(*rest)
    try:
        if bucket.endswith("--x-s3"):  # signing would ask for a session
            model = client.meta.service_model.operation_model("GetObject")
            found = client._ruleset_resolver.construct_endpoint(
                model, {"Bucket": bucket, "Key": "k"}, {}
            )
            scope = found.properties["authSchemes"][0]
            return f"{found.url}/k", scope["signingRegion"], scope["signingName"]
        client.get_object(Bucket=bucket, Key="k")
    except BotoCoreError:
        return None
    except _SentError as sent:
        scope = re.search(rb"Credential=([^,]+)", sent.request.headers["Authorization"])[1]
        _, _, region, service, _ = scope.decode().split("/")
        return sent.request.url, region, service
    raise AssertionError("nothing was sent")


class _SentError(Exception):
    def __init__(self, request):
        super().__init__()
        self.request = request


def _caught(request, **_):
    raise _SentError(request)


@pytest.mark.skipif(
    not TOOL, reason="route_tool is not built: cmake --build --preset dev --target route_tool"
)
def test_equals_botocore(monkeypatch):
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    asked = list(places())
    told = subprocess.run(
        [TOOL],
        input="".join("\t".join(p) + "\n" for p in asked),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(told) == len(asked)
    compared = 0
    for place, ours in zip(asked, told, strict=True):
        theirs = of_botocore(place)
        if theirs is None:
            continue
        assert tuple(ours.split("\t")) == theirs, place
        compared += 1
    assert compared > 100
