# SPDX-License-Identifier: Apache-2.0
"""Normalisation, layout and flips after the copy, against the definition in float64 and against the
host's own flips."""

import numpy as np
import pytest

import headrace as hr
from headrace.device_image import IMAGENET_MEAN, IMAGENET_STD, Normalize, flips, normalize

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("hwc", [True, False])
@pytest.mark.parametrize("layout", ["CHW", "HWC", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_numbers_are_those_of_the_definition(hwc, layout, dtype):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (4, 5, 6, 3), np.uint8)
    mirrored = np.array([True, False, False, True])
    given = torch.from_numpy(pixels if hwc else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    out = normalize(given, dtype=dtype, layout=layout, flip=mirrored)
    wanted = (pixels / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    wanted = np.where(mirrored[:, None, None, None], wanted[:, :, ::-1], wanted)
    got = out if layout == "HWC" else out.permute(0, 2, 3, 1)
    # Two roundings of float32 beside values up to 2.7, or one of float16.
    close = 1e-6 if dtype == "float32" else 2.0**-10 * 1.5
    assert np.abs(got.numpy().astype(np.float64) - wanted).max() <= close
    if layout == "channels_last":
        assert out.is_contiguous(memory_format=torch.channels_last)
    else:
        assert out.is_contiguous()


def test_the_same_rows_are_mirrored_as_by_the_decoder(folder):
    options = {"batch_size": 50, "seed": 11, "remainder": "short", "device": "cpu"}
    with hr.open(str(folder)) as ds:
        host = {"png": hr.decode.image(8, layout="HWC", flip=0.3)}
        later = {"png": hr.decode.image(8, layout="HWC")}
        with ds.loader(decode=host, **options) as a, ds.loader(decode=later, **options) as b:
            for epoch in range(2):
                mirrored = 0
                for x, y in zip(a, b, strict=True):
                    mask = flips(y, 0.3, 11)
                    mirrored += int(mask.sum())
                    made = torch.where(
                        torch.from_numpy(mask)[:, None, None, None], y["png"].flip(2), y["png"]
                    )
                    assert torch.equal(made, x["png"]), epoch
                # 600 draws of 0.3: 180, standard deviation 11.2.
                assert 135 < mirrored < 225


def test_as_batch_transform(folder):
    options = {"batch_size": 50, "decode": {"png": hr.decode.image(8), "cls": int}, "device": "cpu"}
    with hr.open(str(folder)) as ds, ds.loader(**options) as plain, ds.loader(
        batch_transform=Normalize("png", flip=0.5, dtype="bfloat16"), **options
    ) as made:  # fmt: skip
        x, y = next(iter(plain)), next(iter(made))
    wanted = normalize(x["png"], dtype="bfloat16", flip=flips(x, 0.5, 0))
    assert torch.equal(y["png"], wanted)
    assert torch.equal(y["cls"], x["cls"])


def test_other_images_and_options_are_refused():
    with pytest.raises(hr.OptionError, match=r"float32 \(2, 3, 4, 4\)"):
        normalize(torch.zeros(2, 3, 4, 4))
    with pytest.raises(hr.OptionError, match="layout"):
        Normalize("x", layout="WHC")
    with pytest.raises(hr.OptionError, match="three numbers"):
        Normalize("x", std=(1.0, 0.0, 1.0))
    with pytest.raises(hr.OptionError, match="probability"):
        Normalize("x", flip=2)
