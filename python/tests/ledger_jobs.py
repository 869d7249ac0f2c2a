# SPDX-License-Identifier: Apache-2.0
"""Jobs over the fake data set that write ledgers, and ways to tamper with these."""

import random

from fakes import FakeDataset

from headrace.ledger_file import (
    BATCH,
    END,
    MAGIC,
    START,
    pack_batch,
    pack_record,
    read_records,
    unpack_batch,
)

WIDTH = 1  # bytes of an id below 32


def life(folder, *, world=1, batch=5, state=None, steps=10**6, epochs=3, uneven=None, **options):
    """One run on ``world`` ranks, each stopped after ``steps`` batches (and up to 2 more where ``uneven`` is a Random).

    Returns the state of rank 0 after each of its steps.
    """
    states = []
    for rank in range(world):
        stop = steps + (uneven.randint(0, 2) if uneven else 0)
        mine, count = [], 0
        given = {"batch_size": batch, "seed": 3, **options}
        loader = FakeDataset().loader(ledger=folder, rank=rank, world_size=world, **given)
        if state is not None:
            loader.load_state_dict(state)
        for _ in loader.epochs(epochs):
            for _ in loader:
                count += 1
                mine.append(loader.state_dict())
                if count == stop:
                    break
            if count == stop:
                break
        loader.close()
        states.append(mine)
    return states[0]


def random_job(folder, seed):
    """Up to 8 lives on other rank counts and batch sizes, each from a state near the end of the one before."""
    rng = random.Random(seed)
    options = {"remainder": rng.choice(["drop", "pad", "wrap"]), "epochs": 100, "uneven": rng}
    state = None
    for _ in range(rng.randint(2, 8)):
        steps = rng.randint(1, 20)
        states = life(
            folder, world=rng.choice([1, 2, 3, 4, 5]), batch=rng.choice([1, 2, 3, 5]), state=state,
            steps=steps, **options,
        )  # fmt: skip
        if rng.random() < 0.8:
            state = states[rng.randint(max(1, steps - 5), steps) - 1]


def files(folder):
    """The ledger files by rank, of a folder with one run."""
    return {int(path.stem.rpartition("-")[2]): path for path in folder.glob("*.ledger")}


def records(path):
    """(kind, payload) of every record; batches are unpacked."""
    return [
        (r.kind, unpack_batch(r.payload, WIDTH) if r.kind == BATCH else r.payload)
        for r in read_records(path)
    ]


def rewrite(path, entries):
    """The file with these records, with right checksums: what a program does that writes nonsense."""
    parts = [
        pack_record(kind, pack_batch(body, WIDTH) if kind == BATCH else body)
        for kind, body in entries
    ]
    path.write_bytes(MAGIC + b"".join(parts))


__all__ = ["BATCH", "END", "START", "files", "life", "random_job", "records", "rewrite"]
