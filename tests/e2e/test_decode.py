# SPDX-License-Identifier: Apache-2.0
"""Decoders against other writers and readers: Pillow, soundfile, the standard library's wave."""

import io
import tarfile
import wave

import numpy as np
import pytest
from small_data import add

import headrace as hr


def column(tmp_path, name, contents, decoder, **options):
    """The column of a tar whose samples hold ``contents``, in stored order."""
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for i, content in enumerate(contents):
            add(tar, f"{i:04}.{name}", content)
    with hr.open(tmp_path / "t.tar", index_dir=tmp_path / "index", rebuild=True) as ds:
        options = {"batch_size": len(contents), "shuffle": False, **options}
        with ds.loader(decode={name: decoder}, **options) as loader:
            return next(iter(loader))[name]


def picture(height, width, seed=0):
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 255 / width, y * 255 / height, 255 - (x + y) * 255 / (width + height)], -1)
    return (smooth + np.random.default_rng(seed).normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8)


def jpeg(pixels, orientation=None, **options):
    from PIL import Image

    out, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
        exif[0x010E] = "a description before it"
    # 4:4:4: decoded chroma then does not depend on which rows were asked for.
    Image.fromarray(pixels).save(out, "JPEG", quality=95, subsampling=0, exif=exif, **options)
    return out.getvalue()


def shown(content):
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))


def near(got, want, levels=2):
    assert got.shape == want.shape
    assert int(np.abs(got.astype(int) - want.astype(int)).max()) <= levels


def test_exif_orientation_is_what_pillow_shows(tmp_path):
    files = [jpeg(picture(48, 80), orientation=o) for o in range(1, 9)]
    rows = column(tmp_path, "jpg", files, hr.decode.image(layout="HWC", exif=True))
    for row, file in zip(rows, files, strict=True):
        near(np.asarray(row), shown(file))
    # Off by default: all as stored.
    for row in column(tmp_path, "jpg", files, hr.decode.image(layout="HWC")):
        assert np.asarray(row).shape == (48, 80, 3)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
def test_a_turned_picture_is_resized_and_cropped_as_it_is_shown(tmp_path, layout):
    from PIL import Image

    files = [jpeg(picture(96, 160), orientation=o) for o in range(1, 9)]
    rows = column(tmp_path, "jpg", files, hr.decode.image((70, 50), layout=layout, exif=True))
    for row, file in zip(rows, files, strict=True):
        want = np.asarray(Image.fromarray(shown(file)).resize((50, 70), Image.Resampling.BILINEAR))
        got = np.asarray(row) if layout == "HWC" else np.moveaxis(np.asarray(row), 0, -1)
        near(got, want)
    options = {"size": 40, "crop": "random_resized", "flip": True, "layout": layout, "exif": True}
    turned = column(tmp_path, "jpg", files, hr.decode.image(**options), seed=3)
    straight = [jpeg(shown(file)) for file in files]  # the same picture, nothing to turn
    upright = column(tmp_path, "jpg", straight, hr.decode.image(**options), seed=3)
    near(np.asarray(turned), np.asarray(upright), levels=8)  # encoded twice


