# SPDX-License-Identifier: Apache-2.0
"""Every source of credentials through the whole product: it works, it is renewed in the middle of an epoch, and it
says why it does not work; and no secret is ever said, logged or kept in a state.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import pytest
from fake_cloud import AGENT_TOKEN, JWT, LOGIN, SECRET, FakeCloud

import headrace as hr

# sha1("corp"): how the CLI names the cache file of [sso-session corp].
_CACHE = "ee0bfd2552fbd840c02cc48b6e823320543c450f.json"


@pytest.fixture
def cloud():
    with FakeCloud() as made:
        yield made


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A machine without any credentials."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws/sso/cache").mkdir(parents=True)
    return tmp_path


def _config(home: Path, text: str) -> None:
    (home / ".aws/config").write_text(text)


def _source(name: str, cloud: FakeCloud, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the machine up so that only this source has credentials."""
    setenv = monkeypatch.setenv
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud.url)
    if name == "imds":
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", cloud.url)
    elif name == "container":
        setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{cloud.url}/agent/keys")
        setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", AGENT_TOKEN)
    elif name == "web_identity":
        (home / "jwt").write_text(JWT)
        setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "jwt"))
        setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/data")
    elif name == "assume_role":
        _config(
            home,
            "[default]\nrole_arn = arn:aws:iam::123456789012:role/data\nsource_profile = base\n",
        )
        (home / ".aws/credentials").write_text(
            f"[base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = {SECRET}\n"
        )
    elif name == "sso":
        _config(
            home,
            "[default]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = Data\n"
            "[sso-session corp]\nsso_start_url = https://x/start\nsso_region = us-east-1\n",
        )
        login = {"accessToken": LOGIN, "expiresAt": "2099-01-01T00:00:00Z"}
        (home / ".aws/sso/cache" / _CACHE).write_text(json.dumps(login))
        setenv("AWS_ENDPOINT_URL_SSO", cloud.url)
    elif name == "process":
        script = home / "login.py"
        script.write_text(
            "import json, urllib.request as r\n"
            f"given = json.load(r.urlopen(r.Request('{cloud.url}/agent/keys', headers={{'authorization': '{AGENT_TOKEN}'}})))\n"
            "given['SessionToken'] = given.pop('Token')\n"
            "print(json.dumps({'Version': 1, **given}))\n"
        )
        _config(home, f"[default]\ncredential_process = {sys.executable} '{script}'\n")


SOURCES = ["imds", "container", "web_identity", "assume_role", "sso", "process"]


def _open(cloud: FakeCloud, **more):
    return hr.open(
        "s3://bucket/data/",
        endpoint_url=cloud.url,
        region="us-east-1",
        attempts_max=3,
        save=None,
        **more,
    )


def _epoch(ds: hr.Dataset) -> list[int]:
    return [int(ds[i]["txt"]) for i in range(len(ds))]


@pytest.mark.parametrize("name", SOURCES)
def test_works_and_is_renewed_in_the_middle_of_an_epoch(name, cloud, home, monkeypatch):
    _source(name, cloud, home, monkeypatch)
    with _open(cloud) as ds:
        asked = len(cloud.issued)
        cloud.revoke_at = cloud.reads + 5  # now the store takes the keys no more
        assert _epoch(ds) == list(range(48))
        assert cloud.revoke_at is None
        assert len(cloud.issued) == asked + 1  # one renewal, however many requests noticed


@pytest.mark.parametrize("name", ["imds", "assume_role"])  # 8 s each
def test_short_lived_keys_are_renewed_ahead_of_their_expiry(name, cloud, home, monkeypatch):
    cloud.life_seconds = 8
    _source(name, cloud, home, monkeypatch)
    with _open(cloud) as ds:
        asked, numbers = len(cloud.issued), []
        while len(cloud.issued) < asked + 1:  # within the last quarter: after 6 to 8 seconds
            numbers = _epoch(ds)
        assert numbers == list(range(48))
        assert cloud.revoked == 0  # the store never had to refuse one


