# SPDX-License-Identifier: Apache-2.0
"""Accelerate over two processes, as users write it: the loader goes through accelerator.prepare with the model.

accelerate_fit.py FOLDER DATA: trains 2 epochs, saves with save_state in the middle of the second, and goes on from
there; then gives prepare a torch DataLoader over hr.torch.IterableDataset, which is refused.
"""

import json
import sys
from pathlib import Path

import torch
import torch.utils.data as torch_data
from accelerate import Accelerator

import headrace as hr

BATCH, SAVE_AT = 32, 20
ORDER = {"seed": 3, "block": 4, "lanes": 64, "memory": "64MiB"}
DECODE = {"png": hr.decode.image(size=4), "cls": int, "id": int}


def train(ds, folder, load, remainder="drop"):
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(3, 10)
    sgd = torch.optim.SGD(model.parameters(), lr=0.01)
    loader = ds.loader(
        batch_size=BATCH, decode=DECODE, device=accelerator.device, remainder=remainder, **ORDER
    )
    model, sgd, loader = accelerator.prepare(model, sgd, loader)
    accelerator.register_for_checkpointing(loader)
    if load:
        accelerator.load_state(folder / "checkpoint")
    seen = []
    for epoch in loader.epochs(2):
        for batch in loader:
            pixels = batch["png"].float().mean((2, 3)) / 255
            accelerator.backward(torch.nn.functional.cross_entropy(model(pixels), batch["cls"]))
            sgd.step()
            sgd.zero_grad()
            seen.append([epoch, batch.ids[batch.valid].tolist()])
            if loader.step == SAVE_AT and not load and remainder == "drop":
                accelerator.save_state(folder / "checkpoint")
    together = accelerator.gather(batch["id"]).tolist()
    return {"seen": seen, "length": len(loader), "gathered": sorted(together), "last": seen[-1][1]}


def refused(ds, workers, **config):
    from accelerate import DataLoaderConfiguration

    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**config))
    dataset = hr.torch.IterableDataset(ds, batch_size=BATCH, decode=DECODE, **ORDER)
    loader = torch_data.DataLoader(dataset, batch_size=None, num_workers=workers)
    try:
        loader = accelerator.prepare(loader)
        for _ in loader:
            return "not refused"
    except hr.UnsupportedError as why:
        return str(why)


def main():
    folder, data = Path(sys.argv[1]), sys.argv[2]
    with hr.open(data) as ds:
        report = {"whole": train(ds, folder, load=False), "middle": train(ds, folder, load=True)}
        for rule in ("pad", "wrap"):
            report[rule] = train(ds, folder, load=False, remainder=rule)
        report["refused"] = [
            refused(ds, 0), refused(ds, 2), refused(ds, 0, dispatch_batches=False),
        ]  # fmt: skip
        accelerator = Accelerator(cpu=True)
        (folder / f"report-{accelerator.process_index}.json").write_text(json.dumps(report))
        accelerator.end_training()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
