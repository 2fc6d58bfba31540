"""Conjectures that fail by a usual slip are told so; others are told that no usual factor helps."""

from __future__ import annotations

import re

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel.errors import InvalidArgument
from symkernel.report.record import record

T = sp.Symbol("t", nonnegative=True)
NET = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
TASK = sk.Task.from_modes([2, 1])
TENTH = sp.Rational(1, 10)
PROBLEM = (NET, TASK, sk.weights.aligned(NET, TASK, a=TENTH, b=TENTH))
RIGHT = 2 / (1 + 199 * sp.exp(-4 * T))
NUMBER = r"-?[\d.]+(?:e[+-]\d+)?"


def notes(claim, observable=("mode", 0), problem=PROBLEM, **options) -> tuple[str, ...]:
    report = sk.check_claim(claim, observable, problem, **options)
    assert report.passed == (not report.notes)
    return report.notes


def reasons(note: str, kind: str) -> set[str]:
    """Return what a note says of time or of amplitude, without the questions."""
    part = re.search(rf"in {kind} (.*?)(?:; in amplitude|$)", note)
    return set() if part is None else set(re.split(" or | and ", re.sub(r" \(.*?\)", "", part[1])))


@st.composite
def posed(draw):
    """A balanced mode among others, with all numbers different that a slip may be about."""
    n_in, n_out = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    hidden, copies = draw(st.integers(5, 7)), draw(st.integers(1, 3))
    d, kappa = draw(st.sampled_from([(1, "1/2"), (3, "1/2"), ("1/5", "3/2"), (1, 1)]))
    d, kappa = sp.Rational(d), sp.Rational(kappa)
    s = np.array([2.0, 1.5, 1.0, 0.75, 0.5])[: min(n_in, n_out)]
    X = np.repeat(np.eye(n_in), copies, axis=0) * np.sqrt(float(n_in * d))
    Y = np.zeros((len(X), n_out))
    Y[:, : len(s)] = X[:, : len(s)] * s / float(d)
    task = sk.Task(X, Y)
    net = sk.Network.two_layer(n_in, hidden, n_out)
    w0 = sk.weights.aligned(net, task, a=0.25, b=0.25)
    end = 2 / d
    right = end / (1 + (16 * end - 1) * sp.exp(-8 * kappa * T))
    known = {
        "a factor 2": sp.Integer(2),
        "a factor 4": sp.Integer(4),
        "the number of samples": sp.Integer(len(X)),
        "the number of outputs": sp.Integer(n_out),
        "the number of inputs": sp.Integer(n_in),
        "the number of hidden units": sp.Integer(hidden),
        "the input variance": d,
    }
    timing = {"the number of layers": sp.Integer(2), "the loss factor 2 kappa": 2 * kappa}
    return (net, task, w0), sk.SquaredError(kappa), right, known, known | timing


def named(known, factor) -> set[str]:
    """Return how all the slips of this size are called."""
    found = {name for name, value in known.items() if value == factor != 1}
    for name, value in known.items():
        if 1 / value == factor != 1:
            found.add(f"a factor 1/{value}" if name.startswith("a factor") else f"1 / {name}")
    return found


@settings(max_examples=8)
@given(posed(), st.data())
def test_every_slip_is_named_with_all_that_coincide_with_it(given_problem, data):
    problem, loss, right, known, timing = given_problem
    slip = data.draw(st.sampled_from(sorted(timing)))
    factor = timing[slip] ** data.draw(st.sampled_from([1, -1]))
    if factor == 1:
        assert not notes(right, problem=problem, loss=loss)
        return
    (note,) = notes(right.subs(T, T / factor), problem=problem, loss=loss)
    assert reasons(note, "time") == named(timing, factor)
    assert not reasons(note, "amplitude")
    if slip in known:
        (note,) = notes(right / factor, problem=problem, loss=loss)
        assert reasons(note, "amplitude") == named(known, factor)
        assert not reasons(note, "time")


