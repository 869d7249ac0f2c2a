# SPDX-License-Identifier: Apache-2.0
"""Who takes part in bench/throughput.py, with which settings, and why these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Contender:
    """One line of the table. `script` is in peers/; "" is the native wall."""

    name: str
    script: str
    dataset: str  # tar, tarpax, mds or litdata
    options: dict[str, Any] = field(default_factory=dict)
    own_python: bool = False  # headrace's environment, else the peers'
    usual: bool = True  # takes part when nobody is named
    samples_max: int | None = None  # takes part in smaller data sets only: else a round has no end


def _headrace() -> list[Contender]:
    """Both memory sizes and both shuffles on webdataset's own tars; the other formats once."""
    runs = [("stratified", m, "tarpax", True) for m in ("256MiB", "1GiB")]
    runs += [("global", m, "tarpax", True) for m in ("256MiB", "1GiB")]
    runs += [("stratified", "1GiB", "tar", False), ("stratified", "1GiB", "mds", False)]
    return [
        Contender(
            f"headrace {shuffle} {memory}" + ("" if dataset == "tarpax" else f" ({dataset})"),
            "stream_headrace.py",
            dataset,
            {"shuffle": shuffle, "memory": memory},
            own_python=True,
            usual=usual,
        )
        for shuffle, memory, dataset, usual in runs
    ]


def _peers() -> list[Contender]:
    """Settings: each project's own advice, or what was fastest of a small grid on two cores."""
    obstore = "stream_obstore.py"
    return [
        Contender("webdataset w=4", "stream_webdataset.py", "tarpax", {"workers": 4}),
        Contender("mosaicml-streaming w=4", "stream_mosaic.py", "mds", {"workers": 4}),
        # its default block is larger than this data set: small blocks start sooner, mix less
        Contender(
            "mosaicml-streaming w=4 block=2048",
            "stream_mosaic.py",
            "mds",
            {"workers": 4, "predownload": 8192, "shuffle_block_size": 2048},
            usual=False,
        ),
        Contender(
            "litdata w=4", "stream_litdata.py", "litdata", {"workers": 4}, samples_max=1024
        ),
        Contender("boto3 64 threads", "stream_boto3.py", "tar", {"threads": 64}),
        # 8,192 ranges take it more than 50 s; litdata's writer makes 11 to 100 samples a second
        Contender(
            "s3torchconnector 64 threads",
            "stream_s3torch.py",
            "tar",
            {"threads": 64},
            samples_max=1024,
        ),
        Contender("obstore in order 256", obstore, "tar", {"in_flight": 256, "ordered": True}),
        Contender("obstore in order 512", obstore, "tar", {"in_flight": 512, "ordered": True}),
        Contender("obstore any order 256", obstore, "tar", {"in_flight": 256, "ordered": False}),
        Contender("obstore any order 512", obstore, "tar", {"in_flight": 512, "ordered": False}),
    ]


def _walls() -> list[Contender]:
    """The bare client: single samples, and ranges of the blocks that headrace reads at 1 GiB."""
    return [
        Contender(f"wall {kind} {n}", "", "tar", {"kind": kind, "connections": n})
        for kind in ("samples", "blocks")
        for n in (256, 1000)
    ]


CONTENDERS = [*_headrace(), *_peers(), *_walls()]
