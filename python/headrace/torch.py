# SPDX-License-Identifier: Apache-2.0
"""headrace under torch's own machinery (docs/torch.md): as an IterableDataset or a map-style
Dataset for ``torch.utils.data.DataLoader`` and torchdata's StatefulDataLoader, and as a loader
whose batches are made in worker processes.

A loader (``ds.loader(...)``) needs none of this: it is an iterable with ``state_dict``, and what
Lightning, Accelerate and DCP want. With ``num_workers=0`` the wrappers here are that loader; with
workers, worker w of W makes this rank's batches w, w + W, ... whole, so that the batches and their
order are the same for any number of workers.
"""

from __future__ import annotations

import logging
import multiprocessing.context
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.utils.data as torch_data

from headrace.batch import Batch
from headrace.dataset import Dataset
from headrace.errors import OptionError, UnsupportedError
from headrace.loader import Loader
from headrace.ranks import Ranks, find_ranks
from headrace.shares import (
    Share,
    ShareLoader,
    ShareRun,
    WorkerFeed,
    refuse_stream,
    state_without_share,
)
from headrace.worker_passes import WorkerPasses

if TYPE_CHECKING:
    from headrace.feed import Feed
    from headrace.mixture import Mixture

__all__ = ["DataLoader", "IterableDataset", "MapDataset", "loader_state"]

EXTRAS = ("epoch", "epochs", "ids", "position", "sample_keys", "sources", "valid")

log = logging.getLogger("headrace")


class DataLoader(Loader):
    """A :class:`headrace.Loader` whose batches are made in ``num_workers`` processes.

    For transforms in Python that hold the GIL. Everything else is as with ``ds.loader(...)``:
    ``epochs``, ``break``, ``resume()``, and a state that counts what the trainer got, the same on
    every rank and for any number of workers. It is no ``torch.utils.data.DataLoader``: frameworks
    leave it as it is and shard nothing again.

    Args:
        dataset: an opened data set.
        num_workers: worker processes; 0 makes the batches in this process, on threads.
        prefetch_factor: batches that each worker makes ahead.
        multiprocessing_context: ``"fork"``, ``"spawn"``, ``"forkserver"`` or None, as in torch.
        worker_init_fn: called with the worker's number when it starts.
        **options: of :class:`headrace.Loader`.
    """

    def __init__(
        self,
        dataset: Dataset | Mixture,
        *,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        multiprocessing_context: Any = None,
        worker_init_fn: Any = None,
        **options: Any,
    ) -> None:
        refuse_stream(dataset)
        super().__init__(dataset, **options)
        if num_workers < 0 or prefetch_factor < 1:
            raise OptionError(
                f"make DataLoader: num_workers={num_workers}, prefetch_factor={prefetch_factor}: "
                "must be at least 0 and 1"
            )
        if num_workers and options.get("workers"):
            raise OptionError(
                f"make DataLoader: num_workers={num_workers} engines and "
                f"workers={options['workers']} transform processes of one: give one of them"
            )
        self.num_workers = num_workers
        self._torch_options = {
            "prefetch_factor": prefetch_factor,
            "multiprocessing_context": multiprocessing_context,
            "worker_init_fn": worker_init_fn,
        }

    def _make_feed(self, *given: Any, **options: Any) -> Feed:
        if self.num_workers == 0:
            return super()._make_feed(*given, **options)
        run = ShareRun(
            ShareLoader(self._dataset, self._given, self._plan().ranks),
            self.state_dict(),
            self._last_epoch,
        )
        feed: Any = WorkerFeed(run, self.num_workers, self._torch_options, **options)
        return feed  # type: ignore[no-any-return]

    def update_weights(self, weights: Any, *, step: int | None = None) -> None:
        """As :meth:`headrace.Loader.update_weights`; workers cannot be told.

        Raises:
            UnsupportedError: there are worker processes.
        """
        if self.num_workers:
            raise UnsupportedError(
                f"update_weights: the {self.num_workers} worker processes are not told of it; use "
                "num_workers=0, or weights= as a function of the step"
            )
        super().update_weights(weights, step=step)

    def __reduce__(self) -> Any:
        return (
            _remake,
            (
                self._dataset,
                {**self._torch_options, **self._given, "num_workers": self.num_workers},
            ),
        )


