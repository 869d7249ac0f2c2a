# SPDX-License-Identifier: Apache-2.0
"""How stored bytes become columns: ``hr.decode.image(...)``, ``hr.decode.npy()``, or just ``int``,
``float``, ``str``.

These are descriptions; the C++ core does the work, in parallel and without a Python call per
sample. Randomness of crops and flips is a function of (seed, epoch, sample), so it survives a
resume and another number of ranks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from headrace.options import Faults, nearest

__all__ = [
    "Decode",
    "audio",
    "auto",
    "image",
    "integer",
    "json",
    "npy",
    "number",
    "of",
    "png_samples",
    "raw",
    "text",
]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Decode:
    """One field's decoder: ``kind`` and what the core needs to know about it."""

    kind: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=lambda: _NOTHING)
    field: str | None = None  # of the data set; None: the one that is called as the column


Spec: TypeAlias = "Decode | type | str | None"


def image(
    size: int | tuple[int, int] | None = None,
    *,
    crop: Literal["random_resized", "center"] | None = None,
    resize: int | None = None,
    region: tuple[int, int, int, int] | None = None,
    exif: bool = False,
    flip: bool | float = False,
    layout: Literal["CHW", "HWC"] = "CHW",
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    pixels_max: int = 100_000_000,
) -> Decode:
    """JPEG, PNG or WebP to uint8 RGB, [B, 3, height, width] (or [B, height, width, 3]).

    Args:
        size: (height, width), or one number for both. None keeps each image's own size: a Ragged
            column.
        crop: ``"random_resized"`` as torchvision's RandomResizedCrop; ``"center"`` resizes the
            shorter side and cuts
            the middle; None stretches to ``size``.
        resize: for ``crop="center"``: length of the shorter side before cutting (torchvision's 256
            for 224).
            None: as small as covers ``size``.
        region: (top, left, height, width) in pixels: the same part of every image, and only that
            is decoded; an image it does not lie in is an error.
        exif: turn JPEGs as their EXIF orientation says, before cropping (Pillow's
            ``ImageOps.exif_transpose``); off as in torchvision and plain ``Image.open``.
        flip: mirror left-right; True means with probability 1/2, or the probability itself.
        layout: ``"CHW"`` as torch has it, or ``"HWC"``.
        scale: share of the image's area that a random crop covers.
        ratio: width / height of a random crop.
        pixels_max: larger images are an error, before they are decoded.

    Bilinear with antialiasing. Raises OptionError on faults.
    """
    faults = Faults("decode.image")
    height, width = 0, 0
    if size is not None:
        pair = (size, size) if isinstance(size, int) else tuple(size)
        if len(pair) != 2:
            faults.add(f"size={size!r} is not one number or (height, width)")
        else:
            height = faults.count("size", pair[0], least=1) or 0
            width = faults.count("size", pair[1], least=1) or 0
    elif crop is not None:
        faults.add(f"crop={crop!r} needs size=")
    faults.choice("crop", crop, ("random_resized", "center", None))
    faults.choice("layout", layout, ("CHW", "HWC"))
    if region is not None:
        if len(region) != 4 or min(region) < 0 or min(region[2:]) < 1:
            faults.add(f"region={region!r} is not (top, left, height, width)")
        if crop is not None:
            faults.add(f"region={region!r} and crop={crop!r}: one of them")
    if resize is not None:
        faults.count("resize", resize, least=1)
        if crop != "center":
            faults.add(f"resize={resize!r} needs crop='center'")
    if not 0 <= float(flip) <= 1:
        faults.add(f"flip={flip!r} is not a probability")
    for name, (low, high) in (("scale", scale), ("ratio", ratio)):
        if not 0 < low <= high:
            faults.add(f"{name}=({low}, {high}) is not a range of positive numbers")
    faults.raise_any()
    return Decode(
        "image",
        {
            "height": height,
            "width": width,
            "crop": crop or "none",
            "resize": int(resize or 0),
            "flip": 0.5 if flip is True else float(flip),
            "layout": layout,
            "scale": (float(scale[0]), float(scale[1])),
            "ratio": (float(ratio[0]), float(ratio[1])),
            "pixels_max": int(pixels_max),
            "exif": bool(exif),
            **({} if region is None else {"region": tuple(int(n) for n in region)}),
        },
    )


def png_samples(*, pixels_max: int = 100_000_000) -> Decode:
    """A PNG's samples as they are stored, uint16: depth maps, masks, medical images. A Ragged
    column of [height, width] or, with colour or alpha, [height, width, channels].

    Values of 8-bit files are 0..255. Palettes and fewer than 8 bits are an error.
    """
    return Decode("png_samples", {"pixels_max": int(pixels_max)})