def test_slips_of_time_amplitude_and_sign_together():
    (note,) = notes(-RIGHT.subs(T, 3 * T) / 4)
    assert note.startswith("passes with t -> 1/3 t and u -> -4 u: ")
    assert reasons(note, "time") == {"1 / the number of hidden units"}
    assert reasons(note, "amplitude") == {"the sign", "a factor 4"}
    assert notes(RIGHT.subs(T, -T)) == ("passes with t -> -t: in time the sign",)
    assert notes(-RIGHT) == ("passes with u -> -u: in amplitude the sign",)


def test_the_simplest_slip_alone_is_named():
    """A mode at rest is right at any time and with any sign; only its size needs a factor."""
    still = sk.Task.from_modes([1])
    net = sk.Network.two_layer(1, 3, 1)
    problem = (net, still, sk.weights.aligned(net, still, a=1, b=1))
    assert notes(sp.Integer(1), problem=problem) == ()
    (note,) = notes(sp.Integer(4), problem=problem)
    assert note == "passes with u -> 1/4 u: in amplitude a factor 1/4"


def test_the_example_of_the_manual():
    (note,) = notes(RIGHT.subs(T, T / 2))
    assert note.startswith(
        "passes with t -> 2 t: in time a factor 2 (is your loss 1/2 or 1 of the squared error?) or "
    )


def test_time_in_steps_and_the_parameterisation():
    sim = sk.simulate(*PROBLEM, learning_rate=0.003, record=np.linspace(0, 3, 7))
    (note,) = notes(RIGHT.subs(T, 0.003 * T), against=sim)
    assert note.endswith("in time 1 / the learning rate (is your time counted in steps?)")
    net = sk.Network.two_layer(2, 3, 2, parameterisation="ntk")
    problem = (net, TASK, sk.weights.aligned(net, TASK, a=TENTH, b=TENTH))
    right = sk.derive(*problem).mode(0).output
    (note,) = notes(right * sp.sqrt(6), problem=problem)
    assert reasons(note, "amplitude") == {"the factor of the parameterisation"}


def test_a_loss_in_another_convention():
    s = sp.Integer(1)
    task = sk.Task.from_modes([s])
    net = sk.Network.two_layer(1, 5, 1)
    problem = (net, task, sk.weights.aligned(net, task, a=TENTH, b=TENTH))
    right = (1 - 1 / (1 + 99 * sp.exp(-2 * T))) ** 2 / 2
    assert notes(right, "loss", problem) == ()
    (note,) = notes(2 * right.subs(T, 2 * T), "loss", problem)
    assert note.startswith("passes with t -> 1/2 t and L -> 1/2 L: ")
    assert note.count("is your loss 1/2 or 1 of the squared error?") == 2


@pytest.mark.parametrize("factor", [5, sp.Rational(3, 7), sp.sqrt(10)])
def test_an_unusual_factor_is_fitted(factor):
    (note,) = notes(RIGHT.subs(T, factor * T))
    assert note.startswith("no usual factor of time or amplitude explains the misfit; ")
    time, amplitude, left = map(float, re.findall(rf"(?<= ){NUMBER}(?= )", note))
    assert time == pytest.approx(1 / float(factor), rel=1e-8)
    assert amplitude == pytest.approx(1, rel=1e-8)
    assert left < 1e-9


