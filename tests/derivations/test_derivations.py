"""Every file of `derivations/`: it imports, derives, its claims hold, and its claims can fail."""

from __future__ import annotations

import ast
import os
import pkgutil
import subprocess
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from matplotlib.backends.backend_agg import FigureCanvasAgg

import symkernel as sk
import symkernel.derivations

NAMES = sorted(m.name for m in pkgutil.iter_modules(symkernel.derivations.__path__))
ROOT = Path(__file__).resolve().parents[2]
# The public face, the errors a user has to catch, and what a theorist has at hand anyway.
ALLOWED = {"__future__", "functools", "typing", "numpy", "sympy", "matplotlib.figure", "symkernel",
           "collections.abc", "scipy.integrate",
           "symkernel.errors", "symkernel.nodes", "symkernel.report.figures",
           "symkernel.report.panels"}  # fmt: skip


# Their laws climb on problems of their own in every run; here each costs seconds of compilation.
LONG_CLIMBS = {
    "frozen_kernel",
    "kleinman2021",
    "reduced_flow",
    "saxe2022_race",
    "woodworth2020_diagonal",
    "arora2018_depth",
    "kunin2024_unbalanced",
    "pyle2023_pseudo_kernel",
}


@pytest.fixture(params=NAMES)
def module(request):
    return import_module(f"symkernel.derivations.{request.param}")


def test_the_published_results_are_there():
    assert {"saxe2014", "saxe2019_semantic", "gram_diagonal"} <= set(NAMES)
    assert {"kunin2024_unbalanced", "xu_ziyin2024", "woodworth2020_diagonal"} <= set(NAMES)
    assert {"fukumizu1998_braun2022", "reversal"} <= set(NAMES)


# Laws for all networks of an environment, which are bound to no problem: they climb no ladder.
OF_ENVIRONMENTS = {"pyle2023_multitasking", "pyle2023_task_weights"}


def test_derives(module):
    derivation = module.derive()
    if module.__name__.rpartition(".")[-1] in OF_ENVIRONMENTS:
        assert derivation.steps
        assert derivation.formulas
        return
    assert isinstance(derivation, sk.Derivation)
    assert all(verdict.holds for verdict in derivation.assumptions)


# They train many networks; their claims are tested one by one, here and in files of their own.
LONG_CLAIMS = {
    *OF_ENVIRONMENTS,
    "pyle2023_pseudo_kernel",
    "frozen_kernel",
    "kleinman2021",
    "gram_diagonal",
    "memoryless_gram",
}
# Those that follow races to their end, and deep networks at many depths.
LONG_FIGURES = {*LONG_CLAIMS, "saxe2022_race", "arora2018_depth"}
claiming, drawing = (
    pytest.mark.parametrize(
        "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in long)) for n in NAMES]
    )
    for long in (LONG_CLAIMS, LONG_FIGURES)
)


@claiming
def test_claims_hold(name):
    found = tuple(import_module(f"symkernel.derivations.{name}").claims())
    assert found
    assert not [f"{title}: {figure}" for title, holds, figure in found if not holds]


CLIMBING = [n for n in NAMES if n not in OF_ENVIRONMENTS]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG_CLIMBS)) for n in CLIMBING]
)
def test_the_ladder_is_climbed(name):
    module = import_module(f"symkernel.derivations.{name}")
    report = module.check(draws=1, precision_draws=5)
    assert report.passed, str(report)
    assert {rung.number for rung in report.rungs if rung.passed} == set(range(1, 7))


@pytest.mark.parametrize("name", sorted(OF_ENVIRONMENTS))
def test_the_steps_are_checked(name):
    report = import_module(f"symkernel.derivations.{name}").check()
    assert report.passed, str(report)


def covered(ax) -> list[str]:
    """Return the labels of lines that run through the legend."""
    legend, found = ax.get_legend(), []
    for line in ax.lines if legend is not None else ():
        points = line.get_transform().transform(np.asarray(line.get_xydata(), dtype=float))
        if line.get_linestyle() != "None":
            parts = (np.linspace(*pair, 50) for pair in pairwise(points))
            points = np.concatenate([points[:1], *parts])
        box = legend.get_window_extent()
        inside = (points > [box.x0, box.y0]) & (points < [box.x1, box.y1])
        found += [str(line.get_label())] * bool(inside.all(1).any())
    return found


# One test, so that a parallel run draws each figure once.
@drawing
def test_figure_has_data_and_nothing_is_cut_off_or_covered(name):
    page = import_module(f"symkernel.derivations.{name}").figure()
    FigureCanvasAgg(page).draw()
    assert_inside(page)
    assert_data(page)


def assert_inside(page):
    for ax in page.get_axes():
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
            box = text.get_window_extent()
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.bbox.x1
            assert (inside and box.y1 <= page.bbox.y1) or not text.get_text(), text.get_text()
        assert not covered(ax), ax.get_title()


