# SPDX-License-Identifier: Apache-2.0
"""A format's own writer and reader, for bench/formats.py; runs in a peer's environment.

    formats_peer.py write FORMAT FOLDER SAMPLES BYTES
    formats_peer.py read FORMAT SPEC.json

Samples are {"bin": bytes, "cls": int}, the n-th beginning with its number. Readers run in this
process (no worker processes), shuffled as each does it, and hand over batches as headrace does: the
payloads of a batch one after another, their offsets, and the labels. CPU is this process's and its
children's.
"""

import io
import json
import os
import resource
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np

BATCH = 256
WINDOW = 1024
CLIP = 32_000  # two seconds of 16 kHz


def payload(i, size):
    return i.to_bytes(8, "little") + np.random.default_rng(i).bytes(size - 8)


def cpu_seconds():
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def mosaic():
    """mosaicml-streaming without torchvision (stream_mosaic.py says why)."""
    import transformers.feature_extraction_utils
    import transformers.tokenization_utils_base  # noqa: F401

    names = {
        "torchvision": {},
        "torchvision.datasets": {"VisionDataset": object},
        "torchvision.transforms": {},
        "torchvision.transforms.functional": {"to_tensor": None},
    }
    for name, members in names.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
    import streaming

    return streaming


# ---- writers


def write_webdataset(folder, samples, size):
    import webdataset

    with webdataset.ShardWriter(
        f"{folder}/t-%05d.tar", maxsize=16_000_000, verbose=0, mtime=1_600_000_000
    ) as out:
        for i in range(samples):
            out.write({"__key__": f"{i:08}", "bin": payload(i, size), "cls": str(i % 1000)})


def write_mds(folder, samples, size):
    with mosaic().MDSWriter(
        out=folder, columns={"bin": "bytes", "cls": "int"}, size_limit=16_000_000
    ) as out:
        for i in range(samples):
            out.write({"bin": payload(i, size), "cls": i % 1000})


def litdata_sample(size, i):
    return {"bin": payload(i, size), "cls": i % 1000}


def write_litdata(folder, samples, size):
    from functools import partial

    from litdata import optimize

    optimize(
        fn=partial(litdata_sample, size),
        inputs=list(range(samples)),
        output_dir=folder,
        chunk_bytes=16_000_000,
        num_workers=1,
        reorder_files=False,
    )


def write_tfrecord(folder, samples, size):
    from tfrecord.writer import TFRecordWriter

    for shard in range(4):
        out = TFRecordWriter(f"{folder}/t-{shard}.tfrecord")
        for i in range(shard, samples, 4):
            out.write({"bin": (payload(i, size), "byte"), "cls": (i % 1000, "int")})
        out.close()


def write_parquet(folder, samples, size):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for shard in range(4):
        ids = range(shard, samples, 4)
        table = pa.table({"bin": [payload(i, size) for i in ids], "cls": [i % 1000 for i in ids]})
        pq.write_table(table, f"{folder}/t-{shard}.parquet", row_group_size=4096)


