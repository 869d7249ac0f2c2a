# SPDX-License-Identifier: Apache-2.0
"""Lightning over two processes, as users write it: a loader given to trainer.fit, nothing else said.

lightning_fit.py FOLDER DATA PROCESSES KINDS [SAVED]: fits 2 epochs and saves a checkpoint in the middle of the second one
and at its end; then goes on from each (of SAVED) in a new Trainer, up to the end of the third. KINDS, with commas:
torch (a torch DataLoader over hr.torch.IterableDataset), stateful (torchdata's), loader.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import lightning
import torch
import torch.utils.data as torch_data

import headrace as hr

GLOBAL, SAVE_AT = 64, 20
ORDER = {"seed": 3, "block": 4, "lanes": 64, "memory": "64MiB"}
DECODE = {"png": hr.decode.image(size=4), "cls": int, "id": int}

warnings.filterwarnings("ignore")


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 10)
        self.seen, self.validated = [], []

    def loss(self, batch):
        pixels = batch["png"].float().mean((2, 3)) / 255
        return torch.nn.functional.cross_entropy(self.layer(pixels), batch["cls"])

    def training_step(self, batch, index):
        self.seen.append([self.current_epoch, batch["id"].tolist()])
        return self.loss(batch)

    def validation_step(self, batch, index):
        if not self.trainer.sanity_checking:
            valid = getattr(batch, "valid", None)
            rows = range(len(batch["id"])) if valid is None else valid.nonzero()[0].tolist()
            self.validated.append([self.current_epoch, [int(batch["id"][row]) for row in rows]])
        self.log("val_loss", self.loss(batch), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Save(lightning.Callback):
    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step in (SAVE_AT, 30):
            trainer.save_checkpoint(self.folder / f"step-{trainer.global_step}.ckpt")


def loader_of(ds, kind, batch, **options):
    options = {"batch_size": batch, "decode": DECODE, "device": "cpu", **ORDER, **options}
    if kind == "loader":
        return ds.loader(**options)
    dataset = hr.torch.IterableDataset(ds, **options)
    if kind == "torch":
        return torch_data.DataLoader(dataset, batch_size=None)
    from torchdata.stateful_dataloader import StatefulDataLoader

    workers = 0 if "shuffle" in options else 2
    return StatefulDataLoader(dataset, batch_size=None, num_workers=workers)


def fit(ds, kind, processes, folder, epochs, checkpoint=None, callbacks=()):
    trainer = lightning.Trainer(
        accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto", max_epochs=epochs,
        logger=False, enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        callbacks=list(callbacks), default_root_dir=folder, num_sanity_val_steps=1,
    )  # fmt: skip
    model = Model()
    batch = GLOBAL // processes
    train, check = loader_of(ds, kind, batch), loader_of(ds, kind, batch, shuffle=False)
    trainer.fit(model, train, check, ckpt_path=checkpoint, weights_only=False)
    return {"seen": model.seen, "validated": model.validated, "steps": trainer.global_step}


def main():
    folder, data, processes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    kinds, saved = sys.argv[4].split(","), Path(sys.argv[5]) if len(sys.argv) > 5 else folder
    report = {}
    with hr.open(data) as ds:
        for kind in kinds:
            found = report[kind] = {}
            if saved == folder:
                found["whole"] = fit(ds, kind, processes, folder, 2, callbacks=[Save(folder)])
            if kind == "torch":
                continue
            for part, step in (("middle", SAVE_AT), ("end", 30)):
                checkpoint = saved / f"step-{step}.ckpt"
                found[part] = fit(ds, kind, processes, folder, 3, checkpoint)
    (folder / f"report-{os.environ.get('LOCAL_RANK', 0)}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
