# SPDX-License-Identifier: Apache-2.0
"""Writing ledgers: what stands in them, when it is written, and what happens when it cannot be."""

import json
import os
import resource
import struct
import zlib

import numpy as np
import pytest
from fakes import COUNTS, FakeDataset, FakeStream
from ledger_jobs import BATCH, END, START, files, life, records

import headrace as hr
from headrace import _core
from headrace.ledger import LedgerError, Run, agree_on_run
from headrace.ledger_file import (
    BatchRecord,
    Flaw,
    id_width,
    pack_batch,
    pack_counts,
    pack_record,
    read_records,
    unpack_batch,
    unpack_counts,
)


@pytest.fixture(autouse=True)
def fake_stream(monkeypatch):
    monkeypatch.setattr(_core, "Stream", FakeStream, raising=False)
    for name in ("RANK", "WORLD_SIZE", "HEADRACE_RUN_ID", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def loader(folder, **options):
    return FakeDataset().loader(**{"batch_size": 4, "ledger": folder, **options})


# --- the file ---------------------------------------------------------------------------------------


def test_a_batch_record_to_the_byte():
    """docs/ledger.md: the worked example."""
    record = BatchRecord(
        begin=(1, 8), after=(1, 12), ids=np.array([5, 300]), valid=np.array([True, False]), millis=7
    )
    payload = struct.pack("<BIQIQII", 1, 1, 8, 1, 12, 2, 7) + bytes([5, 0, 44, 1]) + bytes([0x80])
    assert pack_batch(record, 2) == payload
    framed = struct.pack("<IB", len(payload), 2) + payload
    assert pack_record(BATCH, payload) == framed + struct.pack("<I", zlib.crc32(framed))


@pytest.mark.parametrize(
    ("samples", "width"), [(1, 1), (256, 1), (257, 2), (10**6, 3), (2**24, 3), (2**33, 5)]
)
def test_ids_take_the_fewest_bytes(samples, width):
    assert id_width(samples) == width
    ids = np.array([0, samples - 1, samples // 2])
    record = BatchRecord((0, 0), (0, 3), ids, np.ones(3, bool), 0)
    assert unpack_batch(pack_batch(record, width), width).ids.tolist() == ids.tolist()


def test_everything_a_batch_says_comes_back():
    skipped = ((1, 7, "k/é", "a.tar", "corrupt: x"),)
    record = BatchRecord(
        (2**32 - 1, 2**40), (0, 0), np.array([1, 2, 3]), np.array([True, False, True]), 12, skipped,
        np.array([0, 1, 65535], np.int32),
    )  # fmt: skip
    back = unpack_batch(pack_batch(record, 5), 5)
    assert (back.begin, back.after, back.millis) == (record.begin, record.after, 12)
    assert (back.ids.tolist(), back.valid.tolist()) == ([1, 2, 3], [True, False, True])
    assert back.skipped == skipped
    assert back.sources.tolist() == [0, 1, 65535]


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_batch_of_wrong_length_is_an_error(cut):
    payload = pack_batch(BatchRecord((0, 0), (0, 3), np.arange(3), np.ones(3, bool), 0), 1)
    with pytest.raises(ValueError, match="bytes"):
        unpack_batch(payload[:-cut], 1)
    with pytest.raises(ValueError, match="bytes"):
        unpack_batch(payload + b"x" * cut, 1)


@pytest.mark.parametrize(
    "counts", [[5], [], [7] * 1000 + [3], list(range(50)), list(range(1000)) * 3]
)
def test_shard_counts_come_back(counts):
    array = np.array(counts, np.uint64)
    packed = json.loads(json.dumps(pack_counts(array)))
    assert unpack_counts(packed).tolist() == counts


def test_equal_shards_take_a_few_bytes():
    assert pack_counts(np.full(10**6, 1251, np.uint64)) == [[1251, 10**6]]


@pytest.mark.parametrize("bad", ["not base64!", "AAAA", [[1, 2, 3]], [[1], [2, 3]]])
def test_shard_counts_that_make_no_sense_are_an_error(bad):
    with pytest.raises(
        ValueError, match=r"reshape|decompress|base64|characters|shard counts|inhomogeneous"
    ):
        unpack_counts(bad)


def test_a_file_cut_anywhere_gives_its_whole_records_and_one_flaw(tmp_path):
    life(tmp_path, batch=4, epochs=1, remainder="pad")
    path = files(tmp_path)[0]
    content = path.read_bytes()
    whole = [record.offset for record in read_records(path)] + [len(content)]
    edges = [edge + step for edge in whole for step in (-1, 0, 1)]
    for size in sorted(
        {*range(0, len(content), 11), *(edge for edge in edges if edge < len(content))}
    ):
        path.write_bytes(content[:size])
        found = list(read_records(path))
        flaws = [item for item in found if isinstance(item, Flaw)]
        complete = max(0, sum(end <= size for end in whole) - 1)
        assert len(found) - len(flaws) == complete, size
        assert len(flaws) == (size not in whole), size
        assert all(flaw.torn for flaw in flaws)


def test_two_wrong_checksums_in_a_row_end_the_reading(tmp_path):
    life(tmp_path, batch=4, epochs=1, remainder="pad")
    path = files(tmp_path)[0]
    found = list(read_records(path))
    content = bytearray(path.read_bytes())
    content[found[3].offset + 8] ^= 1
    path.write_bytes(content)
    assert [isinstance(item, Flaw) for item in read_records(path)] == [
        i == 3 for i in range(len(found))
    ]
    content[found[4].offset + 8] ^= 1
    path.write_bytes(content)
    flaws = [item for item in read_records(path) if isinstance(item, Flaw)]
    assert [(flaw.number, flaw.torn) for flaw in flaws] == [(3, False), (4, False)]
    assert flaws[1].size == len(content) - found[4].offset


# --- what a loader writes -----------------------------------------------------------------------------


def test_every_batch_is_recorded_before_it_is_handed_over(tmp_path):
    mine = loader(tmp_path, remainder="pad", batch_size=5)
    seen = 0
    for epoch in mine.epochs(2):
        for batch in mine:
            seen += 1
            kind, last = records(files(tmp_path)[0])[-1]
            assert kind == BATCH
            assert last.ids.tolist() == batch.ids.tolist()
            assert last.valid.tolist() == batch.valid.tolist()
            assert last.begin == (epoch, batch.position)
            assert last.after == (mine.state_dict()["epoch"], mine.position)
            assert sum(kind == BATCH for kind, _ in records(files(tmp_path)[0])) == seen
    mine.close()
    kind, end = records(files(tmp_path)[0])[-1]
    assert (kind, json.loads(end)) == (END, {"batches": seen})
    mine.close()


def test_a_start_record_says_what_was_planned(tmp_path):
    mine = loader(tmp_path, rank=1, world_size=2, seed=9, shuffle="block")
    next(iter(mine))
    kind, text = records(files(tmp_path)[1])[0]
    start = json.loads(text)
    assert kind == START
    assert start["counts"] == [[int(n), 1] for n in COUNTS]
    assert (start["rank"], start["world"], start["batch"], start["samples"]) == (1, 2, 8, 32)
    assert (start["cause"], start["at"], start["loaded"]) == ("new", [0, 0, 0], None)
    assert (start["state"]["seed"], start["state"]["shuffle"]) == (9, "block")
    assert start["agreement"] == mine.state_dict()["agreement"]


def test_passes_that_follow_each_other_need_one_start_record(tmp_path):
    mine = loader(tmp_path)
    for _ in range(3):
        for _ in mine:
            pass
    assert [kind for kind, _ in records(files(tmp_path)[0])].count(START) == 1
    mine.set_epoch(7)
    next(iter(mine))
    starts = [json.loads(b) for kind, b in records(files(tmp_path)[0]) if kind == START]
    assert [(s["cause"], s["at"][0]) for s in starts] == [("new", 0), ("pass", 7)]


def test_transforms_do_not_hide_what_was_delivered(tmp_path):
    mine = loader(
        tmp_path, transform=lambda sample: {"y": sample["x"]}, batch_transform=lambda batch: 0
    )
    given = list(mine)
    assert given == [0] * 8
    ids = [i for kind, b in records(files(tmp_path)[0]) if kind == BATCH for i in b.ids.tolist()]
    assert sorted(ids) == list(range(32))


def test_without_the_option_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    list(FakeDataset().loader(batch_size=4))
    assert list(tmp_path.iterdir()) == []


def test_no_secret_of_the_url_is_written(tmp_path):
    dataset = FakeDataset()
    dataset.url = "https://user:word@host/data.tar?signature=abc"
    next(iter(dataset.loader(batch_size=4, ledger=tmp_path)))
    text = files(tmp_path)[0].read_bytes()
    assert b"https://host/data.tar" in text
    assert b"word" not in text
    assert b"signature" not in text


def test_a_forked_child_writes_a_file_of_its_own(tmp_path):
    mine = loader(tmp_path, remainder="pad")
    list(mine)
    size = files(tmp_path)[0].stat().st_size
    child = os.fork()
    if child == 0:
        try:
            list(mine)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    paths = sorted(tmp_path.glob("*.ledger"), key=lambda path: path.stat().st_mtime)
    assert len(paths) == 2
    assert paths[0].stat().st_size == size


# --- names of runs --------------------------------------------------------------------------------------


def test_the_launcher_names_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADRACE_RUN_ID", "job 7/a")
    next(iter(loader(tmp_path)))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    next(iter(loader(tmp_path)))
    next(iter(loader(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "job_7_a-0.ledger", "job_7_a.2-0.2.ledger", "job_7_a.2-0.ledger",
    ]  # fmt: skip


def test_ranks_with_a_group_take_the_first_ones_name():
    mine, others = Run("b"), ["text\na", "text\nb"]
    run, texts = agree_on_run(mine, others, 2)
    assert (run.name, run.shared, texts) == ("a", True, ["text", "text"])
    run, _ = agree_on_run(mine, ["text\nb"], 2)  # a gather that knows one rank only
    assert (run.name, run.shared) == ("b", False)
    named = Run("c", shared=True)
    assert agree_on_run(named, others, 2)[0] is named


def test_a_group_that_agrees_writes_one_run(tmp_path):
    texts = []
    for rank in range(2):
        other = loader(
            tmp_path, rank=rank, world_size=2, agree=lambda text: texts.append(text) or [text] * 2
        )
        other._agree(other._plan())
    for rank in range(2):
        next(iter(loader(tmp_path, rank=rank, world_size=2, agree=lambda text: texts)))
    assert len({path.name.rsplit("-", 1)[0] for path in tmp_path.iterdir()}) == 1
    starts = [json.loads(records(path)[0][1]) for path in tmp_path.iterdir()]
    assert all(start["shared"] for start in starts)


def test_without_a_group_runs_are_told_apart_by_time(tmp_path):
    states = life(tmp_path, world=3, batch=1, steps=5, remainder="pad")
    life(tmp_path, world=3, batch=1, steps=4, state=states[1], remainder="pad")
    life(
        tmp_path, world=3, batch=1, steps=8, state=states[1], remainder="pad"
    )  # from the same state again
    life(tmp_path, world=2, batch=1, state=states[1], remainder="pad", epochs=1)
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    assert (audit.epochs[0].delivered, audit.superseded_rows) == (32, 3 * 3 + 4 * 3 + 8 * 3)


@pytest.mark.parametrize("gone", [None, 0, 2])
def test_a_launcher_that_names_every_run_alike_is_seen_through(tmp_path, monkeypatch, gone):
    """The second life has the first one's name; ``gone``: a rank that was killed before it wrote."""
    monkeypatch.setenv("HEADRACE_RUN_ID", "job")
    states = life(tmp_path, world=3, batch=1, steps=5, remainder="pad")
    if gone is not None:
        files(tmp_path)[gone].unlink()
        states = [None]
    life(tmp_path, world=3, batch=1, state=states[-1], remainder="pad", epochs=1)
    assert len(list(tmp_path.glob("job-*"))) == (6 if gone is None else 5)
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    assert (audit.epochs[0].delivered, audit.epochs[0].proven) == (32, True)


# --- faults ---------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_an_error_before_any_batch(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="Not a directory; no batch was delivered"):
        next(iter(loader(tmp_path / "file" / "ledger")))
    with pytest.raises(OSError, match="make ledger"):
        next(iter(loader(tmp_path / "file")))
    assert FakeStream.live == 0


@pytest.mark.parametrize("ledger", ["", 3])
def test_a_ledger_that_is_no_path_is_a_fault_of_the_options(ledger):
    with pytest.raises(hr.OptionError, match="ledger="):
        FakeDataset().loader(batch_size=4, ledger=ledger)


def test_a_full_disk_is_an_error_before_the_batch_and_the_file_stays_whole(tmp_path):
    """RLIMIT_FSIZE gives what a full disk gives: a short write, then an error."""
    mine = loader(tmp_path, batch_size=4, remainder="pad")
    passing, got = iter(mine), []
    got += next(passing).ids.tolist()
    path = files(tmp_path)[0]
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for room, cause in ((10, "disk is full"), (0, "File too large")):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, before[1]))
            with pytest.raises(LedgerError, match=f"{cause}; .*position 8 was not delivered"):
                next(passing)
            assert path.stat().st_size == size
            passing = mine.resume()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    got += [i for batch in passing for i in batch.ids.tolist()]
    assert sorted(got) == list(range(32)), "resume() delivers what was refused"
    mine.close()
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    assert audit.epochs[0].proven


def test_a_batch_of_256_takes_800_bytes(tmp_path):
    """3 bytes an id, 33 of places and rows, 9 of framing."""
    record = BatchRecord((0, 0), (0, 256), np.arange(256), np.ones(256, bool), 0)
    assert len(pack_record(BATCH, pack_batch(record, id_width(10**6)))) == 768 + 33 + 9
