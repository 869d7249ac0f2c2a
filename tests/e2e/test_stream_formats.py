# SPDX-License-Identifier: Apache-2.0
"""The stream order over JSON lines and compressed MDS: what test_stream_order.py shows of tars.

What must come out is what tests/model/stream_model.py says; the MDS sets are mosaicml-streaming's own.
"""

import bz2
import gzip
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace.serve import Server

FIXTURES = Path(__file__).parents[1] / "fixtures"
sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from stream_model import drain, wrap  # noqa: E402

COUNTS = [37, 5, 64, 1, 48, 29, 33, 40, 11, 52, 26, 54]  # 400 lines in 12 shards
MASK = (1 << 32) - 1
MDS = ["mds-zstd", "mds-gz", "mds-br", "mds-bz2", "mds-snappy"]
LINES = ["plain", "gz", "zst", "bz2"]
OPTIONS = {"batch_size": 16, "seed": 7, "streams": 4, "slots": 9}


def line_of(shard, row):
    rng = random.Random(shard * 1000 + row)
    words = " ".join(str(rng.randrange(5000)) for _ in range(rng.randrange(2000)))
    return {"shard": shard, "row": row, "words": words, "ids": [shard, row] * (row % 5)}


def lines_of(shard, count):
    ends = ("\n", "\r\n", "\n\n", "\n \t\n")
    return "".join(
        json.dumps(line_of(shard, row)) + ends[row % 4 if row + 1 < count else 0]
        for row in range(count)
    ).encode()


def compressed(kind, content):
    """In two members, frames or streams, cut inside a line."""
    half = len(content) // 2
    parts = (content[:half], content[half:])
    if kind == "gz":
        return b"".join(gzip.compress(part, 6) for part in parts)
    if kind == "bz2":
        return b"".join(bz2.compress(part, 1) for part in parts)
    if kind == "zst":
        command = ["zstd", "-qc"]
        return b"".join(
            subprocess.run(command, input=part, stdout=subprocess.PIPE, check=True).stdout
            for part in parts
        )
    return content


class Source:
    """One data set: how many samples its shards have, and what must be in each."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.counts, self.expected = COUNTS, None
        if name in MDS:
            text = (FIXTURES / name / "expected.jsonl").read_text()
            samples = [json.loads(line) for line in text.splitlines()]
            numbers = Counter(sample["shard"] for sample in samples)
            self.counts = [numbers[shard] for shard in sorted(numbers)]
            order = sorted(numbers)
            self.expected = {(order.index(s["shard"]), s["j"]): s["fields"] for s in samples}

    def open(self, **options):
        if self.name == "zst" and not shutil.which("zstd"):
            pytest.skip("needs the zstd tool to write its data")
        if self.name == "plain":
            options.setdefault("order", "stream")
        folder = f"{self.name}/data" if self.expected else self.name
        return hr.open(f"s3://{folder}", **self.server.options, **options)

    def check(self, batch, i, shard, row):
        if self.expected is None:
            want = line_of(shard, row)
            assert int(batch["shard"][i]) == shard
            assert int(batch["row"][i]) == row
            assert batch["words"][i] == want["words"]
            if want["ids"]:
                assert np.array_equal(batch["ids"][i], want["ids"])
            return
        for field, known in self.expected[shard, row].items():
            if known["encoding"].startswith("ndarray"):
                got = np.ascontiguousarray(batch[field][i]).tobytes()
            else:
                column = batch[field]
                got = column.values[column.offsets[i] : column.offsets[i + 1]].tobytes()
            assert hashlib.sha256(got).hexdigest() == known["sha256"], (shard, row, field)

    def places(self, batch):
        """(epoch, shard, row) of each valid row; what the samples say themselves must agree."""
        found = []
        for i, (epoch, number) in enumerate(zip(batch.epochs, batch.ids, strict=True)):
            shard, row = int(number) >> 32, int(number) & MASK
            self.check(batch, i, shard, row)
            if batch.valid[i]:
                found.append((int(epoch), shard, row))
        return found

    def run(self, loader, batches=None):
        found = []
        for batch in loader:
            found.append(self.places(batch))
            if batches is not None and len(found) == batches:
                break
        return found


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    root = tmp_path_factory.mktemp("lines")
    for name in LINES:
        (root / name).mkdir()
        if name == "zst" and not shutil.which("zstd"):
            continue
        end = "" if name == "plain" else f".{name}"
        for shard, count in enumerate(COUNTS):
            content = compressed(name, lines_of(shard, count))
            (root / name / f"train-{shard:02d}.jsonl{end}").write_bytes(content)
    with Server(root) as lines, Server(FIXTURES) as fixtures:
        yield lines, fixtures


@pytest.fixture(params=LINES + MDS)
def source(servers, request):
    return Source(servers[request.param in MDS], request.param)


def test_an_epoch_is_what_the_model_says(source):
    with source.open() as ds, ds.loader(**OPTIONS) as loader:
        assert not ds.counted
        for epoch in (0, 1):
            found = source.run(loader)
            assert list(chain(*found)) == drain(source.counts, 4, 9, 7, epoch)


def test_resumed_after_any_batch_it_is_the_same(source):
    expected = drain(source.counts, 4, 9, 7, 0) + drain(source.counts, 4, 9, 7, 1)
    with source.open() as ds:
        with ds.loader(**OPTIONS) as loader:
            states, delivered = [], 0
            for _ in loader.epochs(2):
                for batch in loader:
                    delivered += len(source.places(batch))
                    states.append((delivered, json.dumps(loader.state_dict())))
        assert delivered == len(expected)
        for delivered, text in states[:: max(1, len(states) // 8)] + states[-3:]:
            with ds.loader(**OPTIONS) as again:
                again.load_state_dict(json.loads(text))
                rest = [p for _ in again.epochs(2) for batch in again for p in source.places(batch)]
            assert rest == expected[delivered:], delivered


def test_remainders_of_one_rank(source):
    total = sum(source.counts)
    with source.open() as ds:
        for remainder, size in (("short", total), ("drop", total // 48 * 48), ("pad", total)):
            options = {**OPTIONS, "batch_size": 48, "remainder": remainder}
            with ds.loader(**options) as loader:
                for epoch in loader.epochs(2):
                    found = list(chain(*source.run(loader)))
                    assert found == drain(source.counts, 4, 9, 7, epoch)[:size], remainder


def test_states_of_all_ranks_joined_for_others(source):
    expected, _ = wrap(source.counts, 4, 9, 7, 480)
    options = {**OPTIONS, "global_batch_size": 24, "epoch_size": 240}
    del options["batch_size"]
    with source.open() as ds:

        def ranks(world, state=None):
            """Samples by position, and the joined state after them."""
            found, states, start = {}, [], 0
            for rank in range(world):
                with ds.loader(**options, rank=rank, world_size=world) as loader:
                    if state is not None:
                        loader.load_state_dict(state)
                        start = loader.position
                    for number, rows in enumerate(source.run(loader, 10)):
                        for k, place in enumerate(rows):
                            found[start + number * 24 + k * world + rank] = place
                    states.append(loader.state_dict())
            return found, json.loads(json.dumps(hr.join_states(states)))

        whole, joined = ranks(2)
        assert [whole[p] for p in range(240)] == expected[:240]
        for world in (1, 4):
            rest, _ = ranks(world, joined)
            assert [rest[p] for p in range(240, 480)] == expected[240:]


LIFE = """
import json, os, sys
import headrace as hr
state_path, out_path, url = sys.argv[1:4]
with hr.open(url) as ds:
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


