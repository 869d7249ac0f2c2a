# SPDX-License-Identifier: Apache-2.0
"""One training run for each part: an order and a seed in, figures out.

Whatever is random but the order (weights, the views of the contrastive loss) depends on the seed
alone, so runs of one seed differ in their order only and are compared in pairs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path

import corpus
import numpy as np
import textures
import torch
from nets import Classifier, Encoder, LetterModel
from orders import epoch_of
from plan import Part
from ranks import Ranks
from torch import nn
from torch.nn import functional

TRAIN_SEED, TEST_SEED, WRITE_SEED = 31, 32, 33
WARM_UP_STEPS = 50
TEMPERATURE = 0.2
CROP = 12
VIEW_NOISE = 0.5
Figures = dict[str, float | str]


@functools.lru_cache(maxsize=1)
def stored_images(part: Part) -> tuple[textures.Images, textures.Images]:
    """Training images in stored order and test images. Kept: they take a second to make."""
    train = textures.stored_images(part.samples, TRAIN_SEED)
    if part.pre_shuffled:
        mixed = np.random.default_rng(WRITE_SEED).permutation(part.samples)
        train = textures.Images(train.pixels[mixed], train.labels[mixed])
    return train, textures.stored_images(part.test_samples, TEST_SEED)


def stored_labels(part: Part, folder: Path) -> np.ndarray:
    """Class or source of each sample in stored order."""
    if TRAIN[part.name] is train_text:
        return corpus.load_corpus(part.samples, part.test_samples, folder).sources
    return stored_images(part)[0].labels


def scheduled(part: Part, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """Steps the optimizer at the learning rate of its step: a short ramp, then half a cosine."""
    steps = part.samples // part.batch * part.epochs
    warm_up = min(WARM_UP_STEPS, steps // 10 + 1)
    done = 0

    def step() -> None:
        nonlocal done
        rate = min(1, (done + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * done / steps))
        for group in optimizer.param_groups:
            group["lr"] = part.learning_rate * rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done += 1

    return step


def pixels_of(images: textures.Images) -> torch.Tensor:
    return torch.from_numpy(images.pixels).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def in_pieces(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    model.eval()
    outputs = torch.cat([model(inputs[i : i + 1_000]) for i in range(0, len(inputs), 1_000)])
    model.train()
    return outputs


def percent_right(scores: torch.Tensor, labels: torch.Tensor) -> float:
    return 100 * (scores.argmax(-1) == labels).double().mean().item()


def train_cnn(part: Part, order: str, seed: int, folder: Path) -> Figures:
    train, test = stored_images(part)
    pixels, labels = pixels_of(train), torch.from_numpy(train.labels)
    test_pixels, test_labels = pixels_of(test), torch.from_numpy(test.labels)
    torch.manual_seed(seed)
    ranks = Ranks(Classifier(textures.CLASSES), part.ranks)
    step = scheduled(
        part,
        torch.optim.SGD(
            ranks.model.parameters(), lr=part.learning_rate, momentum=0.9, weight_decay=1e-4
        ),
    )
    points = {}
    for epoch in range(part.epochs):
        for batch in torch.from_numpy(epoch_of(part, order, seed, epoch, folder).copy()):
            ranks.backward(
                [
                    functional.cross_entropy(model(pixels[rows]), labels[rows])
                    for model, rows in zip(ranks.of_rank, batch, strict=True)
                ]
            )
            step()
        if epoch in (0, part.epochs - 1):
            points[epoch] = percent_right(in_pieces(ranks.model, test_pixels), test_labels)
    return {"points": points[part.epochs - 1], "first_epoch": points[0]}


def views(pixels: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Another look at each image: a 12 x 12 crop, another contrast, fresh noise."""
    count, places = len(pixels), textures.SIDE - CROP + 1
    place = torch.randint(0, places * places, (count,), generator=random)
    crops = pixels[:, 0].unfold(1, CROP, 1).unfold(2, CROP, 1)
    crop = crops[torch.arange(count), place // places, place % places][:, None]
    crop = crop * (0.6 + 0.8 * torch.rand(count, 1, 1, 1, generator=random))
    noise = torch.randn(crop.shape, generator=random)
    return (crop + VIEW_NOISE * noise).contiguous(memory_format=torch.channels_last)


def pair_loss(embedded: torch.Tensor) -> torch.Tensor:
    """NT-Xent: row i's partner is row i + n of 2n; all other rows are negatives."""
    scores = embedded @ embedded.T / TEMPERATURE
    scores = scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -1e9)
    return functional.cross_entropy(scores, torch.arange(len(scores)).roll(len(scores) // 2))


def train_pairs(part: Part, order: str, seed: int, folder: Path) -> Figures:
    train, test = stored_images(part)
    pixels = pixels_of(train)
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    model = Encoder()
    step = scheduled(
        part,
        torch.optim.AdamW(model.parameters(), lr=part.learning_rate, weight_decay=1e-4),
    )
    losses = []
    for epoch in range(part.epochs):
        for batch in torch.from_numpy(epoch_of(part, order, seed, epoch, folder).copy()):
            seen = pixels[batch[0]]
            loss = pair_loss(model(torch.cat([views(seen, random), views(seen, random)])))
            loss.backward()
            step()
            losses.append(loss.item())
    last = losses[-len(losses) // part.epochs :]
    probe = linear_probe(model.features, pixels, train.labels, test)
    return {"points": probe, "loss_last_epoch": float(np.mean(last))}


def linear_probe(
    features: nn.Module, pixels: torch.Tensor, labels: np.ndarray, test: textures.Images
) -> float:
    """Test accuracy of a logistic regression on frozen features of every fourth image."""
    seen = in_pieces(features, pixels[::4])
    middle, spread = seen.mean(0), seen.std(0) + 1e-6
    seen, wanted = (seen - middle) / spread, torch.from_numpy(labels[::4])
    weights = torch.zeros(seen.shape[1] + 1, textures.CLASSES, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = seen @ weights[:-1] + weights[-1]
        value = functional.cross_entropy(scores, wanted) + 1e-4 * weights[:-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    unseen = (in_pieces(features, pixels_of(test)) - middle) / spread
    scores = (unseen @ weights[:-1] + weights[-1]).detach()
    return percent_right(scores, torch.from_numpy(test.labels))


def train_text(part: Part, order: str, seed: int, folder: Path) -> Figures:
    text = corpus.load_corpus(part.samples, part.test_samples, folder)
    pieces = torch.from_numpy(text.pieces).long()
    torch.manual_seed(seed)
    model = LetterModel(corpus.ALPHABET, corpus.PIECE - 1)
    step = scheduled(
        part,
        torch.optim.AdamW(
            model.parameters(), lr=part.learning_rate, weight_decay=0.01, betas=(0.9, 0.95)
        ),
    )
    for epoch in range(part.epochs):
        for batch in torch.from_numpy(epoch_of(part, order, seed, epoch, folder).copy()):
            rows = pieces[batch[0]]
            scores = model(rows[:, :-1])
            functional.cross_entropy(scores.flatten(0, 1), rows[:, 1:].flatten()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            step()
    held = torch.from_numpy(text.held_out).long()
    right, nats = [], []
    for i in range(0, len(held), 256):  # scores of all would be a large array
        scores, wanted = in_pieces(model, held[i : i + 256, :-1]), held[i : i + 256, 1:]
        right.append((scores.argmax(-1) == wanted).double().mean(1))
        losses = functional.cross_entropy(scores.transpose(1, 2), wanted, reduction="none")
        nats.append(losses.double().mean(1))
    return {
        "points": 100 * torch.cat(right).mean().item(),
        "centibits": 100 * torch.cat(nats).mean().item() / math.log(2),
        "corpus": text.sha256,
    }


TRAIN = {
    "a": train_cnn,
    "b": train_pairs,
    "c": train_text,
    "d": train_cnn,
    "e": train_text,
    "h": train_text,
    "f": train_cnn,
    "g": train_cnn,
}
