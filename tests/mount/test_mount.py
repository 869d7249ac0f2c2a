# SPDX-License-Identifier: Apache-2.0
"""The mount through the kernel, read only: what docs/mount.md says, as programs see it."""

from __future__ import annotations

import errno
import mmap
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import mount as hr_mount
from headrace.errors import UnavailableError


def fails(code: int):
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")


def bytes_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_a_tree_reads_as_its_local_copy(place, put):
    for i, size in enumerate([0, 1, 4095, 4096, 4097, 115_000, 1 << 20, (1 << 20) + 1, 9_000_000]):
        put(f"d{i % 3}/f{i}", bytes_of(i, size))
    there = place.mount()
    done = subprocess.run(
        ["diff", "-r", place.data, there], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_unmounting_by_umount_ends_the_program_and_leaves_nothing(place, put):
    put("f", b"x")
    there = place.mount()
    assert os.path.ismount(there)
    hr_mount.unmount(there)
    assert not os.path.ismount(there)
    assert os.listdir(there) == []
    with pytest.raises(UnavailableError):
        hr_mount.unmount(there)


@pytest.mark.parametrize(
    "how",
    [
        os.O_WRONLY,
        os.O_RDWR,
        os.O_WRONLY | os.O_TRUNC,
        os.O_WRONLY | os.O_APPEND,
        os.O_WRONLY | os.O_CREAT,
    ],
)
def test_every_attempt_to_write_is_erofs(place, put, how):
    put("f", b"x")
    there = place.mount()
    name = "new" if how & os.O_CREAT else "f"
    with fails(errno.EROFS):
        os.close(os.open(there / name, how))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: os.mkdir(p / "d"),
        lambda p: os.unlink(p / "f"),
        lambda p: os.rename(p / "f", p / "g"),
        lambda p: os.symlink("f", p / "l"),
        lambda p: os.link(p / "f", p / "l"),
        lambda p: os.chmod(p / "f", 0o600),
        lambda p: os.truncate(p / "f", 0),
        lambda p: os.utime(p / "f"),
        lambda p: os.setxattr(p / "f", "user.x", b"1"),
        lambda p: os.mkfifo(p / "p"),
    ],
)
def test_every_change_is_erofs(place, put, change):
    put("f", b"x")
    there = place.mount()
    with fails(errno.EROFS):
        change(there)
    assert (there / "f").read_bytes() == b"x"


def test_what_is_not_there_is_enoent_and_too_long_names_are_said_so(place, put):
    put("d/f", b"x")
    there = place.mount()
    for path, expected in [
        ("nope", errno.ENOENT),
        ("d/nope", errno.ENOENT),
        ("d/f/x", errno.ENOTDIR),
        ("x" * 256, errno.ENAMETOOLONG),
    ]:
        with fails(expected):
            os.stat(there / path)
    with fails(errno.EISDIR):
        os.read(os.open(there / "d", os.O_RDONLY), 1)


def test_a_replaced_object_is_estale_to_who_has_it_open_and_new_to_who_opens_it(place, put):
    old, new = bytes_of(1, 20_000_000), bytes_of(2, 20_000_000)
    put("f", old)
    there = place.mount("--metadata-ttl", "inf")
    with open(there / "f", "rb", buffering=0) as opened:
        assert opened.read(1000) == old[:1000]
        put("f.tmp", new)
        os.rename(place.data / "f.tmp", place.data / "f")
        with fails(errno.ESTALE):
            os.pread(opened.fileno(), 1000, 18_000_000)
        assert os.fstat(opened.fileno()).st_size == len(old)
        assert (there / "f").read_bytes() == new
        # What the old handle still gives is of the old version, never of the new one.
        assert os.pread(opened.fileno(), 1000, 0) == old[:1000]
    assert any("the object changed" in line for line in place.log_lines("ESTALE"))


def test_a_deleted_object_is_estale_to_who_has_it_open(place, put):
    content = put("f", bytes_of(1, 20_000_000))
    there = place.mount("--metadata-ttl", "inf")
    with open(there / "f", "rb", buffering=0) as opened:
        assert opened.read(1000) == content[:1000]
        os.unlink(place.data / "f")
        with fails(errno.ESTALE):
            os.pread(opened.fileno(), 1000, 18_000_000)


def test_pages_stay_in_the_kernel_over_close_and_open(place, put):
    content = put("f", bytes_of(1, 3_000_000))
    there = place.mount()
    assert (there / "f").read_bytes() == content
    reads = hr_mount.stats(there)["reads"]
    assert (there / "f").read_bytes() == content
    assert hr_mount.stats(there)["reads"] == reads


