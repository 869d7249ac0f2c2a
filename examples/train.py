# SPDX-License-Identifier: Apache-2.0
"""A torch training loop over a bucket of WebDataset tars, resumable to the sample.

    python examples/train.py s3://bucket/train-{000000..001023}.tar
    torchrun --nproc-per-node 8 examples/train.py s3://...        # nothing else to change
"""

import os
import sys

import torch

import headrace as hr

EPOCHS, CHECKPOINT = 2, "checkpoint.pt"

ds = hr.open(sys.argv[1])
loader = ds.loader(
    batch_size=32,
    decode={"jpg": hr.decode.image(size=32, crop="random_resized", flip=True), "cls": int},
    device="cuda" if torch.cuda.is_available() else "cpu",
)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
optimiser = torch.optim.SGD(model.parameters(), lr=0.01)

if os.path.exists(CHECKPOINT):
    saved = torch.load(CHECKPOINT, weights_only=True)
    model.load_state_dict(saved["model"])
    loader.load_state_dict(saved["loader"])

for epoch in loader.epochs(EPOCHS):
    for batch in loader:
        loss = torch.nn.functional.cross_entropy(model(batch["jpg"] / 255), batch["cls"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loader.step % 100 == 0:
            torch.save({"model": model.state_dict(), "loader": loader.state_dict()}, CHECKPOINT)
    print(f"epoch {epoch}: loss {loss.item():.3f}; {loader.stats()}")
