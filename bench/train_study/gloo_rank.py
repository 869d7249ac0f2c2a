# SPDX-License-Identifier: Apache-2.0
"""One of two real ranks: torch's DDP over gloo, in its own process. The yardstick of ranks.py,
for its test; no part of the study, and without headrace, which is not needed here."""

from __future__ import annotations

import numpy as np
import textures
import torch
from nets import Classifier
from torch.nn import functional

STEPS, ROWS = 12, 16


def train(rank: int, folder: str) -> None:
    """One of two real gloo ranks; rank 0 leaves its weights and statistics."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.manual_seed(7)
    model = torch.nn.parallel.DistributedDataParallel(Classifier(40).double())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for pixels, labels in batches():
        loss = functional.cross_entropy(model(pixels[rank]), labels[rank])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if rank == 0:
        torch.save(model.module.state_dict(), f"{folder}/rank0.pt")
    torch.distributed.barrier()  # nobody leaves while the other still talks
    torch.distributed.destroy_process_group()


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    images = textures.stored_images(STEPS * 2 * ROWS, 5)
    mixed = np.random.default_rng(6).permutation(len(images.labels)).reshape(STEPS, 2, ROWS)
    pixels = torch.from_numpy(images.pixels[mixed]).double()  # float32 would drift apart
    return list(zip(pixels, torch.from_numpy(images.labels[mixed]), strict=True))
