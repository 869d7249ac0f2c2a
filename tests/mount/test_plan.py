# SPDX-License-Identifier: Apache-2.0
"""The plan: files on their way before they are opened."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path

import pytest

from headrace import mount as hr_mount
from headrace.errors import NotFoundError


@pytest.fixture
def files(place, put) -> list[Path]:
    rng = random.Random(1)
    names = [f"c{i % 7}/f{i:03}" for i in range(200)]
    for name in names:
        put(name, name.encode() + rng.randbytes(rng.randrange(200_000)))
    place.serve(profile="s3")
    there = place.mount("--memory", "64MiB")
    paths = [there / name for name in names]
    rng.shuffle(paths)
    return paths


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_planned_files_are_read_without_waiting(place, files):
    there = place.mounts[0].folder
    with hr_mount.prefetch(files) as plan:
        assert plan.wait(20)
    wait_for(lambda: hr_mount.stats(there)["plan_fetched"] == len(files))
    wait_for(
        lambda: hr_mount.stats(there)["fetched_bytes"] == hr_mount.stats(there)["plan_ahead_bytes"]
    )
    before = hr_mount.stats(there)
    for path in files:
        assert path.read_bytes() == (place.data / path.relative_to(there)).read_bytes()
    after = hr_mount.stats(there)
    assert after["waits"] == before["waits"]
    assert after["fetches"] == before["fetches"]
    assert after["plan_hits"] == len(files)
    assert after["memory_bytes_peak"] <= 64 << 20


def test_a_sampler_hands_over_its_order(place, files):
    there = place.mounts[0].folder
    sampler = hr_mount.PlannedSampler(random.Random(3).sample(range(200), 200), files)
    seen = []
    for index in sampler:
        seen.append(index)
        assert (
            files[index].read_bytes() == (place.data / files[index].relative_to(there)).read_bytes()
        )
    assert seen == list(sampler.sampler)
    assert len(sampler) == 200
    wait_for(lambda: hr_mount.stats(there)["plan_files"] == 200)
    assert hr_mount.stats(there)["fetches"] <= 200  # none twice


def test_a_sampler_of_files_elsewhere_keeps_its_order(tmp_path):
    sampler = hr_mount.PlannedSampler([2, 0, 1], [tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert list(sampler) == [2, 0, 1]


def test_a_plan_of_files_elsewhere_is_an_error(tmp_path):
    with pytest.raises(NotFoundError, match="no headrace mount above"):
        hr_mount.prefetch([tmp_path / "a"])
    with pytest.raises(NotFoundError, match="no paths"):
        hr_mount.prefetch([])


def test_an_error_of_the_callers_iterable_is_told(place, files):
    def paths():
        yield files[0]
        raise KeyError("mine")

    with hr_mount.prefetch(paths()) as plan, pytest.raises(KeyError, match="mine"):
        plan.wait(20)


def test_nonsense_at_the_socket_does_no_harm(place, files):
    there = place.mounts[0].folder
    path = (there / ".headrace/plan-socket").read_text().strip()
    for message in (
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"headrace-plan 1\n" + b"x" * 100_000,
        b"headrace-plan 1\n\0\0\0",
    ):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(message)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(10) == b""
    assert files[0].read_bytes()