def audio(
    *,
    frames: int | None = None,
    channels: int | None = None,
    rate: int | None = None,
    dtype: Literal["float32", "int16"] = "float32",
    cut: Literal["front", "random"] = "front",
    values_max: int = 400_000_000,
) -> Decode:
    """WAV or FLAC to sound, (frames, channels) each: a Ragged column, or [B, frames, channels].

    Args:
        frames: exactly so many; shorter files are filled up with zeros. Needs ``channels``.
        channels: 1 mixes down (mean); another number must be what is stored.
        rate: sampling rate that every file must have; nothing is resampled.
        dtype: ``"float32"`` in [-1, 1], or ``"int16"``.
        cut: where a piece of ``frames`` begins: ``"front"``, or ``"random"``, a function of (seed,
            epoch, sample) as crops are.
        values_max: files of more frames x channels are an error, before they are decoded.

    Raises OptionError on faults.
    """
    faults = Faults("decode.audio")
    given = {"frames": frames, "channels": channels, "rate": rate}
    for name, value in given.items():
        if value is not None:
            faults.count(name, value, least=1)
    if frames is not None and channels is None:
        faults.add("frames= needs channels=: every row has the same shape")
    faults.choice("dtype", dtype, ("float32", "int16"))
    faults.choice("cut", cut, ("front", "random"))
    faults.raise_any()
    numbers = {name: int(value or 0) for name, value in given.items()}
    return Decode("audio", {**numbers, "dtype": dtype, "cut": cut, "values_max": int(values_max)})


def integer(dtype: str = "int64", *, null: int | None = None) -> Decode:
    """A whole number: ASCII digits in a tar, or an MDS or Parquet integer. [B] of ``dtype``.

    Args:
        null: what stands for null in a Parquet column; without it a null is an error. A column of
            bool is then int8: 0, 1 and this.
    """
    return Decode("int", {"dtype": str(dtype), **({} if null is None else {"null": null})})


def number(dtype: str = "float32", *, null: float | None = None) -> Decode:
    """A number: ASCII in a tar, or an MDS or Parquet float. [B] of ``dtype``.

    Args:
        null: what stands for null in a Parquet column; without it NaN.
    """
    return Decode("float", {"dtype": str(dtype), **({} if null is None else {"null": null})})


def text() -> Decode:
    """UTF-8 text: a Ragged column of str."""
    return Decode("text")


def json() -> Decode:
    """JSON: a Ragged column whose rows are parsed when asked for."""
    return Decode("json")


def npy() -> Decode:
    """A NumPy ``.npy`` array: a Ragged column, since each file says its own shape. Never pickle.

    ``batch[c][i]`` is row i in its shape, without a copy; ``np.stack(batch[c].to_list())`` is
    [B, ...] where all have one shape. The dtype has to be the same in all rows of a batch.
    """
    return Decode("npy")


def raw() -> Decode:
    """The stored bytes: a Ragged column."""
    return Decode("bytes")


def auto() -> Decode:
    """What the format itself says: MDS encodings; the stored bytes in a tar."""
    return Decode("auto")


def of(name: str, decoder: Spec = None) -> Decode:
    """The column from the field ``name``: ``decode={"label": hr.decode.of("cls", int)}``.

    Raises:
        OptionError: not a decoder.
    """
    faults = Faults("decode field")
    made = decoder if isinstance(decoder, Decode) else _short(name, decoder, faults)
    faults.raise_any()
    return dataclasses.replace(made or auto(), field=name)


_SHORT: dict[Any, Decode] = {
    "audio": audio(),
    int: integer(),
    float: number(),
    str: text(),
    bytes: raw(),
    "int": integer(),
    "float": number(),
    "str": text(),
    "text": text(),
    "bytes": raw(),
    "json": json(),
    "npy": npy(),
    "image": image(),
    "auto": auto(),
    None: auto(),
}


def resolve(
    decode: Mapping[str, Spec] | None,
    columns: tuple[str, ...] | None,
    fields: list[str],
    faults: Faults,
) -> list[dict[str, Any]]:
    """The core's list of columns: one dict of ``field``, ``column``, ``kind`` and the decoder's
    options each.

    The columns are ``columns`` if given, else the keys of ``decode``, else every field of the data
    set. A column that ``decode`` does not name holds what the format says. Faults are added, not
    raised.
    """
    given = dict(decode or {})
    names = list(columns) if columns is not None else list(given) or fields
    result = []
    for name in dict.fromkeys([*names, *given]):
        spec = given.get(name)
        decoder = spec if isinstance(spec, Decode) else _short(name, spec, faults)
        stored = name if decoder is None else decoder.field or name
        if stored not in fields and fields:
            have = ", ".join(fields[:20])
            near = nearest(stored, fields)
            faults.add(f"no field {stored!r} in the data set{near}; it has {have}")
        elif decoder is not None and name in names:
            column = {"field": stored, "column": name, "kind": decoder.kind}
            result.append({**column, **decoder.options})
    return result


def _short(name: str, spec: Any, faults: Faults) -> Decode | None:
    try:
        found = _SHORT.get(spec)
    except TypeError:
        found = None
    if found is None:
        words = "int, float, str, bytes, 'json', 'npy', 'image' or hr.decode...."
        hint = " (a Python function belongs into transform=)" if callable(spec) else ""
        faults.add(f"decode[{name!r}]={spec!r} is not a decoder: {words}{hint}")
    return found