@pytest.mark.parametrize(
    "wrong", [RIGHT + sp.sin(T) / 5, RIGHT.subs(T, T + T**2 / 100), 1 - sp.exp(-4 * T)]
)
def test_what_no_factor_explains_says_so_and_by_how_much(wrong):
    times = np.linspace(0, 4, 33)
    sim = sk.simulate(*PROBLEM, learning_rate=0.01, record=times)
    (note,) = notes(wrong, against=sim)
    assert note.startswith("no usual factor")
    time, amplitude, left = map(float, re.findall(rf"(?<= ){NUMBER}(?= )", note))
    claim, flow = sp.lambdify(T, wrong), 2 / (1 + 199 * np.exp(-4 * times))
    assert left == pytest.approx(np.abs(amplitude * claim(time * times) - flow).max() / 2, rel=0.06)
    # The factors are the best in squares: no nearby pair is better at the times of the fit.
    chosen = np.unique(np.linspace(0, 32, 12).astype(int))

    def error(c: float, f: float) -> float:
        return float(np.sum((f * claim(c * times[chosen]) - flow[chosen]) ** 2))

    best = error(time, amplitude)
    for c, f in ((1.01, 1), (0.99, 1), (1, 1.01), (1, 0.99)):
        assert best < error(c * time, f * amplitude)


def test_a_fit_does_not_run_away():
    """A sigmoid claimed of the loss, which falls: the nearest one hardly moves."""
    (note,) = notes(RIGHT, "loss")
    time = float(re.search(rf"t -> ({NUMBER}) t", note)[1])
    assert 1e-4 < time < 1e4


def test_a_nearly_right_claim_is_not_explained_away():
    nearly = RIGHT * (1 + sp.Rational(1, 10**7))
    (note,) = notes(nearly)
    assert note.startswith("no usual factor")
    assert "u -> 0.9999999 u" in note
    for slip in (nearly.subs(T, T / 2), 2 * nearly):
        assert notes(slip)[0].startswith("no usual factor")


@pytest.mark.parametrize(
    "hopeless", [sp.Integer(0), sp.sqrt(1 - T / 10**4) - 1, sp.exp(30 * T), sp.log(11 - T)]
)
def test_a_claim_without_values_elsewhere_is_not_fitted_there(hopeless):
    assert notes(hopeless)[0].startswith("no usual factor")


def test_in_a_curriculum_and_without_a_law_the_flow_decides():
    constant = sk.Curriculum([sk.Phase(TASK, 1.0), sk.Phase(TASK, 2.0)])
    (note,) = notes(RIGHT.subs(T, T / 2), problem=(NET, constant, PROBLEM[2]))
    assert note.startswith("passes with t -> 2 t")
    deep = sk.Network.mlp([1, 2, 2, 1], "linear")
    w0 = sk.weights.gaussian(deep, 0.5, seed=1000)
    task = sk.Task([[1.0]], [[2.0]])
    assert notes(RIGHT, problem=(deep, task, w0))[0].startswith("no usual factor")


# ---- observables of samples

