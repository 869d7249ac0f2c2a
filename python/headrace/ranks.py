# SPDX-License-Identifier: Apache-2.0
"""Which data-parallel rank this process is.

In this order, the first that says something: arguments, ``mesh=``, ``torch.distributed`` when
initialised, the launcher's ``RANK`` + ``WORLD_SIZE``, ``SLURM_PROCID`` with the *step's* task
count, else one rank. ``SLURM_NTASKS`` alone is never
read: inside an interactive allocation it is the allocation's size, and a plain ``python`` there
would get 1/N of the data. Read at the first ``iter()``, because a process group is often made after
the loader.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.errors import OptionError

__all__ = ["Ranks", "find_ranks"]

# The mesh dimensions that split data, as torchtitan, FSDP and Lightning name them. Tensor, context,
# sequence and pipeline peers must see the same batches, so those dimensions do not count.
DATA_DIMENSIONS = (
    "dp",
    "dp_replicate",
    "dp_shard",
    "fsdp",
    "data",
    "data_parallel",
    "ddp",
    "batch",
)


@dataclass(frozen=True)
class Ranks:
    """``rank`` of ``world_size``; ``source`` says in words where it was read."""

    rank: int
    world_size: int
    source: str


def find_ranks(
    rank: int | None = None,
    world_size: int | None = None,
    mesh: Any = None,
    environment: Mapping[str, str] | None = None,
) -> Ranks:
    """The data-parallel rank and world size.

    Raises:
        OptionError: only one of the two is given, or they do not fit together.
    """
    if rank is not None or world_size is not None:
        if rank is None or world_size is None:
            raise OptionError(f"ranks: rank={rank}, world_size={world_size}: give both or neither")
        return _checked(rank, world_size, "arguments")
    if mesh is not None:
        return _from_mesh(mesh)
    found = _from_process_group()
    if found is not None:
        return found
    return _from_environment(os.environ if environment is None else environment)


def _checked(rank: int, world_size: int, source: str) -> Ranks:
    if world_size < 1 or not 0 <= rank < world_size:
        raise OptionError(
            f"ranks from {source}: rank {rank} of world size {world_size}: "
            "a rank is at least 0 and less than the world size"
        )
    return Ranks(rank, world_size, source)


def _from_mesh(mesh: Any) -> Ranks:
    """The position along the mesh's data dimensions, the first being the most significant."""
    names = tuple(mesh.mesh_dim_names or ())
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        raise OptionError("ranks from mesh: this process is not part of the mesh")
    sizes = [int(mesh.size(i)) for i in range(len(coordinate))]
    if len(sizes) == 1:
        return _checked(int(coordinate[0]), sizes[0], "mesh")
    chosen = [i for i, name in enumerate(names) if name in DATA_DIMENSIONS]
    if not chosen:
        raise OptionError(
            f"ranks from mesh: none of its dimensions {names} is known to split data "
            f"({', '.join(DATA_DIMENSIONS)}); pass the sub-mesh, for example mesh['dp']"
        )
    rank, world = 0, 1
    for i in chosen:
        rank = rank * sizes[i] + int(coordinate[i])
        world *= sizes[i]
    return _checked(rank, world, "mesh dimensions " + " x ".join(names[i] for i in chosen))


def _from_process_group() -> Ranks | None:
    """torch is looked at only when the program has imported it."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return _checked(distributed.get_rank(), distributed.get_world_size(), "torch.distributed")


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise OptionError(
            f"ranks: environment variable {name}={text!r} is not a whole number"
        ) from None


def _from_environment(environment: Mapping[str, str]) -> Ranks:
    rank, world = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if rank is not None and world is not None:
        return _checked(rank, world, "RANK and WORLD_SIZE")
    rank, world = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_STEP_NUM_TASKS")
    if rank is not None and world is not None:
        return _checked(rank, world, "SLURM_PROCID and SLURM_STEP_NUM_TASKS")
    return Ranks(0, 1, "no launcher: one rank")
