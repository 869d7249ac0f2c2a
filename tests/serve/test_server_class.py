# SPDX-License-Identifier: Apache-2.0
"""headrace.serve.Server: faults, TLS and counters from Python."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.request

import pytest

import headrace as hr
from headrace.errors import OptionError, UnavailableError
from headrace.serve import Server


@pytest.fixture
def root(tmp_path):
    (tmp_path / "bkt").mkdir()
    (tmp_path / "bkt" / "k").write_bytes(b"hello")
    return tmp_path


def get(server, key="k"):
    trust = ssl.create_default_context(cafile=server.ca_file) if server.ca_file else None
    with urllib.request.urlopen(f"{server.endpoint_url}/bkt/{key}", timeout=10, context=trust) as reply:
        return reply.read()


def test_faults_are_given_counted_and_replaced(root):
    flip = {"kind": "flip", "at": 0, "times": 1, "label": "first byte"}
    with Server(root, anonymous=True, faults=[flip]) as server:
        assert get(server) == b"iello"  # 'h' with its lowest bit inverted
        assert get(server) == b"hello"
        counts = server.fault_counts()
        assert [(c["kind"], c["label"], c["matched"], c["fired"]) for c in counts] == [("flip", "first byte", 2, 1)]
        server.set_faults([{"kind": "status", "status": 500}])
        with pytest.raises(urllib.error.HTTPError):
            get(server)
        server.set_faults([])
        assert get(server) == b"hello"
        assert server.fault_counts() == []


def test_rules_may_stand_in_a_file_and_errors_name_it(root, tmp_path):
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"rules": [{"kind": "scramble"}]}))
    with Server(root, anonymous=True, faults=path) as server:
        assert get(server) == bytes(~c & 0xFF for c in b"hello")
    path.write_text('{"rules": [{"kind": "reset", "ms": 1}]}')
    with pytest.raises(UnavailableError, match=r"rules\.json: .*'ms' means nothing for kind=reset"):
        Server(root, anonymous=True, faults=path)


def test_tls_has_a_certificate_that_options_and_environment_name(root):
    with Server(root, anonymous=True, tls=True) as server:
        assert server.endpoint_url.startswith("https://")
        assert server.options["verify"] == server.environment["AWS_CA_BUNDLE"] == server.ca_file
        assert get(server) == b"hello"


def test_time_limits_of_open_are_checked_and_kept():
    with pytest.raises(OptionError, match=r"read_timeout='soon' is not a number of seconds"):
        hr.open("s3://bkt/x.tar", read_timeout="soon")
    with pytest.raises(OptionError, match=r"connect_timeout=0 is not"):
        hr.open("s3://bkt/x.tar", connect_timeout=0)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, answers nothing
        where = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(hr.Error, match="no reply within 200 ms"):
            hr.open("s3://bkt/x.tar", endpoint_url=where, region="us-east-1", anonymous=True, attempts_max=1,
                    read_timeout=0.2)  # fmt: skip
