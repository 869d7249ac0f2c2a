# SPDX-License-Identifier: Apache-2.0
"""Contender: s3torchconnector: ranges by its range-based reader on threads, batches in order.

One client for all threads (its CRT engine has threads of its own). It is given the table of
offsets; labels come with the table and no tar is parsed.
"""

from concurrent.futures import ThreadPoolExecutor

from meter import Meter, rows_of_table, taken

meter = Meter()
from s3torchconnector import S3ClientConfig, S3ReaderConstructor  # noqa: E402
from s3torchconnector._s3client import S3Client  # noqa: E402

meter.imported()
spec = meter.spec


def main():
    threads = spec["options"]["threads"]
    client = S3Client(
        "us-east-1",
        endpoint=spec["endpoint"],
        s3client_config=S3ClientConfig(force_path_style=True),
    )
    by_range = S3ReaderConstructor.range_based(buffer_size=0)

    def read(row):
        key, offset, length, label = row
        with client.get_object(spec["bucket"], key, reader_constructor=by_range) as reader:
            reader.seek(offset)
            return label, reader.read(length)

    rows = rows_of_table(spec)
    batch = spec["batch"]
    meter.begin()
    with ThreadPoolExecutor(threads) as pool:
        results = []
        for result in pool.map(read, rows):
            results.append(result)
            if len(results) == batch:
                meter.batch(*taken(results))
                results = []
        if results:
            meter.batch(*taken(results))
    meter.finish(["s3torchconnector", "torch", "numpy"])


main()
