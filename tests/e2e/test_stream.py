# SPDX-License-Identifier: Apache-2.0
"""Bytes in S3 to batches in Python: values, orders, ranks, resume, loaders side by side."""

import io
import json
import random

import numpy as np
import pytest
from small_data import SAMPLES, sample_fields

import headrace as hr


def ids(batches):
    return [int(i) for batch in batches for i in batch.ids[batch.valid]]


def test_the_ten_lines(dataset):
    torch = pytest.importorskip("torch")
    loader = dataset.loader(
        batch_size=64, shuffle=True, seed=0, device="cpu", memory="64MiB", remainder="drop",
        decode={"png": hr.decode.image(size=16, crop="random_resized", flip=True), "cls": int},
    )  # fmt: skip
    epochs = []
    for epoch in loader.epochs(2):
        for batch in loader:
            assert batch["png"].shape == (64, 3, 16, 16)
            assert batch["png"].dtype == torch.uint8
            assert batch["cls"].tolist() == [int(i) * 10 // SAMPLES for i in batch.ids]
        epochs.append((epoch, loader.step))
    assert epochs == [(0, 9), (1, 18)]
    assert len(json.dumps(loader.state_dict())) < 1024
    assert loader.stats()["rows"] == 18 * 64


def test_every_stored_byte_arrives(dataset):
    loader = dataset.loader(batch_size=50, seed=3)
    seen = set()
    for batch in loader:
        for row, i in enumerate(batch.ids.tolist()):
            for name, content in sample_fields(i).items():
                assert batch[name][row] == content, (i, name)
            assert batch.sample_keys[row] == f"s/{i:06d}"
            seen.add(i)
    assert seen == set(range(SAMPLES))


def test_columns_have_their_types(dataset):
    loader = dataset.loader(
        batch_size=8, shuffle=False, columns=("cls", "txt", "json", "bin"),
        decode={"cls": int, "txt": str, "json": "json"},
    )  # fmt: skip
    cls, txt, parsed, stored = next(iter(loader))
    assert (cls.dtype, cls.shape) == (np.int64, (8,))
    assert txt.to_list() == [f"sample {i} é" for i in range(8)]
    assert parsed[5] == {"id": 5}
    assert stored[7] == sample_fields(7)["bin"]
    assert stored.lengths.tolist() == [2000 + i for i in range(8)]


def test_images_keep_their_size_when_none_is_given(dataset):
    from PIL import Image

    batch = next(iter(dataset.loader(batch_size=4, shuffle=False, decode={"png": "image"})))
    for row in range(4):
        want = np.asarray(Image.open(io.BytesIO(sample_fields(row)["png"])))
        np.testing.assert_array_equal(np.moveaxis(batch["png"][row], 0, -1), want)


@pytest.mark.parametrize("shuffle", [True, "block", "global", False])
def test_the_delivered_order_is_the_public_order(dataset, shuffle):
    loader = dataset.loader(
        batch_size=48, shuffle=shuffle, seed=7, block=5, lanes=24, remainder="short"
    )
    for epoch in range(2):
        loader.set_epoch(epoch)
        want = dataset.order(seed=7, epoch=epoch, block=5, lanes=24, shuffle=shuffle)
        assert ids(loader) == list(want)


def test_single_samples(dataset):
    assert len(dataset) == SAMPLES
    assert dataset[17]["bin"] == sample_fields(17)["bin"]
    assert dataset[-1]["__key__"] == f"s/{SAMPLES - 1:06d}"
    assert dataset.raw(599) == sample_fields(599)
    assert dataset.key(300) == "s/000300"
    shard, offset, length = dataset.extent(300)
    assert shard.endswith("train-2.tar")
    assert (offset, length > 2000) == (0, True)
    assert [sample["__key__"] for sample in dataset.take(3)] == ["s/000000", "s/000001", "s/000002"]
    with pytest.raises(IndexError, match="600"):
        dataset[SAMPLES]
    for part in ("webdataset", "600", "bin, cls, json, png, txt", "train"):
        assert part in str(dataset) + dataset.shards[0][0]


def test_ranks_deliver_the_same_global_batches(dataset):
    options = {"global_batch_size": 24, "block": 6, "lanes": 24, "seed": 1, "memory": "32MiB"}
    whole = [sorted(b.ids.tolist()) for b in dataset.loader(**options)]
    for world in (2, 3, 4, 8):
        parts = [
            list(dataset.loader(**options, rank=rank, world_size=world)) for rank in range(world)
        ]
        joined = [sorted(i for b in row for i in b.ids.tolist()) for row in zip(*parts, strict=True)]
        assert joined == whole, world


def test_resume_on_other_rank_counts_loses_and_repeats_nothing(dataset):
    """The ledger of a job that changes its rank count at random moments is that of one that never stops."""
    options = {"global_batch_size": 24, "block": 6, "lanes": 24, "remainder": "pad", "memory": "32MiB"}
    calm = dataset.loader(**options)
    want = [sorted(b.ids[b.valid].tolist()) for _ in calm.epochs(2) for b in calm]
    rng, state, got = random.Random(5), None, []
    while len(got) < len(want):
        world, steps = rng.choice([1, 2, 3, 4]), rng.randint(1, 9)
        lives = []
        for rank in range(world):
            loader = dataset.loader(**options, rank=rank, world_size=world)
            if state is not None:
                loader.load_state_dict(json.loads(state))
            batches = []
            for _ in loader.epochs(2):
                for batch in loader:
                    batches.append(batch)
                    if len(batches) == steps:
                        break
                if len(batches) == steps:
                    break
            lives.append((batches, json.dumps(loader.state_dict() | {"agreement": ""})))
            loader.close()
        got += [
            sorted(int(i) for b in row for i in b.ids[b.valid])
            for row in zip(*(batches for batches, _ in lives), strict=True)
        ]
        assert len({said for _, said in lives}) == 1, "the state is the same on every rank"
        state = lives[0][1]
    assert got == want


def test_augmentation_survives_resume_and_rank_changes(dataset):
    options = {
        "global_batch_size": 24, "seed": 2,
        "decode": {"png": hr.decode.image(size=8, crop="random_resized", flip=True)},
    }  # fmt: skip
    pixels = {
        int(i): image.copy()
        for batch in dataset.loader(**options)
        for i, image in zip(batch.ids, batch["png"], strict=True)
    }
    again = dataset.loader(**options, rank=1, world_size=2)
    for batch in again:
        for i, image in zip(batch.ids, batch["png"], strict=True):
            if int(i) in pixels:
                np.testing.assert_array_equal(image, pixels[int(i)])


def test_a_validation_loader_beside_a_training_loader(dataset):
    """Three validations, two with an early break: the same samples each time, the training exact."""
    training = dataset.loader(batch_size=32, seed=4, memory="16MiB")
    validation = dataset.loader(batch_size=50, shuffle=False, memory="16MiB")
    calm = dataset.loader(batch_size=32, seed=4, memory="16MiB")
    want = [b.ids.tolist() for _ in calm.epochs(3) for b in calm]
    got, seen = [], []
    for epoch in training.epochs(3):
        for n, batch in enumerate(training):
            got.append(batch.ids.tolist())
            if n == 3:
                part = []
                for checked in validation:
                    part.append(checked)
                    if epoch < 2 and len(part) == 5:
                        break
                seen.append(ids(part))
    assert got == want
    assert seen == [list(range(250)), list(range(250)), list(range(SAMPLES))]
    assert training.stats()["memory_peak"] <= 16 << 20


def test_a_small_memory_budget_is_kept_and_the_order_is_the_same(dataset):
    options = {"batch_size": 32, "seed": 4, "block": 8, "lanes": 32}
    want = [b.ids.tolist() for b in dataset.loader(**options, memory="256MiB")]
    loader = dataset.loader(**options, memory="3MiB", decode={"png": hr.decode.image(size=16)})
    assert [b.ids.tolist() for b in loader] == want
    assert loader.stats()["memory_peak"] <= 3 << 20


def test_transform_on_threads(dataset):
    def prepare(sample):
        return {"length": len(sample["bin"]), "draw": hr.rng().random()}

    draws = {}
    for batch in dataset.loader(batch_size=40, transform=prepare, columns=None, seed=1):
        assert batch["length"].tolist() == [2000 + int(i) % 700 for i in batch.ids]
        draws.update(zip(batch.ids.tolist(), batch["draw"].tolist(), strict=True))
    assert len(set(draws.values())) == SAMPLES


def test_mds_values_are_what_the_encodings_say():
    from pathlib import Path

    fixtures = Path(__file__).resolve().parents[1] / "fixtures"
    folder = fixtures / "mds-scalars" / "data"
    if not folder.exists():
        pytest.fail(f"{folder} is missing: the fixtures belong to the project")
    ds = hr.open(folder, save=None)
    with pytest.raises(hr.UnsupportedError, match="does not fit in 64 bits"):
        next(iter(ds.loader(batch_size=len(ds), shuffle=False)))
    assert ds[19]["si"] == -10000000000000000000
    loader = ds.loader(batch_size=len(ds), shuffle=False, columns=None, decode={
        name: str if name == "si" else "auto" for name in ds.fields
    })  # fmt: skip
    batch = next(iter(loader))
    for row in range(len(ds)):
        natural = ds[row]
        for name, column in batch.items():
            value = str(natural[name]) if name == "si" else natural[name]
            if isinstance(column, hr.Ragged):
                got = column[row]
                assert np.array_equal(got, value) if isinstance(got, np.ndarray) else got == value
            else:
                np.testing.assert_array_equal(column[row], value)


def test_the_same_samples_from_files_and_over_s3(buckets, dataset):
    local = hr.open(f"{buckets}/data/train-{{0..3}}.tar")
    assert local.order_hash == dataset.order_hash
    assert [b.ids.tolist() for b in local.loader(batch_size=64)] == [
        b.ids.tolist() for b in dataset.loader(batch_size=64)
    ]


def test_a_prefix_opens_all_shards_in_sorted_order(server):
    ds = hr.open("s3://data/", **server.options)
    assert [key for key, *_ in ds.shards] == [f"train-{n}.tar" for n in range(4)]


def test_torch_dataloader(dataset):
    torch_data = pytest.importorskip("torch.utils.data")
    made = hr.torch.IterableDataset(dataset, batch_size=60, decode={"cls": int})
    loader = torch_data.DataLoader(made, num_workers=0, batch_size=None)
    assert [batch["cls"].shape[0] for batch in loader] == [60] * 10
    samples = torch_data.DataLoader(hr.torch.MapDataset(dataset), batch_size=4, collate_fn=list)
    assert [s["__key__"] for s in next(iter(samples))] == [f"s/{i:06d}" for i in range(4)]


def test_torch_dataloader_workers_partition_the_epoch(dataset):
    torch_data = pytest.importorskip("torch.utils.data")
    made = hr.torch.IterableDataset(dataset, batch_size=30, decode={"json": "json"}, remainder="pad")
    for context in ("fork", "spawn"):
        loader = torch_data.DataLoader(
            made, num_workers=2, batch_size=None, multiprocessing_context=context
        )
        got = sorted(row["id"] for batch in loader for row in batch["json"].to_list())
        assert got == list(range(SAMPLES)), context


def test_any_memory_gives_the_same_samples_or_says_that_it_is_too_small(dataset):
    """No hang on the way down to a budget that one batch does not fit."""
    options = {"batch_size": 16, "block": 8, "lanes": 64, "remainder": "pad", "seed": 4}
    want, refused = ids(dataset.loader(**options, memory="32MiB")), []
    for kib in (4096, 2048, 1024, 700, 500, 400, 300, 200, 100):
        loader = dataset.loader(**options, memory=kib << 10)
        try:
            assert ids(loader) == want, kib
        except hr.Error as error:
            if "too small for one batch" not in str(error):
                raise
            refused.append(kib)
        assert loader.stats()["memory_peak"] <= kib << 10
    assert refused
    assert 4096 not in refused


def test_worker_shares_make_the_batches_in_turn_and_read_few_bytes_twice(dataset):
    from headrace.ranks import find_ranks
    from headrace.shares import ShareLoader

    options = {"batch_size": 24, "block": 16, "lanes": 24, "decode": {"cls": int}, "seed": 2}
    with dataset.loader(**options) as loader:
        start = loader.state_dict()
        whole = [batch.ids.tolist() for batch in loader]
        least = loader.stats()["bytes_received"]
    for workers in (2, 3):
        batches, received = [[] for _ in range(workers)], 0
        for worker in range(workers):
            with ShareLoader(dataset, options, find_ranks(0, 1, None)) as share:
                share.enter(start)
                batches[worker] = [batch.ids.tolist() for batch, *_ in share.run(worker, workers)]
                received += share.stats()["bytes_received"]
        assert [batches[t % workers][t // workers] for t in range(len(whole))] == whole
        # Strides of 8 samples are read whole, so neighbours of a share's samples come along.
        assert received < 0.9 * workers * least


def test_shards_that_were_shuffled_when_written_are_read_in_larger_blocks(dataset):
    options = {"batch_size": 4, "memory": "4MiB", "lanes": 4}
    blocks = []
    for declared in (False, True):
        loader = dataset.loader(**options, pre_shuffled=declared)
        blocks.append(loader.state_dict()["block"])
        assert sorted(np.concatenate([b.ids for b in loader]).tolist()) == list(range(600))
    assert blocks[1] > blocks[0]
