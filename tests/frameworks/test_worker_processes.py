# SPDX-License-Identifier: Apache-2.0
"""Worker processes over real data: forked and spawned, with transforms, mixtures, weights and a ledger; states of
data that grew or were copied."""

import itertools
import os
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
import torch.utils.data as torch_data
from small_data import write_tar
from torch_jobs import SAMPLES, fields

import headrace as hr

OPTIONS = {
    "batch_size": 50,
    "seed": 3,
    "remainder": "pad",
    "decode": {"id": int},
    "memory": "64MiB",
}


def ids(batch):
    return batch["id"].tolist()


def rows(batches):
    return [ids(batch) for batch in batches]


@pytest.fixture
def dataset(samples):
    with hr.open(str(samples)) as opened:
        yield opened


@pytest.fixture
def want(dataset):
    loader = dataset.loader(**OPTIONS)
    return [rows(loader) for _ in loader.epochs(2)]


def double(sample):
    return {"id": sample["id"] * 2, "process": os.getpid(), "random": hr.rng().integers(1 << 30)}


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_each_sample_once_in_order(dataset, want, context):
    made = hr.torch.IterableDataset(dataset, **OPTIONS)
    options = {"batch_size": None, "num_workers": 2, "multiprocessing_context": context}
    loader = torch_data.DataLoader(made, **options)
    assert [rows(loader) for _ in range(2)] == want
    assert sorted({i for batch in want[0] for i in batch}) == list(range(SAMPLES))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_the_loader_with_workers_reads_on_over_the_end_of_an_epoch(dataset, want, context):
    loader = hr.torch.DataLoader(dataset, num_workers=1, multiprocessing_context=context, **OPTIONS)
    assert [rows(loader) for _ in loader.epochs(2)] == want


def test_transforms_run_in_the_workers_and_draw_the_same_numbers(dataset):
    options = {**OPTIONS, "transform": double}
    here = list(dataset.loader(**options))
    there = list(hr.torch.DataLoader(dataset, num_workers=2, **options))
    for one, other in zip(here, there, strict=True):
        assert one["id"].tolist() == other["id"].tolist() == (one.ids * 2).tolist()
        assert one["random"].tolist() == other["random"].tolist()
    assert len({int(p) for batch in there for p in batch["process"]} - {os.getpid()}) == 2


def test_the_stats_of_workers_are_added_up(dataset, caplog):
    loader = hr.torch.DataLoader(dataset, num_workers=2, **OPTIONS, block=16, lanes=64)
    assert sum(len(batch.ids) for _ in loader.epochs(1) for batch in loader) == 1050
    alone = dataset.loader(**OPTIONS, block=16, lanes=64)
    for _ in alone.epochs(1):
        for _ in alone:
            pass
    assert loader.stats()["rows"] == 1050
    assert loader.stats()["bytes_delivered"] == alone.stats()["bytes_delivered"]
    read = loader.stats()["bytes_received"] / alone.stats()["bytes_received"]
    assert read < 1.75, "a worker reads its own samples (and their neighbours in 64 KiB), not all"
    assert "replaces" not in caplog.text


def test_the_ledger_is_written_by_the_trainer_s_process(dataset, want, tmp_path):
    folder = tmp_path / "ledger"
    loader = hr.torch.DataLoader(dataset, num_workers=2, ledger=str(folder), **OPTIONS)
    assert [rows(loader) for _ in loader.epochs(2)] == want
    loader.close()
    assert len(list(folder.iterdir())) == 1
    report = hr.audit(str(folder))
    assert report.ok, str(report)


def test_mixtures_are_dealt_out_like_single_sources(samples):
    def mixed(made):
        with hr.open(str(samples)) as a, hr.open(str(samples)) as b:
            mixture = hr.mix({"a": a, "b": b}, weights={"a": 0.7, "b": 0.3})
            loader = made(mixture, batch_size=20, seed=3, decode={"id": int}, memory="64MiB")
            out = []
            for _ in range(2):
                for count, batch in enumerate(loader, 1):
                    out.append(batch["id"].tolist())
                    if count == 12:
                        break
            return out

    want = mixed(lambda mixture, **options: mixture.loader(**options))
    for workers in (1, 3):
        own = lambda mixture, **o: hr.torch.DataLoader(mixture, num_workers=workers, **o)  # noqa: B023, E731
        assert mixed(own) == want, workers


