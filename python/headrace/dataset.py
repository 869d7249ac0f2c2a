# SPDX-License-Identifier: Apache-2.0
"""``hr.open`` and :class:`Dataset`: what lies under a URL, and how its samples are numbered."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace import _core
from headrace._log import flush_log
from headrace.errors import Error, UnsupportedError
from headrace.options import Faults, format_size
from headrace.order import Order, Shuffle, shuffle_name
from headrace.urls import Location, locate

if TYPE_CHECKING:
    from headrace.loader import Loader

__all__ = ["Dataset", "open"]

log = logging.getLogger("headrace")

Source = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
# (step, bytes done, bytes in all)
ProgressSink = Callable[[str, int, int], None]

# Names a user may give, and what the core calls them. boto3's words where boto3 has one.
_OPTIONS = {
    "endpoint_url": "endpoint_url",
    "region": "region",
    "region_name": "region",
    "profile": "profile",
    "profile_name": "profile",
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "anonymous": "anonymous",
    "verify": "verify_tls",
    "connections_max": "connections_max",
    "attempts_max": "attempts_max",
    "retry_seconds_max": "retry_seconds_max",
    "index": "index",
    "build": "build",
    "save": "save",
    "index_dir": "index_dir",
    "trust": "trust_copy",
    "format": "format",
    "check": "verify",
    "rebuild": "rebuild",
}
_FORMATS = ("webdataset", "mds")


def open(source: Source, *, progress: ProgressSink | None = None, **options: Any) -> Dataset:
    """Opens a data set: finds its shards and its index, and builds the index when there is none.

    Args:
        source: a URL (``s3://``, ``file://``) or path, with braces as WebDataset
            writes them; a list of these; or a folder of tars or of an MDS data set.
        progress: called with (step, bytes done, bytes in all) while an index is built.
        endpoint_url, region, profile, aws_access_key_id, aws_secret_access_key,
            aws_session_token, anonymous: as boto3 means them; what is not given comes from the
            standard environment variables and files.
        verify: False to accept any TLS certificate, or the path of a CA bundle. Default:
            AWS_CA_BUNDLE, SSL_CERT_FILE, SSL_CERT_DIR, the system's bundle, certifi's.
        index: URL or path of the index to use. Default: beside the shards, else the local folder.
        build: False makes a missing index an error instead of building it (a pass over all bytes).
        save: where a fresh index goes: ``"local"`` (default), ``"beside"`` the shards, a URL or
            path, or None.
        index_dir: the local index folder; default ``~/.cache/headrace/index``.
        trust: ``"copy"`` accepts other ETags than the index names (a copied bucket).
        check: read MDS shards whole, so that the index has checksums and index.json's hashes hold.
        rebuild: make a new index even where one is found.
        format: ``"webdataset"`` or ``"mds"`` when the names do not say it.
        connections_max, attempts_max, retry_seconds_max: limits of the store client.

    Raises:
        OptionError, NotFoundError, AccessError, MismatchError, CorruptError, ...: see errors.py.
    """
    return Dataset(locate(source), _core_options(options), progress)


def _core_options(options: dict[str, Any]) -> dict[str, Any]:
    """The core's options; every fault is reported at once."""
    faults = Faults("open")
    core: dict[str, Any] = {}
    known = {name: value for name, value in options.items() if name in _OPTIONS}
    faults.unknown({n: v for n, v in options.items() if n not in _OPTIONS}, _OPTIONS)
    for name, value in known.items():
        if value is None:
            if name == "save":
                core["save"] = ""
            continue
        if name == "verify":
            core["verify_tls"] = value is not False
            if isinstance(value, str | os.PathLike):
                core["ca_file"] = os.fspath(value)
        elif name == "trust":
            faults.choice("trust", value, ("copy",))
            core["trust_copy"] = value == "copy"
        elif name in ("anonymous", "build", "check", "rebuild"):
            core[_OPTIONS[name]] = bool(value)
        elif name.endswith("_max"):
            core[_OPTIONS[name]] = faults.count(name, value, least=1)
        else:
            core[_OPTIONS[name]] = (
                os.fspath(value) if isinstance(value, os.PathLike) else str(value)
            )
    if "format" in core:
        faults.choice("format", core["format"], _FORMATS)
    faults.raise_any()
    if core.get("verify_tls", True) and "ca_file" not in core and not _core.knows_trusted_cas():
        core.update(_certifi_bundle())
    return core


def _certifi_bundle() -> dict[str, str]:
    """certifi's CAs, for machines without a bundle of their own (slim containers)."""
    try:
        import certifi
    except ImportError:
        return {}  # an https:// endpoint then says what to install
    return {"ca_file": certifi.where()}


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
        self._opened(progress)

    def _opened(self, progress: ProgressSink | None = None) -> None:
        if self._location.format not in ("", *_FORMATS):
            raise UnsupportedError(
                f"open {self._location.urls()[0]}: {self._location.format} is not read yet; "
                f"headrace reads {' and '.join(_FORMATS)}"
            )
        self._pid = os.getpid()
        try:
            self._core_dataset: _core.Dataset | None = _core.open_dataset(
                self._location.urls(), self._options, progress
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
        return (Dataset, (self._location, self._options))

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of connections and memory; loaders that iterate end their pass first."""
        self._core_dataset = None

    @property
    def url(self) -> str:
        return self.core.url

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
    def shards(self) -> list[tuple[str, int, int, str]]:
        """(key, bytes, samples, ETag) of each shard, in the data set's order."""
        return self.core.shards()

    @property
    def counts(self) -> npt.NDArray[np.uint64]:
        """Samples of each shard, uint64 [S]: what :class:`headrace.Order` takes."""
        return self.core.counts()

    @property
    def index_name(self) -> str:
        """The hash that names the index."""
        return self.core.index_name

    @property
    def order_hash(self) -> str:
        """What a sample number means: format and, for each shard, name, size and samples."""
        return self.core.order_hash

    @property
    def identity_hash(self) -> str:
        """Which bytes: ETags, version ids and checksums."""
        return self.core.identity_hash

    def __len__(self) -> int:
        return self.core.samples

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def _number(self, i: int) -> int:
        count = len(self)
        number = i + count if i < 0 else i
        if not 0 <= number < count:
            raise IndexError(f"sample {i} of {self.url}, which has {count:,}")
        return number

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
        """(shard, offset, length) of where sample ``i`` lies; of its stride where samples are
        tiny."""
        return self.core.extent(self._number(i))

    def take(self, n: int) -> list[dict[str, Any]]:
        """The first ``n`` samples in stored order."""
        return [self[i] for i in range(min(n, len(self)))]

    def index(self, *, save: bool | str = False) -> dict[str, Any]:
        """Facts about the index; ``save=True`` writes it beside the shards, or to a URL or path."""
        saved = None
        if save:
            saved = self.core.save_index("beside" if save is True else str(save))
        return {
            "name": self.core.index_name,
            "source": self.core.index_source,
            "saved": saved,
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
        """The order that a loader with these options would deliver.

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
        return Order(
            self.counts,
            seed=seed,
            epoch=epoch,
            block=chosen["block"],
            lanes=chosen["lanes"],
            shuffle=shuffle,
        )

    def choose(
        self,
        *,
        batch: int,
        world_size: int,
        memory: int | float | str | None,
        shuffle: str,
        block: int | None = None,
        lanes: int | None = None,
    ) -> dict[str, Any]:
        """Block length and lanes for a global batch, what they cost and give, and the reasons
        (docs/ordering.md, "Defaults").

        ``requests``: range requests of an epoch by all ranks, when each segment is read once.
        ``d1``, ``d4``, ``d32``: safe bounds of D(m), None where the epoch is too short for one.
        """
        faults = Faults("choose block and lanes")
        stated = faults.size("memory", memory)
        faults.raise_any()
        chosen = _core.choose_defaults(
            samples=len(self),
            sample_bytes=max(1.0, self.core.sample_bytes / max(1, len(self))),
            batch=batch,
            world=world_size,
            memory_bytes=stated or 0,
            shuffle=shuffle,
            index_stride=self.core.stride,
            block=block or 0,
            lanes=lanes or 0,
        )
        chosen["requests"] = _core.gets_per_epoch(
            self.counts, chosen["block"], chosen["lanes"], shuffle
        )
        return chosen

    def loader(self, **options: Any) -> Loader:
        """A :class:`headrace.Loader` over this data set; its options are described there."""
        from headrace.loader import Loader

        return Loader(self, **options)

    def __repr__(self) -> str:
        return (
            f"<headrace.Dataset {self.url}: {len(self):,} samples in {len(self.counts):,} shards>"
        )

    def __str__(self) -> str:
        core = self.core
        count = len(self)
        fields = ", ".join(
            name if have == count else f"{name} (in {have:,} samples)"
            for name, have in core.fields()
        )
        mean = format_size(core.sample_bytes / max(1, count))
        checks = "checksums" if core.has_checksums else "no checksums"
        return "\n".join(
            [
                f"{self.url}",
                f"  format    {self.format}",
                f"  shards    {len(self.counts):,}",
                f"  samples   {count:,} (mean {mean})",
                f"  bytes     {self.nbytes:,} ({format_size(self.nbytes)})",
                f"  fields    {fields}",
                f"  index     {core.index_source} ({checks}, stride {core.stride})",
                f"  hashes    order {self.order_hash}, identity {self.identity_hash}",
            ]
        )