SAMPLES = sk.Task([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
SAMPLED = (NET, SAMPLES, sk.weights.aligned(NET, SAMPLES, a=[0.1, 0.2], b=[0.1, 0.3], seed=1001))
OBSERVED = {
    ("output", 2, 0): lambda traj: traj.outputs[:, 2, 0],
    ("output", 1, 1): lambda traj: traj.outputs[:, 1, 1],
    ("hidden_gram", 1, 1): lambda traj: traj.hidden_gram[:, 1, 1],
    ("hidden_gram", 0, 2): lambda traj: traj.hidden_gram[:, 0, 2],
    ("ntk", 0, 0, 2, 0): lambda traj: traj.ntk[:, 0, 0, 2, 0],
    ("ntk", 1, 0, 1, 0): lambda traj: traj.ntk[:, 1, 0, 1, 0],
}


@pytest.mark.parametrize("observable", OBSERVED, ids=str)
@pytest.mark.parametrize("parameterisation", ["standard", "ntk"])
def test_observables_of_samples_are_those_of_the_trajectory(observable, parameterisation):
    """A sum of exponentials through the trajectory's own values, at the times of the judge."""
    net = sk.Network.two_layer(2, 3, 2, parameterisation=parameterisation)
    problem = (net, SAMPLES, sk.weights.aligned(net, SAMPLES, a=[0.1, 0.2], b=[0.1, 0.3]))
    times = np.array([0.0, 0.5, 1.0, 2.0])
    law = sk.derive(*problem).compile()(times)
    values = OBSERVED[observable](law)
    through = sp.Float(0)
    for k, time in enumerate(times):
        others = np.delete(times, k)
        basis = sp.Mul(*((T - float(q)) / float(time - q) for q in others))
        through += float(values[k]) * basis
    assert notes(through, observable, problem, against=law) == ()
    (note,) = notes(2 * through, observable, problem, against=law)
    assert "a factor 1/2" in reasons(note, "amplitude")


def test_the_kernel_of_a_deep_network():
    """Against the product of explicit Jacobians at t = 0; a constant claim, right there alone."""
    net = sk.Network.mlp([2, 3, 3, 2], "linear")
    w0 = sk.weights.gaussian(net, 0.5, seed=1002)
    arrays = [np.array(w0.arrays[p.name]) for p in net.parameters]
    rows = []
    for sample, output in ((0, 0), (1, 1)):
        row = []
        for layer, array in enumerate(arrays):
            for entry in np.ndindex(array.shape):
                moved = [a.astype(complex) for a in arrays]
                moved[layer][entry] += 1e-20j
                output_there = moved[2] @ moved[1] @ moved[0] @ SAMPLES.X[sample]
                row.append(output_there[output].imag / 1e-20)
        rows.append(np.array(row))
    weights = {p.name: a[None] for p, a in zip(net.parameters, arrays, strict=True)}
    start = sk.Trajectory(np.array([0.0]), {"weights": lambda: weights})
    claim = sp.Float(rows[0] @ rows[1])
    report = sk.check_claim(claim, ("ntk", 0, 0, 1, 1), (net, SAMPLES, w0), against=start)
    assert report.passed, str(report)


@pytest.mark.parametrize(
    "observable",
    [
        ("output", 3, 0),
        ("output", 0, 2),
        ("output", 0),
        ("output", 0.0, 0),
        ("hidden_gram", 0, 3),
        ("hidden_gram", True, 0),
        ("hidden_gram", 0, -1),
        ("ntk", 0, 0),
        ("ntk", 0, 0, 0, 2),
        ("kernel", 0, 0),
        (("mode",), 0),
        [],
    ],
)
def test_observables_that_do_not_exist_are_refused(observable):
    with pytest.raises(InvalidArgument, match="'observable' must be 'loss' or"):
        sk.check_claim(RIGHT, observable, SAMPLED)


def test_observables_of_samples_need_samples_and_of_hidden_units_a_hidden_layer():
    task = sk.Task.from_moments(TASK.Sxx, TASK.Syx, TASK.Syy)
    with pytest.raises(InvalidArgument, match="for a task without samples"):
        sk.check_claim(RIGHT, ("output", 0, 0), (NET, task, PROBLEM[2]))
    net = sk.Network.mlp([2, 2], "linear")
    with pytest.raises(InvalidArgument, match="without hidden layer"):
        sk.check_claim(RIGHT, ("hidden_gram", 0, 0), (net, TASK, sk.weights.gaussian(net)))
    assert notes(RIGHT, ("mode", 0), (net, TASK, sk.weights.gaussian(net)))


# ---- where the notes appear


def test_notes_are_printed_everywhere():
    report = sk.check_claim(RIGHT.subs(T, T / 2), ("mode", 0), PROBLEM)
    (note,) = report.notes
    assert str(report).endswith(f"  NOT passed\n  note: {note}")
    assert note.replace(">", "&gt;") in report._repr_html_()
    assert r"passes with $t \to 2 t$: in time a factor 2" in report.latex()
    right = sk.check_claim(RIGHT, ("mode", 0), PROBLEM)
    for text in (str(right), right._repr_html_(), right.latex()):
        assert "note" not in text.lower()


def test_notes_are_part_of_the_record():
    report = sk.check_claim(RIGHT.subs(T, T / 2), ("mode", 0), PROBLEM)
    law = sk.derive(*PROBLEM)
    object.__setattr__(law, "report", report)
    assert record(law)["report"]["notes"] == list(report.notes)