def test_a_mixture_goes_on_through_a_stateful_dataloader(samples):
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    with hr.open(str(samples)) as a, hr.open(str(samples)) as b:
        mixture = hr.mix({"a": a, "b": b}, weights={"a": 0.7, "b": 0.3})
        options = {"batch_size": 20, "seed": 3, "decode": {"id": int}, "memory": "64MiB"}
        want = list(itertools.islice(map(ids, mixture.loader(**options)), 20))
        for workers in (0, 2):
            loader = stateful(
                hr.torch.IterableDataset(mixture, **options), batch_size=None, num_workers=workers
            )
            got = list(itertools.islice(map(ids, loader), 9))
            state = loader.state_dict()
            loader = stateful(
                hr.torch.IterableDataset(mixture, **options), batch_size=None, num_workers=workers
            )
            loader.load_state_dict(state)
            got += itertools.islice(map(ids, loader), 11)
            assert got == want, workers
            again = mixture.loader(**options)
            again.load_state_dict(hr.torch.loader_state(state))
            assert list(itertools.islice(map(ids, again), 11)) == want[9:], workers


def test_weights_are_known_to_workers_from_the_start_only(dataset):
    weights = np.arange(SAMPLES) % 3
    options = {**OPTIONS, "remainder": "drop", "weights": weights}
    want = rows(dataset.loader(**options))
    own = hr.torch.DataLoader(dataset, num_workers=2, **options)
    assert rows(own) == want
    with pytest.raises(hr.UnsupportedError, match="num_workers=0"):
        own.update_weights(weights + 1)

    def scheduled(step):
        return weights + step

    options.update(weights=scheduled, weights_every=1, batch_size=10)
    want = rows(dataset.loader(**options))
    assert rows(hr.torch.DataLoader(dataset, num_workers=2, **options)) == want
    made = hr.torch.IterableDataset(dataset, **options)
    with pytest.raises(hr.UnsupportedError, match="change with the step"):
        rows(torch_data.DataLoader(made, batch_size=None, num_workers=2))


# --- data that changed under a state -----------------------------------------------------------------


@pytest.fixture
def began(samples, tmp_path):
    """A folder of its own, a loader's state after 7 batches over it, what follows, and its index."""
    folder = tmp_path / "data"
    shutil.copytree(samples, folder)
    with hr.open(str(folder)) as ds:
        index = str(tmp_path / "began.hridx")
        ds.index(save=index)
        loader = ds.loader(**OPTIONS)
        all_rows = rows(loader)
        loader = ds.loader(**OPTIONS)
        for _ in itertools.islice(loader, 7):
            pass
        return folder, loader.state_dict(), all_rows[7:], index


def go_on(ds, state, made):
    """What follows the state through each way to iterate."""
    if made == "loader":
        loader = ds.loader(**OPTIONS)
        loader.load_state_dict(state)
        return rows(loader)
    dataset = hr.torch.IterableDataset(ds, **OPTIONS)
    dataset.load_state_dict(state)
    return rows(torch_data.DataLoader(dataset, batch_size=None, num_workers=2))


@pytest.mark.parametrize("made", ["loader", "torch workers"])
def test_shards_that_came_later_change_nothing_for_a_job_that_names_its_index(began, made):
    folder, state, rest, index = began
    write_tar(folder / "part-9.tar", 5000, 20, fields)
    with hr.open(str(folder), index=index) as ds:
        assert go_on(ds, state, made) == rest
    with hr.open(str(folder)) as ds, pytest.raises(hr.MismatchError, match="order_hash"):
        go_on(ds, state, made)


@pytest.mark.parametrize("made", ["loader", "torch workers"])
def test_a_copied_data_set_goes_on_where_the_copy_is_trusted(began, tmp_path, made):
    folder, state, rest, index = began
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    with hr.open(str(copy), index=index, trust="copy") as ds:
        assert go_on(ds, state, made) == rest
