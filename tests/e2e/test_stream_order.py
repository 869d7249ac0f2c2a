# SPDX-License-Identifier: Apache-2.0
"""The stream order through the server: compressed and plain tars, read without an index.

What must come out is what tests/model/stream_model.py says, which was written from docs/ordering.md.
"""

import gzip
import hashlib
import io
import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from itertools import chain
from pathlib import Path

import pytest
from small_data import add

import headrace as hr
from headrace.serve import Server

FIXTURES = Path(__file__).parents[1] / "fixtures"
sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from stream_model import drain, wrap  # noqa: E402

COUNTS = [37, 5, 64, 1, 48, 29, 33, 40, 11, 52, 26, 54]  # 400 samples in 12 shards
MASK = (1 << 32) - 1


def tar_of(shard, count):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for row in range(count):
            rng = random.Random(shard * 1000 + row)
            words = " ".join(str(rng.randrange(5000)) for _ in range(rng.randrange(2000)))
            add(tar, f"s{shard}/{row:04d}.txt", words.encode())
            add(tar, f"s{shard}/{row:04d}.cls", f"{shard}.{row}".encode())
    return out.getvalue()


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    """Buckets plain, gz (two members each), zst (two frames each)."""
    root = tmp_path_factory.mktemp("streams")
    for name in ("plain", "gz", "zst"):
        (root / name).mkdir()
    for shard, count in enumerate(COUNTS):
        tar, half = tar_of(shard, count), len(tar_of(shard, count)) // 2
        name = f"train-{shard:02d}.tar"
        (root / "plain" / name).write_bytes(tar)
        parts = (tar[:half], tar[half:])
        (root / "gz" / f"{name}.gz").write_bytes(b"".join(gzip.compress(p, 6) for p in parts))
        if shutil.which("zstd"):
            frames = [
                subprocess.run(["zstd", "-qc"], input=p, stdout=subprocess.PIPE, check=True).stdout
                for p in parts
            ]
            (root / "zst" / f"{name}.zst").write_bytes(b"".join(frames))
    with Server(root) as running:
        yield running


def opened(server, bucket, **options):
    if bucket == "zst" and not shutil.which("zstd"):
        pytest.skip("needs the zstd tool to write its data")
    if bucket == "plain":
        options.setdefault("order", "stream")
    return hr.open(f"s3://{bucket}", **server.options, **options)


def places(batch):
    """(epoch, shard, row) of each valid row; what the samples say themselves must agree."""
    found = []
    for epoch, number, label, valid in zip(
        batch.epochs, batch.ids, batch["cls"], batch.valid, strict=True
    ):
        shard, row = int(number) >> 32, int(number) & MASK
        assert bytes(label).decode() == f"{shard}.{row}"
        if valid:
            found.append((int(epoch), shard, row))
    return found


def flat(batches):
    return list(chain.from_iterable(batches))


def run(loader, batches=None):
    found = []
    for batch in loader:
        found.append(places(batch))
        if batches is not None and len(found) == batches:
            break
    return found


OPTIONS = {"batch_size": 16, "seed": 7, "streams": 4, "slots": 9}


@pytest.mark.parametrize("bucket", ["plain", "gz", "zst"])
def test_an_epoch_is_what_the_model_says(streams, bucket):
    with opened(streams, bucket) as ds, ds.loader(**OPTIONS) as loader:
        for epoch in (0, 1):
            found = run(loader)
            assert flat(found) == drain(COUNTS, 4, 9, 7, epoch)
            assert [len(b) for b in found] == [16] * 25


