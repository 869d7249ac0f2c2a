# SPDX-License-Identifier: Apache-2.0
"""Programs over the mount, beside the same on a local copy."""

from __future__ import annotations

import mmap
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest


def test_random_reads_of_every_kind_are_those_of_a_local_copy(place, put):
    """pread, readv, read after seek, mmap, O_DIRECT, reopening and a forked child; seeded."""
    sizes = [0, 1, 4096, 100_000, 1 << 20, (1 << 20) + 1, 7_654_321]
    names = [f"f{i}" for i in range(len(sizes))]
    for i, size in enumerate(sizes):
        put(names[i], random.Random(i).randbytes(size))
    there = place.mount("--memory", "32MiB")
    rng = random.Random(11)
    opened = {name: os.open(there / name, os.O_RDONLY) for name in names}
    for step in range(600):
        name = rng.choice(names)
        local = (place.data / name).read_bytes()
        at, size = rng.randrange(len(local) + 10), rng.choice([1, 100, 4096, 70_000, 1 << 20])
        want = local[at : at + size]
        match step % 6:
            case 0:
                assert os.pread(opened[name], size, at) == want
            case 1:
                parts = [bytearray(size // 3), bytearray(size - size // 3)]
                got = os.preadv(opened[name], parts, at)
                assert b"".join(parts)[:got] == want
            case 2:
                os.lseek(opened[name], at, os.SEEK_SET)
                assert os.read(opened[name], size) == want
            case 3 if local:
                with mmap.mmap(opened[name], 0, prot=mmap.PROT_READ) as mapped:
                    assert mapped[at : at + size] == want
            case 4:
                direct = os.open(there / name, os.O_RDONLY | os.O_DIRECT)
                buffer = mmap.mmap(-1, 1 << 20)
                start = at // 4096 * 4096
                got = os.preadv(direct, [buffer], start)
                assert buffer[:got] == local[start : start + (1 << 20)]
                os.close(direct)
            case 5:
                os.close(opened[name])
                opened[name] = os.open(there / name, os.O_RDONLY)
    for file in opened.values():
        os.close(file)


def test_processes_that_share_a_file_read_its_bytes(place, put):
    content = put("f", random.Random(1).randbytes(12_000_000))
    there = place.mount()
    program = (
        "import os,random,sys\n"
        "rng=random.Random(int(sys.argv[2])); local=open(sys.argv[3],'rb').read(); f=os.open(sys.argv[1],os.O_RDONLY)\n"
        "for _ in range(100):\n"
        "    at=rng.randrange(len(local)); assert os.pread(f,30000,at)==local[at:at+30000]\n"
    )
    words = [sys.executable, "-c", program, str(there / "f")]
    runs = [subprocess.Popen([*words, str(i), str(place.data / "f")]) for i in range(4)]
    assert [run.wait(120) for run in runs] == [0] * 4
    with open(there / "f", "rb", buffering=0) as file:
        child = os.fork()
        if child == 0:
            good = os.pread(file.fileno(), 1000, 5_000_000) == content[5_000_000:5_001_000]
            os._exit(0 if good else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert file.read(1000) == content[:1000]


def test_tar_git_and_python_run_from_it(place, put, tmp_path):
    source = tmp_path / "repository"
    source.mkdir()
    git = ["git", "-c", "user.email=a@b", "-c", "user.name=a", "-c", "init.defaultBranch=main"]

    def run(*words: str, at: Path = source) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=at, check=True, capture_output=True, text=True)

    run(*git, "init")
    (source / "module.py").write_text("answer = 42\n")
    (source / "data").mkdir()
    for i in range(20):
        (source / "data" / f"{i}.txt").write_text(str(i) * i * 100)
    run(*git, "add", "-A")
    run(*git, "commit", "-m", "one")
    run(*git, "repack", "-ad")  # gc would pack the refs: their empty folder is no object
    shutil.copytree(source, place.data / "repository")
    there = place.mount()
    clone = tmp_path / "clone"
    safe = ["git", "-c", "safe.directory=*"]
    run(
        *safe,
        "clone",
        "--no-local",
        "-c",
        "safe.directory=*",
        str(there / "repository"),
        str(clone),
        at=tmp_path,
    )
    assert run("diff", "-r", "--exclude=.git", str(clone), str(source), at=tmp_path).stdout == ""
    run("tar", "cf", str(tmp_path / "a.tar"), "-C", str(there), "repository", at=tmp_path)
    with tarfile.open(tmp_path / "a.tar") as tar:
        member = tar.extractfile("repository/data/7.txt")
        assert member is not None
        assert member.read() == (source / "data/7.txt").read_bytes()
    words = [sys.executable, "-B", "-c", "import module; print(module.answer)"]
    done = subprocess.run(
        words, cwd=there / "repository", capture_output=True, text=True, check=True
    )
    assert done.stdout == "42\n"


def test_safetensors_and_parquet_and_numpy_read_from_it(place):
    numpy = pytest.importorskip("numpy")
    array = numpy.random.default_rng(1).normal(size=(1000, 500)).astype("float32")
    numpy.save(place.data / "a.npy", array)
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    table = pyarrow.table({"x": numpy.arange(200_000), "y": [str(i) for i in range(200_000)]})
    parquet.write_table(table, place.data / "t.parquet", row_group_size=20_000)
    there = place.mount("--memory", "64MiB")
    assert numpy.array_equal(numpy.load(there / "a.npy"), array)
    assert numpy.array_equal(
        numpy.load(there / "a.npy", mmap_mode="r")[990:, 490:], array[990:, 490:]
    )
    assert parquet.read_table(there / "t.parquet").equals(table)
    assert parquet.read_table(there / "t.parquet", memory_map=True, columns=["x"]).equals(
        table.select(["x"])
    )
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"w": array}, place.data / "m.safetensors")
    with pytest.importorskip("safetensors").safe_open(there / "m.safetensors", "numpy") as opened:
        assert numpy.array_equal(opened.get_slice("w")[10:20], array[10:20])


