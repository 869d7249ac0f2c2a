# SPDX-License-Identifier: Apache-2.0
"""A DDP job of several ranks over gloo: every step's backward pass is an all-reduce, so ranks that do a different
number of steps do not end.

ddp.py FOLDER DATA OPTIONS [LEAVE]: OPTIONS is a JSON list of loader options, run one after another, two passes each; with
LEAVE rank 0 leaves out its last step, as the control of the test.
"""

import datetime
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import headrace as hr

BATCH = 16


def train(ds, options, leave):
    """What this rank was given: for each pass [[sample numbers], [valid]] of each step."""
    options = {"batch_size": BATCH, "memory": "64MiB", "device": "cpu", **options}
    options["decode"] = {"png": hr.decode.image(size=4), "cls": int}
    if options.pop("torch", False):
        data = hr.torch.IterableDataset(ds, extras=("ids", "valid"), **options)
        loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=1)
    else:
        loader = hr.torch.DataLoader(ds, **options)
    model = DistributedDataParallel(torch.nn.Linear(3, 10))
    sgd = torch.optim.SGD(model.parameters(), lr=0.01)
    passes = []
    for _ in range(2):
        steps = []
        for batch in loader:
            if leave and dist.get_rank() == 0 and len(steps) == len(loader) - 1:
                break
            ids = batch["ids"] if isinstance(batch, dict) else torch.from_numpy(batch.ids)
            valid = batch["valid"] if isinstance(batch, dict) else torch.from_numpy(batch.valid)
            losses = torch.nn.functional.cross_entropy(
                model(batch["png"].float().mean((2, 3)) / 255), batch["cls"], reduction="none"
            )
            (losses * valid).mean().backward()
            sgd.step()
            sgd.zero_grad()
            steps.append([ids.tolist(), valid.tolist()])
        passes.append(steps)
    return {
        "passes": passes,
        "length": len(loader),
        "step": getattr(loader, "step", None),
        "state": loader.state_dict() if isinstance(loader, hr.Loader) else None,
    }


def main():
    folder, data, options = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    rank = dist.get_rank()
    report = {}
    with hr.open(data) as ds:
        for name, chosen in options.items():
            try:
                report[name] = train(ds, chosen, leave=len(sys.argv) > 4)
            except hr.OptionError as refused:
                report[name] = str(refused)
    (folder / f"report-{rank}.json").write_text(json.dumps(report))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