def _remake(dataset: Dataset | Mixture, options: dict[str, Any]) -> DataLoader:
    return DataLoader(dataset, **options)


class IterableDataset(torch_data.IterableDataset[Any]):
    """Batches of a loader, as dicts (or tuples with ``columns=``) of CPU tensors, for
    ``DataLoader(dataset, batch_size=None)`` and ``StatefulDataLoader(dataset, batch_size=None)``.

    Each iteration is one pass: a finished or abandoned one is followed by the next epoch, with
    workers too.

    Args:
        dataset: an opened data set.
        extras: attributes of :class:`headrace.Batch` that become entries of the dict, for example
            ``("valid", "ids")``; metrics over padded or skipped rows need ``valid``.
        **options: of :class:`headrace.Loader`.
    """

    def __init__(
        self, dataset: Dataset | Mixture, *, extras: Sequence[str] = (), **options: Any
    ) -> None:
        super().__init__()
        if wrong := [name for name in extras if name not in EXTRAS]:
            raise OptionError(
                f"make IterableDataset: extras={wrong}: choose of {', '.join(EXTRAS)}"
            )
        self._extras = tuple(extras)
        options.setdefault("device", "cpu")
        self._dataset = dataset
        self._options = options
        self._made: Loader | None = dataset.loader(**options)
        self._passes = WorkerPasses()
        self._start: dict[str, Any] | None = None  # of the next pass, when unpickled
        self._owner: tuple[WorkerPasses, Ranks] | None = None  # of the process that pickled
        self._share: Share | None = None  # in a worker process

    @property
    def loader(self) -> Loader:
        """The loader that iterates in this process."""
        if self._made is None:
            self._made = self._dataset.loader(**self._options)
            if self._start is not None:
                self._made.load_state_dict(self._start)
        return self._made

    # --- passes -----------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        _refuse_second_sharding()
        worker = torch_data.get_worker_info()
        if worker is not None:
            return self._worker_pass(worker)
        self._take_over()
        self._passes.set(None)
        return map(self._plain, self.loader)

    def _worker_pass(self, worker: Any) -> Iterator[Any]:
        if self._share is None or self._share.worker != worker.id:
            self._share = self._make_share(worker)
        share = self._share
        # Workers of one iteration have the same seed but for their number; persistent ones keep it.
        key = f"{worker.seed - worker.id}:{share.passes}"
        passes = self._spawned_by[0] if self._spawned_by else self._passes
        share.begin(lambda propose: passes.begin(key, worker.id, propose))
        return map(self._plain, share)

    def _plain(self, batch: Any) -> Any:
        """What torch's collate functions and pin_memory understand."""
        if not isinstance(batch, Batch):
            return batch
        found = dict(batch)
        for name in self._extras:
            value = getattr(batch, name)
            array = isinstance(value, np.ndarray)
            found[name] = torch.from_numpy(value.copy()) if array else value
        return found

    def _make_share(self, worker: Any) -> Share:
        if self._options.get("ledger") is not None:
            raise UnsupportedError(
                "ledger= in worker processes of torch's DataLoader: none of them knows what the "
                "trainer got; use hr.torch.DataLoader or num_workers=0"
            )
        initial = self._start
        if initial is None and self._made is not None:
            initial = self._made.next_state()
        if worker.id == 0:
            log.warning(
                "num_workers=%d: each worker has an engine and memory of its own and reads its own "
                "samples; num_workers=0 decodes in threads of this process and is faster",
                worker.num_workers,
            )
        ranks = self._spawned_by[1] if self._spawned_by else _ranks_of(self._options)
        loader = ShareLoader(self._dataset, self._options, ranks)
        return Share(loader, initial, worker.id, worker.num_workers)

    def _take_over(self) -> None:
        """This process's loader goes on behind what workers did."""
        state = self._passes.next_start() if self._passes.begun() else None
        if state is not None:
            self.loader.load_state_dict(state)

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int) -> None:
        """As DistributedSampler.set_epoch; not needed: passes go on by themselves."""
        _refuse_second_sharding()
        self._take_over()
        if epoch != self.loader.epoch:
            self.loader.set_epoch(epoch)
            self._passes.set(self.loader.state_dict())

    # --- state ------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """In the trainer's process: the loader's state. In a worker: its share's, for
        StatefulDataLoader.

        Raises:
            UnsupportedError: workers of a plain DataLoader made the batches: nobody counts what the
                trainer got.
        """
        if torch_data.get_worker_info() is not None and self._share is not None:
            return self._share.state_dict()
        if self._passes.begun():
            raise UnsupportedError(
                "state_dict of hr.torch.IterableDataset: its batches are made in worker processes "
                "of a DataLoader, which does not count what the trainer got; use "
                "hr.torch.DataLoader, torchdata's StatefulDataLoader, or num_workers=0"
            )
        return self.loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` stood: a loader's, this class's, or a StatefulDataLoader's."""
        worker = torch_data.get_worker_info()
        if worker is not None:
            self._share = self._make_share(worker)
            self._share.load_state_dict(state)
            return
        plain = loader_state(state)
        self.loader.load_state_dict(plain)
        self._passes.set(plain)

    @property
    def _spawned_by(self) -> tuple[WorkerPasses, Ranks] | None:
        """In a worker that was spawned and not forked: what its owner's process knows."""
        return self._owner if self._owner is not None and self._owner[0].of_parent else None

    def __getstate__(self) -> dict[str, Any]:
        self._take_over()
        out = {**self.__dict__, "_made": None, "_share": None, "_passes": None, "_owner": None}
        out["_options"] = {name: v for name, v in self._options.items() if name != "mesh"}
        if self._made is not None:
            out["_start"] = self._made.next_state()
        if multiprocessing.context.get_spawning_popen() is not None:
            # A spawned worker has neither this process's group nor its mesh.
            out["_owner"] = (self._passes, _ranks_of(self._options))
        return out

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._passes = WorkerPasses()