def test_walking_the_tree_asks_the_store_in_pages_not_in_files(place, put):
    for i in range(30):
        for j in range(50):
            put(f"d{i:02}/f{j:02}", b"x" * j)
    place.serve()
    there = place.mount()
    place.server.stats(reset=True)
    found = {
        Path(folder, name).relative_to(there).as_posix(): os.stat(Path(folder, name)).st_size
        for folder, _, names in os.walk(there)
        for name in names
    }
    assert found == {f"d{i:02}/f{j:02}": j for i in range(30) for j in range(50)}
    # 1,500 keys are two pages; a page more for the top and one for the first folder.
    assert hr_mount.stats(there)["requests"] <= 10
    assert hr_mount.stats(there)["lookups"] <= 40  # by the kernel: the folders at most


def test_mmap_and_direct_reads_are_the_bytes(place, put):
    content = put("f", bytes_of(1, 5_000_000))
    there = place.mount()
    with open(there / "f", "rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
        rng = random.Random(1)
        for _ in range(200):
            at = rng.randrange(len(content))
            assert mapped[at : at + 100] == content[at : at + 100]
        mapped.close()
    direct = os.open(there / "f", os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, 1 << 20)
    assert os.preadv(direct, [buffer], 1 << 20) == 1 << 20
    assert buffer[:] == content[1 << 20 : 2 << 20]
    os.close(direct)


def test_attributes_tell_key_and_etag(place, put):
    put("p/d/f", b"hello")
    there = place.mount(url="s3://bucket/p")
    assert os.getxattr(there / "d/f", "user.headrace.key") == b"p/d/f"
    assert os.getxattr(there / "d/f", "user.headrace.etag") == hr_etag(place, "p/d/f")
    with fails(errno.ENODATA):
        os.getxattr(there / "d/f", "user.other")


def hr_etag(place, key: str) -> bytes:
    """As the server itself says it."""
    import urllib.request

    request = urllib.request.Request(f"{place.server.endpoint_url}/bucket/{key}", method="HEAD")
    with open_as_root(request) as reply:
        return reply.headers["ETag"].strip('"').encode()


def open_as_root(request):
    import urllib.request

    import boto3

    session = boto3.session.Session(
        aws_access_key_id="headrace",
        aws_secret_access_key="headrace-secret",
        region_name="us-east-1",
    )
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest

    signed = AWSRequest(method=request.get_method(), url=request.full_url)
    S3SigV4Auth(session.get_credentials(), "s3", "us-east-1").add_auth(signed)
    for name, value in signed.headers.items():
        request.add_header(name, value)
    return urllib.request.urlopen(request, timeout=10)


def program(*words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(hr_mount.mount_program()), *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_does_not_go_into_the_background_before_the_store_answered(place, tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    done = program("s3://nosuchbucket", str(folder), environment=place.server.environment)
    assert done.returncode == 1
    assert "nosuchbucket" in done.stderr
    assert not os.path.ismount(folder)
    wrong = {**place.server.environment, "AWS_SECRET_ACCESS_KEY": "not-the-secret"}
    done = program("s3://bucket", str(folder), environment=wrong)
    assert done.returncode == 1
    assert "403" in done.stderr
    assert "not-the-secret" not in done.stderr


def test_a_folder_in_use_or_missing_is_refused(place, put, tmp_path):
    put("f", b"x")
    there = place.mount()
    done = program("s3://bucket", str(there), environment=place.server.environment)
    assert (done.returncode, "mounted there already" in done.stderr) == (2, True)
    done = program("s3://bucket", str(tmp_path / "no"), environment=place.server.environment)
    assert (done.returncode, "No such file" in done.stderr) == (1, True)


def test_wrong_options_are_all_named_at_once(place):
    done = program("s3://b", "--memory", "lots", "--nonsense", environment={})
    assert done.returncode == 2
    for word in ("memory", "nonsense", "DIR"):
        assert word in done.stderr


def test_the_fstab_form_takes_mounts_own_words(place, put):
    put("p,q/f", b"x")
    there = place.mount(
        "-o",
        "_netdev,nosuid,nodev,nofail,ro,metadata_ttl=inf,x-systemd.automount,memory=64MiB",
        url="s3://bucket/p,q/",
    )
    assert os.listdir(there) == ["f"]
    line = next(
        line for line in Path("/proc/mounts").read_text().splitlines() if str(there) in line
    )
    assert "fuse.headrace" in line
    assert {"nosuid", "nodev", "ro"} <= set(line.split()[3].split(","))


def test_the_command_line_mounts_and_unmounts(place, put):
    put("f", b"x")
    folder = place.root / "cli"
    folder.mkdir()
    environment = {**os.environ, **place.server.environment}
    command = [sys.executable, "-m", "headrace"]
    subprocess.run([*command, "mount", "s3://bucket", str(folder)], env=environment, check=True)
    assert (folder / "f").read_bytes() == b"x"
    subprocess.run([*command, "umount", str(folder)], env=environment, check=True)
    assert not os.path.ismount(folder)
