# SPDX-License-Identifier: Apache-2.0
"""For people who keep ``torch.utils.data.DataLoader``: headrace as an IterableDataset or a
map-style Dataset.

``DataLoader(hr.torch.IterableDataset(ds, batch_size=256), num_workers=0, batch_size=None)`` is the
recommended form: headrace batches, prefetches and decodes by itself, in threads that do not hold
the GIL.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch.utils.data as torch_data

from headrace.batch import Batch
from headrace.dataset import Dataset
from headrace.errors import OptionError
from headrace.loader import Loader
from headrace.ranks import find_ranks

__all__ = ["IterableDataset", "MapDataset"]

log = logging.getLogger("headrace")


class IterableDataset(torch_data.IterableDataset[Any]):
    """Batches of a loader, as dicts (or tuples with ``columns=``) of CPU tensors.

    With ``num_workers=n`` each worker process is a rank of its own inside this rank: every sample
    is still delivered once, but blocks are read by up to n workers; a log line says so.

    Args:
        dataset: an opened data set.
        **options: of :class:`headrace.Loader`.
    """

    def __init__(self, dataset: Dataset, **options: Any) -> None:
        super().__init__()
        options.setdefault("device", "cpu")
        self._dataset = dataset
        self._options = options
        self._loader: Loader | None = Loader(dataset, **options)
        self._epoch = 0

    @property
    def loader(self) -> Loader:
        """The loader that iterates in this process."""
        if self._loader is None:
            self._loader = self._make()
        return self._loader

    def _make(self) -> Loader:
        worker = torch_data.get_worker_info()
        if worker is None:
            return Loader(self._dataset, **self._options)
        found = find_ranks(
            self._options.get("rank"), self._options.get("world_size"), self._options.get("mesh")
        )
        options = dict(self._options, agree=lambda text: [text])
        options.pop("mesh", None)
        options["rank"] = found.rank * worker.num_workers + worker.id
        options["world_size"] = found.world_size * worker.num_workers
        if worker.id == 0:
            log.warning(
                "num_workers=%d: each worker reads for itself, a block up to %d times; "
                "num_workers=0 reads it once and is faster",
                worker.num_workers,
                worker.num_workers,
            )
        return Loader(self._dataset, **options)

    def __iter__(self) -> Iterator[Any]:
        if torch_data.get_worker_info() is not None:
            self._loader = self._make()
            self._loader.set_epoch(self._epoch)
        for batch in self.loader:
            yield dict(batch) if isinstance(batch, Batch) else batch

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int) -> None:
        """As DistributedSampler.set_epoch; needed between epochs only with ``num_workers > 0``."""
        self._epoch = epoch
        self.loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if torch_data.get_worker_info() is not None:
            raise OptionError("load_state_dict: use num_workers=0 to resume inside an epoch")
        self.loader.load_state_dict(state)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loader": None}


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
