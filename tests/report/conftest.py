"""Derivations and trajectories that the tests of the reports share."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

import symkernel as sk
from symkernel.check_report import CheckReport, Rung

REPORT = CheckReport(
    "a law & more",
    (
        Rung(1, "symbolic: residuals exactly 0", True, "9 of 9 steps proven", "exact"),
        Rung(3, "high precision", False, "worst error 2.5e-9 of max(1, |W|), 100% off", "1e-12"),
        Rung(5, "descent", None, "not asked for <x> #1", "1 +- 0.05"),
    ),
)


@pytest.fixture(scope="session")
def problem():
    task = sk.Task.from_modes([3.0, 1.5, 0.5])
    net = sk.Network.two_layer(inputs=3, hidden=4, outputs=3)
    return net, task, sk.weights.aligned(net, task, a=[0.05, 0.2, 0.3], b=[0.1, 0.2, -0.1])


@pytest.fixture(scope="session")
def derivation(problem):
    return sk.derive(*problem)


@pytest.fixture(scope="session")
def checked(derivation):
    return replace(derivation, report=REPORT)


@pytest.fixture(scope="session")
def times():
    return np.linspace(0.0, 8.0, 41)


@pytest.fixture(scope="session")
def theory(derivation, times):
    return derivation.compile()(times)


@pytest.fixture(scope="session")
def simulation(problem, times):
    return sk.simulate(*problem, learning_rate=0.01, record=times)


@pytest.fixture
def pdflatex():
    if shutil.which("pdflatex") is None:
        if os.environ.get("SYMKERNEL_REQUIRE_PDFLATEX") == "1":
            pytest.fail("pdflatex is required here and not installed")
        pytest.skip("pdflatex is not installed")
