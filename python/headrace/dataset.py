# SPDX-License-Identifier: Apache-2.0
"""``hr.open`` and :class:`Dataset`: what lies under a URL, and how its samples are numbered."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace import _core, columns, selection
from headrace._log import flush_log
from headrace.choose import choose_order
from headrace.describe import brief, describe
from headrace.errors import Error, UncountedError
from headrace.manifest import check_counts, located
from headrace.order import Order, Shuffle, shuffle_name
from headrace.pickling import pickled_options, reopen
from headrace.plan import DatasetPlanner, Planner
from headrace.stream_plan import StreamPlanner
from headrace.units import order_counts, schema_of
from headrace.urls import Location

if TYPE_CHECKING:
    from headrace.cost import Estimate
    from headrace.loader import Loader

__all__ = ["Dataset", "open"]

log = logging.getLogger("headrace")

Source = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
# (step, bytes done, bytes in all)
ProgressSink = Callable[[str, int, int], None]


def open(source: Source, *, progress: ProgressSink | None = None, **options: Any) -> Dataset:
    """Opens a data set: finds its shards and its index, and builds the index when there is none.

    Args:
        source: a URL (``s3://``, ``gs://``, ``https://``, ``file://``) or path, with braces as
            WebDataset writes them; a list of these; a folder; or a manifest (docs/manifest.md).
        progress: called with (step, bytes done, bytes in all) while an index is built.
        endpoint_url, region, profile, aws_access_key_id, aws_secret_access_key,
            aws_session_token, anonymous: as boto3 means them; what is not given comes from the
            standard environment variables and files, the container or the instance
            (docs/credentials.md).
        addressing_style, use_dualstack_endpoint, use_fips_endpoint, request_payer,
            expected_bucket_owner, sse_customer_key: as boto3 means them.
        verify: False to accept any TLS certificate, or the path of a CA bundle. Default:
            AWS_CA_BUNDLE, SSL_CERT_FILE, SSL_CERT_DIR, the system's bundle, certifi's.
        index: URL or path of the index to use. Default: beside the shards, else the local folder.
        build: False makes a missing index an error instead of building it (a pass over all bytes).
        save: where a fresh index goes: ``"local"`` (default), ``"beside"``, a URL, a path, or None.
        index_dir: the local index folder (``~/.cache/headrace/index``). ``trust="copy"`` accepts
            other ETags than the index names (a copied bucket).
        manifest: URL or path of the list of shards that must lie under ``source``.
        checksums: ``"full"`` (as ``check=True``) or ``"none"``: docs/index.md.
        rebuild: make a new index even where one is found; refresh: only of shards that changed.
        order: ``"stream"`` reads shards from front to back without an index (docs/ordering.md).
        format: when names do not say it. window, token_dtype, eos, samples, boundaries: of tokens.
        connections_max, attempts_max, retry_seconds_max: limits of the store client.
        hedge: False: late ranges are not asked for twice (docs/reading.md). connect_timeout,
            read_timeout: seconds, as botocore's (3; 30 to the first byte, then 5).
        cache_dir: a local folder where what is read is kept (docs/cache.md); cache_bytes: at most.

    Raises:
        OptionError, NotFoundError, AccessError, MismatchError, CorruptError, ...: see errors.py.
    """
    location, given = located(source, options)
    check_counts(dataset := Dataset(location, given, progress), given)
    return dataset


class Dataset:
    """The samples under a URL, numbered in stored order. Made by :func:`open`.

    ``len(ds)``, ``ds[i]`` (a sample's natural values), ``ds.raw(i)`` (stored bytes),
    ``ds.loader(...)``.
    """

    def __init__(
        self, location: Location, options: dict[str, Any], progress: ProgressSink | None = None
    ) -> None:
        self._location = location
        self._options = options
        self.selection: _core.Selection | None = None  # of a subset: which samples take part
        self._core_dataset: _core.Dataset | None = None
        self._opened(progress)

    def _opened(self, progress: ProgressSink | None = None) -> None:
        self._pid = os.getpid()
        try:
            options = self._options | {"queries": dict(self._location.queries)}
            self._core_dataset = _core.open_dataset(
                self._location.urls(), options, progress
            )
        finally:
            flush_log()

    @property
    def core(self) -> _core.Dataset:
        """The core's data set. A forked child never uses its parent's connections: it opens
        anew."""
        if self._core_dataset is None:
            raise Error("use of a closed data set: open it again")
        if self._pid != os.getpid():
            self._opened()
        return self._core_dataset

    def __reduce__(self) -> Any:
        words = None if self.selection is None else self.selection.words
        return (reopen, (self._location, pickled_options(self._location, self._options), words))

    def __copy__(self) -> Dataset:
        same = object.__new__(type(self))
        same.__dict__.update(self.__dict__)
        return same

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.__getitem__, range(len(self)))

    def close(self) -> None:
        """Lets go of connections and memory; loaders that iterate end their pass first."""
        self._core_dataset = None

    @property
    def url(self) -> str:
        return self.core.url

    @property
    def local_folder(self) -> str:
        """The folder for indexes and columns given to :func:`open`; "" for the default."""
        return str(self._options.get("index_dir", ""))

    @property
    def endpoint_url(self) -> str:
        """The endpoint that was given to :func:`open`; "" for the environment's."""
        return str(self._options.get("endpoint_url", ""))

    @property
    def format(self) -> str:
        return self.core.format

    @property
    def nbytes(self) -> int:
        """Bytes of all shards."""
        return self.core.nbytes

    @property
    def fields(self) -> list[str]:
        """Names of the fields, first seen first; not every sample needs to have each."""
        return [name for name, _ in self.core.fields()]

    @property
    def schema(self) -> dict[str, str]:
        """The type of each field, as Arrow spells it, of Parquet; else empty."""
        return schema_of(self)

    @property
    def shards(self) -> list[tuple[str, int, int, str]]:
        """(key, bytes, samples, ETag) of each shard, in the data set's order."""
        return self.core.shards()

    @property
    def counts(self) -> npt.NDArray[np.uint64]:
        """Samples that take part of each shard, uint64 [S]: what :class:`headrace.Order` takes."""
        counts = self.core.counts()
        return counts if self.selection is None else self.selection.counts(counts)

    @property
    def index_name(self) -> str:
        """The hash that names the index."""
        return self.core.index_name

    @property
    def order_hash(self) -> str:
        """What a sample number means: format and each shard's name, size and samples."""
        return self.core.order_hash

    @property
    def identity_hash(self) -> str:
        """Which bytes: ETags, version ids and checksums."""
        return self.core.identity_hash

    def __len__(self) -> int:
        self._check_counted("len(dataset)")
        return self.core.samples if self.selection is None else len(self.selection)

    @property
    def counted(self) -> bool:
        """False for data that are read as a stream: how many samples there are is not known."""
        return bool(getattr(self.core, "counted", True))

    def _check_counted(self, action: str) -> None:
        if not self.counted:
            raise UncountedError(
                f"{action}: {self.url} is read as a stream, without an index: samples have no "
                "numbers and are not counted; iterate over dataset.loader(...)"
            )

    def _number(self, i: int) -> int:
        count = len(self)
        number = i + count if i < 0 else i
        if not 0 <= number < count:
            raise IndexError(f"sample {i} of {self.url}, which has {count:,}")
        return number if self.selection is None else int(self.numbers([number])[0])

    # --- subsets ----------------------------------------------------------------------------------

    @property
    def filter_hash(self) -> str:
        """A hash of which samples take part, part of the state; "" for all."""
        return "" if self.selection is None else self.selection.hash

    def numbers(self, which: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Sample numbers in the whole data set (``batch.ids``) for numbers in this subset."""
        array = np.ascontiguousarray(which, np.int64)
        return array if self.selection is None else self.selection.select(array)

    def part(self, chosen: _core.Selection) -> Dataset:
        """A data set over the same shards and connections of which ``chosen`` takes part."""
        part = copy.copy(self)
        part.selection = selection.both(self.selection, chosen)
        return part

    def where(self, which: npt.ArrayLike) -> Dataset:
        """The subset that a bool array or a list of numbers selects (numbers as in ``ds[i]``).

        Its loaders shuffle and deliver the subset alone; samples that are left out are not read.
        ``batch.ids`` stay the numbers of the whole data set. For example
        ``ds.where(ds.column("cls", int) < 10)``.

        Raises:
            OptionError: nothing selected, another length, a number outside.
        """
        chosen = selection.selection_of(which, len(self))
        if self.selection is None:
            return self.part(chosen)
        inside = chosen.select(np.arange(len(chosen), dtype=np.int64))
        return self.part(selection.selection_of(self.numbers(inside), self.core.samples))

    def split(
        self, shares: Mapping[str, float], *, seed: int = 0, groups: npt.ArrayLike | None = None
    ) -> dict[str, Dataset]:
        """Disjoint subsets, such as ``{"train": 0.9, "val": 0.1}``, by a hash of (seed, number).

        Sizes are near the shares, not exact. A sample stays in its part when the data set grows.

        Args:
            shares: of each part; together at most 1.
            groups: a group for each sample of the whole data set: a group's samples stay together.
        """
        parts = selection.split(self.core.samples, shares, seed, groups)
        return {name: self.part(part) for name, part in parts.items()}

    def fold(
        self, number: int, of: int, *, seed: int = 0, groups: npt.ArrayLike | None = None
    ) -> tuple[Dataset, Dataset]:
        """(training part, validation part) of a cross-validation with ``of`` folds."""
        rest, inside = selection.fold(self.core.samples, number, of, seed, groups)
        return self.part(rest), self.part(inside)

    def column(self, field: str, kind: Any = int) -> npt.NDArray[Any]:
        """One field of every sample as an array [len(ds)], in stored order: labels, for example.

        Reads the data once and keeps the array beside the local index (memory-mapped afterwards).
        ``kind``: ``int``, ``float`` or a decoder that gives numbers of one shape.
        """
        return columns.column(self, field, kind)

    def filter(
        self, keep: Callable[[dict[str, Any]], bool], *, name: str = "", decode: Any = None
    ) -> Dataset:
        """The subset for which ``keep(sample)`` is true; samples are as ``transform`` gets them.

        Reads the data once. With a ``name`` the result (one bit a sample) is kept beside the local
        index and used again: give another name when the function changes.
        """
        return self.where(columns.filtered(self, keep, name, decode))

    def __getitem__(self, i: Any) -> Any:
        """Sample ``i``: ``{"__key__": ..., field: value}``; a tar's fields are bytes."""
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        key, values = self.core.sample(self._number(int(i)))
        return {"__key__": key, **values}

    def raw(self, i: int) -> dict[str, bytes]:
        """The stored bytes of each field of sample ``i``."""
        return self.core.raw(self._number(i))[1]

    def key(self, i: int) -> str:
        """The key of sample ``i``: in a tar its path up to the first dot of the file name."""
        return self.core.raw(self._number(i))[0]

    def extent(self, i: int) -> tuple[str, int, int]:
        """(shard, offset, length) of sample ``i``; of its stride where samples are tiny."""
        return self.core.extent(self._number(i))

    def take(self, n: int) -> list[dict[str, Any]]:
        """The first ``n`` samples in stored order."""
        return [self[i] for i in range(min(n, len(self)))]

    def index(self, *, save: bool | str = False) -> dict[str, Any]:
        """Facts about the index; ``save=True`` writes it beside the shards, or to a URL or path."""
        where = "beside" if save is True else str(save)
        return {
            "saved": self.core.save_index(where) if save else None,
            "name": self.core.index_name,
            "source": self.core.index_source,
            "stride": self.core.stride,
            "checksums": self.core.has_checksums,
            "order_hash": self.order_hash,
            "identity_hash": self.identity_hash,
        }

    def order(
        self,
        *,
        seed: int = 0,
        epoch: int = 0,
        block: int | None = None,
        lanes: int | None = None,
        shuffle: Shuffle = True,
        batch_size: int = 256,
        world_size: int = 1,
        memory: int | float | str | None = None,
    ) -> Order:
        """The order that a loader with these options would deliver; of a subset it gives numbers in
        the subset (``ds.numbers`` makes them ``batch.ids``).

        ``block`` and ``lanes`` default to what a loader chooses from the global batch
        (``batch_size × world_size``) and the stated memory.
        """
        chosen = self.choose(
            batch=batch_size * world_size,
            world_size=world_size,
            memory=memory,
            shuffle=shuffle_name(shuffle),
            block=block,
            lanes=lanes,
        )
        counts, units = order_counts(self, shuffle_name(shuffle))
        return Order(
            counts,
            seed=seed,
            epoch=epoch,
            block=chosen["block"],
            lanes=chosen["lanes"],
            shuffle=shuffle,
            units=units,
        )

    def choose(self, **given: Any) -> dict[str, Any]:
        """Block length and lanes for a global batch; see :func:`headrace.choose.choose_order`."""
        return choose_order(self, **given)

    def planner(self, options: Mapping[str, Any]) -> Planner:
        """What plans a loader over this data set."""
        return DatasetPlanner(self, options) if self.counted else StreamPlanner(self, options)

    def plan(self, *, batch_size: int, **options: Any) -> Estimate:
        """What an epoch will cost and how well it will be shuffled, by arithmetic: nothing is read.

        Args:
            batch_size: samples of a batch on each rank.
            world_size: ranks; or ``gpus``.
            memory, shuffle, block, lanes, pre_shuffled, remainder, seed: as for a loader.
            step_ms: what the trainer needs for a step; gives rates.
            labels: class of each sample in stored order, [N], or the name of a field
                (:meth:`column`, which reads the data once): D(m) is then computed exactly.
            get_price: dollars for 1,000 GETs; default: S3's where the data lies there.
        """
        from headrace.cost import estimate

        return estimate(self, batch_size=batch_size, **options)

    def loader(self, **options: Any) -> Loader:
        """A :class:`headrace.Loader` over this data set; its options are described there."""
        from headrace.loader import Loader
        from headrace.stream_loader import StreamLoader

        return Loader(self, **options) if self.counted else StreamLoader(self, **options)

    def __repr__(self) -> str:
        return brief(self)

    def __str__(self) -> str:
        return describe(self)
