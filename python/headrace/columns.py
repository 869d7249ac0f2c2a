# SPDX-License-Identifier: Apache-2.0
"""What one pass over a data set can find out of every sample: a column of numbers, or whether a
function keeps the sample. Results are kept beside the local index, named by the bytes they are of.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headrace.errors import OptionError
from headrace.options import format_size

if TYPE_CHECKING:
    from headrace.dataset import Dataset

__all__ = ["column", "filtered"]

log = logging.getLogger("headrace")

_BATCH = 256


def _place(dataset: Dataset, kind: str, *facts: str) -> Path:
    """The file of a result: its name has what it is of, so that it is never stale."""
    given = dataset.local_folder
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(given) if given else Path(cache, "headrace", "index")
    named = "\n".join([dataset.order_hash, dataset.identity_hash, dataset.filter_hash, *facts])
    return folder / f"{kind}-{hashlib.sha256(named.encode()).hexdigest()[:32]}.npy"


def _save(path: Path, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Atomic; a folder that cannot be written costs the next caller another pass, and is said."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, suffix=".unfinished", delete=False
        ) as file:
            np.save(file, array)
        os.replace(file.name, path)
    except OSError as fault:
        log.warning("save %s: %s; the next use reads the data again", path, fault)
        return array
    return _load(path)


def _load(path: Path) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    return array


def _pass_over(dataset: Dataset, why: str, **options: Any) -> Any:
    log.info("%s: reading %s of %s once", why, format_size(dataset.core.sample_bytes), dataset.url)
    return dataset.loader(
        batch_size=min(_BATCH, len(dataset)),
        shuffle=False,
        remainder="short",
        rank=0,
        world_size=1,
        **options,
    )


def column(dataset: Dataset, field: str, kind: Any) -> npt.NDArray[Any]:
    """See :meth:`headrace.Dataset.column`."""
    path = _place(dataset, "column", field, repr(kind))
    if path.exists():
        return _load(path)
    parts = []
    with _pass_over(dataset, f"column {field!r}", decode={field: kind}) as loader:
        for batch in loader:
            part = batch[field]
            if not isinstance(part, np.ndarray):
                raise OptionError(
                    f"column {field!r} as {kind!r}: its rows differ in length; only numbers of one "
                    "shape make an array"
                )
            parts.append(part.copy())
    return _save(path, np.concatenate(parts))


def filtered(
    dataset: Dataset, keep: Callable[[dict[str, Any]], bool], name: str, decode: Any
) -> npt.NDArray[np.bool_]:
    """Which samples a function keeps. See :meth:`headrace.Dataset.filter`."""
    path = _place(dataset, "filter", name)
    if name and path.exists():
        return np.unpackbits(np.load(path), count=len(dataset), bitorder="little").astype(np.bool_)

    def judge(sample: dict[str, Any]) -> dict[str, Any]:
        return {"keep": np.bool_(keep(sample))}

    options = {} if decode is None else {"decode": decode}
    with _pass_over(dataset, f"filter {name!r}", transform=judge, **options) as loader:
        mask = np.concatenate([np.asarray(batch["keep"], np.bool_) for batch in loader])
    if name:
        _save(path, np.packbits(mask, bitorder="little"))
    return mask
