# SPDX-License-Identifier: Apache-2.0
"""Data-parallel ranks in one process: what torch's DDP computes, without the processes.

Each rank has its own batch-norm statistics over its own rows (no SyncBatchNorm); gradients are the
mean over ranks. DDP's default copies rank 0's running statistics to all, and rank 0 saves the
model: so rank 0's are the ones that evaluation uses. test_train_study.py compares this with real
gloo DDP, weight by weight.
"""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ranks:
    """One model, `count` sets of batch-norm statistics."""

    def __init__(self, model: nn.Module, count: int) -> None:
        self.model = model
        self.of_rank = [model, *(with_own_statistics(model) for _ in range(1, count))]

    def backward(self, losses: list[torch.Tensor]) -> None:
        """Gradients of the mean over ranks, added into the one model's."""
        (sum(losses[1:], losses[0]) / len(losses)).backward()


def with_own_statistics(model: nn.Module) -> nn.Module:
    """A copy that shares the parameters and not the buffers."""
    other = copy.deepcopy(model)
    own = dict(model.named_modules())
    for name, module in other.named_modules():
        for key in list(module._parameters):
            module._parameters[key] = own[name]._parameters[key]
    return other
