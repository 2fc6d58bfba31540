"""Usable information: what is printed, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import symkernel as sk
from symkernel.analysis.decoders import Decoder
from symkernel.errors import InvalidArgument, ShapeMismatch

Noise = sk.analysis.Noise
LN2 = np.log(2)


def labelled(n, d, classes=2, size=1.0, seed=0):
    stream = np.random.default_rng((n, d, classes, seed))
    y = stream.integers(0, classes, n)
    centres = size * stream.standard_normal((classes, d))
    return centres[y] + stream.standard_normal((n, d)), y


# ---- what is printed and what is refused


def test_a_line_says_all_that_the_bits_depend_on():
    z, y = labelled(400, 2, size=0.5)
    line = repr(sk.usable_information(z, y, noise=Noise("relative", 0.1), given=y * 0))
    assert line.count("\n") == 0
    for part in ("bits of H(Y|given) = ", "bias -0.0", "linear decoder, ridge 0.0001"):
        assert part in line
    assert "relative noise 0.1; 200 + 200 samples" in line
    assert "no noise, units standardised" in repr(sk.usable_information(z, y))


Z, Y = labelled(400, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"Y": Y.astype(float)}, "labels that are integers, not of dtype float64"),
        ({"Y": Y > 0}, "labels that are integers, not of dtype bool"),
        ({"Y": list(map(str, Y))}, "labels that are integers"),
        ({"Y": [[1], [1, 2]]}, "labels that are integers"),
        ({"Y": None}, "labels that are integers"),
        ({"Y": np.ma.masked_equal(Y, 1)}, "labels that are integers"),
        ({"Y": Y[:-1]}, r"a label for each of the 400 samples, not be of shape \(399,\)"),
        ({"Y": np.eye(2, dtype=int)[Y]}, "a label for each of the 400 samples"),
        ({"Y": 0 * Y + 4}, "two classes or more, but all are 4"),
        ({"Y": np.where(np.arange(400) == 7, 9, Y)}, "class 9 is absent from the half that"),
        ({"given": np.where(np.arange(400) < 4, 1, 0), "Y": np.arange(400) % 4}, "given' is 1"),
        ({"given": Y / 2}, "'given' must hold labels that are integers"),
        ({"given": Y[:5]}, "'given' must hold a label for each"),
        ({"Z": Z * np.nan}, "must be finite"),
        ({"Z": Z * 1j}, "complex numbers"),
        ({"Z": Z.astype(object)}, "Python objects"),
        ({"Z": np.empty((0, 3))}, "must not be empty"),
        ({"Z": [[1, 2], [3]]}, "unequal length"),
        ({"Z": Z[:, 0]}, "must be 3-dimensional"),
        ({"Z": 3.0}, "must be a Trajectory, a Representation or an array"),
        ({"Z": None}, "must be a Trajectory, a Representation or an array"),
        ({"noise": "loud"}, "'noise' must be one of none, relative, absolute"),
        ({"noise": 0.3}, "'noise' must be one of none, relative, absolute"),
        ({"decoder": "quadratics"}, "did you mean 'quadratic'"),
        ({"seed": -1}, "'seed' must be a non-negative integer"),
        ({"seed": True}, "'seed' must be a non-negative integer"),
    ],
)
def test_bad_input_is_refused(options, words):
    with pytest.raises((InvalidArgument, ShapeMismatch), match=words):
        sk.usable_information(**{"Z": Z, "Y": Y, **options})


@pytest.mark.parametrize("level", [0, -0.3, np.nan, np.inf, "much", True, None])
def test_noise_and_ridge_are_positive(level):
    with pytest.raises(InvalidArgument, match="'level' must be a"):
        Noise("relative", level)
    if level is not None:
        with pytest.raises(InvalidArgument, match="'ridge' must be a"):
            Decoder(ridge=level)


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": 2.5}, {"seed": -1}, {"kind": "deep"}])
def test_decoders_are_named_and_sized(bad):
    with pytest.raises(InvalidArgument):
        Decoder(**bad)


@pytest.mark.parametrize(
    ("kind", "features"), [("linear", 12), ("quadratic", 90), ("random features", 72)]
)
def test_the_number_of_samples_that_is_needed_is_named_and_enough(kind, features):
    needed = 5 * (features + 1)
    z, y = labelled(2 * needed, 12)
    sk.usable_information(z, y, decoder=kind)
    with pytest.raises(InvalidArgument, match=f"must have {needed} samples or more .* about "):
        sk.usable_information(z[2:], y[2:], decoder=kind)
    with pytest.raises(InvalidArgument, match=r"in all where 'given' is 0, not"):
        sk.usable_information(z, y, decoder=kind, given=np.arange(len(y)) % 2)


def test_the_perceptron_without_its_library_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)
    with pytest.raises(ImportError, match=r"pip install 'symkernel\[data\]'"):
        sk.usable_information(*labelled(2000, 3), decoder="mlp")


def test_the_perceptron_refuses_units_that_do_not_vary():
    pytest.importorskip("sklearn")
    with pytest.raises(InvalidArgument, match="must have a unit that varies"):
        sk.usable_information(np.ones((2000, 3)), np.arange(2000) % 2, decoder="mlp")


def test_reading_is_loaded_without_scikit_learn():
    code = (
        "import sys, symkernel as sk; assert callable(sk.usable_information); "
        "assert not {'sklearn', 'numba', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
