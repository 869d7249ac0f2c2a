# SPDX-License-Identifier: Apache-2.0
"""The benchmark's own yardsticks, against arithmetic on paper."""

import numpy as np
import pytest

import quality
from workload import Workload


def test_sorted_labels_have_the_design_effect_of_the_formula() -> None:
    # K classes of w rows each, delivered class by class in windows of w: one class has w where
    # w / K were expected, so the sum is w (K - 1); over a true shuffle's it is w (N - 1) / (N - w).
    labels = np.repeat(np.arange(8), 32)

    assert quality.design_effect(labels, 32, 1) == pytest.approx(32 * 255 / (256 - 32))


def test_batches_that_all_hold_the_same_mix_have_none() -> None:
    assert quality.design_effect(np.tile(np.arange(8), 32), 32, 2) == 0


def test_a_true_shuffle_is_about_one() -> None:
    labels = np.random.default_rng(5).permutation(np.repeat(np.arange(64), 128))

    # 32 windows of 63 degrees of freedom: standard error sqrt(2 / (63 * 32)) = 0.03
    assert quality.design_effect(labels, 256, 1) == pytest.approx(1, abs=0.12)


def test_a_window_over_half_of_the_epoch_has_no_figure() -> None:
    assert quality.design_effect(np.zeros(256, int), 32, 5) is None


def test_losses_and_repeats_are_counted() -> None:
    assert quality.lost_and_repeated(np.array([0, 1, 1, 3, 3, 3]), 5) == (2, 3)


def test_a_number_beyond_the_data_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="not below 5"):
        quality.lost_and_repeated(np.array([5]), 5)


def test_payloads_begin_with_their_number_and_do_not_change() -> None:
    workload = Workload.of(64)

    assert workload.payload(7)[:8] == bytes([7, 0, 0, 0, 0, 0, 0, 0])
    assert workload.payload(7) == workload.payload(7)
    assert [workload.label(i) for i in (0, 1, 63)] == [0, 1, 63]
