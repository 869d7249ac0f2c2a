# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a mount: nothing wrong is read, nothing hangs, each EIO has its line."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from headrace import mount as hr_mount
from headrace.errors import UnavailableError


def fails(*codes: int):
    return pytest.raises(OSError, match=rf"\[Errno ({'|'.join(map(str, codes))})\]")


def daemon_of(folder: Path) -> int:
    """The program that serves the folder."""
    done = subprocess.run(
        ["pgrep", "-f", f"headrace-mount .*{folder}"], capture_output=True, text=True
    )
    return int(done.stdout.split()[0])


def ended(process: int) -> bool:
    """Gone, or only its entry in the table is left, which nobody here collects."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def wait_until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def blocked_reader(path: Path) -> tuple[threading.Thread, list[object]]:
    """Reads the file in a thread; the list gets what came of it."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(path.read_bytes())
        except OSError as error:
            outcome.append(error.errno)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_readers_of_a_killed_mount_get_an_error_and_it_can_be_mounted_again(place, put):
    content = put("f", random.Random(1).randbytes(5_000_000))
    place.serve(faults=[{"kind": "stall", "op": "GetObject", "at": 0}])
    there = place.mount()
    thread, outcome = blocked_reader(there / "f")
    wait_until(lambda: place.server.stats()["requests"] >= 2)
    os.kill(daemon_of(there), signal.SIGKILL)
    thread.join(10)
    assert outcome == [errno.ENOTCONN] or outcome == [errno.ECONNABORTED]
    with fails(errno.ENOTCONN):
        os.listdir(there)
    with pytest.raises(UnavailableError, match=r"umount -l"):
        hr_mount.Mount("s3://bucket", there, environment=place.server.environment)
    subprocess.run(["umount", "-l", there], check=True)
    place.server.set_faults([])
    with hr_mount.Mount("s3://bucket", there, environment=place.server.environment):
        assert (there / "f").read_bytes() == content


def test_sigterm_ends_it_also_while_readers_wait(place, put):
    put("f", b"x" * 1000)
    place.serve(faults=[{"kind": "stall", "op": "GetObject", "at": 0}])
    there = place.mount()
    process = daemon_of(there)
    thread, outcome = blocked_reader(there / "f")
    wait_until(lambda: place.server.fault_counts()[0]["fired"] > 0)
    os.kill(process, signal.SIGTERM)
    thread.join(10)
    # The kernel's word for a request that it had handed over, or had not.
    assert outcome in ([errno.ENOTCONN], [errno.ECONNABORTED])
    wait_until(lambda: not os.path.ismount(there))
    wait_until(lambda: ended(process))
    assert any("unmounted" in line for line in place.log_lines())


def test_without_the_server_reads_end_by_their_deadline_with_a_line_each(place, put):
    held = put("held", b"h" * 1000)
    put("f", b"x" * 1000)
    place.serve()
    there = place.mount("--metadata-ttl", "inf", "--retry-seconds", "1", "--read-deadline", "4")
    assert (there / "held").read_bytes() == held
    assert os.listdir(there) == ["f", "held"]
    os.kill(place.server.pid, signal.SIGSTOP)  # connections stay, nothing answers
    try:
        start = time.monotonic()
        with fails(errno.EIO):
            (there / "f").read_bytes()
        assert time.monotonic() - start < 15
        assert (there / "held").read_bytes() == held
        lines = place.log_lines("EIO: ")
        assert len(lines) == hr_mount.stats(there)["eio"] > 0
        assert all("bucket/f bytes [0, 1000)" in line for line in lines)
    finally:
        os.kill(place.server.pid, signal.SIGCONT)
    assert (there / "f").read_bytes() == b"x" * 1000


def test_an_expired_token_is_eacces_with_its_reason_and_ends_when_it_is_renewed(place, put):
    content = put("f", b"x" * 1000)
    rule = {"kind": "status", "status": 400, "code": "ExpiredToken", "op": "GetObject"}
    place.serve(faults=[rule])
    there = place.mount("--metadata-ttl", "inf")
    with fails(errno.EACCES):
        (there / "f").read_bytes()
    assert any("ExpiredToken" in line for line in place.log_lines("EACCES"))
    place.server.set_faults([])
    assert (there / "f").read_bytes() == content


def test_an_object_replaced_in_the_middle_of_reading_is_never_mixed(place, put):
    old = put("f", random.Random(1).randbytes(30_000_000))
    place.serve(faults=[{"kind": "replaced", "key": "bucket/f", "after": 4}])
    there = place.mount("--metadata-ttl", "inf")
    got = bytearray()
    with open(there / "f", "rb", buffering=0) as file, fails(errno.ESTALE):
        while part := file.read(1 << 20):
            got += part
    assert old.startswith(bytes(got))
    assert len(got) < len(old)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset", "op": "GetObject", "at": 5000, "probability": 0.3, "seed": 1},
        {"kind": "truncate", "op": "GetObject", "at": 5000, "every": 3},
        {"kind": "status", "status": 503, "op": "GetObject", "every": 4},
        {"kind": "wrong-range", "op": "GetObject", "every": 3},
        {"kind": "short-range", "op": "GetObject", "every": 3, "count": 100},
        {"kind": "etag", "op": "GetObject", "every": 5, "attempts_below": 2},
    ],
    ids=lambda fault: fault["kind"],
)
def test_faults_that_pass_are_not_seen(place, put, fault):
    contents = {f"f{i}": put(f"f{i}", random.Random(i).randbytes(200_000 * i)) for i in range(12)}
    place.serve(faults=[fault])
    there = place.mount()
    for name, content in contents.items():
        got = None
        for _ in range(
            3
        ):  # a store that lies about the ETag is believed: the name is asked for anew
            try:
                got = (there / name).read_bytes()
                break
            except OSError as error:
                code = error.errno
                if fault["kind"] != "etag" or code != errno.ESTALE:
                    raise
        assert got == content


def test_a_listing_that_breaks_is_an_error_not_a_part(place, put):
    for i in range(1500):
        put(f"d/f{i:04}", b"x")
    place.serve(faults=[{"kind": "status", "status": 403, "op": "ListObjectsV2", "after": 2}])
    there = place.mount()
    with fails(errno.EACCES):
        os.listdir(there / "d")
    place.server.set_faults([])
    assert len(os.listdir(there / "d")) == 1500


def test_threads_files_and_descriptors_of_the_program_do_not_grow(place, put):
    for i in range(50):
        put(f"f{i}", random.Random(i).randbytes(20_000))
    place.serve(faults=[{"kind": "reset", "op": "GetObject", "at": 100, "probability": 0.01}])
    there = place.mount("--metadata-ttl", "0", "--memory", "32MiB")
    process = daemon_of(there)

    def held() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{process}/fd")), len(os.listdir(f"/proc/{process}/task"))

    def round_of_reads() -> None:
        for name in os.listdir(there):
            assert (there / name).read_bytes() == (place.data / name).read_bytes()

    for _ in range(2):
        round_of_reads()
    before = held()
    for _ in range(6):
        round_of_reads()
    after = held()
    assert after[0] <= before[0] + 5
    assert after[1] <= before[1] + 3
    assert hr_mount.stats(there)["memory_bytes_peak"] <= 32 << 20
