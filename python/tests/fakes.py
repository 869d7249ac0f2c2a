# SPDX-License-Identifier: Apache-2.0
"""A data set and a stream without bytes: what the loader's contract is tested against.

FakeStream does with the core's own Schedule and Order what the engine does with data: it delivers positions in order. Its
columns hold the sample numbers themselves.
"""

import numpy as np

from headrace import _core

COUNTS = np.array([10, 7, 0, 12, 3], np.uint64)


class FakeStream:
    """In the place of _core.Stream; counts what was started and closed."""

    live = 0
    started: list = []

    def __init__(self, sources, options):
        (source,) = sources
        dataset = source["dataset"]
        options = {**source, **options}
        self.options, self.closed, self.given = options, False, 0
        self.fail_at = dataset.fail_at
        self.epoch_ends = 0
        self.schedule = _core.Schedule(
            samples=dataset.samples, batch=options["batch"] * options["world"], rank=options["rank"],
            world=options["world"], remainder=options["remainder"], start=options["start"],
        )  # fmt: skip
        FakeStream.live += 1
        FakeStream.started.append(self)

    def _order(self, epoch):
        o = self.options
        return _core.Order(
            COUNTS,
            seed=o["seed"],
            epoch=epoch,
            block=o["block"],
            lanes=o["lanes"],
            shuffle=o["shuffle"],
        )

    def next(self, wait_seconds):
        assert not self.closed
        if self.options["batches_max"] and self.given == self.options["batches_max"]:
            return None
        if self.fail_at is not None and self.given == self.fail_at:
            raise KeyboardInterrupt
        before = self.schedule.at
        rows = self.schedule.next()
        if rows is None:
            self.epoch_ends += 1
            if self.epoch_ends >= self.options["epochs"]:
                return None
            self.schedule.next_epoch()
            return self.next(wait_seconds)
        self.given += 1
        share, shares = self.options["share"]
        if (self.given - 1) % shares != share:
            return self.next(wait_seconds)
        epochs, positions, valid = rows
        ids = np.array(
            [self._order(int(e)).at(int(p)) for e, p in zip(epochs, positions, strict=True)]
        )
        ends = np.arange(len(ids) + 1)
        return {
            "columns": [("x", ids.copy()), ("b", (np.zeros(len(ids), np.uint8), ends, "bytes", None))],
            "ids": ids, "keys": (np.zeros(len(ids), np.uint8), ends, "text", None),
            "valid": valid.astype(bool), "epoch": int(before[0]), "position": int(before[1]),
            "after": self.schedule.at, "skipped": [], "epochs": epochs, "sources": None,
        }  # fmt: skip

    def stats(self):
        return {"batches": self.given, "rows": 8 * self.given, "consumer_nanos": 0}

    def close(self):
        if not self.closed:
            FakeStream.live -= 1
        self.closed = True


class FakeDataset:
    """Quacks like headrace.Dataset over COUNTS; ``core`` is itself."""

    order_hash = "00112233445566778899aabbccddeeff"
    filter_hash, selection = "", None
    index_name = "ffeeddccbbaa99887766554433221100"
    url = "fake://data"
    fields = ["x", "b"]
    samples = int(COUNTS.sum())
    counts = COUNTS

    def __init__(self, fail_at=None):
        self.fail_at = fail_at

    @property
    def core(self):
        return self

    def __len__(self):
        return self.samples

    def unit_counts(self):
        """None: samples are not decoded many at a time."""

    def choose(
        self, *, batch, world_size, memory, shuffle, block, lanes, pre_shuffled=False, fields=()
    ):
        return {
            "block": block or 4, "lanes": lanes or 6, "reasons": ["because it is fake"],
            "requests": 16, "d1": 1.25, "d4": 1.5, "d32": None,
        }  # fmt: skip

    def planner(self, options):
        from headrace.plan import DatasetPlanner

        return DatasetPlanner(self, options)

    def loader(self, **options):
        from headrace.loader import Loader

        return Loader(self, **options)
