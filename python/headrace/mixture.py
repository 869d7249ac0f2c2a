# SPDX-License-Identifier: Apache-2.0
"""``hr.mix``: several data sets as one stream, with exact shares in every batch.

How units are dealt to the sources is docs/ordering.md, "Mixtures".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headrace.errors import OptionError
from headrace.options import Faults, format_size
from headrace.weights import source_weights

if TYPE_CHECKING:
    from headrace.dataset import Dataset
    from headrace.loader import Loader
    from headrace.mixture_plan import MixturePlanner

__all__ = ["Mixture", "mix"]

_ENDS = ("repeat", "stop", "end")


def mix(
    sources: Mapping[str, Dataset],
    weights: Any = None,
    *,
    temperature: float | None = None,
    at_end: str | Mapping[str, str] = "repeat",
    batches: str = "mixed",
) -> Mixture:
    """A mixture of data sets, of any formats and sizes::

        mixture = hr.mix({"web": web, "code": code}, weights={"web": 0.7, "code": 0.3})
        for batch in mixture.loader(batch_size=256, decode={"text": str}):
            batch["text"], batch.sources  # which source each row is from

    Args:
        sources: data sets by name. The name is part of a source's seed: it may not change between
            runs.
        weights: numbers by name or in order (of their sum: the part of the rows); a function of the
            step that returns them, asked every ``weights_every`` steps; None or ``"size"``: in
            proportion to the samples.
        temperature: T of weights ~ samples^(1/T): 1 is by size, large values near equal parts.
        at_end: what happens when a source's epoch ends, for all or by name: ``"repeat"`` it begins
            its next epoch; ``"stop"`` it takes no part any more and the others share its part;
            ``"end"`` the mixture's epoch ends.
        batches: ``"mixed"``: every batch has rows of all sources; ``"single"``: each batch is of
            one source, in proportion over batches.

    Raises:
        OptionError: listing every fault.
    """
    return Mixture(dict(sources), weights, temperature, at_end, batches)


class Mixture:
    """Made by :func:`mix`; ``mixture.loader(...)`` takes the options of ``dataset.loader``."""

    def __init__(
        self,
        sources: dict[str, Dataset],
        weights: Any,
        temperature: float | None,
        at_end: str | Mapping[str, str],
        batches: str,
    ) -> None:
        faults = Faults("mix")
        if not sources:
            faults.add("no source")
        faults.choice("batches", batches, ("mixed", "single"))
        ends = dict(at_end) if isinstance(at_end, Mapping) else dict.fromkeys(sources, at_end)
        for name, word in ends.items():
            if name not in sources:
                faults.add(f"at_end for {name!r}, which is none of {list(sources)}")
            faults.choice(f"at_end of {name!r}", word, _ENDS)
        faults.raise_any()
        self.sources = sources
        self.ends = {name: ends.get(name, "repeat") for name in sources}
        self.single = batches == "single"
        self._given = (weights, temperature, at_end, batches)
        self.weights = weights
        if not callable(weights):
            self.integer_weights(weights)  # says now what does not fit together

    def integer_weights(self, given: Any) -> list[int]:
        """The core's weights of the sources, in their order."""
        sizes = [len(dataset) for dataset in self.sources.values()]
        return source_weights(given, list(self.sources), sizes, self._given[1])

    @property
    def names(self) -> list[str]:
        return list(self.sources)

    @property
    def url(self) -> str:
        return ", ".join(f"{name} {dataset.url}" for name, dataset in self.sources.items())

    def __len__(self) -> int:
        """Samples of all sources."""
        return sum(len(dataset) for dataset in self.sources.values())

    def planner(self, given: Mapping[str, Any]) -> MixturePlanner:
        """What plans a loader over this mixture."""
        from headrace.mixture_plan import MixturePlanner

        return MixturePlanner(self, given)

    def loader(self, **options: Any) -> Loader:
        """A :class:`headrace.Loader`. Beside its usual options:

        ``decode`` may be given by source, ``{"web": {"txt": str}, "code": {"text": str}}``; the
        columns then need the same names and types (``columns=`` and decoders' names decide).
        ``epoch_size``: samples of an epoch of the mixture; default: those of all sources.
        ``group``: samples that are drawn from a source together; default: the ranks of the first
        run.
        """
        from headrace.loader import Loader

        return Loader(self, **options)

    def __reduce__(self) -> Any:
        return (Mixture, (self.sources, *self._given))

    def __str__(self) -> str:
        weights = self.integer_weights(self.weights(0) if callable(self.weights) else self.weights)
        lines = [f"mixture of {len(self.sources)} sources, {len(self):,} samples"]
        for (name, dataset), weight in zip(self.sources.items(), weights, strict=True):
            size = dataset.core.sample_bytes * len(dataset) / max(1, dataset.core.samples)
            lines.append(
                f"  {name:<12} {weight / sum(weights):7.3%}  {len(dataset):,} samples "
                f"({format_size(size)}), at its end: {self.ends[name]}  {dataset.url}"
            )
        return "\n".join(lines)

    def close(self) -> None:
        for dataset in self.sources.values():
            dataset.close()

    def __enter__(self) -> Mixture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def decode_of(given: Any, name: str, names: list[str]) -> Any:
    """A source's part of ``decode=``: by source where its keys are the sources' names."""
    if isinstance(given, Mapping) and given and all(key in names for key in given):
        if name not in given:
            raise OptionError(f"make loader: decode= by source has nothing for {name!r}")
        return given[name]
    return given
