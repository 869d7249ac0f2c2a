# SPDX-License-Identifier: Apache-2.0
"""The study's own yardsticks: orders that are whole, ranks that are DDP's, a verdict on paper."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

torch = pytest.importorskip("torch")
pytest.importorskip("webdataset")

import corpus  # noqa: E402
import gloo_rank  # noqa: E402
import orders  # noqa: E402
import plan  # noqa: E402
import study  # noqa: E402
import training  # noqa: E402
import verdict  # noqa: E402
from nets import Classifier  # noqa: E402
from ranks import Ranks  # noqa: E402
from torch.nn import functional  # noqa: E402

from headrace import _core  # noqa: E402


def test_block_and_lanes_of_h_are_what_the_defaults_choose() -> None:
    """Those of a to d are what the defaults chose when the protocol was written."""
    part = plan.parts("small")["h"]

    chosen = _core.choose_defaults(
        samples=part.samples,
        sample_bytes=part.sample_bytes,
        batch=part.batch,
        world=part.ranks,
        memory_bytes=part.memory_bytes,
        shuffle="stratified",
    )

    assert (part.block, part.lanes) == (chosen["block"], chosen["lanes"])
    assert chosen["memory_bytes"] <= part.buffer * part.sample_bytes * 1.01


@pytest.mark.parametrize("order", plan.ORDERS)
def test_an_epoch_has_every_sample_once_and_another_epoch_another_order(
    order: str, tmp_path: Path
) -> None:
    part = plan.parts("tiny")["a"]

    first, second = (orders.epoch_of(part, order, 3, epoch, tmp_path) for epoch in (0, 1))

    assert first.shape == (32, 2, 64)
    assert sorted(first.reshape(-1)) == list(range(4_096))
    assert (first != second).mean() > 0.9


def test_row_i_of_headrace_is_rank_i_mod_2s(tmp_path: Path) -> None:
    part = plan.parts("tiny")["a"]

    stored = orders.headrace_epoch(part, "none", 0, 0)

    assert stored[0, 0, :3].tolist() == [0, 2, 4]
    assert stored[0, 1, :3].tolist() == [1, 3, 5]
    assert stored[1, 0, 0] == 128


def test_webdatasets_ranks_have_shards_of_their_own(tmp_path: Path) -> None:
    part = plan.parts("tiny")["a"]

    epoch = orders.epoch_of(part, "webdataset", 1, 0, tmp_path)

    shards_of_rank = [set((epoch[:, rank] // 512).reshape(-1).tolist()) for rank in (0, 1)]
    assert shards_of_rank == [{0, 2, 4, 6}, {1, 3, 5, 7}]
    assert "RANK" not in os.environ or os.environ["RANK"] != "1"


def test_two_ranks_in_one_process_are_gloo_ddp_weight_by_weight(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(gloo_rank.train, args=(str(tmp_path),), nprocs=2)
    theirs = torch.load(tmp_path / "rank0.pt")

    torch.manual_seed(7)
    ranks = Ranks(Classifier(40).double(), 2)
    before = {key: value.clone() for key, value in ranks.model.state_dict().items()}
    optimizer = torch.optim.SGD(ranks.model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for pixels, labels in gloo_rank.batches():
        ranks.backward(
            [
                functional.cross_entropy(model(pixels[rank]), labels[rank])
                for rank, model in enumerate(ranks.of_rank)
            ]
        )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    ours = ranks.model.state_dict()

    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.allclose(value, theirs[key], rtol=0, atol=1e-9), key
    moved = max((ours[key] - before[key]).abs().max().item() for key in ours if "weight" in key)
    assert moved > 0.05  # so that the comparison above says something


def test_a_pair_loss_of_equal_views_and_orthogonal_images_is_the_formulas() -> None:
    # Each of 4 rows: partner at cosine 1, two negatives at 0: log(e^(1/t) + 2) - 1/t, t = 0.2.
    embedded = torch.eye(2).repeat(2, 1)

    assert training.pair_loss(embedded).item() == pytest.approx(np.log(np.exp(5) + 2) - 5, abs=1e-5)


def test_a_difference_and_its_interval_as_on_paper() -> None:
    # Gaps 1..5: mean 3, standard deviation sqrt(2.5), t(0.95, 4) = 2.132: 3 -+ 2.132 * 0.7071
    gap = verdict.difference([11, 12, 13, 14, 15], [10, 10, 10, 10, 10])

    assert gap.mean == pytest.approx(3)
    assert gap.low == pytest.approx(3 - 2.1318 * np.sqrt(0.5), abs=1e-3)
    assert gap.high == pytest.approx(3 + 2.1318 * np.sqrt(0.5), abs=1e-3)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.4, 0.5, "equivalent"),
        (-0.4, -0.1, "equivalent"),  # surely less, and surely by less than the margin
        (-0.9, -0.1, "worse"),
        (0.1, 0.9, "better"),
        (-0.4, 0.6, "undecided, not worse"),
        (-0.6, 0.1, "undecided"),
    ],
)
def test_the_verdict_is_the_protocols(low: float, high: float, said: str) -> None:
    gap = verdict.Difference(mean=(low + high) / 2, spread=1, low=low, high=high, seeds=5)

    assert gap.verdict(0.5) == said


def test_seeds_to_decide_as_on_paper() -> None:
    # Spread 0.5: t(0.95, n-1) * 0.5 / sqrt(n) < 0.5 first at n = 5 (2.132 / 2.236 = 0.953)
    assert verdict.seeds_to_decide(0.5, 0.5) == 5
    assert verdict.seeds_to_decide(0.5, 0) is None


def test_runs_on_two_corpora_make_no_table() -> None:
    lines = [{"part": "c", "order": "block", "seed": seed, "corpus": str(seed)} for seed in (1, 2)]

    with pytest.raises(ValueError, match="2 different corpora"):
        verdict.grouped(lines)


def test_a_source_that_is_too_short_is_named() -> None:
    with pytest.raises(ValueError, match=r"make corpus python: \d+ pieces of 10000000"):
        corpus.pieces_of("python", 10_000_000, 8)


def test_held_out_pieces_are_of_other_documents() -> None:
    train, held, documents = corpus.pieces_of("cmake", 1_000, 200)

    assert len(set(documents.tolist())) > 4  # of at most 16 KiB each
    common = {piece.tobytes() for piece in train} & {piece.tobytes() for piece in held}
    assert len(common) < 10  # a licence's first lines may stand in two documents


def test_a_cut_study_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [
        sys.executable, str(HERE / "study.py"), "--scale", "tiny", "--part", "d", "--seeds", "1",
        "--out", str(out), "--data", str(tmp_path),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    whole = out.read_text().splitlines()
    out.write_text(whole[0] + "\n" + whole[1][:40])

    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert "1 runs done, 1 to do" in said
    again = study.finished(out)
    assert again.keys() == {("tiny", "d", "stratified", 1), ("tiny", "d", "global", 1)}
    redone, before = again["tiny", "d", "global", 1], json.loads(whole[1])
    assert redone["points"] == before["points"]  # a run is a function of order and seed
