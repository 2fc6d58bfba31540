"""The pseudo-kernel over the scale of the weights: wrong claims fail, and the table says all."""

from __future__ import annotations

import numpy as np
import pytest

from symkernel.derivations import pyle2023_pseudo_kernel as pyle

WRONG = {
    "twice the learned part of the similarity": lambda: pyle.hidden_spectrum(cross=2),
    "a hundredth of the bound": lambda: pyle.frozen_error(slack=0.01),
    "first kernel of fourth order in the scale": lambda: pyle.frozen_fails(power=2),
    "a tenth of the estimate": lambda: pyle.refreshes(0.1),
    "as 1/width": lambda: pyle.linear_width(-1.0),
    "laws that exchange ranks at any width alike": lambda: pyle.exchange(0.0),
    "contributions without the sign of the targets": lambda: pyle.linear_contributions(sign=-1),
    "items of one target that move each other": lambda: pyle.no_turn_to_the_target(least=0.1),
    "linear in the scale": lambda: pyle.direction(1.0),
}


# These train networks for seconds.
LONG = {
    "as 1/width",
    "laws that exchange ranks at any width alike",
    "contributions without the sign of the targets",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in sorted(WRONG)]
)
def test_a_wrong_claim_fails(name):
    holds, _ = WRONG[name]()
    assert not holds


def test_letters_are_alike_in_the_input_and_opposite_in_the_target():
    task = pyle.task()
    inputs, targets = pyle.similarity(task.X), pyle.similarity(task.Y)
    assert np.allclose([inputs[0, 1], inputs[0, 2]], [0.7, 0.05])
    assert targets[0, 1] == pytest.approx(-1)
    assert targets[0, 2] > 0.4


def test_the_linear_network_starts_at_the_zero_map():
    w0 = pyle.weights(pyle.network("linear"), 0.3, 1000).arrays
    assert np.abs(w0["W2"] @ w0["W1"]).max() < 1e-13
    assert np.allclose(w0["W1"].T @ w0["W1"], 0.09 * pyle.WIDTH * np.eye(pyle.INPUTS))


def test_the_table_has_every_error():
    numbers = pyle.table().split()
    assert all(f"{error:.3f}" in numbers for error in pyle.errors().ravel())
