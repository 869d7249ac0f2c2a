# SPDX-License-Identifier: Apache-2.0
"""Where requests go, and through what: a fake AWS behind a proxy that answers to AWS's own names (fake_aws.py).

Each case opens a data set and reads all of it, so listing, heads and ranges all took the way that is claimed.
"""

from __future__ import annotations

import base64
import hashlib
import os

import pytest
from fake_aws import AwsProxy
from fake_cloud import SECRET, FakeCloud

import headrace as hr

REGION = "us-west-2"


@pytest.fixture
def cloud():
    with FakeCloud() as made:
        yield made


@pytest.fixture
def aws(cloud, tmp_path, monkeypatch):
    """A machine whose only way out is the proxy, with keys of its environment."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with AwsProxy(tmp_path, cloud.url) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        _keys(cloud, monkeypatch)
        yield proxy


def _keys(cloud, monkeypatch):
    given = cloud.issue("user")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", given["id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given["key"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", given["token"])


def _read(aws, url="s3://bucket/data/", **options):
    options = {"region": REGION, "verify": aws.ca_file, "attempts_max": 2, "save": None, **options}
    with hr.open(url, **options) as ds:
        assert [int(ds[i]["txt"]) for i in range(len(ds))] == list(range(48))


HOSTS = {
    "virtual host": ({}, "bucket", "bucket.s3.us-west-2.amazonaws.com", "/data/"),
    "path": ({"addressing_style": "path"}, "bucket", "s3.us-west-2.amazonaws.com", "/bucket/data/"),
    "a name with dots": ({}, "my.bucket", "s3.us-west-2.amazonaws.com", "/my.bucket/data/"),
    "dual-stack": (
        {"use_dualstack_endpoint": True}, "bucket", "bucket.s3.dualstack.us-west-2.amazonaws.com", "/data/",
    ),
    "FIPS": ({"use_fips_endpoint": True}, "bucket", "bucket.s3-fips.us-west-2.amazonaws.com", "/data/"),
    "access point": (
        {}, "arn:aws:s3:us-west-2:123456789012:accesspoint/pt",
        "pt-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "/data/",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTS)
def test_requests_go_to_the_host_that_boto3_would_ask(name, aws, cloud):
    options, bucket, host, path = HOSTS[name]
    _read(aws, f"s3://{bucket}/data/", **options)
    assert set(aws.hosts) == {f"{host}:443"}
    assert {seen for seen, _, _ in cloud.seen} == {host}
    gets = [where for _, method, where in cloud.seen if method == "GET" and "list-type" not in where]
    assert gets
    assert all(where.startswith(path) for where in gets)


def test_dual_stack_may_come_from_the_environment(aws, monkeypatch):
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    _read(aws)
    assert set(aws.hosts) == {"bucket.s3.dualstack.us-west-2.amazonaws.com:443"}


HEADERS = {
    "requester pays": ({"request_payer": "requester"}, {"x-amz-request-payer": "requester"}),
    "expected owner": ({"expected_bucket_owner": "123456789012"}, {"x-amz-expected-bucket-owner": "123456789012"}),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_bucket_that_wants_a_header_gets_it_with_every_request(name, aws, cloud):
    options, cloud.required = HEADERS[name]
    with pytest.raises(hr.AccessError, match="denied"):
        _read(aws)
    _read(aws, **options)


def test_a_customers_key_goes_with_reads(aws, cloud):
    key = bytes(range(32))
    seen = []
    cloud.count_read = lambda: seen.append(1)
    handler = cloud.server.RequestHandlerClass
    plain_get = handler.do_GET

    def get(self):
        if "data/train" in self.path:
            assert self.headers["x-amz-server-side-encryption-customer-algorithm"] == "AES256"
            assert base64.b64decode(self.headers["x-amz-server-side-encryption-customer-key"]) == key
            md5 = base64.b64decode(self.headers["x-amz-server-side-encryption-customer-key-md5"])
            assert md5 == hashlib.md5(key).digest()
        plain_get(self)

    handler.do_GET = get
    _read(aws, sse_customer_key=key)
    assert seen


def test_the_region_comes_from_the_reply(aws, cloud, caplog):
    caplog.set_level("INFO")
    cloud.region = "eu-west-1"
    _read(aws)
    assert set(aws.hosts) == {"bucket.s3.us-west-2.amazonaws.com:443", "bucket.s3.eu-west-1.amazonaws.com:443"}
    assert "eu-west-1" in caplog.text


def test_the_region_comes_from_the_profile(aws, cloud, tmp_path):
    cloud.region = "eu-west-1"
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[default]\nregion = eu-west-1\n")
    _read(aws, region=None)
    assert set(aws.hosts) == {"bucket.s3.eu-west-1.amazonaws.com:443"}


def test_a_region_that_does_not_settle_is_an_error_that_names_it(aws, cloud):
    cloud.region = "no-such-region-1"  # the fake signs nobody for it: its host has no certificate here
    with pytest.raises(hr.Error) as failure:
        _read(aws)
    assert "no-such-region-1" in str(failure.value)


EXPRESS = "name--usw2-az1--x-s3"
EXPRESS_HOST = f"{EXPRESS}.s3express-usw2-az1.us-west-2.amazonaws.com"


@pytest.fixture
def express(aws, cloud, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDUSER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    return aws


def test_express_reads_by_one_session(express, cloud):
    _read(express, f"s3://{EXPRESS}/data/")
    assert set(express.hosts) == {f"{EXPRESS_HOST}:443"}
    assert cloud.issued == ["user", "express"]  # one session for all requests


def test_express_renews_its_session_in_the_middle_of_an_epoch(express, cloud):
    options = {"region": REGION, "verify": express.ca_file, "attempts_max": 3, "save": None}
    with hr.open(f"s3://{EXPRESS}/data/", **options) as ds:
        cloud.revoke_at = cloud.reads + 5
        assert [int(ds[i]["txt"]) for i in range(len(ds))] == list(range(48))
    assert cloud.issued == ["user", "express", "express"]


def test_express_says_why_it_fails(express, cloud):
    cloud.refusal = (403, "<Error><Code>AccessDenied</Code></Error>")
    with pytest.raises(hr.AccessError) as failure:
        _read(express, f"s3://{EXPRESS}/data/")
    for part in ("create session", EXPRESS, "AccessDenied", "s3express:CreateSession"):
        assert part in str(failure.value)
    assert "CANARY" not in str(failure.value)


def test_a_custom_ca_is_needed_and_may_come_from_the_environment(aws, monkeypatch):
    with pytest.raises(hr.Error, match="certificate"):
        _read(aws, verify=None)
    monkeypatch.setenv("AWS_CA_BUNDLE", aws.ca_file)
    _read(aws, verify=None)


def test_a_proxy_that_refuses_is_named_without_its_password(cloud, aws, tmp_path, monkeypatch):
    with AwsProxy(tmp_path, cloud.url, b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:CANARY-word@"))
        with pytest.raises(hr.Error) as failure:
            _read(aws)
        assert proxy.hosts
    assert "407" in str(failure.value)
    assert "CANARY" not in str(failure.value)


def test_hosts_of_no_proxy_are_asked_directly(aws, cloud, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,.example")
    _read(aws, endpoint_url=cloud.url)
    assert aws.hosts == []
    monkeypatch.delenv("NO_PROXY")
    with pytest.raises(hr.Error, match="proxy"):
        _read(aws, endpoint_url=cloud.url)
