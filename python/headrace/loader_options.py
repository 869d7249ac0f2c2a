# SPDX-License-Identifier: Apache-2.0
"""The options of a loader: names, defaults and checks. Everything that needs no rank and no
request."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace import decode as decoders
from headrace.device import Placement, place
from headrace.errors import OptionError
from headrace.options import Faults
from headrace.order import shuffle_name

__all__ = ["LoaderOptions", "check_options"]

_REMAINDERS = ("drop", "pad", "wrap", "short")

# Of one sample. Longer than any transform that works, but for one that compiles or downloads at its
# first call; shorter than a night in which a job stands still.
_WORKER_TIMEOUT_SECONDS = 600.0


@dataclass
class LoaderOptions:
    """Checked options of :class:`headrace.Loader`, where they are described."""

    batch_size: int | None
    global_batch_size: int | None
    shuffle: str
    seed: int
    remainder: str
    columns: tuple[str, ...] | None
    fields: list[dict[str, Any]]
    device: Placement | None
    memory: int | None
    block: int | None
    lanes: int | None
    epoch_size: int | None
    rank: int | None
    world_size: int | None
    mesh: Any
    transform: Callable[[dict[str, Any]], dict[str, Any]] | None
    batch_transform: Callable[[Any], Any] | None
    collate: Callable[[Any], Any] | None
    workers: int
    worker_timeout: float | None  # None: no limit
    skip_bad: bool
    pre_shuffled: bool
    weights: Any
    weights_every: int
    agree: Callable[[str], list[str]] | None
    ledger: str | None
    labels: Any
    given: frozenset[str] = field(default_factory=frozenset)  # what the user wrote


_DEFAULTS: dict[str, Any] = {
    "batch_size": None,
    "global_batch_size": None,
    "shuffle": True,
    "seed": 0,
    "decode": None,
    "columns": None,
    "device": None,
    "memory": None,
    "remainder": None,
    "drop_last": None,
    "block": None,
    "lanes": None,
    "epoch_size": None,
    "rank": None,
    "world_size": None,
    "mesh": None,
    "transform": None,
    "batch_transform": None,
    "collate": None,
    "workers": 0,
    "worker_timeout": _WORKER_TIMEOUT_SECONDS,
    "on_bad_sample": "raise",
    "pre_shuffled": False,
    "weights": None,
    "weights_every": 100,
    "agree": None,
    "ledger": None,
    "labels": None,
}


def check_options(given: Mapping[str, Any], fields: list[str]) -> LoaderOptions:
    """The options with their defaults.

    Args:
        given: what the user wrote.
        fields: the data set's field names.

    Raises:
        OptionError: with every fault that was found.
    """
    faults = Faults("make loader")
    faults.unknown({n: v for n, v in given.items() if n not in _DEFAULTS}, _DEFAULTS)
    values = {**_DEFAULTS, **{n: v for n, v in given.items() if n in _DEFAULTS}}
    shuffle = _shuffle(values["shuffle"], faults)
    columns = values["columns"]
    if columns is not None:
        columns = (columns,) if isinstance(columns, str) else tuple(columns)
    options = LoaderOptions(
        batch_size=faults.count("batch_size", values["batch_size"], least=1),
        global_batch_size=faults.count("global_batch_size", values["global_batch_size"], least=1),
        shuffle=shuffle,
        seed=(_whole("seed", values["seed"], faults) or 0) % 2**64,
        remainder=_remainder(values, shuffle, faults),
        columns=columns,
        fields=decoders.resolve(values["decode"], columns, fields, faults),
        device=place(values["device"], faults),
        memory=faults.size("memory", values["memory"]),
        block=faults.count("block", values["block"], least=1),
        lanes=faults.count("lanes", values["lanes"], least=1),
        epoch_size=faults.count("epoch_size", values["epoch_size"], least=1),
        rank=faults.count("rank", values["rank"]),
        world_size=faults.count("world_size", values["world_size"], least=1),
        mesh=values["mesh"],
        transform=values["transform"],
        batch_transform=values["batch_transform"],
        collate=values["collate"],
        workers=faults.count("workers", values["workers"]) or 0,
        worker_timeout=_timeout(values["worker_timeout"], faults),
        skip_bad=values["on_bad_sample"] == "skip",
        pre_shuffled=bool(values["pre_shuffled"]),
        weights=values["weights"],
        weights_every=faults.count("weights_every", values["weights_every"], least=1) or 100,
        agree=values["agree"],
        ledger=_folder("ledger", values["ledger"], faults),
        labels=values["labels"],
        given=frozenset(n for n, v in given.items() if v is not None),
    )
    faults.choice("on_bad_sample", values["on_bad_sample"], ("raise", "skip"))
    _check_together(options, values, faults)
    faults.raise_any()
    return options


def _check_together(options: LoaderOptions, values: Mapping[str, Any], faults: Faults) -> None:
    if (values["batch_size"] is None) == (values["global_batch_size"] is None):
        both = values["batch_size"] is not None
        faults.add(
            "give batch_size= (per rank) or global_batch_size=, not both"
            if both
            else "batch_size= (per rank) or global_batch_size= is missing"
        )
    if (values["rank"] is None) != (values["world_size"] is None):
        faults.add(
            f"rank={values['rank']}, world_size={values['world_size']}: give both or neither"
        )
    if options.weights is not None and options.given & {"shuffle", "block", "lanes"}:
        faults.add(
            "weights= draws each sample by itself: shuffle=, block= and lanes= do not go with it"
        )
    for name in ("transform", "batch_transform", "collate", "agree"):
        if values[name] is not None and not callable(values[name]):
            faults.add(f"{name}={values[name]!r} is not a function")
    if options.collate is not None and options.transform is None:
        faults.add("collate= needs transform=: without it columns are made by the core")
    if options.workers and options.transform is None:
        faults.add(
            f"workers={options.workers} needs transform=: they run it, and the core makes "
            "batches without one in threads of its own"
        )


def _shuffle(value: Any, faults: Faults) -> str:
    try:
        return shuffle_name(value)
    except OptionError as fault:
        faults.add(str(fault))
        return "stratified"


def _whole(name: str, value: Any, faults: Faults) -> int | None:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        faults.add(f"{name}={value!r} is not a whole number")
        return None
    return int(value.__index__())


def _timeout(value: Any, faults: Faults) -> float | None:
    """Seconds; 0, as in torch, and None: no limit."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        faults.add(f"worker_timeout={value!r} is not a number of seconds (0: no limit)")
        return None
    return float(value) or None


def _folder(name: str, value: Any, faults: Faults) -> str | None:
    if value is None or (isinstance(value, str | os.PathLike) and str(value)):
        return None if value is None else str(os.fspath(value))
    faults.add(f"{name}={value!r} is not the path of a folder")
    return None


def _remainder(values: Mapping[str, Any], shuffle: str, faults: Faults) -> str:
    """``remainder=``, or torch's spelling ``drop_last=``; shuffled data drops, other data pads."""
    given, drop_last = values["remainder"], values["drop_last"]
    if given is not None:
        faults.choice("remainder", given, _REMAINDERS)
    if drop_last is not None and not isinstance(drop_last, bool):
        faults.add(f"drop_last={drop_last!r} is not True or False")
    if drop_last is not None and given is not None and drop_last != (given == "drop"):
        faults.add(f"drop_last={drop_last!r} contradicts remainder={given!r}; give one of them")
    if given is not None:
        return str(given)
    if drop_last is not None:
        return "drop" if drop_last else "pad"
    return "pad" if shuffle == "none" else "drop"
