# SPDX-License-Identifier: Apache-2.0
"""A DDP job that saves and loads its loader with torch.distributed.checkpoint, on any number of ranks.

checkpoint.py FOLDER DATA STEPS LOAD SAVE: loads the checkpoint LOAD (or "-"), does STEPS steps, saves to SAVE.
"""

import datetime
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.nn.parallel import DistributedDataParallel

import headrace as hr

GLOBAL = 64


def main():
    folder, data, steps, load, save = (
        Path(sys.argv[1]),
        sys.argv[2],
        int(sys.argv[3]),
        *sys.argv[4:6],
    )
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    seen = []
    with hr.open(data) as ds:
        loader = ds.loader(
            global_batch_size=GLOBAL, seed=3, block=4, lanes=64, device="cpu", memory="64MiB",
            decode={"png": hr.decode.image(size=4), "cls": int},
        )  # fmt: skip
        model = torch.nn.Linear(3, 10)
        if load != "-":
            # DCP takes the model's tensors and calls the loader's state_dict and load_state_dict.
            saved = {"model": model.state_dict(), "loader": loader}
            dcp.load(saved, checkpoint_id=load)
        trained = DistributedDataParallel(model)
        for _ in loader.epochs(100):
            for batch in loader:
                pixels = batch["png"].float().mean((2, 3)) / 255
                torch.nn.functional.cross_entropy(trained(pixels), batch["cls"]).backward()
                seen.append(batch.ids.tolist())
                if len(seen) == steps:
                    break
            if len(seen) == steps:
                break
        dcp.save({"model": model.state_dict(), "loader": loader}, checkpoint_id=save)
        report = {"seen": seen, "state": loader.state_dict()}
    (folder / f"report-{dist.get_rank()}.json").write_text(json.dumps(report))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
