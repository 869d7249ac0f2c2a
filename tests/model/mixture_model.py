# SPDX-License-Identifier: Apache-2.0
"""Mixtures as docs/ordering.md says them: plain integers and lists, one batch of all ranks at a time.

The C++ one (src/plan/mixture*) is compared with this over random worlds (tests/golden/mixtures.json).
It was written from the page, not from the C++ code. It does no I/O.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from order_model import TAG_MIXTURE, TAG_MIXTURE_SEED, key, shuffled


def integer_weights(weights: list[float]) -> list[int]:
    total = 0.0
    for weight in weights:
        total += weight
    assert all(w == 0 or w >= total / 2**32 for w in weights)
    return [0 if w == 0 else max(1, math.floor(2**32 * w / total + 0.5)) for w in weights]


def source_seed(seed: int, source_id: int) -> int:
    return key(seed, 0, TAG_MIXTURE_SEED, source_id)


@dataclass
class Node:
    weight: int
    lowest: int  # source
    left: Node | None = None
    right: Node | None = None


def huffman(weights: list[int]) -> Node:
    nodes = [Node(w, i) for i, w in enumerate(weights) if w > 0]
    while len(nodes) > 1:
        nodes.sort(key=lambda n: (n.weight, n.lowest))
        left, right = nodes[:2]
        joined = Node(left.weight + right.weight, min(left.lowest, right.lowest), left, right)
        nodes = [joined, *nodes[2:]]
    return nodes[0]


def counts(weights: list[int], units: int) -> list[int]:
    """How many of the first `units` units each source has."""
    found = [0] * len(weights)

    def deal(node: Node, u: int) -> None:
        if node.left is None:
            found[node.lowest] = u
            return
        left = (2 * u * node.left.weight + node.weight) // (2 * node.weight)
        deal(node.left, left)
        deal(node.right, u - left)

    deal(huffman(weights), units)
    return found


def sources_of(weights: list[int], begin: int, end: int) -> list[int]:
    """The source of each unit begin..end-1: the one whose count grows."""
    found, before = [], counts(weights, begin)
    for u in range(begin, end):
        after = counts(weights, u + 1)
        grown = [i for i in range(len(weights)) if after[i] != before[i]]
        assert len(grown) == 1
        assert after[grown[0]] == before[grown[0]] + 1
        found.append(grown[0])
        before = after
    return found


@dataclass(frozen=True)
class Source:
    samples: int
    at_end: str  # repeat, stop, end


@dataclass(frozen=True)
class Mixture:
    sources: list[Source]
    seed: int
    group: int
    batch: int
    epoch_samples: int
    changes: dict[int, list[int]] = field(default_factory=dict)  # step: integer weights


@dataclass(frozen=True)
class Point:
    epoch: int
    position: int
    units: int
    steps: int
    sources: list[tuple[int, int]]  # epoch, position
    weights: list[int]


def first_point(mix: Mixture) -> Point:
    return Point(0, 0, 0, 0, [(0, 0)] * len(mix.sources), mix.changes[0])


def samples_left(source: Source, at: tuple[int, int]) -> float:
    epoch, position = at
    if source.at_end == "repeat":
        return math.inf
    if source.at_end == "stop" and epoch > 0:
        return 0
    return source.samples - position


def lacking(mix: Mixture, point: Point, at_end: str) -> list[int]:
    """The sources of that kind that have fewer samples left than the next batch takes of them."""
    units = mix.batch // mix.group
    drawn = sources_of(point.weights, point.units, point.units + units)
    return [
        i
        for i, source in enumerate(mix.sources)
        if source.at_end == at_end
        and drawn.count(i) * mix.group > samples_left(source, point.sources[i])
    ]


def before_batch(mix: Mixture, point: Point) -> Point | None:
    """What happens before a batch is dealt; None: the epoch, or the mixture, is over."""
    if point.steps in mix.changes:
        changed = [
            0 if source.at_end == "stop" and at[0] > 0 else weight
            for source, at, weight in zip(mix.sources, point.sources, mix.changes[point.steps])
        ]
        point = replace(point, weights=changed, units=0)
    while any(point.weights) and (stopped := lacking(mix, point, "stop")):
        point = replace(
            point,
            units=0,
            weights=[0 if i in stopped else w for i, w in enumerate(point.weights)],
            sources=[(1, 0) if i in stopped else at for i, at in enumerate(point.sources)],
        )
    if not any(point.weights) or point.position + mix.batch > mix.epoch_samples:
        return None
    if ended := lacking(mix, point, "end"):
        if point.position > 0:
            return None
        begun = [(at[0] + 1, 0) if i in ended else at for i, at in enumerate(point.sources)]
        point = replace(point, sources=begun)
    return point


def begin_epoch(point: Point) -> Point:
    return replace(point, epoch=point.epoch + 1, position=0)


MixtureRow = tuple[int, int, int]  # source, its epoch, its position


def next_batch(mix: Mixture, point: Point) -> tuple[list[MixtureRow], Point] | None:
    """The b rows of the next batch, by row number, and the state after it."""
    ready = before_batch(mix, point)
    if ready is None:
        return None
    point = ready
    g, units = mix.group, mix.batch // mix.group
    place = shuffled(units, key(mix.seed, 0, TAG_MIXTURE, point.steps))
    rows: list[MixtureRow] = [(-1, -1, -1)] * mix.batch
    running = [e * s.samples + p for s, (e, p) in zip(mix.sources, point.sources)]
    for v, source in enumerate(sources_of(point.weights, point.units, point.units + units)):
        for j in range(g):
            epoch, position = divmod(running[source], mix.sources[source].samples)
            rows[place[v] * g + j] = (source, epoch, position)
            running[source] += 1
    at = []
    for source, begun, n in zip(mix.sources, point.sources, running):
        epoch, position = divmod(n, source.samples)
        # An `end` source that was used up stands at its end until the mixture's epoch ends.
        used_up = source.at_end == "end" and epoch > begun[0]
        at.append((begun[0], source.samples) if used_up else (epoch, position))
    after = replace(
        point,
        units=point.units + units,
        steps=point.steps + 1,
        position=point.position + mix.batch,
        sources=at,
    )
    if after.position + mix.batch > mix.epoch_samples:
        after = begin_epoch(after)
    return rows, after
