# SPDX-License-Identifier: Apache-2.0
"""Images in stored order: procedural textures, sorted by class and inside a class by variant.

A class is a pair of gratings; each of its four variants bends them a little (photos of one album).
Phases, contrast and noise differ from image to image, so a class has no mean image and a linear
model learns nothing: it takes a convolution. The noise keeps accuracy well below 100 %, so that a
loss can show. A pure function of (samples, seed); nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASSES = 40
VARIANTS = 4
SIDE = 16
NOISE = 2.2  # chosen on pilot runs so that a true shuffle ends between 60 and 85 %
GRATINGS_SEED = 20_000  # the classes themselves: the same in training and test


@dataclass(frozen=True)
class Images:
    pixels: np.ndarray  # [N, 1, 16, 16] float32
    labels: np.ndarray  # [N] int64


def gratings() -> tuple[np.ndarray, np.ndarray]:
    """Angle (radians) and frequency (cycles a side) of each variant's two gratings: [K, 4, 2]."""
    rng = np.random.default_rng(GRATINGS_SEED)
    angle = rng.uniform(0, np.pi, (CLASSES, 1, 2)) + rng.normal(0, 0.12, (CLASSES, VARIANTS, 2))
    cycles = rng.uniform(1.2, 5.5, (CLASSES, 1, 2)) * np.exp(
        rng.normal(0, 0.08, (CLASSES, VARIANTS, 2))
    )
    return angle, cycles


def draw(labels: np.ndarray, variants: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angles, cycles = gratings()
    count = len(labels)
    angle = angles[labels, variants] + rng.normal(0, 0.05, (count, 2))
    frequency = cycles[labels, variants] * np.exp(rng.normal(0, 0.04, (count, 2)))
    phase = rng.uniform(0, 2 * np.pi, (count, 2))
    strength = rng.uniform(0.6, 1.4, (count, 2))
    v, u = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    pixels = rng.normal(0, NOISE, (count, SIDE, SIDE)).astype(np.float32)
    for wave in range(2):
        along = 2 * np.pi * frequency[:, wave]
        x = (along * np.cos(angle[:, wave])).astype(np.float32)[:, None, None]
        y = (along * np.sin(angle[:, wave])).astype(np.float32)[:, None, None]
        shift = phase[:, wave].astype(np.float32)[:, None, None]
        height = strength[:, wave].astype(np.float32)[:, None, None]
        pixels += height * np.cos(x * u + y * v + shift)
    return pixels[:, None]


def stored_images(samples: int, seed: int) -> Images:
    """`samples` images, classes in turn and their variants in turn; sizes differ by one at most."""
    run = np.arange(samples) * (CLASSES * VARIANTS) // samples
    labels, variants = run // VARIANTS, run % VARIANTS
    return Images(draw(labels, variants, np.random.default_rng(seed)), labels)
