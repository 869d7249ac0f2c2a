# SPDX-License-Identifier: Apache-2.0
"""device_image.normalize as one Triton kernel: read once, written once. Imported on CUDA only."""

# mypy: disable-error-code="no-untyped-def"
# (Triton reads the kernel's annotations itself.)

from __future__ import annotations

from typing import Any

import torch
import triton  # type: ignore[import-not-found]
import triton.language as tl  # type: ignore[import-not-found]

__all__ = ["launch"]

_BLOCK = 1024  # pixels a program


@triton.jit  # type: ignore[untyped-decorator]
def _normalize(
    images, flips, out, scale, bias, pixels, width,
    in_channel, in_pixel, out_channel, out_pixel,
    FLIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < pixels
    source = at
    if FLIP:
        mirrored = at - at % width + (width - 1 - at % width)
        source = tl.where(tl.load(flips + row) != 0, mirrored, at)
    base = row * 3 * pixels
    for channel in tl.static_range(3):
        place = images + base + channel * in_channel + source * in_pixel
        number = tl.load(place, mask=inside, other=0).to(tl.float32)
        number = number * tl.load(scale + channel) + tl.load(bias + channel)
        target = out + base + channel * out_channel + at * out_pixel
        tl.store(target, number.to(out.dtype.element_ty), mask=inside)


def launch(
    images: torch.Tensor, hwc: bool, scale: torch.Tensor, bias: torch.Tensor,
    dtype: torch.dtype, layout: str, flip: torch.Tensor | None,
) -> torch.Tensor:  # fmt: skip
    """On the current stream; arguments as in device_image.normalize, already checked."""
    rows = images.shape[0]
    height, width = images.shape[1:3] if hwc else images.shape[2:4]
    pixels = height * width
    memory: Any = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    shape = (rows, height, width, 3) if layout == "HWC" else (rows, 3, height, width)
    if layout == "HWC":
        out = torch.empty(shape, dtype=dtype, device=images.device)
    else:
        out = torch.empty(shape, dtype=dtype, device=images.device, memory_format=memory)
    if out.numel() == 0:
        return out
    in_strides = (1, 3) if hwc else (pixels, 1)
    out_strides = (pixels, 1) if layout == "CHW" else (1, 3)
    flags = images if flip is None else flip.view(torch.uint8)
    with torch.cuda.device(images.device):
        # Without fusing a product and a sum: the CPU rounds twice, too.
        _normalize[(rows, triton.cdiv(pixels, _BLOCK))](
            images, flags, out, scale, bias, pixels, width, *in_strides, *out_strides,
            FLIP=flip is not None, BLOCK=_BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    return out
