# SPDX-License-Identifier: Apache-2.0
"""Mixtures through the whole engine: shares, ranks, resume, changes of weights, formats."""

import collections
import io
import itertools
import json
import tarfile

import numpy as np
import pytest

import headrace as hr

SIZES = {"a": 210, "b": 150, "c": 90, "d": 40, "e": 25}
WEIGHTS = [0.5, 0.3, 0.15, 0.04, 0.01]


def write(folder, name, first, count, shards=2):
    folder.mkdir()
    for shard, numbers in enumerate(np.array_split(np.arange(first, first + count), shards)):
        with tarfile.open(folder / f"{name}-{shard}.tar", "w") as tar:
            for i in numbers:
                for extension, content in (("id", str(i)), ("txt", f"{name} {i}" * (i % 5 + 1))):
                    info = tarfile.TarInfo(f"{i:06d}.{extension}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content.encode()))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    first = 0
    for name, count in SIZES.items():
        write(root / name, name, first, count)
        first += 1000
    return root


@pytest.fixture
def sources(folders):
    opened = {name: hr.open(str(folders / name)) for name in SIZES}
    yield opened
    for dataset in opened.values():
        dataset.close()


OPTIONS = {
    "global_batch_size": 40,
    "decode": {"id": int},
    "seed": 7,
    "block": 5,
    "lanes": 12,
    "group": 4,
}


def rows(batch):
    """(source, sample number) of each row; the column says the same."""
    assert (batch["id"] == 1000 * batch.sources + batch.ids).all()
    return list(zip(batch.sources.tolist(), batch.ids.tolist()))


def passes(loader, batches):
    """That many batches, over as many epochs as it takes."""
    while batches > 0:
        for batch in loader:
            yield batch
            batches -= 1
            if batches == 0:
                return


def alone(text):
    return [text]


def test_shares_are_exact_and_each_source_is_delivered_in_its_order(sources):
    mixture = hr.mix(sources, WEIGHTS)
    loader = mixture.loader(**OPTIONS)
    delivered, by_epoch = [], collections.defaultdict(list)
    for batch in passes(loader, 100):
        delivered += rows(batch)
        for epoch, row in zip(batch.epochs.tolist(), rows(batch)):
            by_epoch[row[0], epoch].append(row[1])
    counts = np.zeros(5)
    for n, (source, _) in enumerate(delivered, 1):
        counts[source] += 1
        if n % 40 == 0:  # order specification: off by at most 1.7 groups at any prefix
            assert np.abs(counts - n * np.array(WEIGHTS)).max() <= 1.7 * OPTIONS["group"]
    for s, dataset in enumerate(sources.values()):
        last = max(epoch for source, epoch in by_epoch if source == s)
        for epoch in range(last):
            assert sorted(by_epoch[s, epoch]) == list(range(len(dataset)))
    assert by_epoch[0, 0] != by_epoch[0, 1], "another order in each epoch"


def test_any_number_of_ranks_gets_the_same_batches(sources):
    mixture = hr.mix(sources, WEIGHTS)
    whole = [rows(batch) for batch in passes(mixture.loader(**OPTIONS), 12)]
    for world in (2, 4, 5, 8):
        ranks = [
            passes(mixture.loader(**OPTIONS, rank=rank, world_size=world, agree=alone), 12)
            for rank in range(world)
        ]
        for want, *batches in zip(whole, *ranks):
            got = [None] * len(want)
            for rank, batch in enumerate(batches):
                got[rank::world] = rows(batch)
            assert got == want


def test_weights_changed_at_step_500_resumed_at_700_on_other_ranks(sources):
    """The show case of the issue: an identical sequence."""
    options = {**OPTIONS, "global_batch_size": 20}
    mixture = hr.mix(sources, WEIGHTS)
    later = {"a": 0.1, "b": 0.1, "c": 0.2, "d": 0.3, "e": 0.3}
    loader = mixture.loader(**options)
    loader.update_weights(later, step=500)
    whole = [rows(batch) for batch in passes(loader, 760)]
    shares = np.bincount([s for batch in whole[500:] for s, _ in batch]) / (260 * 20)
    assert np.abs(shares - list(later.values())).max() < 0.002

    first = mixture.loader(**options, rank=0, world_size=1)
    run = passes(first, 760)
    assert [rows(next(run)) for _ in range(500)] == whole[:500]
    first.update_weights(later)  # now, not beforehand: the same
    assert [rows(next(run)) for _ in range(200)] == whole[500:700]
    state = json.loads(json.dumps(first.state_dict()))
    run.close()
    assert len(json.dumps(state)) < 1024 + 320 * 5

    ranks = []
    for rank in range(4):
        again = hr.mix(sources, WEIGHTS).loader(**options, rank=rank, world_size=4, agree=alone)
        again.load_state_dict(state)
        ranks.append(passes(again, 60))
    for want, *batches in zip(whole[700:], *ranks, strict=True):
        got = [None] * 20
        for rank, batch in enumerate(batches):
            got[rank::4] = rows(batch)
        assert got == want


def test_weights_that_are_a_function_of_the_step(sources):
    def schedule(step):
        return [1.0, step / 100, 0, 0, 0]

    options = {**OPTIONS, "weights_every": 10}
    mixture = hr.mix(sources, schedule)
    whole = [rows(batch) for batch in passes(mixture.loader(**options), 450)]
    shares = [np.mean([s for s, _ in batch]) for batch in whole]
    assert shares[:10] == [0] * 10
    for step in (100, 200, 400):
        assert np.mean(shares[step : step + 10]) == pytest.approx(
            step / 100 / (1 + step / 100), abs=0.02
        )
    loader = mixture.loader(**options)
    run = passes(loader, 450)
    first = [rows(next(run)) for _ in range(123)]
    state = loader.state_dict()
    run.close()
    again = mixture.loader(**options)
    again.load_state_dict(state)
    assert first + [rows(batch) for batch in passes(again, 450 - 123)] == whole
    with pytest.raises(hr.Error, match="function"):
        again.update_weights([1, 1, 1, 1, 1], step=1000)


def test_resume_at_every_batch_also_with_another_batch_size(sources):
    mixture = hr.mix(sources, temperature=2.0)
    whole = [rows(batch) for batch in passes(mixture.loader(**OPTIONS), 20)]
    for at in range(0, 20, 3):
        loader = mixture.loader(**OPTIONS)
        run = passes(loader, 20)
        head = [rows(next(run)) for _ in range(at)]
        state = loader.state_dict()
        run.close()
        again = mixture.loader(**OPTIONS)
        again.load_state_dict(state)
        assert head + [rows(batch) for batch in passes(again, 20 - at)] == whole
        larger = mixture.loader(**{**OPTIONS, "global_batch_size": 80})
        larger.load_state_dict(state)
        if at % 2 == 0 and at <= 16:  # placement inside a batch differs, what is in it does not
            two = sorted(whole[at] + whole[at + 1])
            assert sorted(rows(next(iter(larger)))) == two


def test_a_source_that_stops_leaves_its_part_to_the_others(sources):
    some = {name: sources[name] for name in "ac"}
    loader = hr.mix(some, [1, 1], at_end={"c": "stop"}).loader(
        global_batch_size=20, decode={"id": int}, seed=1, group=2
    )
    in_c = [int((batch.sources == 1).sum()) for batch in passes(loader, 15)]
    assert in_c[:9] == [10] * 9
    assert set(in_c[9:]) == {0}
    assert loader.stats()["sources"]["c"]["rows"] == 90


def test_a_source_that_ends_ends_the_epoch(sources):
    some = {name: sources[name] for name in "ad"}
    loader = hr.mix(some, [3, 1], at_end={"d": "end"}).loader(
        global_batch_size=20, decode={"id": int}, group=1
    )
    assert len(list(loader)) == 8  # 40 samples of d, 5 a batch
    assert loader.epoch == 1
    second = [zip(batch.sources, batch.ids) for batch in loader]
    assert len(second) == 8
    assert sorted(n for batch in second for s, n in batch if s == 1) == list(range(40))


def test_batches_of_a_single_source(sources):
    loader = hr.mix(sources, WEIGHTS, batches="single").loader(
        global_batch_size=8, decode={"id": int}
    )
    per_batch = [set(batch.sources.tolist()) for batch in passes(loader, 100)]
    assert all(len(found) == 1 for found in per_batch)
    assert np.bincount([found.pop() for found in per_batch], minlength=5).tolist() == [
        50,
        30,
        15,
        4,
        1,
    ]


def test_formats_and_columns_mix(server, tmp_path):
    fixtures = hr.__path__[0].rsplit("/python/", 1)[0] + "/tests/fixtures"
    write(tmp_path / "tars", "t", 0, 60)
    tars, mds = hr.open(str(tmp_path / "tars")), hr.open(f"{fixtures}/mds-scalars/data")
    mixture = hr.mix({"tars": tars, "mds": mds}, [2, 1])
    loader = mixture.loader(
        batch_size=12,
        decode={"tars": {"id": int}, "mds": {"i64": int}},
    )  # fmt: skip
    with pytest.raises(hr.Error, match=r"column 'i64'.*'id'"):
        next(iter(loader))
    text = {
        "tars": {"id": int, "txt": str},
        "mds": {"id": hr.decode.of("i64"), "txt": hr.decode.of("s")},
    }
    for batch in mixture.loader(batch_size=12, decode=text):
        assert np.bincount(batch.sources).tolist() == [8, 4]
        for source, number, value, words in zip(
            batch.sources, batch.ids, batch["id"], batch["txt"]
        ):
            sample = [tars, mds][source][number]
            assert (value, words) == (
                (int(sample["id"]), sample["txt"].decode())
                if source == 0
                else (sample["i64"], sample["s"])
            )
    with pytest.raises(hr.Error, match="another type or shape"):
        next(
            iter(
                mixture.loader(
                    batch_size=12, decode={"tars": {"id": int}, "mds": {"id": hr.decode.of("f32")}}
                )
            )
        )
    with pytest.raises(hr.Error, match="nothing for 'mds'"):
        mixture.loader(batch_size=12, decode={"tars": {"id": int}})


def test_a_subset_can_be_a_source(sources):
    part = sources["a"].where(np.arange(210) < 60)
    loader = hr.mix({"part": part, "b": sources["b"]}, [1, 1]).loader(**OPTIONS)
    found = [row for batch in passes(loader, 6) for row in rows(batch)]
    assert {n for s, n in found if s == 0} == set(range(60))


def test_random_transforms_do_not_depend_on_ranks(sources):
    def transform(sample):
        return {"id": sample["id"], "dice": hr.rng().integers(1 << 40)}

    def dice(loader):
        return {
            int(i): int(d)
            for batch in itertools.islice(passes(loader, 5), 5)
            for i, d in zip(batch["id"], batch["dice"])
        }

    mixture = hr.mix({"a": sources["a"], "b": sources["b"]}, [1, 1])
    options = {**OPTIONS, "transform": transform}
    whole = dice(mixture.loader(**options))
    halves = [dice(mixture.loader(**options, rank=r, world_size=2, agree=alone)) for r in range(2)]
    assert {**halves[0], **halves[1]} == whole


def test_ranks_that_differ_in_weights_or_sources_are_told_so(sources):
    mixture = hr.mix(sources, WEIGHTS)
    record = []
    mine = mixture.loader(
        **OPTIONS, rank=0, world_size=2, agree=lambda text: record.append(text) or [text, text]
    )
    next(iter(mine))
    for other, says in (
        (hr.mix(sources, [0.4, 0.4, 0.1, 0.05, 0.05]), "weights|mixture"),
        (
            hr.mix({**sources, "a": sources["a"].where(np.arange(210) < 100)}, WEIGHTS),
            "filter|mixture",
        ),
    ):
        theirs = other.loader(**OPTIONS, rank=1, world_size=2, agree=lambda text: [record[0], text])
        with pytest.raises(hr.MismatchError, match=says):
            next(iter(theirs))


def test_a_state_of_another_mixture_is_refused_by_name(sources):
    loader = hr.mix(sources, WEIGHTS).loader(**OPTIONS)
    next(iter(loader))
    state = loader.state_dict()
    renamed = {("z" if name == "c" else name): dataset for name, dataset in sources.items()}
    for other, says in (
        (hr.mix(renamed, WEIGHTS), "z"),
        (hr.mix(sources, WEIGHTS, at_end={"b": "stop"}), "at_end"),
        (hr.mix({**sources, "b": sources["a"]}, WEIGHTS), "order_hash"),
    ):
        with pytest.raises(hr.Error, match=says):
            other.loader(**OPTIONS).load_state_dict(state)
    with pytest.raises(hr.Error, match="mixture"):
        sources["a"].loader(batch_size=4).load_state_dict(state)
    plain = sources["a"].loader(batch_size=4).state_dict()
    with pytest.raises(hr.Error, match="mixture"):
        hr.mix(sources, WEIGHTS).loader(**OPTIONS).load_state_dict(plain)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda s: hr.mix({}), "no source"),
        (lambda s: hr.mix(s, [1, 2]), "2 weights for 5"),
        (lambda s: hr.mix(s, {"a": 1, "x": 2}), "'x'"),
        (lambda s: hr.mix(s, [1, -1, 1, 1, 1]), "negative|below|not"),
        (lambda s: hr.mix(s, [0] * 5), "weight"),
        (lambda s: hr.mix(s, [1, 1, 1, 1, 1e-12]), "2\\^-32|small|below"),
        (lambda s: hr.mix(s, WEIGHTS, temperature=2.0), "temperature"),
        (lambda s: hr.mix(s, at_end="never"), "at_end"),
        (lambda s: hr.mix(s, at_end={"x": "stop"}), "'x'"),
        (lambda s: hr.mix(s, batches="odd"), "batches"),
        (lambda s: hr.mix(s, WEIGHTS).loader(global_batch_size=40, group=7), "7"),
        (lambda s: hr.mix(s, WEIGHTS).loader(batch_size=4, remainder="pad"), "remainder"),
        (lambda s: hr.mix(s, WEIGHTS).loader(batch_size=4, weights=[1]), "hr.mix"),
        (lambda s: hr.mix(s, "odd"), "odd"),
    ],
)  # fmt: skip
def test_a_faulty_mixture_is_refused(sources, make, says):
    with pytest.raises(hr.Error, match=says):
        made = make(sources)
        len(made) if isinstance(made, hr.Mixture) else len(list(made))