def write_arrow(folder, samples, size):
    import pyarrow as pa

    for shard in range(4):
        ids = range(shard, samples, 4)
        table = pa.table({"bin": [payload(i, size) for i in ids], "cls": [i % 1000 for i in ids]})
        path = f"{folder}/t-{shard}.arrow"
        with pa.OSFile(path, "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table, max_chunksize=1000)


def write_npy(folder, samples, size):
    for i in range(samples):
        np.save(f"{folder}/{i:08}.npy", np.frombuffer(payload(i, size), np.uint8))


def write_jsonl(folder, samples, size):
    for shard in range(4):
        with open(f"{folder}/t-{shard}.jsonl", "w") as out:
            for i in range(shard, samples, 4):
                out.write(json.dumps({"bin": payload(i, size // 2).hex(), "cls": i % 1000}) + "\n")


def write_tokens(folder, samples, size):
    tokens = np.random.default_rng(1).integers(0, 50_000, samples * size // 2, dtype=np.uint16)
    tokens.tofile(f"{folder}/train.bin")


def write_arrayrecord(folder, samples, size):
    """A record a chunk, as Grain wants it; compressed, as by default."""
    from array_record.python.array_record_module import ArrayRecordWriter

    for shard in range(4):
        out = ArrayRecordWriter(f"{folder}/t-{shard}.array_record", "group_size:1")
        for i in range(shard, samples, 4):
            out.write(payload(i, size))
        out.close()


def write_sound(folder, samples, form):
    """Tars of clips of 16 bits: three tones and a little noise."""
    import soundfile
    import webdataset

    t = np.arange(CLIP) / 16_000
    with webdataset.ShardWriter(
        f"{folder}/t-%05d.tar", maxsize=16_000_000, verbose=0, mtime=1_600_000_000
    ) as out:
        for i in range(samples // 25):
            random = np.random.default_rng(i)
            tones = sum(np.sin(2 * np.pi * f * t) for f in random.uniform(100, 2000, 3)) / 4
            file = io.BytesIO()
            noisy = (tones + random.normal(0, 0.01, CLIP)).clip(-1, 1) * 32767
            soundfile.write(file, noisy.astype(np.int16), 16_000, format=form.upper())
            out.write({"__key__": f"{i:08}", form: file.getvalue(), "cls": str(i % 1000)})


def write_wav(folder, samples, size):
    write_sound(folder, samples, "wav")


def write_flac(folder, samples, size):
    write_sound(folder, samples, "flac")


# ---- readers: each gives (values, offsets, labels) a batch


def packed(samples):
    payloads = [sample[0] for sample in samples]
    offsets = np.zeros(len(payloads) + 1, np.int64)
    np.cumsum([len(one) for one in payloads], out=offsets[1:])
    labels = np.array([int(sample[1]) for sample in samples])
    return np.frombuffer(b"".join(payloads), np.uint8), offsets, labels


def in_batches(samples):
    batch = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == BATCH:
            yield packed(batch)
            batch = []


def read_webdataset(spec):
    import webdataset

    if spec["endpoint"]:
        urls = [f"{spec['endpoint']}/{spec['bucket']}/{key}" for key in spec["keys"]]
    else:
        urls = [f"{spec['folder']}/{key}" for key in spec["keys"]]
    dataset = (
        webdataset.WebDataset(urls, shardshuffle=100, seed=1).shuffle(1000).to_tuple("bin", "cls")
    )
    return in_batches(iter(dataset))


def read_mds(spec):
    streaming, local = mosaic(), spec["folder"]
    options = {"local": local}
    if spec["endpoint"]:
        os.environ["S3_ENDPOINT_URL"] = spec["endpoint"]
        options = {
            "remote": f"s3://{spec['bucket']}",
            "local": tempfile.mkdtemp(dir=spec["scratch"]),
        }
    dataset = streaming.StreamingDataset(**options, shuffle=True, batch_size=BATCH)
    return in_batches((sample["bin"], sample["cls"]) for sample in dataset)


def read_litdata(spec):
    from litdata import StreamingDataset
    from litdata.streaming import downloader

    options = {"input_dir": spec["folder"]}
    if spec["endpoint"]:
        os.environ["AWS_ENDPOINT_URL"] = spec["endpoint"]
        downloader._OBSTORE_CLIENT_OPTIONS = {
            **(downloader._OBSTORE_CLIENT_OPTIONS or {}),
            "allow_http": True,
        }
        options = {
            "input_dir": f"s3://{spec['bucket']}",
            "cache_dir": tempfile.mkdtemp(dir=spec["scratch"]),
            "storage_options": {"endpoint_url": spec["endpoint"]},
        }
    dataset = StreamingDataset(**options, shuffle=True, seed=1)
    return in_batches((sample["bin"], sample["cls"]) for sample in dataset)


def read_tfrecord(spec):
    from tfrecord.reader import tfrecord_loader

    def samples():
        for key in spec["keys"]:
            for one in tfrecord_loader(
                f"{spec['folder']}/{key}", None, {"bin": "byte", "cls": "int"}
            ):
                yield bytes(one["bin"]), int(one["cls"][0])

    return in_batches(samples())


def read_parquet(spec):
    import pyarrow.dataset as ds
    from pyarrow import fs

    where, files = spec["folder"], None
    if spec["endpoint"]:
        files = fs.S3FileSystem(
            endpoint_override=spec["endpoint"], anonymous=True, region="us-east-1"
        )
        where = spec["bucket"]
    for batch in ds.dataset(where, filesystem=files, format="parquet").to_batches(batch_size=BATCH):
        column = batch.column("bin")
        offsets = np.frombuffer(column.buffers()[1], np.int32)[
            column.offset : column.offset + len(column) + 1
        ]
        values = np.frombuffer(column.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
        yield values.copy(), (offsets - offsets[0]).astype(np.int64), batch.column("cls").to_numpy()


def read_arrow(spec):
    """Record batches as they lie in the memory map, 1,000 rows each."""
    import pyarrow as pa

    for key in spec["keys"]:
        reader = pa.ipc.open_file(pa.memory_map(f"{spec['folder']}/{key}"))
        for n in range(reader.num_record_batches):
            batch = reader.get_batch(n)
            column = batch.column(0)
            offsets = np.frombuffer(column.buffers()[1], np.int32)[: len(column) + 1]
            values = np.frombuffer(column.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
            yield values.copy(), offsets.astype(np.int64), batch.column(1).to_numpy().copy()


def read_npy(spec):
    """A permutation of the files."""
    names = np.random.default_rng(1).permutation(spec["keys"])
    return in_batches((np.load(f"{spec['folder']}/{name}").tobytes(), 0) for name in names)


def read_jsonl(spec):
    def samples():
        for key in spec["keys"]:
            with open(f"{spec['folder']}/{key}") as file:
                for line in file:
                    one = json.loads(line)
                    yield one["bin"].encode(), one["cls"]

    return in_batches(samples())


def read_tokens(spec):
    """nanoGPT's get_batch, over a permutation of windows: each once."""
    tokens = np.memmap(f"{spec['folder']}/train.bin", np.uint16, "r")
    windows = np.random.default_rng(1).permutation(len(tokens) // WINDOW)
    for at in range(0, len(windows) - BATCH + 1, BATCH):
        rows = np.stack([tokens[n * WINDOW : (n + 1) * WINDOW] for n in windows[at : at + BATCH]])
        yield rows.reshape(-1).view(np.uint8), np.arange(BATCH + 1) * WINDOW * 2, np.zeros(BATCH)


def read_arrayrecord(spec):
    """A permutation of the records, a batch's of each file in one call."""
    from array_record.python.array_record_module import ArrayRecordReader

    files = [
        ArrayRecordReader(f"{spec['folder']}/{key}", "readahead_buffer_size:0")
        for key in spec["keys"]
    ]
    counts = np.array([file.num_records() for file in files])
    begins = np.cumsum(counts) - counts
    order = np.random.default_rng(1).permutation(counts.sum())
    for at in range(0, len(order) - BATCH + 1, BATCH):
        wanted = order[at : at + BATCH]
        of = np.searchsorted(begins, wanted, "right") - 1
        rows = [None] * BATCH
        for n, file in enumerate(files):
            places = np.flatnonzero(of == n)
            if len(places):
                found = file.read((wanted[places] - begins[n]).tolist())
                for place, record in zip(places, found, strict=True):
                    rows[place] = record
        yield packed([(record, 0) for record in rows])


def read_sound(spec, form):
    """webdataset, and soundfile for each clip."""
    import soundfile
    import webdataset

    urls = [f"{spec['folder']}/{key}" for key in spec["keys"]]
    if spec["endpoint"]:
        urls = [f"{spec['endpoint']}/{spec['bucket']}/{key}" for key in spec["keys"]]
    dataset = webdataset.WebDataset(urls, shardshuffle=100, seed=1).shuffle(1000)
    clips, labels = [], []
    for clip, label in dataset.to_tuple(form, "cls"):
        clips.append(soundfile.read(io.BytesIO(clip), dtype="float32", always_2d=True)[0])
        labels.append(int(label))
        if len(clips) == BATCH:
            values = np.stack(clips)
            yield values.reshape(-1).view(np.uint8), np.arange(BATCH + 1) * CLIP * 4, labels
            clips, labels = [], []


def read_wav(spec):
    return read_sound(spec, "wav")


def read_flac(spec):
    return read_sound(spec, "flac")


def main():
    action, name = sys.argv[1:3]
    if action == "write":
        globals()[f"write_{name}"](sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
        return
    spec = json.loads(Path(sys.argv[3]).read_text())
    next(iter(globals()[f"read_{name}"](spec)))  # imports and thread pools are not counted
    rows = nbytes = 0
    cpu, began = cpu_seconds(), time.monotonic()
    for values, offsets, labels in globals()[f"read_{name}"](spec):
        rows += len(labels)
        nbytes += int(offsets[-1])
        assert len(values) >= int(offsets[-1])
    result = {
        "rows": rows,
        "bytes": nbytes,
        "seconds": time.monotonic() - began,
        "cpu_s": cpu_seconds() - cpu,
    }
    Path(spec["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