def assert_data(page):
    axes = [ax for ax in page.get_axes() if ax.get_label() != "<colorbar>"]
    assert axes
    for ax in axes:
        drawn = [line.get_xydata() for line in ax.lines if len(line.get_xydata())]
        drawn += [image.get_array() for image in ax.images]
        assert drawn
        assert all(np.isfinite(np.asarray(values)).all() for values in drawn)
        assert ax.images or (ax.get_xlabel() and ax.get_title() + ax.get_ylabel())


@pytest.mark.parametrize("name", NAMES)
def test_public_api_alone(name):
    source = (ROOT / "derivations" / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= ALLOWED
        elif isinstance(node, ast.ImportFrom):
            assert node.module in ALLOWED
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "sk" or node.attr in sk.__all__
    assert ast.get_docstring(tree)


def test_the_command_line_judges_one():
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    }
    run = subprocess.run(
        [sys.executable, "-m", "symkernel", "check", "saxe2014", "--draws", "3"],
        capture_output=True, text=True, env=env, timeout=300, check=True,
    )  # fmt: skip
    assert "FAILS" not in run.stdout
    assert "all climbed rungs passed" in run.stdout
    assert run.stdout.rstrip().splitlines()[-1].strip().startswith("claim: ")


def _wrong_claims():
    saxe = import_module("symkernel.derivations.saxe2014")
    semantic = import_module("symkernel.derivations.saxe2019_semantic")
    gram = import_module("symkernel.derivations.gram_diagonal")
    kunin = import_module("symkernel.derivations.kunin2024_unbalanced")
    xu = import_module("symkernel.derivations.xu_ziyin2024")
    diagonal = import_module("symkernel.derivations.woodworth2020_diagonal")
    braun = import_module("symkernel.derivations.fukumizu1998_braun2022")
    reversal = import_module("symkernel.derivations.reversal")
    memoryless = import_module("symkernel.derivations.memoryless_gram")
    general = import_module("symkernel.derivations.reduced_flow")
    frozen = import_module("symkernel.derivations.frozen_kernel")
    return {
        "twice the kernel": lambda: frozen.residual(2 * frozen.KAPPA),
        "the other label": lambda: frozen.conflict(0.5),
        "twice the stable limit": lambda: frozen.steps(4.0),
        "half the stable limit": lambda: frozen.steps(1.0),
        "as slow as the units": lambda: frozen.width_of_output(-0.5),
        "as fast as the output": lambda: frozen.width_of_hidden(-1.0),
        "second order in the scale": lambda: frozen.scale_of_output(-2.0),
        "half the rate": lambda: saxe.balanced_mode(saxe.SIGMOID.subs(saxe.t, saxe.t / 2)),
        "twice the time": lambda: saxe.learning_time(2 * saxe.LEARNING_TIME),
        "wrong sign of the imbalance": lambda: saxe.hyperbolic_form(sign=-1),
        "a tenth too fast": lambda: saxe.explicit_form(sp.Rational(11, 10)),
        "a level too many": lambda: semantic.staged_times(
            semantic.STAGED_TIME.subs(semantic.L, semantic.L + 1)
        ),
        "twice the angle": lambda: gram.wide_network(2 * gram.TANH_PHI),
        "sum in place of the difference": lambda: kunin.conserved_quantity(sign=1),
        "the other imbalance of one unit": lambda: kunin.angle(sign=1),
        "rate of a balanced unit": lambda: kunin.closing_rate(lambda h, s: s),
        "twice as lazy": lambda: kunin.lazy_limit(speed=2.0),
        "half the speed of a coordinate": lambda: diagonal.trajectory(speed=2.0),
        "half the pull of the residual": lambda: diagonal.mirror(factor=2.0),
        "least squares from small weights": lambda: diagonal.limit(diagonal.least_squares),
        "input sides that pull twice": lambda: xu.riccati((2 * xu.A, xu.B, xu.C)),
        "lambda of the other sign": lambda: braun.riccati_equation(sign=-1),
        "twice the integral": lambda: braun.power_series(extra=2),
        "the other imbalance": lambda: braun.one_mode(flip=-1),
        "unlearned in half the time": lambda: reversal.unlearning_time(
            reversal.UNLEARNING_TIME / 2
        ),
        "stuck above zero": lambda: reversal.balanced_mode(reversal.STUCK + reversal.s / 2),
        "difference for a sum": lambda: general.closed_equation(sign=-1),
        "a millionth too large": lambda: general.bounded_width(1e-6),
        "no correlation": lambda: general.rise_and_fall(0.0),
        "drive of the other sign": lambda: memoryless.lax_pair(sign=-1),
        "lambda = a - b": lambda: memoryless.squared_error(memoryless.A - memoryless.B),
        "no imbalance": lambda: memoryless.logistic_loss(0.0),
        "twice the imbalance": lambda: memoryless.arbitrary_drive(
            2 * (memoryless.B - memoryless.A)
        ),
        "twice the speed": lambda: reversal.crossing_speed(2 * reversal.SPEED),
    }


@pytest.mark.parametrize("name", sorted(_wrong_claims()))
def test_a_wrong_claim_fails(name):
    holds, _ = _wrong_claims()[name]()
    assert not holds
