# SPDX-License-Identifier: Apache-2.0
"""Images after the copy: normalisation, layout and flips where the batch is, on the GPU or the CPU.

The core decodes, crops and resizes into uint8 (a quarter of the bytes of float32 to copy); what a
GPU does for nothing is left to it. On CUDA with Triton it is one kernel, elsewhere a few operations
of torch; the numbers are the same: float32 arithmetic, one rounding for the product and one for the
sum, one more for a smaller dtype.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from headrace.batch import Batch
from headrace.errors import OptionError
from headrace.options import Faults

if TYPE_CHECKING:
    import torch

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Normalize", "flips", "normalize"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Layout = Literal["CHW", "HWC", "channels_last"]
_LAYOUTS = ("CHW", "HWC", "channels_last")
_DTYPES = ("float32", "float16", "bfloat16")

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix64(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def flips(batch: Batch, probability: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which rows are mirrored: bool [B], what ``hr.decode.image(flip=probability)`` would do.

    Args:
        batch: of a loader (not of a mixture: its sources have seeds of their own).
        probability: of a flip.
        seed: the loader's.

    The first draw of the key key(seed, epoch, 4, sample) of docs/ordering.md.
    """
    with np.errstate(over="ignore"):
        key = np.full(len(batch.ids), np.uint64(seed % 2**64))
        key = _mix64(key + _GOLDEN)
        for part in (batch.epochs, np.uint64(4), batch.ids):
            key = _mix64(key + _GOLDEN + np.asarray(part).astype(np.uint64))
        draw = _mix64(key + _GOLDEN)
    return (draw >> np.uint64(11)).astype(np.float64) * 2.0**-53 < probability


def normalize(
    images: torch.Tensor,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    dtype: str = "float32",
    layout: Layout = "CHW",
    flip: npt.NDArray[np.bool_] | torch.Tensor | None = None,
) -> torch.Tensor:
    """(images / 255 - mean) / std, on the device where the images are.

    Args:
        images: uint8, [B, H, W, 3] or [B, 3, H, W], contiguous.
        mean, std: of the three channels, for values in 0 .. 1.
        dtype: ``"float32"``, ``"float16"`` or ``"bfloat16"``.
        layout: of the result: ``"CHW"`` [B, 3, H, W]; ``"channels_last"``, the same shape in
            torch's memory format of that name; ``"HWC"`` [B, H, W, 3].
        flip: bool [B]: rows to mirror left-right.

    Raises:
        OptionError: another shape or dtype.
    """
    import torch

    if (
        images.dtype != torch.uint8
        or images.ndim != 4
        or 3 not in (images.shape[1], images.shape[3])
    ):
        raise OptionError(
            f"normalize: images of {images.dtype} {tuple(images.shape)}; uint8 [B, H, W, 3] or "
            "[B, 3, H, W] is needed: hr.decode.image(size=..., layout=...)"
        )
    hwc = images.shape[3] == 3
    if flip is not None and not isinstance(flip, torch.Tensor):
        flip = torch.from_numpy(np.ascontiguousarray(flip)).to(images.device, non_blocking=True)
    out_dtype = getattr(torch, dtype)
    scale, bias = _constants(tuple(mean), tuple(std), images.device)
    if images.is_cuda and _has_triton() and images.is_contiguous():
        from headrace.device_kernel import launch

        return launch(images, hwc, scale, bias, out_dtype, layout, flip)
    planes = images.permute(0, 3, 1, 2) if hwc else images
    numbers = planes.to(torch.float32).mul_(scale[:, None, None]).add_(bias[:, None, None])
    if flip is not None:
        numbers = torch.where(flip[:, None, None, None], numbers.flip(3), numbers)
    numbers = numbers.to(out_dtype)
    if layout == "HWC":
        return numbers.permute(0, 2, 3, 1).contiguous()
    wanted = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    return numbers.contiguous(memory_format=wanted)


@functools.lru_cache(maxsize=16)
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    scale = [1 / (255 * s) for s in std]
    bias = [-m / s for m, s in zip(mean, std, strict=True)]
    # One tensor each on the device, made once.
    return (
        torch.tensor(scale, dtype=torch.float32, device=device),
        torch.tensor(bias, dtype=torch.float32, device=device),
    )


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


class Normalize:
    """``batch_transform=`` of a loader: :func:`normalize` of one column.

    With ``hr.decode.image(size=224, crop="random_resized", layout="HWC")`` and ``flip=0.5`` here
    the same images are mirrored as with ``flip=0.5`` there; the host saves the work.

    Args:
        column: its name.
        flip: probability; ``seed`` must then be the loader's.
        **options: of :func:`normalize`.
    """

    def __init__(
        self,
        column: str,
        *,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        dtype: str = "float32",
        layout: Layout = "CHW",
        flip: float = 0.0,
        seed: int = 0,
    ) -> None:
        faults = Faults("make Normalize")
        faults.choice("dtype", dtype, _DTYPES)
        faults.choice("layout", layout, _LAYOUTS)
        if len(mean) != 3 or len(std) != 3 or any(s <= 0 for s in std):
            faults.add(f"mean={mean!r}, std={std!r}: three numbers each, std above 0")
        if not 0 <= flip <= 1:
            faults.add(f"flip={flip!r} is not a probability")
        faults.raise_any()
        self._column = column
        self._flip = float(flip)
        self._seed = seed
        self._mean, self._std = tuple(mean), tuple(std)
        self._dtype = dtype
        self._layout: Layout = layout

    def __call__(self, batch: Batch) -> Batch:
        """The batch with the column normalised."""
        mirrored = flips(batch, self._flip, self._seed) if self._flip else None
        columns: dict[str, Any] = dict(batch)
        columns[self._column] = normalize(
            columns[self._column],
            mean=self._mean,
            std=self._std,
            dtype=self._dtype,
            layout=self._layout,
            flip=mirrored,
        )
        return batch.with_columns(columns)