@pytest.mark.parametrize("name", ["gz", "bz2"])
def test_killed_inside_members_and_resumed(servers, child, tmp_path, name):
    source = Source(servers[0], name)
    state, out = tmp_path / "state.json", tmp_path / "out.jsonl"
    rng, kills = random.Random(5), 0
    for _ in range(40):
        before = out.stat().st_size if out.exists() else 0
        process = child(LIFE, state, out, f"s3://{name}", environment=source.server.environment)
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
    found = list(chain(*(by_position[key] for key in sorted(by_position))))
    assert found == drain(COUNTS, 4, 9, 7, 0) + drain(COUNTS, 4, 9, 7, 1)


def test_lines_leave_their_index_as_a_by_product(servers, tmp_path):
    source = Source(servers[0], "plain")
    with source.open(index_dir=tmp_path / "a") as ds, ds.loader(**OPTIONS) as loader:
        source.run(loader)
    with source.open(index_dir=tmp_path / "a", build=False, order=None) as indexed:
        assert list(indexed.counts) == COUNTS
        with source.open(index_dir=tmp_path / "b", order=None) as built:
            assert indexed.index()["name"] == built.index()["name"]  # the same bytes
            assert built.fields == ["shard", "row", "words", "ids", "line"]
            assert built[40]["words"] == line_of(1, 3)["words"]
            assert json.loads(built.raw(40)["line"]) == line_of(1, 3)


@pytest.mark.parametrize("name", MDS)
def test_damage_of_compressed_mds_is_found(tmp_path, name):
    """A cut, and a flip in each byte of a shard: an error, by the hash that index.json lists at the latest."""
    for path in (FIXTURES / name / "data").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    shard = next(path for path in sorted(tmp_path.iterdir()) if "00004" in path.name)
    good = shard.read_bytes()
    unseen = 0
    for at in range(0, len(good), 37):
        shard.write_bytes(good[:at] + bytes([good[at] ^ 16]) + good[at + 1 :])
        fault, seen = "", []
        try:
            with hr.open(tmp_path) as ds, ds.loader(batch_size=16, columns=["text"]) as loader:
                seen = [str(text) for batch in loader for text in batch["text"]]
        except hr.Error as error:
            fault = str(error)
        if fault:
            assert shard.name in fault
        else:
            unseen += 1  # bits that mean nothing (a gzip header's time): the data are the same
            with hr.open(FIXTURES / name / "data") as whole:
                loader = whole.loader(batch_size=16, columns=["text"])
                assert seen == [str(text) for batch in loader for text in batch["text"]]
    assert unseen <= 2
    shard.write_bytes(good[:-5])
    with pytest.raises(hr.CorruptError, match="the object has"):
        hr.open(tmp_path)


def test_lines_that_are_none_say_where(servers, tmp_path):
    lines = [json.dumps({"a": i, "t": "x" * 10}) for i in range(40)]
    lines[30] = '{"a": 30, "t": broken}'
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    with hr.open(tmp_path) as ds:
        with pytest.raises(hr.CorruptError, match=r"x\.jsonl\.gz.*JSON, byte 15 of 22: a value"):
            list(ds.loader(batch_size=8))
        skipping = ds.loader(batch_size=8, on_bad_sample="skip")
        assert sum(int(batch.valid.sum()) for batch in skipping) == 39
        loader = ds.loader(batch_size=8, decode={"t": str}, on_bad_sample="skip")
        assert sum(int(batch.valid.sum()) for batch in loader) == 39
    big = json.dumps({"a": 1, "t": "y" * (3 << 20)})
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress((lines[0] + "\n\n" + big).encode()))
    with (
        hr.open(tmp_path) as ds,
        pytest.raises(hr.LimitError, match="line 3, at byte 29, has more than"),
    ):
        list(ds.loader(batch_size=1, memory="16MiB"))