FAILURES = {
    "imds": ((500, ""), ["instance metadata (IMDSv2)", "status=500"]),
    "container": (
        (403, '{"message":"token denied"}'),
        ["container's credentials service", "token denied"],
    ),
    "web_identity": (
        (400, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>"),
        [
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "arn:aws:iam::123456789012:role/data",
            "InvalidIdentityToken",
        ],
    ),
    "assume_role": (
        (403, "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"),
        [
            "profile default, role arn:aws:iam::123456789012:role/data",
            "AccessDenied",
            "trust policy",
        ],
    ),
    "sso": ((401, "{}"), ["SSO, profile default", "aws sso login --profile default"]),
    "process": ((403, "CANARY"), ["credential_process of profile default", "exit code 1"]),
}


@pytest.mark.parametrize("name", SOURCES)
def test_says_why_it_fails(name, cloud, home, monkeypatch):
    _source(name, cloud, home, monkeypatch)
    cloud.refusal, parts = FAILURES[name]
    with pytest.raises(hr.Error) as failure:
        _open(cloud)
    for part in parts:
        assert part in str(failure.value)
    assert "CANARY" not in str(failure.value)
    print(f"{name}: {failure.value}")


def test_the_table_of_all_sources(cloud, home, monkeypatch, capsys):
    """Reads, is renewed mid-epoch, and says why it fails: one line a source (run with -s to see it)."""
    rows = []
    for name in SOURCES:
        with monkeypatch.context() as machine, FakeCloud() as fresh:
            _source(name, fresh, home, machine)
            with _open(fresh) as ds:
                before = len(fresh.issued)
                fresh.revoke_at = fresh.reads + 5
                exact = _epoch(ds) == list(range(48))
                renewals = len(fresh.issued) - before
            fresh.refusal = FAILURES[name][0]
            with pytest.raises(hr.Error) as failure:
                _open(fresh)
            rows.append((name, exact, renewals, str(failure.value)))
            for path in (home / ".aws").glob("c*"):
                path.unlink()
    with capsys.disabled():
        print("\nsource | epoch exact | renewals after the store refused | when it fails")
        for name, exact, renewals, message in rows:
            print(f"{name} | {exact} | {renewals} | {message}")
    assert all(exact and renewals == 1 and "CANARY" not in text for _, exact, renewals, text in rows)


# --- sources whose keys have no expiry --------------------------------------------------------------------------------


def _fixed(name: str, given: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Hands the keys to the source; what hr.open has to be told."""
    words = {
        "aws_access_key_id": given["id"],
        "aws_secret_access_key": given["key"],
        "aws_session_token": given["token"],
    }
    if name == "environment":
        for word, value in words.items():
            monkeypatch.setenv(word.upper(), value)
    elif name == "profile":
        lines = "".join(f"{word} = {value}\n" for word, value in words.items())
        (home / ".aws/credentials").write_text("[training]\n" + lines)
        return {"profile": "training"}
    return words if name == "static" else {}


@pytest.mark.parametrize("name", ["static", "environment", "profile"])
def test_fixed_keys_work(name, cloud, home, monkeypatch):
    options = _fixed(name, cloud.issue("user"), home, monkeypatch)
    with _open(cloud, **options) as ds:
        assert _epoch(ds) == list(range(48))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("static", ["ExpiredToken", "credentials of the options are refused", "set new ones"]),
        ("environment", ["ExpiredToken", "the environment (AWS_ACCESS_KEY_ID) are refused", "set new ones"]),
        ("profile", ["ExpiredToken", "profile training", "no newer"]),
    ],
)
def test_fixed_keys_that_expire_say_so(name, parts, cloud, home, monkeypatch):
    options = _fixed(name, cloud.issue("user"), home, monkeypatch)
    with _open(cloud, **options) as ds:
        cloud.revoke_at = cloud.reads + 5
        with pytest.raises(hr.AccessError) as failure:
            _epoch(ds)
    for part in parts:
        assert part in str(failure.value)
    assert "CANARY" not in str(failure.value)
    print(f"{name}: {failure.value}")


def test_a_profile_that_a_tool_rewrites_is_read_anew_in_the_middle_of_an_epoch(cloud, home, monkeypatch):
    options = _fixed("profile", cloud.issue("user"), home, monkeypatch)
    with _open(cloud, **options) as ds:
        cloud.revoked, fresh = 1, cloud.issue("user")  # the store takes the first no more, the tool has written others
        _fixed("profile", fresh, home, monkeypatch)
        assert _epoch(ds) == list(range(48))


def test_anonymous_signs_nothing_whatever_keys_there_are(cloud, home, monkeypatch):
    cloud.public = True  # a bucket that takes no signature
    _fixed("environment", cloud.issue("user"), home, monkeypatch)
    with _open(cloud, anonymous=True) as ds:
        assert _epoch(ds) == list(range(48))
    with pytest.raises(hr.AccessError):
        _open(cloud)  # it really does not


def test_anonymous_says_why_it_fails(cloud, home):
    with pytest.raises(hr.AccessError) as failure:
        _open(cloud, anonymous=True)
    assert "denied" in str(failure.value)
    print(f"anonymous: {failure.value}")


def test_without_any_source_each_says_why(cloud, home):
    with pytest.raises(hr.Error) as failure:
        _open(cloud)
    for part in [
        "AWS_ACCESS_KEY_ID is not set",
        "/.aws/credentials",
        "AWS_WEB_IDENTITY_TOKEN_FILE is not set",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_EC2_METADATA_DISABLED",
        "anonymous=True",
    ]:
        assert part in str(failure.value)
    print(failure.value)


def test_several_data_sets_ask_once(cloud, home, monkeypatch):
    _source("web_identity", cloud, home, monkeypatch)
    with _open(cloud) as one, _open(cloud) as two, _open(cloud) as three:
        assert len(one) == len(two) == len(three) == 48
    assert cloud.issued == ["AssumeRoleWithWebIdentity"]


def test_no_secret_in_logs_states_or_texts(cloud, home, monkeypatch, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    _source("assume_role", cloud, home, monkeypatch)
    with _open(cloud) as ds:
        loader = ds.loader(batch_size=8)
        batches = iter(loader)
        next(batches)
        said = [
            caplog.text,
            repr(ds),
            str(ds),
            repr(loader),
            str(loader),
            json.dumps(loader.state_dict(), default=str),
        ]
        cloud.revoke_at = cloud.reads
        cloud.refusal = (
            403,
            "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
        )
        with pytest.raises(hr.Error) as failure:
            for _ in range(3):
                _epoch(ds)
        said += [str(failure.value), caplog.text]
    for text in said:
        assert "CANARY" not in text
