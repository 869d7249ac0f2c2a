# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the S3 tests: one Ceph gateway for all tests that want a real service."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package; ceph_rgw.py lies beside them

from ceph_rgw import CephGateway, CephUnavailable


@pytest.fixture(scope="session")
def ceph() -> Iterator[CephGateway]:
    """A running Ceph S3 gateway; skips only where its packages cannot be installed."""
    try:
        gateway = CephGateway.start()
    except CephUnavailable as fault:
        pytest.skip(f"no Ceph here: {fault}")
    with gateway:
        yield gateway
