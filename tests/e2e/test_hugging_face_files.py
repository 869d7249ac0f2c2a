# SPDX-License-Identifier: Apache-2.0
"""Hugging Face's Image and Audio structs, {bytes, path}: decoded like any field that holds a file."""

import io
import wave

import numpy as np
import pytest

import headrace as hr

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
Image = pytest.importorskip("PIL.Image")

ROWS = 6
FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(i):
    return (np.arange(20 * 30 * 3).reshape(20, 30, 3) * (i + 1) % 251).astype(np.uint8)


def png(i):
    out = io.BytesIO()
    Image.fromarray(picture(i)).save(out, "PNG")
    return out.getvalue()


def wav(i):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.arange(i, i + 50, dtype="<i2").tobytes())
    return out.getvalue()


@pytest.fixture(params=["parquet", "arrow"])
def ds(request, tmp_path):
    files = {
        "image": [{"bytes": png(i), "path": f"{i}.png"} for i in range(ROWS)],
        "audio": [{"bytes": wav(i), "path": None} for i in range(ROWS)],
        "elsewhere": [
            {"bytes": None if i % 2 else png(i), "path": f"/nobody/has/{i}.png"}
            for i in range(ROWS)
        ],
    }
    table = pa.table({name: pa.array(rows, FILE) for name, rows in files.items()})
    path = tmp_path / f"a.{request.param}"
    if request.param == "parquet":
        pq.write_table(table, path, row_group_size=2)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as out:
            out.write_table(table, max_chunksize=2)
    with hr.open(str(path), save=None, index_dir=str(tmp_path / "index")) as opened:
        yield opened


def batch_of(ds, **options):
    (batch,) = list(ds.loader(batch_size=ROWS, shuffle=False, **options))
    return batch


def test_images_and_sound_are_decoded_when_asked(ds):
    batch = batch_of(
        ds, decode={"image": hr.decode.image(), "audio": hr.decode.audio(dtype="int16")}
    )
    for i in range(ROWS):
        np.testing.assert_array_equal(batch["image"][i], picture(i).transpose(2, 0, 1))
        np.testing.assert_array_equal(batch["audio"][i][:, 0], np.arange(i, i + 50))


def test_fixed_sizes_give_one_array(ds):
    decode = {"image": hr.decode.image(16), "audio": hr.decode.audio(frames=64, channels=1)}
    batch = batch_of(ds, decode=decode)
    assert batch["image"].shape == (ROWS, 3, 16, 16)
    assert batch["audio"].shape == (ROWS, 64, 1)


def test_without_a_decoder_they_are_the_stored_files_and_their_paths(ds):
    sample = ds[1]
    assert sample["image"] == png(1)
    assert sample["image.path"] == "1.png"
    assert sample["audio.path"] is None
    assert sample["elsewhere"] is None
    assert sample["elsewhere.path"] == "/nobody/has/1.png"


@pytest.mark.parametrize("size", [None, 16])
def test_a_file_that_was_not_embedded_is_a_bad_sample_that_says_so(ds, size):
    decode = {"elsewhere": hr.decode.image(size)}
    with pytest.raises(hr.UnsupportedError, match="nothing is stored to decode"):
        batch_of(ds, decode=decode)
    batch = batch_of(ds, decode=decode, on_bad_sample="skip")
    assert batch.valid.tolist() == [True, False] * (ROWS // 2)
