# SPDX-License-Identifier: Apache-2.0
"""The demo's trainer: an ordinary torch training loop over a headrace loader, in a process that may
be killed.

    python -m headrace.demo.trainer FOLDER EPOCHS

It writes to FOLDER: ``checkpoint.pt`` (model, optimiser, loader state: replaced atomically),
``ledger.jsonl`` (the sample numbers of each step that was trained), ``report.json`` at the end.
Started again, it goes on from the checkpoint.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import headrace as hr
from headrace.demo.data import TRAIN_URL, VALID_URL

BATCH = 16
# Little more than half of the 7 MB data set, so that it has to be streamed in blocks. Block and
# lanes would be chosen by the loader; its defaults are for data sets of gigabytes, where a block of
# 8 samples would be a waste of requests.
MEMORY, BLOCK, LANES = "4MiB", 8, 64
CHECKPOINT_STEPS = 20
QUALITY_WINDOW = 32  # batches over which the order's quality is shown: D(32)
DECODE = {"jpg": hr.decode.image(size=32), "cls": int}


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 8 * 8, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def scores(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = model(images.float().div_(127.5).sub_(1.0))
    return out


def accuracy(model: nn.Module, loader: hr.Loader) -> float:
    right = total = 0
    with torch.no_grad():
        for batch in loader:
            valid = torch.from_numpy(batch.valid)  # the last batch is padded
            right += int(((scores(model, batch["jpg"]).argmax(1) == batch["cls"]) & valid).sum())
            total += int(valid.sum())
    return right / total


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


class Checkpoint:
    """Everything that a resume needs, in one file."""

    def __init__(self, folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.path, self.ledger_path = folder / "checkpoint.pt", folder / "ledger.jsonl"
        self.model, self.optimiser = model, optimiser
        self.accuracies: list[float] = []

    def save(self, loader: hr.Loader) -> None:
        parts = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "loader": loader.state_dict(),
            "accuracies": self.accuracies,
            "ledger_bytes": self.ledger_path.stat().st_size,
        }
        beside = self.path.with_suffix(".new")
        torch.save(parts, beside)
        os.replace(beside, self.path)

    def load(self, loader: hr.Loader) -> bool:
        if not self.path.exists():
            return False
        parts = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(parts["model"])
        self.optimiser.load_state_dict(parts["optimiser"])
        loader.load_state_dict(parts["loader"])
        self.accuracies = list(parts["accuracies"])
        os.truncate(
            self.ledger_path, parts["ledger_bytes"]
        )  # steps after it were lost with the kill
        return True


def train(folder: Path, epochs: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    dataset, valid_set = hr.open(TRAIN_URL), hr.open(VALID_URL)
    loader = dataset.loader(
        batch_size=BATCH,
        shuffle=True,
        seed=0,
        decode=DECODE,
        device="cpu",
        memory=MEMORY,
        block=BLOCK,
        lanes=LANES,
        remainder="pad",
    )
    valid_loader = valid_set.loader(
        batch_size=64, shuffle=False, decode=DECODE, device="cpu", memory="4MiB"
    )
    model = make_model()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    checkpoint = Checkpoint(folder, model, optimiser)
    resumed = checkpoint.load(loader)
    say(
        event="start",
        resumed=resumed,
        step=loader.step,
        steps=epochs * len(loader),
        loader=str(loader),
    )
    begin = time.perf_counter()
    with open(checkpoint.ledger_path, "a") as ledger:
        for epoch in loader.epochs(epochs):
            for batch in loader:
                valid = torch.from_numpy(batch.valid)
                losses = nn.functional.cross_entropy(
                    scores(model, batch["jpg"]), batch["cls"], reduction="none"
                )
                loss = losses[valid].mean()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                delivered = {"epoch": epoch, "ids": batch.ids[batch.valid].tolist()}
                ledger.write(json.dumps(delivered) + "\n")
                ledger.flush()
                if loader.step % CHECKPOINT_STEPS == 0:
                    checkpoint.save(loader)
                    say(event="step", step=loader.step, epoch=epoch, loss=round(loss.item(), 4))
            checkpoint.accuracies.append(accuracy(model, valid_loader))
            checkpoint.save(loader)
            say(event="epoch", epoch=epoch, accuracy=checkpoint.accuracies[-1])
    return _report(dataset, loader, checkpoint.accuracies, time.perf_counter() - begin)


def order_quality(dataset: hr.Dataset) -> float | None:
    """D(32) of the first epoch over the labels: 1 is a true shuffle, more is worse."""
    reader = dataset.loader(
        batch_size=256, shuffle=False, columns=("cls",), decode=DECODE, remainder="short"
    )
    labels = np.concatenate([cls for (cls,) in reader])
    order = dataset.order(seed=0, epoch=0, block=BLOCK, lanes=LANES, batch_size=BATCH)
    return order.design_effect(labels, batch=BATCH, windows=(QUALITY_WINDOW,))[QUALITY_WINDOW]


def _report(
    dataset: hr.Dataset, loader: hr.Loader, accuracies: list[float], seconds: float
) -> dict[str, Any]:
    state = loader.state_dict()
    return {
        "stats": loader.stats(),
        "sentence": loader.stats().sentence(),
        "seconds": seconds,
        "accuracies": accuracies,
        "samples": len(dataset),
        "block": state["block"],
        "lanes": state["lanes"],
        "order_d32": order_quality(dataset),
    }


def main() -> None:
    folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
    report = train(folder, epochs)
    (folder / "report.json").write_text(json.dumps(report))
    say(event="end")


if __name__ == "__main__":
    main()
