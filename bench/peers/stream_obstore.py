# SPDX-License-Identifier: Apache-2.0
"""Contender: obstore (Rust object_store) with asyncio: one range GET a sample in a true shuffle.

It knows where every sample lies from a table in a local file: no index is read from the store, no
tar is parsed and the label is not read; all of that is in obstore's favour.
`ordered`: batches hold the samples that the order says, else those that came first.
"""

import asyncio
from collections import deque

from meter import Meter, rows_of_table, taken

meter = Meter()
import obstore  # noqa: E402
from obstore.store import S3Store  # noqa: E402

meter.imported()
spec = meter.spec


async def read(store, row):
    key, offset, length, label = row
    return label, await obstore.get_range_async(store, key, start=offset, length=length)


async def in_order(store, rows, in_flight):
    waiting, results = deque(), []
    for row in rows:
        waiting.append(asyncio.create_task(read(store, row)))
        if len(waiting) < in_flight:
            continue
        results.append(await waiting.popleft())
        if len(results) == spec["batch"]:
            meter.batch(*taken(results))
            results = []
    while waiting:
        results.append(await waiting.popleft())
        if len(results) == spec["batch"] or not waiting:
            meter.batch(*taken(results))
            results = []


async def as_they_come(store, rows, in_flight):
    rest, results = iter(rows), []

    async def reader():
        for row in rest:
            results.append(await read(store, row))
            if len(results) >= spec["batch"]:
                meter.batch(*taken(results))
                results.clear()

    await asyncio.gather(*(reader() for _ in range(in_flight)))
    if results:
        meter.batch(*taken(results))


def main():
    rows = rows_of_table(spec)
    store = S3Store(
        spec["bucket"],
        endpoint=spec["endpoint"],
        access_key_id="bench",
        secret_access_key="bench-secret",
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    consume = in_order if spec["options"]["ordered"] else as_they_come
    meter.begin()
    asyncio.run(consume(store, rows, spec["options"]["in_flight"]))
    meter.finish(["obstore", "numpy"])


main()
