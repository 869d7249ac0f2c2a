# SPDX-License-Identifier: Apache-2.0
"""The probe's model plays the engine's own rules: its numbers are those in the C++ sources.

Read from the sources' text: they are constants of single files there, and no user needs them.
"""

import re
from pathlib import Path

import pytest

from headrace.probe import model

_SOURCES = Path(__file__).parents[2] / "src"
_UNITS = {"seconds": 1.0, "milliseconds": 1e-3}


def _value(text: str) -> float:
    """Of ``32 << 20``, ``0.97`` or ``std::chrono::milliseconds(10)``, as seconds."""
    if span := re.fullmatch(r"std::chrono::(\w+)\((\d+)\)", text):
        return int(span[2]) * _UNITS[span[1]]
    if shift := re.fullmatch(r"(\d+)(?:u|ull)? << (\d+)", text):
        return int(shift[1]) << int(shift[2])
    return float(text)


@pytest.mark.parametrize(
    ("file", "name", "expected"),
    [
        ("store/admission_limit.h", "limit_max", model.REQUESTS_MAX),
        ("store/admission_limit.h", "limit_start", model.LIMIT_START),
        ("store/admission_limit.h", "knee_gain", model.KNEE_GAIN),
        ("store/admission_limit.cc", "kRoundMin", model.ROUND_SECONDS_MIN),
        ("fetch/engine.h", "request_bytes_max", model.REQUEST_BYTES_MAX),
        ("fetch/engine.h", "requests_min", model.REQUESTS_MIN),
        ("loader/batch_stream.cc", "kWindowBytes", model.WINDOW_BYTES),
        ("loader/batch_stream.cc", "kWindowMin", model.WINDOW_BATCHES[0]),
        ("loader/batch_stream.cc", "kWindowMax", model.WINDOW_BATCHES[1]),
        ("fetch/read_ahead.cc", "kMargin", model.AHEAD_MARGIN),
        ("fetch/read_ahead.h", "kBucket", model.AHEAD_BUCKET_SECONDS),
        ("fetch/read_ahead.h", "kBuckets", model.AHEAD_SECONDS / model.AHEAD_BUCKET_SECONDS),
        ("store/hedge_store.h", "quantile", model.LATE_QUANTILE / 100),
        ("store/hedge_store.h", "median_factor", model.LATE_MEDIANS),
        ("store/hedge_store.h", "late_min", model.LATE_SECONDS_MIN),
        ("store/hedge_store.h", "reads_min", model.LATE_READS_MIN),
        ("store/hedge_store.h", "share", model.HEDGE_SHARE),
        ("store/hedge_store.h", "saved_max", model.HEDGES_SAVED_MAX),
        ("store/hedge_store.h", "reserve", model.HEDGES_RESERVED),
        ("store/hedge_store.h", "very_late_factor", model.VERY_LATE),
    ],
)
def test_the_model_has_the_engines_number(file: str, name: str, expected: float) -> None:
    text = (_SOURCES / file).read_text()
    found = re.findall(rf"\b{name}\s*(?:=\s*|\{{)([^;,]+?)\}}?[;,]", text)
    assert len(found) == 1, f"{file}: {name}: {found}"
    assert _value(found[0]) == pytest.approx(expected)
