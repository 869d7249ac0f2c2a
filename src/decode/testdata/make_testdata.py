#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files of this folder with Pillow and numpy. Run it in this folder; the outputs are checked in.

images.json   what Pillow's convert("RGB") says is in each *.jpg, *.png and *.webp (NAME.rgb: raw pixels, row by row)
cmyk.json     inks and Pillow's RGB of them
resample.json source.rgb cropped and resized by Pillow's BILINEAR (resample-N.rgb)
crops.json    torchvision's RandomResizedCrop.get_params and CenterCrop arithmetic, with our draws put in
arrays.json   .npy files by numpy.save and their values in C order, little-endian
"""

import io
import json
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
WIDTH, HEIGHT = 45, 31


def picture(width: int, height: int, seed: int) -> np.ndarray:
    """Smooth colours, an edge and some noise: uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([x * 255 / width, y * 255 / height, 255 - (x + y) * 255 / (width + height)], -1)
    base[(x // 8 + y // 8) % 2 == 0] *= 0.6
    return np.clip(base + rng.normal(0, 8, base.shape), 0, 255).astype(np.uint8)


# ---- images


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    rows: list[bytes],
    *,
    interlaced=False,
    extra=b"",
) -> bytes:
    """A PNG from packed rows (interlaced: the rows of the seven passes one after another), filter 0."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    body = b"".join(b"\0" + row for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


def packed(values: np.ndarray, depth: int) -> list[bytes]:
    """Rows of samples of 1, 2 or 4 bits, padded to whole bytes."""
    out = []
    for row in values:
        bits = "".join(format(int(v), f"0{depth}b") for v in row)
        bits += "0" * (-len(bits) % 8)
        out.append(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    return out


def adam7(pixels: np.ndarray) -> list[bytes]:
    rows = []
    for x0, y0, dx, dy in [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]:
        rows += [row.tobytes() for row in pixels[y0::dy, x0::dx]]
    return rows


def write_images() -> None:
    rgb = picture(WIDTH, HEIGHT, 1)
    image = Image.fromarray(rgb)
    files: dict[str, bytes] = {}

    def jpeg(name: str, img: Image.Image, **options) -> None:
        buffer = io.BytesIO()
        img.save(buffer, "JPEG", quality=85, **options)
        files[name] = buffer.getvalue()

    jpeg("rgb420.jpg", image, subsampling=2)
    jpeg("rgb422.jpg", image, subsampling=1)
    jpeg("rgb444.jpg", image, subsampling=0)
    jpeg("progressive.jpg", image, progressive=True)
    jpeg("restart.jpg", image, restart_marker_blocks=2)
    jpeg("gray.jpg", image.convert("L"))
    jpeg("cmyk.jpg", image.convert("CMYK"))

    grey = rgb[..., 0]
    for depth in (1, 2, 4):
        files[f"gray{depth}.png"] = png(WIDTH, HEIGHT, depth, 0, packed(grey >> (8 - depth), depth))
    files["gray8.png"] = png(WIDTH, HEIGHT, 8, 0, [r.tobytes() for r in grey])
    wide = (rgb.astype(">u2") * 256 + rgb[::-1] // 2).astype(">u2")
    files["rgb16.png"] = png(WIDTH, HEIGHT, 16, 2, [r.tobytes() for r in wide])
    files["gray16.png"] = png(WIDTH, HEIGHT, 16, 0, [r.tobytes() for r in wide[..., 0]])
    files["rgb8.png"] = png(WIDTH, HEIGHT, 8, 2, [r.tobytes() for r in rgb])
    files["interlaced.png"] = png(WIDTH, HEIGHT, 8, 2, adam7(rgb), interlaced=True)
    rgba = np.concatenate([rgb, rgb[..., ::-1][..., :1]], -1)
    files["rgba8.png"] = png(WIDTH, HEIGHT, 8, 6, [r.tobytes() for r in rgba])
    files["graya8.png"] = png(WIDTH, HEIGHT, 8, 4, [r.tobytes() for r in rgba[..., 2:]])
    palette = picture(16, 1, 2).tobytes()
    trns = chunk(b"tRNS", bytes(range(0, 160, 10)))
    for depth in (1, 4, 8):
        index = (grey >> 4) % (1 << min(depth, 4))
        rows = [r.tobytes() for r in index] if depth == 8 else packed(index, depth)
        files[f"palette{depth}.png"] = png(
            WIDTH,
            HEIGHT,
            depth,
            3,
            rows,
            extra=chunk(b"PLTE", palette[: 3 << min(depth, 4)])
            + (trns[:0] if depth == 1 else trns),
        )

    def webp(name: str, img: Image.Image, **options) -> None:
        buffer = io.BytesIO()
        img.save(buffer, "WEBP", **options)
        files[name] = buffer.getvalue()

    webp("lossy.webp", image, quality=85)
    webp("lossless.webp", image, lossless=True)
    webp("alpha.webp", Image.fromarray(rgba), quality=85, exact=True)
    other = Image.fromarray(rgb[::-1])
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", save_all=True, append_images=[other])
    (HERE / "animation.webp").write_bytes(buffer.getvalue())  # refused

    listing = []
    for name, data in files.items():
        (HERE / name).write_bytes(data)
        # Pillow clips 16-bit grey instead of scaling it, so that one's truth is the high byte.
        pixels = (
            np.repeat(((wide[..., :1]) >> 8).astype(np.uint8), 3, -1)
            if name == "gray16.png"
            else np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        )
        (HERE / f"{name}.rgb").write_bytes(pixels.tobytes())
        listing.append({"name": name, "width": WIDTH, "height": HEIGHT})
    (HERE / "images.json").write_text(json.dumps(listing, indent=0) + "\n")


def write_cmyk() -> None:
    rng = np.random.default_rng(11)
    inks = np.concatenate(
        [
            rng.integers(0, 256, (400, 4)),
            np.array([[0, 0, 0, 0], [255, 255, 255, 255], [255, 0, 128, 1]]),
        ]
    ).astype(np.uint8)
    rgb = np.asarray(Image.fromarray(inks.reshape(1, -1, 4), "CMYK").convert("RGB")).reshape(-1, 3)
    (HERE / "cmyk.json").write_text(
        json.dumps([[*i, *o] for i, o in zip(inks.tolist(), rgb.tolist(), strict=True)]) + "\n"
    )


# ---- resampling


def write_resample() -> None:
    width, height = 97, 61
    rgb = picture(width, height, 3)
    (HERE / "source.rgb").write_bytes(rgb.tobytes())
    image = Image.fromarray(rgb)
    cases = []
    for box, out in [
        ((0, 0, 97, 61), (32, 32)),
        ((0, 0, 97, 61), (97, 61)),
        ((10, 7, 70, 53), (24, 40)),
        ((3, 3, 13, 11), (50, 44)),
        ((90, 55, 97, 61), (16, 9)),
        ((0, 0, 97, 61), (7, 3)),
        ((5, 0, 6, 61), (3, 20)),
        ((0, 9, 97, 10), (20, 2)),
        ((0, 0, 97, 61), (1, 1)),
    ]:
        pixels = image.crop(box).resize(out, Image.BILINEAR)
        (HERE / f"resample-{len(cases)}.rgb").write_bytes(np.asarray(pixels).tobytes())
        cases.append({"box": box, "out": out, "crop": True})
    # Resize the shorter side, then cut the middle, in two steps as torchvision does.
    for resize, out in [(40, (32, 32)), (32, (32, 32)), (50, (48, 20)), (90, (64, 80))]:
        new_w, new_h = (
            (int(resize * width / height), resize)
            if height <= width
            else (resize, int(resize * height / width))
        )
        left, top = round((new_w - out[0]) / 2.0), round((new_h - out[1]) / 2.0)
        pixels = image.resize((new_w, new_h), Image.BILINEAR).crop(
            (left, top, left + out[0], top + out[1])
        )
        (HERE / f"resample-{len(cases)}.rgb").write_bytes(np.asarray(pixels).tobytes())
        cases.append({"resize": resize, "out": out, "crop": False})
    (HERE / "resample.json").write_text(
        json.dumps({"width": width, "height": height, "cases": cases}, indent=0) + "\n"
    )


# ---- crops

MASK = (1 << 64) - 1
G = 0x9E3779B97F4A7C15


def mix64(x: int) -> int:
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & MASK
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


class Stream:
    def __init__(self, key: int) -> None:
        self.key, self.t = key, 0

    def draw(self) -> int:
        self.t += 1
        return mix64(self.key + self.t * G & MASK)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * ((self.draw() >> 11) * 2.0**-53)

    def bounded(self, m: int) -> int:
        while True:
            hi, lo = divmod(self.draw() * m, 1 << 64)
            if lo >= m or lo >= ((1 << 64) - m) % m:
                return hi


def random_resized_crop(width: int, height: int, scale, ratio, stream: Stream):
    """torchvision.transforms.RandomResizedCrop.get_params: top, left, height, width."""
    area = height * width
    log_ratio = [math.log(r) for r in ratio]
    for _ in range(10):
        target_area = area * stream.uniform(*scale)
        aspect_ratio = math.exp(stream.uniform(*log_ratio))
        w = int(round(math.sqrt(target_area * aspect_ratio)))
        h = int(round(math.sqrt(target_area / aspect_ratio)))
        if 0 < w <= width and 0 < h <= height:
            i = stream.bounded(height - h + 1)
            j = stream.bounded(width - w + 1)
            return i, j, h, w
    in_ratio = float(width) / float(height)
    if in_ratio < min(ratio):
        w, h = width, int(round(width / min(ratio)))
    elif in_ratio > max(ratio):
        h, w = height, int(round(height * max(ratio)))
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


def write_crops() -> None:
    cases = []
    for n, (width, height) in enumerate(
        [(500, 375), (375, 500), (224, 224), (3000, 20), (20, 3000), (7, 7), (1, 1), (4000, 3000)]
    ):
        for k in range(12):
            key = mix64(1000 * n + k + 1)
            scale, ratio = ((0.08, 1.0), (3 / 4, 4 / 3)) if k < 8 else ((0.5, 0.9), (1.0, 1.0))
            stream = Stream(key)
            flip = stream.uniform(0, 1) < 0.5
            top, left, h, w = random_resized_crop(width, height, scale, ratio, stream)
            cases.append([width, height, str(key), *scale, *ratio, top, left, h, w, flip])
    (HERE / "crops.json").write_text("[" + ",\n".join(map(json.dumps, cases)) + "]\n")


# ---- arrays


def write_arrays() -> None:
    cases = []
    rng = np.random.default_rng(7)
    for name in [
        "bool",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "float16",
        "uint32",
        "int32",
        "float32",
        "uint64",
        "int64",
        "float64",
    ]:
        for shape in [(), (3,), (2, 3), (2, 0, 3), (2, 3, 4)]:
            for order in "CF":
                for endian in "<>":
                    values = (rng.integers(0, 2 if name == "bool" else 120, shape)).astype(name)
                    stored = np.asarray(
                        values.astype(np.dtype(name).newbyteorder(endian)), order=order
                    )
                    for version in [(1, 0), (2, 0), (3, 0)]:
                        buffer = io.BytesIO()
                        np.lib.format.write_array(buffer, stored, version=version)
                        cases.append(
                            {
                                "npy": buffer.getvalue().hex(),
                                "dtype": name,
                                "shape": shape,
                                "values": np.ascontiguousarray(values).tobytes().hex(),
                            }
                        )
    (HERE / "arrays.json").write_text("[" + ",\n".join(map(json.dumps, cases[::5])) + "]\n")
    refused = {}
    for name, array in {
        "object": np.array([{}, 1], dtype=object),
        "structured": np.zeros(2, [("a", "<i4")]),
        "text": np.array(["ab"]),
        "complex": np.zeros(1, complex),
    }.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=True)
        refused[name] = buffer.getvalue().hex()
    (HERE / "refused.json").write_text(json.dumps(refused, indent=0) + "\n")


if __name__ == "__main__":
    write_images()
    write_cmyk()
    write_resample()
    write_crops()
    write_arrays()
