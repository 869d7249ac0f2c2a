# SPDX-License-Identifier: Apache-2.0
"""One random change to one random record of a random job: the audit never proves what is no longer true."""

import dataclasses
import random

import pytest
from fakes import COUNTS, FakeStream
from ledger_jobs import BATCH, random_job, records, rewrite

import headrace as hr
from headrace import _core

N = int(COUNTS.sum())


@pytest.fixture(autouse=True)
def fake_stream(monkeypatch):
    monkeypatch.setattr(_core, "Stream", FakeStream, raising=False)
    for name in ("RANK", "WORLD_SIZE", "HEADRACE_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def other_id(body, rng):
    row = rng.choice([row for row in range(len(body.ids)) if body.valid[row]])
    ids = body.ids.copy()
    ids[row] = (ids[row] + rng.randint(1, N - 1)) % N
    return {"ids": ids}


def other_valid(body, rng):
    valid = body.valid.copy()
    row = rng.randrange(len(valid))
    valid[row] = not valid[row]
    return {"valid": valid}


def shorter(body, rng):
    return {"ids": body.ids[:-1], "valid": body.valid[:-1]}


def other_begin(body, rng):
    return {"begin": (body.begin[0], body.begin[1] + rng.randint(1, 3))}


def other_after(body, rng):
    return {"after": (body.after[0], body.after[1] + rng.randint(1, 3))}


def inside(edit):
    def apply(entries, at, rng):
        body = entries[at][1]
        changed = (BATCH, dataclasses.replace(body, **edit(body, rng)))
        return [*entries[:at], changed, *entries[at + 1 :]]

    return apply


def twice(entries, at, rng):
    return [*entries[:at], entries[at], *entries[at:]]


def exchanged(entries, at, rng):
    others = [i for i, (kind, _) in enumerate(entries) if kind == BATCH and i != at]
    if not others:
        return None
    out, other = list(entries), rng.choice(others)
    out[at], out[other] = out[other], out[at]
    return out


def removed(entries, at, rng):
    return [*entries[:at], *entries[at + 1 :]]


EDITS = {
    "other_id": inside(other_id), "other_valid": inside(other_valid), "shorter": inside(shorter),
    "other_begin": inside(other_begin), "other_after": inside(other_after), "twice": twice,
    "exchanged": exchanged, "removed": removed,
}  # fmt: skip


def told(audit):
    """What an audit says of finished epochs."""
    return [dataclasses.astuple(e) for e in audit.epochs if e.state == "finished"]


@pytest.mark.parametrize("seed", range(15))
def test_a_changed_record_is_never_proven(tmp_path, seed):
    random_job(tmp_path, 1000 + seed)
    honest = hr.audit(tmp_path)
    assert honest.ok, honest
    rng = random.Random(seed)
    for name, edit in EDITS.items():
        path = rng.choice(sorted(tmp_path.glob("*.ledger")))
        content, entries = path.read_bytes(), records(path)
        batches = [
            i for i, (kind, body) in enumerate(entries) if kind == BATCH and body.valid.any()
        ]
        changed = edit(entries, rng.choice(batches), rng) if batches else None
        if changed is None:
            continue
        rewrite(path, changed)
        audit = hr.audit(tmp_path)
        if name == "removed" and audit.ok:
            # It had been superseded, or was the last of an epoch in progress.
            assert told(audit) == told(honest)[: len(told(audit))]
        else:
            assert not audit.ok, (name, path.name, audit)
        path.write_bytes(content)
