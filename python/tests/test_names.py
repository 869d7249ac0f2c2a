# SPDX-License-Identifier: Apache-2.0
"""Names that data brings and that are no UTF-8: keys of JSON, members of a tar."""

import io
import tarfile

import pytest

import headrace as hr


def opened(path, tmp_path, **options):
    return hr.open(str(path), save=None, index_dir=str(tmp_path / "index"), **options)


def test_a_json_key_that_is_not_utf8_is_an_error_of_its_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":1,"b\xff":2}\n{"a":2,"b\xff":5}\n')
    with pytest.raises(hr.CorruptError, match="name is not UTF-8"):
        opened(path, tmp_path)


def test_a_line_with_such_a_key_among_others_gives_no_column(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":1,"b":2}\n{"a":2,"b\xff":5}\n{"a":3,"b":7}\n')
    with opened(path, tmp_path) as ds:
        assert ds.fields == ["a", "b", "line"]
        assert ds[2]["b"] == 7
        assert "fields    a, b, line" in str(ds)


def test_tar_members_keep_their_bytes_as_os_fsdecode_has_them(tmp_path):
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w", errors="surrogateescape", format=tarfile.GNU_FORMAT) as tar:
        for name in ("k\udcff.txt", "k\udcff.x\udcfe"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    with opened(path, tmp_path) as ds:
        assert ds.fields == ["txt", "x\udcfe"]
        assert ds[0] == {"__key__": "k\udcff", "txt": b"abc", "x\udcfe": b"abc"}
        assert r"txt, x\xfe" in str(ds)
        str(ds).encode("utf-8")
        loader = ds.loader(batch_size=1, decode={"x\udcfe": bytes}, shuffle=False)
        (batch,) = list(loader)
        assert batch.sample_keys[0] == "k\udcff"
        assert batch["x\udcfe"][0] == b"abc"
        loader.close()