@pytest.mark.parametrize("name", ["wds-shardwriter-gz", "wds-shardwriter-zst"])
def test_what_other_writers_compressed(name):
    expected = {}
    for line in (FIXTURES / name / "expected.jsonl").read_text().splitlines():
        sample = json.loads(line)
        expected[sample["key"]] = {
            field: (value["len"], value["sha256"]) for field, value in sample["fields"].items()
        }
    found = {}
    with hr.open(FIXTURES / name / "data") as ds, ds.loader(batch_size=7) as loader:
        for batch in loader:
            for i, key in enumerate(batch.sample_keys):
                values = {f: bytes(batch[f][i]) for f in ds.fields}
                found[key] = {
                    f: (len(v), hashlib.sha256(v).hexdigest())
                    for f, v in values.items()
                    if f in expected[key]
                }
    assert found == expected


@pytest.mark.parametrize("bucket", ["plain", "gz", "zst"])
def test_resumed_after_any_batch_it_is_the_same(streams, bucket):
    expected = drain(COUNTS, 4, 9, 7, 0) + drain(COUNTS, 4, 9, 7, 1)
    with opened(streams, bucket) as ds:
        with ds.loader(**OPTIONS) as loader:
            states, delivered = [], 0
            for _ in loader.epochs(2):
                for batch in loader:
                    delivered += len(places(batch))
                    states.append((delivered, json.dumps(loader.state_dict())))
        assert delivered == 800
        for delivered, text in states[::6] + states[24:26]:
            with ds.loader(**OPTIONS) as again:
                again.load_state_dict(json.loads(text))
                rest = [p for _ in again.epochs(2) for batch in again for p in places(batch)]
            assert rest == expected[delivered:], delivered


def test_remainders_of_one_rank(streams):
    with opened(streams, "gz") as ds:
        for remainder, sizes in (("short", [48] * 8 + [16]), ("drop", [48] * 8), ("pad", [48] * 9)):
            options = {**OPTIONS, "batch_size": 48, "remainder": remainder}
            with ds.loader(**options) as loader:
                for epoch in loader.epochs(2):
                    batches = list(loader)
                    assert [len(b.ids) for b in batches] == sizes, (remainder, epoch)
                    found = flat(map(places, batches))
                    assert found == drain(COUNTS, 4, 9, 7, epoch)[: len(found)]


def test_any_ranks_and_states_joined_for_others(streams):
    expected, _ = wrap(COUNTS, 4, 9, 7, 960)
    options = {**OPTIONS, "global_batch_size": 48, "epoch_size": 480}
    del options["batch_size"]
    with opened(streams, "gz") as ds:

        def ranks(world, state=None, batches=10):
            """Samples by position, and the joined state after them."""
            found, states, start = {}, [], 0
            for rank in range(world):
                with ds.loader(**options, rank=rank, world_size=world) as loader:
                    if state is not None:
                        loader.load_state_dict(state)
                        start = loader.position
                    for number, rows in enumerate(run(loader, batches)):
                        for k, place in enumerate(rows):
                            found[start + number * 48 + k * world + rank] = place
                    states.append(loader.state_dict())
            return found, json.loads(json.dumps(hr.join_states(states)))

        whole, at_10 = ranks(1)
        assert [whole[p] for p in range(480)] == expected[:480]
        for world in (2, 4):
            found, joined = ranks(world)
            assert found == whole
            assert joined == at_10
        for world in (1, 2, 4):
            found, _ = ranks(world, at_10)
            assert [found[p] for p in range(480, 960)] == expected[480:]
        _, at_3 = ranks(4, batches=3)
        found, _ = ranks(2, at_3, batches=7)
        assert [found[p] for p in range(144, 480)] == expected[144:480]

        with ds.loader(**options, rank=0, world_size=2) as loader:
            run(loader, 2)
            half = loader.state_dict()
        with pytest.raises(hr.OptionError, match="streams are missing"):
            hr.join_states([half])
        with pytest.raises(hr.MismatchError, match="position is"):
            hr.join_states([half, at_10])
        with ds.loader(**options, rank=0, world_size=1) as loader:
            loader.load_state_dict(half)
            with pytest.raises(hr.MismatchError, match=r"gather_state\(\)"):
                run(loader, 1)
        three = ds.loader(**options, rank=0, world_size=3)
        with three, pytest.raises(hr.OptionError, match="4 streams cannot be dealt to 3 ranks"):
            run(three, 1)


