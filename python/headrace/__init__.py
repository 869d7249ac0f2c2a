# SPDX-License-Identifier: Apache-2.0
"""headrace streams training data from S3-compatible object stores into training loops.

    import headrace as hr

    ds = hr.open("s3://bucket/train-{000000..001023}.tar")
    loader = ds.loader(batch_size=256, decode={"jpg": hr.decode.image(size=224), "cls": int})
    for batch in loader:
        train_step(batch["jpg"], batch["cls"])

Importing this package starts no thread and opens no connection.
"""

from headrace import decode
from headrace._core import __version__
from headrace.audit import Audit, audit
from headrace.batch import Batch
from headrace.dataset import Dataset, open
from headrace.device import Device
from headrace.device_image import Normalize
from headrace.errors import (
    AccessError,
    CancelledError,
    CorruptError,
    Error,
    InternalError,
    LimitError,
    MismatchError,
    NotFoundError,
    OptionError,
    ThrottledError,
    TimeoutError,
    UnavailableError,
    UncountedError,
    UnsupportedError,
    WorkerError,
)
from headrace.loader import Loader
from headrace.mixture import Mixture, mix
from headrace.order import Order
from headrace.ragged import Ragged
from headrace.randomness import rng
from headrace.stats import Stats
from headrace.stream_state import join_states
from headrace.weights import WeightRuns, class_weights

__all__ = [
    "AccessError",
    "Audit",
    "Batch",
    "CancelledError",
    "CorruptError",
    "Dataset",
    "Device",
    "Error",
    "InternalError",
    "LimitError",
    "Loader",
    "MismatchError",
    "Mixture",
    "Normalize",
    "NotFoundError",
    "OptionError",
    "Order",
    "Ragged",
    "Stats",
    "ThrottledError",
    "TimeoutError",
    "UnavailableError",
    "UncountedError",
    "UnsupportedError",
    "WeightRuns",
    "WorkerError",
    "__version__",
    "audit",
    "class_weights",
    "decode",
    "join_states",
    "mix",
    "open",
    "rng",
]


def __getattr__(name: str) -> object:
    """``hr.torch`` is imported at first use, so that ``import headrace`` does not import torch."""
    if name == "torch":
        import importlib

        return importlib.import_module("headrace.torch")
    raise AttributeError(f"module 'headrace' has no attribute {name!r}")
