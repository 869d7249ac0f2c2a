# SPDX-License-Identifier: Apache-2.0
"""What is run, at which size. protocol.md says why; nothing here depends on a result.

Block and lanes are what headrace's own defaults choose for a job whose lanes may hold 2.5 % of the
data set, with a nominal size of a sample (test_train_study.py checks that they still are): the
arrays here are smaller than the images and documents that they stand for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

SEEDS = (1, 2, 3, 4, 5)
MARGIN = 0.5  # points
LANE_SHARE = 0.025  # of the data set: what the lanes may hold, and what webdataset's buffer holds
ORDERS = ("stratified", "block", "global", "webdataset")


@dataclass(frozen=True)
class Part:
    name: str
    what: str
    orders: tuple[str, ...]
    samples: int
    samples_per_shard: int
    sample_bytes: int  # nominal: what the defaults are told
    batch: int  # over all ranks
    ranks: int
    block: int
    lanes: int
    epochs: int
    learning_rate: float
    test_samples: int
    pre_shuffled: bool = False
    buffer_share: float = LANE_SHARE  # of the data set: webdataset's buffers
    global_of: str = ""  # the part whose runs of "global" are this one's too

    @property
    def counts(self) -> list[int]:
        return [self.samples_per_shard] * (self.samples // self.samples_per_shard)

    @property
    def buffer(self) -> int:
        """Samples in webdataset's shuffle buffers, all ranks together; the same memory but in g."""
        return int(self.samples * self.buffer_share)

    @property
    def memory_bytes(self) -> int:
        """What a user would state for a rank: lanes get three quarters of it."""
        return int(self.samples * self.sample_bytes * LANE_SHARE / 0.75 / self.ranks)


@dataclass(frozen=True)
class Size:
    """A scale. Triples: the CNN (and its control), the contrastive loss, the text."""

    images: int
    test_images: int
    texts: int
    test_texts: int
    blocks: tuple[int, int, int]
    lanes: tuple[int, int, int]
    epochs: tuple[int, int, int]


SIZES = {
    "tiny": Size(4_096, 1_000, 2_048, 256, (1, 1, 2), (128, 182, 32), (1, 1, 1)),
    "small": Size(40_960, 20_000, 16_384, 4_096, (4, 4, 22), (320, 320, 32), (3, 2, 1)),
    "full": Size(327_680, 20_000, 131_072, 8_192, (4, 4, 64), (2_520, 2_520, 64), (6, 4, 1)),
}


def parts(scale: str) -> dict[str, Part]:
    """The four parts at "small" (about an hour of one core), "full" (at most three hours of two)
    or "tiny" (a second a run: for tests, its figures mean nothing)."""
    if scale not in SIZES:
        raise ValueError(f"scale {scale!r} is not one of {', '.join(SIZES)}")
    size = SIZES[scale]
    cnn = Part(
        name="a",
        what="CNN, batch norm per rank, 2 ranks, SGD with momentum; test accuracy, %",
        orders=ORDERS,
        samples=size.images,
        samples_per_shard=512,
        sample_bytes=64 << 10,
        batch=128,
        ranks=2,
        block=size.blocks[0],
        lanes=size.lanes[0],
        epochs=size.epochs[0],
        learning_rate=0.4,
        test_samples=size.test_images,
    )
    pairs = Part(
        name="b",
        what="contrastive loss (NT-Xent), 1 rank, AdamW; accuracy of a linear probe, %",
        orders=ORDERS,
        samples=size.images,
        samples_per_shard=512,
        sample_bytes=64 << 10,
        batch=256,
        ranks=1,
        block=size.blocks[1],
        lanes=size.lanes[1],
        epochs=size.epochs[1],
        learning_rate=3e-3,
        test_samples=size.test_images,
    )
    text = Part(
        name="c",
        what="character transformer, AdamW, one epoch; held-out next-character accuracy, %",
        orders=ORDERS,
        samples=size.texts,
        samples_per_shard=256,
        sample_bytes=4 << 10,
        batch=32,
        ranks=1,
        block=size.blocks[2],
        lanes=size.lanes[2],
        epochs=size.epochs[2],
        learning_rate=4e-3,
        test_samples=size.test_texts,
    )
    control = replace(
        cnn,
        name="d",
        what="as a, on shards shuffled when they were written; test accuracy, %",
        orders=("stratified", "global"),
        pre_shuffled=True,
    )
    return {part.name: part for part in (cnn, pairs, text, control, *exploratory(cnn, text))}


PROTOCOL_PARTS = ("a", "b", "c", "d")


def exploratory(cnn: Part, text: Part) -> list[Part]:
    """Added after the results of the others were seen, to understand them: no verdict counts."""
    small_blocks = replace(
        text,
        name="e",
        what="exploratory: as c, blocks of 4 in the same memory (5 times the requests)",
        orders=("stratified", "block"),
        block=4,
        lanes=text.buffer * 100 // (56 * 4),
        global_of="c",
    )
    finer_defaults = replace(
        text,
        name="h",
        what="exploratory: as c, with what the defaults choose since they heed the bound of D(32)",
        orders=("stratified",),
        block=2,
        lanes=256,
        global_of="c",
    )
    gentle = replace(
        cnn,
        name="f",
        what="exploratory: as a, at an eighth of the learning rate",
        orders=("global", "webdataset"),
        learning_rate=cnn.learning_rate / 8,
    )
    more_memory = replace(
        cnn,
        name="g",
        what="exploratory: as a, webdataset with 8 times the memory (20 % of the data set)",
        orders=("webdataset",),
        buffer_share=8 * LANE_SHARE,
        global_of="a",
    )
    return [small_blocks, gentle, more_memory, finer_defaults]
