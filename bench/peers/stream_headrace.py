# SPDX-License-Identifier: Apache-2.0
"""Contender: headrace itself, as the README uses it, without torch.

With BENCH_HASHES=FILE it also writes the SHA-256 of every payload, in the order of the ids; such a
run is not for its time.
"""

import hashlib
import os

from meter import Meter, ids_of_views

meter = Meter()
import headrace as hr  # noqa: E402  (its import is part of what is measured)

meter.imported()
spec = meter.spec
ds = hr.open(spec["url"], endpoint_url=spec["endpoint"], **spec["open_options"])
loader = ds.loader(batch_size=spec["batch"], decode={"bin": bytes, "cls": int}, **spec["options"])
meter.begin()
hashes = []
for batch in loader:
    rows = batch["bin"]
    if "BENCH_HASHES" in os.environ:
        hashes += [hashlib.sha256(view).hexdigest() for view in rows.views()]
    meter.batch(ids_of_views(rows.views()), batch["cls"], int(rows.offsets[-1]))
if hashes:
    with open(os.environ["BENCH_HASHES"], "w") as file:
        file.write("\n".join(hashes))
described = str(loader).splitlines()
stats = dict(loader.stats())
said = str(loader.stats())
loader.close()
meter.finish(["headrace", "numpy"], loader=described, stats=stats, stats_text=said)