def test_gather_state_is_the_same_on_every_rank(streams):
    world, texts, results = 2, [None, None], [None, None]
    barrier = threading.Barrier(world)

    def job(rank):
        def gather(text):
            texts[rank] = text
            barrier.wait(60)
            found = list(texts)
            barrier.wait(60)
            return found

        options = {**OPTIONS, "epoch_size": 400}
        options |= {"rank": rank, "world_size": world, "agree": gather}
        with opened(streams, "gz") as ds, ds.loader(**options) as loader:
            run(loader, 3)
            results[rank] = loader.gather_state()

    threads = [threading.Thread(target=job, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert results[0] is not None
    assert results[0] == results[1]
    assert len(results[0]["of"]) == 4


LIFE = """
import json, os, sys
import headrace as hr
state_path, out_path, url, index = sys.argv[1:5]
with hr.open(url, index_dir=index) as ds:
    with ds.loader(batch_size=8, seed=7, streams=4, slots=9) as loader:
        if os.path.exists(state_path):
            loader.load_state_dict(json.load(open(state_path)))
        for epoch in loader.epochs(2):
            for batch in loader:
                with open(out_path, "a") as out:
                    at = [int(n) for n in batch.ids]
                    out.write(json.dumps([int(batch.epoch), int(batch.position), at]) + "\\n")
                with open(state_path + ".new", "w") as out:
                    json.dump(loader.state_dict(), out)
                os.replace(state_path + ".new", state_path)
print("done")
"""


def test_sigkill_inside_gzip_members_and_resume(streams, child, tmp_path):
    """Killed at random moments; every life goes on from the last saved state: the order never changes."""
    state, out = tmp_path / "state.json", tmp_path / "out.jsonl"
    rng, kills = random.Random(5), 0
    for _ in range(40):
        before = out.stat().st_size if out.exists() else 0
        words = (state, out, "s3://gz", tmp_path / "index")
        process = child(LIFE, *words, environment=streams.environment)
        lines = rng.randrange(2, 30)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            grown = out.read_bytes()[before:].count(b"\n") if out.exists() else 0
            if grown >= lines and kills < 4:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        said, errors = process.communicate(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
    assert said.strip() == "done"
    assert kills >= 3
    by_position = {}
    for line in out.read_text().splitlines():
        epoch, position, ids = json.loads(line)
        rows = [(epoch, n >> 32, n & MASK) for n in ids]
        assert by_position.setdefault((epoch, position), rows) == rows
    found = flat(by_position[key] for key in sorted(by_position))
    assert found == drain(COUNTS, 4, 9, 7, 0) + drain(COUNTS, 4, 9, 7, 1)


def test_the_index_of_plain_tars_is_a_by_product(streams, tmp_path):
    folder = tmp_path / "index"
    with pytest.raises(hr.NotFoundError):
        hr.open("s3://plain", **streams.options, index_dir=folder, build=False)
    with opened(streams, "plain", index_dir=folder) as ds, ds.loader(**OPTIONS) as loader:
        run(loader)
    with hr.open("s3://plain", **streams.options, index_dir=folder, build=False) as indexed:
        assert indexed.counted
        assert len(indexed) == 400
        assert list(indexed.counts) == COUNTS
        built = hr.open("s3://plain", **streams.options, index_dir=tmp_path / "other")
        assert indexed.index()["name"] == built.index()["name"]  # the same bytes


def test_half_an_epoch_leaves_parts_that_a_build_uses(streams, tmp_path):
    # 160 to 292 of 400 samples are read: 40 batches, 16 ahead at most, the slots and a little more.
    options = {**OPTIONS, "batch_size": 4}
    with opened(streams, "plain", index_dir=tmp_path) as ds, ds.loader(**options) as loader:
        run(loader, 40)
    parts = len(list(tmp_path.glob("*/parts/*.part")))
    assert 0 < parts < len(COUNTS)
    streams.stats(reset=True)
    with hr.open("s3://plain", **streams.options, index_dir=tmp_path) as indexed:
        assert list(indexed.counts) == COUNTS
    # Three listings; a shard without a part is two requests.
    assert streams.stats()["requests"] == 3 + 2 * (len(COUNTS) - parts)


def test_what_cannot_be_asked_of_a_stream_says_so(streams):
    with opened(streams, "gz") as ds:
        assert "read as a stream" in str(ds)
        assert "not counted" in repr(ds)
        for ask in (lambda: len(ds), lambda: ds[0], lambda: ds.raw(3)):
            with pytest.raises(hr.UncountedError, match="read as a stream"):
                ask()
        for name, value in {"block": 4, "weights": [1.0], "ledger": "x", "labels": [1]}.items():
            with pytest.raises(hr.OptionError, match=f"{name}= needs an index"):
                ds.loader(batch_size=4, **{name: value})
        with ds.loader(batch_size=4) as loader:
            assert "streams of" in str(loader)
            with pytest.raises(TypeError):
                len(loader)
        loader = ds.loader(batch_size=4, rank=0, world_size=2)
        with loader, pytest.raises(hr.OptionError, match="epoch_size="):
            iter(loader)


def test_what_has_an_index_can_be_read_as_a_stream_too(streams):
    with pytest.raises(hr.OptionError, match="order"):
        hr.open("s3://plain", **streams.options, order="random")
    with hr.open(FIXTURES / "mds-medium" / "data") as whole:
        captions = {i: whole[i]["caption"] for i in range(len(whole))}
        counts = [int(n) for n in whole.counts]
    found = []
    with (
        hr.open(FIXTURES / "mds-medium" / "data", order="stream") as ds,
        ds.loader(**OPTIONS) as loader,
    ):
        for batch in loader:
            for row, number in enumerate(batch.ids.tolist()):
                shard, place = number >> 32, number & MASK
                assert batch["caption"][row] == captions[sum(counts[:shard]) + place]
                found.append((0, shard, place))
    assert found == drain(counts, 4, 9, 7, 0)


def test_damage_names_the_object_and_the_place(streams, tmp_path):
    for shard in range(3):
        (tmp_path / f"x-{shard}.tar.gz").write_bytes(gzip.compress(tar_of(shard, 30)))
    good = (tmp_path / "x-1.tar.gz").read_bytes()
    for damaged, text in (
        (good[: len(good) // 2], "cut off"),
        (good[:-6] + bytes([good[-6] ^ 1]) + good[-5:], "CRC-32"),
        (
            good[: len(good) // 2] + bytes(50) + good[len(good) // 2 + 50 :],
            "(gzip|tar) member at byte",
        ),
    ):
        (tmp_path / "x-1.tar.gz").write_bytes(damaged)
        where = rf"x-1\.tar\.gz \(gzip, stored byte .*{text}"
        with pytest.raises(hr.CorruptError, match=where), hr.open(tmp_path) as ds:
            run(ds.loader(batch_size=8))


def test_a_state_of_other_data_or_order_is_refused(streams, tmp_path):
    with opened(streams, "gz") as ds, ds.loader(**OPTIONS) as loader:
        run(loader, 3)
        state = loader.state_dict()
    with opened(streams, "plain") as ds, ds.loader(**OPTIONS) as loader:  # noqa: SIM117
        with pytest.raises(hr.MismatchError, match="the state is of other shards"):
            loader.load_state_dict(state)
    with opened(streams, "gz") as ds, ds.loader(**OPTIONS) as loader:
        for change in (
            {"of": [[0]]},
            {"of": [[0, 0, [0, 0, 0], [0, 0, 0, 0], 0, None]]},
            {"position": -1},
            {"slots": "9"},
            {"order": "indexed"},
            {"identity_hash": "0"},
            {"remainder": "maybe"},
        ):
            with pytest.raises(hr.MismatchError):
                loader.load_state_dict({**state, **change})