def test_an_orientation_that_makes_no_sense_is_none(tmp_path):
    file = jpeg(picture(20, 30), orientation=6)
    at = file.index(b"Exif\0\0") + 6
    cut = [file[:at] + bytes([0xEE]) * n + file[at + n :] for n in (2, 4, 8, 40)]
    far = file.replace(b"\x12\x01\x03\x00", b"\x12\x01\x04\x00").replace(b"\x01\x12\x00\x03", b"\x01\x12\x00\x04")
    for row in column(tmp_path, "jpg", [*cut, far], hr.decode.image(layout="HWC", exif=True)):
        assert np.asarray(row).shape == (20, 30, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_region_is_those_pixels(tmp_path, kind):
    from PIL import Image

    pixels, out = picture(90, 120), io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **{"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {}))
    whole = np.asarray(Image.open(io.BytesIO(out.getvalue())).convert("RGB"))
    got = column(tmp_path, "img", [out.getvalue()] * 2, hr.decode.image(region=(11, 35, 40, 64), layout="HWC"))
    near(np.asarray(got)[1], whole[11:51, 35:99])
    small = column(tmp_path, "img", [out.getvalue()], hr.decode.image(16, region=(11, 35, 40, 64), layout="HWC"))
    want = Image.fromarray(whole[11:51, 35:99]).resize((16, 16), Image.Resampling.BILINEAR)
    near(np.asarray(small)[0], np.asarray(want), levels=12 if kind == "JPEG" else 2)  # JPEG: reduced in the DCT
    with pytest.raises(hr.CorruptError, match=r"region .* is not inside its 120x90 pixels"):
        column(tmp_path, "img", [out.getvalue()], hr.decode.image(region=(60, 0, 31, 10)))


@pytest.mark.parametrize("options", [{"region": (0, 0, 0, 4)}, {"region": (0, 0, 4)}, {"region": (0, 0, 4, 4), "crop": "center", "size": 4}])
def test_faults_of_regions_are_told(options):
    with pytest.raises(hr.OptionError, match="region="):
        hr.decode.image(**options)


def test_png_samples_are_what_pillow_stored(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(1)
    depth = rng.integers(0, 65536, (33, 47), dtype=np.uint16)
    grey, rgba = rng.integers(0, 256, (8, 9), np.uint8), rng.integers(0, 256, (5, 6, 4), np.uint8)
    files = []
    for pixels in (depth, grey, rgba):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        files.append(out.getvalue())
    for file, pixels in zip(files, (depth, grey, rgba), strict=True):
        got = np.asarray(column(tmp_path, "png", [file], hr.decode.png_samples())[0])
        assert got.dtype == np.uint16
        np.testing.assert_array_equal(got, pixels)


def test_png_samples_of_palettes_and_bits_are_refused_and_bombs_too(tmp_path):
    from PIL import Image

    for mode, cause in (("P", "a palette"), ("1", "fewer than 8 bits")):
        out = io.BytesIO()
        Image.new(mode, (8, 8)).save(out, "PNG")
        with pytest.raises(hr.UnsupportedError, match=cause):
            column(tmp_path, "png", [out.getvalue()], hr.decode.png_samples())
    out = io.BytesIO()
    Image.new("I;16", (300, 300)).save(out, "PNG")
    with pytest.raises(hr.LimitError, match="pixels_max = 1000"):
        column(tmp_path, "png", [out.getvalue()], hr.decode.png_samples(pixels_max=1000))
    with pytest.raises(hr.CorruptError, match="read PNG"):
        column(tmp_path, "png", [out.getvalue()[:60]], hr.decode.png_samples())


def wav(values, rate=16000):
    """By the standard library: 16 bits."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(values.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(values.astype("<i2").tobytes())
    return out.getvalue()


def sound(frames, channels, seed=0):
    return np.random.default_rng(seed).integers(-32768, 32768, (frames, channels), dtype=np.int16)


def test_wav_by_the_standard_library_is_its_samples(tmp_path):
    sounds = [sound(1000, 2, 1), sound(700, 1, 2)]
    rows = column(tmp_path, "wav", [wav(s) for s in sounds], hr.decode.audio(dtype="int16"))
    for row, want in zip(rows, sounds, strict=True):
        np.testing.assert_array_equal(np.asarray(row), want)
    rows = column(tmp_path, "wav", [wav(s) for s in sounds], hr.decode.audio())
    for row, want in zip(rows, sounds, strict=True):
        np.testing.assert_array_equal(np.asarray(row), (want / 32768).astype(np.float32))


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", "PCM_24"), ("FLAC", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_24"), ("RF64", "PCM_16")])
def test_files_by_soundfile_are_what_it_reads(tmp_path, kind, subtype):
    soundfile = pytest.importorskip("soundfile")
    out = io.BytesIO()
    soundfile.write(out, sound(4000, 2) / 40000, 44100, format=kind, subtype=subtype)
    want, _ = soundfile.read(io.BytesIO(out.getvalue()), dtype="float32", always_2d=True)
    got = column(tmp_path, "snd", [out.getvalue()], hr.decode.audio(rate=44100))[0]
    np.testing.assert_array_equal(np.asarray(got), want)


def test_pieces_are_of_one_length_mixed_down_and_a_function_of_the_seed(tmp_path):
    sounds = [sound(900, 2, 1), sound(100, 2, 2), sound(901, 2, 3)]
    files = [wav(s) for s in sounds]
    got = np.asarray(column(tmp_path, "wav", files, hr.decode.audio(frames=300, channels=1)))
    assert got.shape == (3, 300, 1)
    for row, want in zip(got, sounds, strict=True):
        mean = np.zeros((300, 1))
        mean[: min(300, len(want))] = want[:300].mean(1, keepdims=True) / 32768
        np.testing.assert_allclose(row, mean, atol=1e-6)
    random = hr.decode.audio(frames=300, channels=2, cut="random", dtype="int16")
    one, two = (np.asarray(column(tmp_path, "wav", files, random, seed=seed)) for seed in (1, 2))
    again = np.asarray(column(tmp_path, "wav", files, random, seed=1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, two)
    windows = np.lib.stride_tricks.sliding_window_view(sounds[0], 300, axis=0).transpose(0, 2, 1)
    assert (windows == one[0]).all((1, 2)).any()  # a piece of it, whole


def test_audio_that_cannot_be_read_says_why(tmp_path):
    good = wav(sound(1000, 2))
    cases = [
        (b"OggS" + bytes(60), hr.decode.audio(), hr.UnsupportedError, "WAV and FLAC are read"),
        (b"no sound at all", hr.decode.audio(), hr.CorruptError, "neither WAV nor FLAC"),
        (b"fLaC" + bytes(60), hr.decode.audio(), hr.CorruptError, "read audio"),
        (good, hr.decode.audio(rate=8000), hr.CorruptError, "16000 Hz where rate=8000"),
        (good, hr.decode.audio(channels=3), hr.CorruptError, "2 channels where 3"),
        (good, hr.decode.audio(values_max=1999), hr.LimitError, "values_max = 1999"),
    ]
    for content, decoder, error, cause in cases:
        with pytest.raises(error, match=cause):
            column(tmp_path, "wav", [content], decoder)
    with pytest.raises(hr.OptionError, match="frames= needs channels="):
        hr.decode.audio(frames=10)


def test_a_flac_that_is_cut_off_is_an_error(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    out = io.BytesIO()
    soundfile.write(out, sound(50_000, 1) / 40000, 44100, format="FLAC")
    with pytest.raises(hr.CorruptError, match="read audio"):
        column(tmp_path, "flac", [out.getvalue()[: len(out.getvalue()) // 2]], hr.decode.audio())
