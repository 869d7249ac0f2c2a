# SPDX-License-Identifier: Apache-2.0
"""``--allow-write``: new objects, from front to back, there when they are closed."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess

import pytest


def fails(code: int):
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")


@pytest.fixture
def there(place):
    place.serve()
    return place.mount("--allow-write", "--memory", "128MiB")


def test_a_new_file_is_an_object_when_it_is_closed(place, there):
    content = random.Random(1).randbytes(300_000)
    with open(there / "f", "wb") as file:
        file.write(content[:200_000])
        file.flush()
        assert not (place.data / "f").exists()
        assert os.stat(there / "f").st_size == 200_000
        with fails(errno.EPERM):
            os.open(there / "f", os.O_RDONLY)
        file.write(content[200_000:])
    assert (place.data / "f").read_bytes() == content
    assert (there / "f").read_bytes() == content
    assert os.listdir(there) == ["f"]


def test_a_large_file_is_uploaded_in_parts(place, there):
    content = random.Random(2).randbytes(1 << 20) * 30
    (there / "big").write_bytes(content)
    assert (place.data / "big").read_bytes() == content
    assert (there / "big").read_bytes() == content
    place.server.stats()
    assert hr_uploads(place) == 0


def hr_uploads(place) -> int:
    """Uploads that the server still holds, as its files on disk."""
    return sum(1 for _ in place.data.glob(".*upload*/*"))


def test_objects_that_are_there_are_never_changed(place, put, there):
    put("f", b"old")
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        with fails(errno.EPERM):
            os.open(there / "f", flags)
    with fails(errno.EEXIST):
        os.open(there / "f", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    for change in (
        lambda: os.unlink(there / "f"),
        lambda: os.rename(there / "f", there / "g"),
        lambda: os.chmod(there / "f", 0o600),
        lambda: os.truncate(there / "f", 0),
        lambda: os.utime(there / "f", (1, 1)),
        lambda: os.rmdir(there / "d"),
    ):
        put("d/x", b"x")
        with pytest.raises(OSError, match=rf"\[Errno ({errno.EPERM}|{errno.ENOTEMPTY})\]"):
            change()
    assert (place.data / "f").read_bytes() == b"old"


def test_an_object_made_elsewhere_meanwhile_is_not_replaced(place, put, there):
    file = open(there / "f", "wb")  # noqa: SIM115
    file.write(b"mine")
    put("f", b"theirs")
    with fails(errno.EEXIST):
        file.close()
    assert (place.data / "f").read_bytes() == b"theirs"


def test_writing_out_of_order_is_einval_and_leaves_nothing(place, there):
    file = os.open(there / "f", os.O_WRONLY | os.O_CREAT)
    os.write(file, b"x" * 1000)
    with fails(errno.EINVAL):
        os.pwrite(file, b"y", 10)
    with fails(errno.EINVAL):
        os.close(file)
    assert not (place.data / "f").exists()
    assert not (there / "f").exists()
    assert any("front to back" in line for line in place.log_lines("EINVAL"))


def test_folders_are_there_at_once_and_in_the_store_with_their_first_file(place, there):
    os.makedirs(there / "a/b/c")
    assert os.listdir(there / "a/b") == ["c"]
    assert not (place.data / "a").exists()
    (there / "a/b/c/f").write_bytes(b"x")
    assert (place.data / "a/b/c/f").read_bytes() == b"x"
    os.mkdir(there / "e")
    os.rmdir(there / "e")
    assert not (there / "e").exists()
    with fails(errno.ENOTEMPTY):
        os.rmdir(there / "a")


def test_a_file_written_here_can_be_renamed_as_checkpoints_are(place, there):
    content = random.Random(1).randbytes(9 << 20)
    os.mkdir(there / "ckpt")
    (there / "ckpt/tmp").write_bytes(content)
    os.rename(there / "ckpt/tmp", there / "ckpt/final")
    assert (there / "ckpt/final").read_bytes() == content
    assert (place.data / "ckpt/final").read_bytes() == content
    assert os.listdir(place.data / "ckpt") == ["final"]
    assert os.listdir(there / "ckpt") == ["final"]
    (there / "ckpt/tmp2").write_bytes(b"x")
    with fails(errno.EPERM):
        os.rename(there / "ckpt/tmp2", there / "ckpt/final")  # would replace
    assert (place.data / "ckpt/final").read_bytes() == content


def test_fsync_makes_the_object_and_ends_the_writing(place, there):
    file = os.open(there / "f", os.O_WRONLY | os.O_CREAT)
    os.write(file, b"x")
    os.fsync(file)
    assert (place.data / "f").read_bytes() == b"x"
    with fails(errno.EINVAL):
        os.write(file, b"y")
    os.close(file)
    assert (place.data / "f").read_bytes() == b"x"


def test_shells_and_tools_write(place, put, there):
    put("src/a", b"hello")
    line = "echo one > one; (cat src/a; echo two; cat src/a) > both; cp src/a copied; : > empty; printf 3 | tee tee > /dev/null"
    subprocess.run(["bash", "-ec", line], cwd=there, check=True)
    assert (place.data / "one").read_bytes() == b"one\n"
    assert (place.data / "both").read_bytes() == b"hellotwo\nhello"
    assert (place.data / "copied").read_bytes() == b"hello"
    assert (place.data / "empty").read_bytes() == b""
    assert (place.data / "tee").read_bytes() == b"3"
    shutil.copyfile(there / "src/a", there / "python")
    assert (place.data / "python").read_bytes() == b"hello"


def test_names_that_no_key_can_have_are_refused(place, there):
    with fails(errno.ENAMETOOLONG):
        (there / ("x" * 256)).write_bytes(b"")
    deep = there
    for _ in range(4):
        deep = deep / ("d" * 250)
    os.makedirs(deep)
    with fails(errno.ENAMETOOLONG):
        (deep / ("f" * 100)).write_bytes(b"")  # a key of 1,104 bytes
    with fails(errno.EPERM):
        (there / ".headrace/x").write_bytes(b"")


def test_torch_saves_and_loads_a_checkpoint(place, there):
    torch = pytest.importorskip("torch")
    state = {"w": torch.arange(3_000_000, dtype=torch.float32), "step": 7}
    torch.save(state, there / "model.pt")
    loaded = torch.load(there / "model.pt", weights_only=True)
    assert torch.equal(loaded["w"], state["w"])
    assert loaded["step"] == 7
