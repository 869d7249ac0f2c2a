# SPDX-License-Identifier: Apache-2.0
"""Contender: boto3 with 64 threads: one range GET a sample in a true shuffle, batches in order.

It is given the table of offsets, as obstore is; labels come with the table and no tar is parsed.
"""

from concurrent.futures import ThreadPoolExecutor

from meter import Meter, rows_of_table, taken

meter = Meter()
import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402

meter.imported()
spec = meter.spec


def main():
    threads = spec["options"]["threads"]
    client = boto3.client(
        "s3",
        endpoint_url=spec["endpoint"],
        config=Config(max_pool_connections=threads, s3={"addressing_style": "path"}),
    )

    def read(row):
        key, offset, length, label = row
        reply = client.get_object(
            Bucket=spec["bucket"], Key=key, Range=f"bytes={offset}-{offset + length - 1}"
        )
        return label, reply["Body"].read()

    rows = rows_of_table(spec)
    batch = spec["batch"]
    meter.begin()
    with ThreadPoolExecutor(threads) as pool:
        results = []
        for result in pool.map(read, rows):  # in order, all of them queued
            results.append(result)
            if len(results) == batch:
                meter.batch(*taken(results))
                results = []
        if results:
            meter.batch(*taken(results))
    meter.finish(["boto3", "numpy"])


main()