class MapDataset(torch_data.Dataset[Any]):
    """Samples by number, for any torch sampler: ``dataset[i]`` is a dict of natural values.

    One request a sample: right for small data sets and odd samplers, not for throughput.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, i: int) -> dict[str, Any]:
        sample: dict[str, Any] = self._dataset[i]
        return sample

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        return [self._dataset[i] for i in numbers]


def loader_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The loader's own state, for any number of ranks and workers, out of a StatefulDataLoader's.

    A loader's state is returned as it is, so this can be applied to whatever a checkpoint holds.

    Raises:
        OptionError: not a state of a StatefulDataLoader over hr.torch.IterableDataset, or one that
            stands between two snapshots (``snapshot_every_n_steps`` other than 1).
    """
    if "headrace" in state:
        return state_without_share(state)
    try:
        if "dataset_state" in state:  # num_workers=0
            return state_without_share(state["dataset_state"])
        behind, snapshot = state["_steps_since_snapshot"], state["_snapshot"]
        if behind:
            raise OptionError(
                f"loader_state: the StatefulDataLoader stood {behind} steps behind its last "
                "snapshot; make it with snapshot_every_n_steps=1"
            )
        workers, last = snapshot["_worker_snapshots"], snapshot["_last_yielded_worker_id"]
        return state_without_share(workers[f"worker_{last}"]["dataset_state"])
    except (AttributeError, KeyError, TypeError) as fault:
        raise OptionError(
            "loader_state: neither a loader's state nor a StatefulDataLoader's over "
            f"hr.torch.IterableDataset ({type(fault).__name__}: {fault})"
        ) from fault


def _ranks_of(options: Mapping[str, Any]) -> Ranks:
    return find_ranks(options.get("rank"), options.get("world_size"), options.get("mesh"))


def _refuse_second_sharding() -> None:
    """Accelerate deals out again what is this rank's share already: one rank's share would be all
    that is trained on.

    Raises:
        UnsupportedError: inside a DataLoader that Accelerate prepared for several processes.
    """
    module = sys.modules.get("accelerate.data_loader")
    if module is None:
        return
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_globals is module.__dict__:
            if module.PartialState().num_processes > 1:
                raise UnsupportedError(
                    "hr.torch.IterableDataset in a DataLoader that Accelerate prepared: it would "
                    "deal out again what is this rank's share already; give accelerator.prepare "
                    "the headrace loader itself (ds.loader(...) or hr.torch.DataLoader(...)), "
                    "which it leaves as it is, or do not prepare the DataLoader"
                )
            return
        frame = frame.f_back  # type: ignore[assignment]