def test_torchs_image_folder_in_worker_processes_with_a_plan(place):
    torch = pytest.importorskip("torch")
    datasets = pytest.importorskip("torchvision.datasets")
    from PIL import Image

    from headrace.mount import PlannedSampler, stats

    for label in ("cat", "dog"):
        (place.data / label).mkdir()
        for i in range(20):
            Image.new("RGB", (8, 8), (i, i * 2, 10)).save(place.data / label / f"{i:02}.png")
    there = place.mount()
    to_tensor = lambda image: torch.tensor(list(image.getdata()))  # noqa: E731
    local = datasets.ImageFolder(place.data, transform=to_tensor)
    mounted = datasets.ImageFolder(there, transform=to_tensor)
    assert [os.path.relpath(p, there) for p, _ in mounted.samples] == [
        os.path.relpath(p, place.data) for p, _ in local.samples
    ]
    order = random.Random(1).sample(range(40), 40)
    sampler = PlannedSampler(order, [path for path, _ in mounted.samples])
    loader = torch.utils.data.DataLoader(mounted, batch_size=8, sampler=sampler, num_workers=2)
    got = torch.cat([images for images, _ in loader])
    assert torch.equal(got, torch.stack([local[i][0] for i in order]))
    assert stats(there)["plan_files"] == 40


@pytest.mark.skipif(shutil.which("fio") is None, reason="no fio on this machine")
@pytest.mark.parametrize("pattern", ["read", "randread"])
@pytest.mark.parametrize("direct", [0, 1])
def test_fio_verifies_what_it_wrote(place, pattern, direct):
    """fio writes blocks with headers and checksums into the bucket, and verifies them through the mount."""
    job = [
        "--name=v",
        "--bs=16k",
        "--size=8m",
        "--verify=crc32c",
        "--filename=data",
        "--randseed=7",
    ]
    quiet = ["--output=/dev/null", "--minimal"]
    subprocess.run(["fio", *job, *quiet, "--rw=write", "--do_verify=0"], cwd=place.data, check=True)
    there = place.mount()
    words = [f"--rw={pattern}", "--readonly"]
    done = subprocess.run(
        [
            "fio",
            *job,
            *words,
            f"--direct={direct}",
            "--verify_fatal=1",
            "--verify_state_save=0",
            *quiet,
        ],
        cwd=there,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("xfs_io") is None, reason="no xfs_io on this machine")
def test_xfs_io_reads_every_pattern_it_knows(place, put):
    """Blocks of one byte each; xfs_io prints what it read, forward, backward, at random, mapped."""
    block, blocks = 65_536, 40
    put("f", b"".join(bytes([i + 1]) * block for i in range(blocks)))
    file = place.mount() / "f"

    def run(*commands: str) -> str:
        words = [word for command in commands for word in ("-c", command)]
        done = subprocess.run(
            ["xfs_io", "-r", *words, file], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout

    whole = block * blocks
    for pattern, start in (("-F", 0), ("-B", whole), ("-R -Z 7", 0)):
        out = run(f"pread -b {block // 2} {pattern} {start} {whole}")
        assert f"read {whole}/{whole} bytes" in out, (pattern, out)
    for i in (0, 17, blocks - 1):
        at = i * block + block - 8  # the last bytes of a block, and of the next one what there is
        want = bytes([i + 1]) * 8 + (bytes([i + 2]) * 8 if i + 1 < blocks else b"")
        assert printed_bytes(run(f"pread -v {at} 16")) == want
        mapped = f"mmap -r 0 {whole}"
        assert printed_bytes(run(mapped, f"mread -v {at} {len(want)}")) == want
    assert "read 0/4096 bytes" in run(f"pread {whole + 5} 4096")


def printed_bytes(dump: str) -> bytes:
    """What ``pread -v`` printed: lines of "offset:  aa bb ...  ascii"."""
    found = re.findall(r"^[0-9a-f]{8}: ((?: [0-9a-f]{2})+)", dump, re.MULTILINE)
    return bytes.fromhex("".join(found))
