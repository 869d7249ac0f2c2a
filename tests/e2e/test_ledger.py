# SPDX-License-Identifier: Apache-2.0
"""Ledgers of real batches: bad samples, subsets, worker processes, and the verb `headrace audit`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_data import SAMPLES, sample_fields, write_tar

import headrace as hr
from headrace.ledger_file import BATCH, MAGIC, pack_record, read_records

OPTIONS = {"block": 4, "lanes": 24, "seed": 5, "memory": "32MiB", "columns": ("cls",)}


def run_ranks(dataset, folder, world=3, epochs=1, **options):
    for rank in range(world):
        loader = dataset.loader(
            batch_size=8, rank=rank, world_size=world, ledger=folder, **{**OPTIONS, **options}
        )
        for _ in loader.epochs(epochs):
            for _ in loader:
                pass
        loader.close()


def headrace(*words, **options):
    tree = Path(__file__).resolve().parents[2] / "python"
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(tree)])
    return subprocess.run(
        [sys.executable, "-m", "headrace", *map(str, words)], capture_output=True, text=True,
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path}, **options,
    )  # fmt: skip


def test_a_skipped_sample_is_a_named_hole(tmp_path):
    def fields(i):
        return {**sample_fields(i), **({"png": b"\x89PNG no"} if i in (17, 55) else {})}

    write_tar(tmp_path / "a.tar", 0, 60, fields)
    dataset = hr.open(tmp_path / "a.tar", index_dir=str(tmp_path))
    run_ranks(
        dataset, tmp_path / "ledger", world=2, on_bad_sample="skip", remainder="pad",
        decode={"png": "image"}, columns=("png",),
    )  # fmt: skip
    audit = hr.audit(tmp_path / "ledger", epoch=0)
    assert audit.ok, audit
    assert (audit.epochs[0].skipped, audit.epochs[0].delivered) == (2, 58)
    said = "\n".join(audit.notes)
    assert "sample 17 (s/000017 in " in said
    assert "sample 55 (s/000055 in " in said


def test_a_subset_is_proven_with_the_numbers_of_the_whole(dataset, tmp_path):
    part = dataset.where(np.arange(SAMPLES) % 3 == 1)
    run_ranks(part, tmp_path, epochs=2, remainder="pad")
    audit = hr.audit(tmp_path)
    assert audit.ok, audit
    assert [(e.samples, e.delivered, e.proven) for e in audit.epochs] == [(200, 200, True)] * 2
    next(tmp_path.glob("*.subset")).write_bytes(b"hrsubset1\nnonsense")
    broken = hr.audit(tmp_path)
    assert not broken.ok
    assert "is damaged" in broken.problems[0].text


def test_the_verb_proves_and_names(dataset, tmp_path, url, server, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    run_ranks(dataset, tmp_path, remainder="pad")
    done = headrace("audit", tmp_path)
    assert (done.returncode, "proven: 1 finished epochs" in done.stdout) == (0, True), done
    path = next(tmp_path.glob("*-1.ledger"))
    found = list(read_records(path))
    batches = [record for record in found if record.kind == BATCH]
    path.write_bytes(
        MAGIC + b"".join(pack_record(r.kind, r.payload) for r in found if r is not batches[2])
    )
    done = headrace("audit", tmp_path, "--json", "--url", url)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"], report["epochs"][0]["missing"]) == (1, False, 8)
    missing = [p["text"] for p in report["problems"] if p["kind"] == "missing"]
    number = int(missing[0].split("sample ")[1].split()[0].replace(",", ""))
    assert f"(s/{number:06d})" in missing[0]
    assert headrace("audit", tmp_path, "--epoch", 3).returncode == 1
    assert headrace("audit", tmp_path / "nothing").returncode == 1


def test_ranks_that_share_a_process_group_share_the_runs_name(dataset, tmp_path, child, url):
    pytest.importorskip("torch")
    code = """
import os, sys, torch.distributed as dist, headrace as hr
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=int(sys.argv[2]), world_size=2)
loader = hr.open(sys.argv[3]).loader(batch_size=8, block=4, lanes=24, ledger=sys.argv[4], columns=("cls",))
for _ in loader: pass
loader.close()
dist.destroy_process_group()
"""
    ranks = [child(code, tmp_path / "group", rank, url, tmp_path / "ledger") for rank in range(2)]
    for rank in ranks:
        _, said = rank.communicate(timeout=120)
        assert rank.returncode == 0, said
    names = {path.stem.rpartition("-")[0] for path in (tmp_path / "ledger").iterdir()}
    assert len(names) == 1
    assert hr.audit(tmp_path / "ledger", epoch=0).ok


def test_worker_processes_make_batches_and_the_trainers_process_records_them(dataset, tmp_path):
    pytest.importorskip("torch")
    options = {
        "batch_size": 8,
        "block": 4,
        "lanes": 24,
        "seed": 5,
        "remainder": "pad",
        "columns": ("cls",),
    }
    with hr.torch.DataLoader(dataset, num_workers=2, ledger=tmp_path, **options) as loader:
        for number, _ in enumerate(loader, 1):
            if number == 20:
                state = loader.state_dict()
            if number == 23:
                break
    with dataset.loader(ledger=tmp_path, **options) as loader:
        loader.load_state_dict(state)
        for _ in loader:
            pass
    audit = hr.audit(tmp_path, epoch=0)
    assert audit.ok, audit
    assert (audit.files, audit.superseded_rows, audit.epochs[0].delivered) == (2, 24, SAMPLES)


def test_workers_of_a_plain_dataloader_refuse_to_keep_a_ledger(dataset, tmp_path):
    torch_data = pytest.importorskip("torch.utils.data")
    batches = hr.torch.IterableDataset(dataset, batch_size=8, ledger=tmp_path, columns=("cls",))
    with pytest.raises(hr.UnsupportedError, match=r"use hr\.torch\.DataLoader"):
        next(iter(torch_data.DataLoader(batches, batch_size=None, num_workers=1)))
    next(iter(torch_data.DataLoader(batches, batch_size=None)))
    assert len(list(tmp_path.glob("*.ledger"))) == 1
