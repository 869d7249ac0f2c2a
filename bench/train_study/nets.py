# SPDX-License-Identifier: Apache-2.0
"""The three models, small enough for one core. Weights depend on torch's seed alone."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def convolutions() -> nn.Sequential:
    """16 x 16 grey -> 64 features; batch norm after each of three convolutions."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((1, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return body.to(memory_format=torch.channels_last)


class Classifier(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = convolutions()
        self.head = nn.Linear(64, classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(pixels))


class Encoder(nn.Module):
    """Features and, above them, the space in which the contrastive loss is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.features = convolutions()
        self.head = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.head(self.features(pixels)), dim=1)


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.before_wide = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, letters, width = x.shape
        parted = self.queries_keys_values(self.before_attention(x))
        q, k, v = parted.view(rows, letters, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mixed(seen.transpose(1, 2).reshape(rows, letters, width))
        wide = functional.gelu(self.wide(self.before_wide(x)), approximate="tanh")
        return x + self.narrow(wide)


class LetterModel(nn.Module):
    """Two layers of width 64; the output shares the letters' embedding."""

    def __init__(self, alphabet: int, letters: int, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.letters = nn.Parameter(0.05 * torch.randn(alphabet, width))
        self.places = nn.Parameter(0.02 * torch.randn(letters, width))
        self.layers = nn.Sequential(Layer(width, heads), Layer(width, heads))
        self.last = nn.LayerNorm(width)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        x = functional.embedding(text, self.letters) + self.places
        return functional.linear(self.last(self.layers(x)), self.letters)
