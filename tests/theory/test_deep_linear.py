"""Deep linear networks: steps, formulas, trajectories of all layers, curricula, refusals."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, NoClosedForm, OutsideValidity
from symkernel.problem.problem import Problem
from symkernel.theory import deep_checks
from symkernel.theory.chain_flow import chain_flow, check_conserved, check_gradients
from symkernel.theory.chain_state import ChainState
from symkernel.theory.deep_checks import check_observables, check_precision, deep_limits
from symkernel.theory.deep_functions import ModeCurve
from symkernel.theory.deep_integrals import rising
from symkernel.theory.deep_linear import LAW
from symkernel.theory.deep_mode import DeepMode
from symkernel.theory.deep_routine import deep_routine
from tests.theory.flow_draws import BOUND, flow_gap

t = sp.Symbol("t", nonnegative=True)
s, d, u0 = sp.symbols("s d v", positive=True)


def chain(depth: int, task: sk.Task, u, width: int = 4, **options):
    net = sk.Network.mlp([task.inputs, *[width] * (depth - 1), task.outputs], "linear", **options)
    return net, task, sk.weights.aligned(net, task, u=u, seed=3)


def symbolic(depth: int, **options):
    return sk.derive(
        *chain(depth, sk.Task.from_modes(s, input_variance=d), u0, 1), law="deep_modes", **options
    )


def sampled(strengths=(3.0, 1.5, 0.5), seed=0, d=None):
    """Return a task on samples with these modes, and input variances d along them."""
    stream = np.random.default_rng(seed)
    k = len(strengths)
    spread = np.ones(k + 1) if d is None else np.sqrt(d)
    X = np.linalg.qr(stream.standard_normal((9, k + 1)))[0] * np.sqrt(9) * spread
    U = np.linalg.qr(stream.standard_normal((k, k)))[0]
    Y = X[:, :k] / spread[:k] ** 2 * strengths @ U.T
    return sk.Task(X, Y)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8])
def test_every_step_and_limit_is_proven(depth):
    derivation = symbolic(depth)
    for step in derivation.steps:
        assert step.check().passed, step.title
    for title, test in derivation.derived.limits:
        assert test().passed, title


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_every_step_is_proven_and_solved_with_other_factors(depth):
    """Parameterisation and loss give sigma, delta and c other than s, d and 1."""
    task = sk.Task.from_modes([2.0, 1.0])
    case = chain(depth, task, [0.1, 0.2], 3, parameterisation="ntk", rates=[0.3] * depth)
    law = sk.derive(*case, law="deep_modes", loss=sk.SquaredError(1.7))
    for step in law.steps:
        assert step.check().passed, step.title
    for title, test in law.derived.limits:
        assert test().passed, title
    found = law.compile()([0.7]).modes[0, 0]
    assert float(law.mode(0).output.subs(t, 0.7).evalf()) == pytest.approx(found, rel=1e-12)


def test_every_limit_is_judged_from_the_law_itself(monkeypatch):
    """Twice the rate, an integral without its pole, an equation of another depth: found out."""

    class Wrong(DeepMode):
        @property
        def rate(self):
            return 2 * super().rate

    wrong = dict(deep_limits(Wrong(sp.Integer(4))))
    right = dict(deep_limits(DeepMode(sp.Integer(4))))
    for title in ("t to infinity, logarithmic singularity", "zero strength, power law"):
        assert right[title]().passed
        assert not wrong[title]().passed
    assert not Wrong(sp.Integer(4)).prove().passed
    two, limit = "depth 2, pole of the integral", "infinite depth, pole of the integral"
    assert right[two]().passed
    assert right[limit]().passed
    monkeypatch.setattr(deep_checks, "rising", lambda D: 2 * rising(D).args[0] + rising(D).args[1])
    assert not right[two]().passed
    monkeypatch.setattr(deep_checks, "DeepMode", Wrong)
    assert not right[limit]().passed


@pytest.mark.parametrize("depth", [1, 2, 3, 6, 9])
def test_routine_against_sixty_digits(depth):
    evidence = check_precision(depth, np.random.default_rng(depth), 8)
    assert evidence.passed, evidence.figure


def test_a_wrong_flow_fails_the_checks():
    flow = chain_flow(Problem(*chain(3, sk.Task.from_modes([2.0, 1.0]), 0.1)))
    assert check_gradients(flow).passed
    assert check_conserved(flow).passed
    system = type(flow.system)(flow.system.network, flow.system.loss)
    broken = dict(system.flow)
    broken["W2"] = broken["W2"].scaled(sp.Integer(2))
    system.__dict__["flow"] = broken
    wrong = type(flow)(system, flow.layers, flow.scale, flow.sigma, flow.delta)
    assert not check_gradients(wrong).passed
    faster = type(flow)(flow.system, flow.layers, flow.scale, 2 * flow.sigma, flow.delta)
    assert not check_observables(faster).passed


@pytest.mark.parametrize("depth", [1, 2])
def test_explicit_depths_are_the_textbook_laws(depth):
    output = symbolic(depth).result.output
    start, rate = (s / d - u0), sp.exp(-d * t)
    wanted = s / d - start * rate
    if depth == 2:
        wanted = (s / d) / (1 + (s / (d * u0) - 1) * sp.exp(-2 * s * t))
    assert sp.cancel(sp.together(output - wanted)) == 0


@pytest.mark.parametrize("depth", [3, 4, 8])
def test_the_mode_is_the_inverse_of_its_flow_time(depth):
    result = symbolic(depth).result
    assert isinstance(result.output, ModeCurve)
    numbers = {s: 2, d: sp.Rational(1, 2), u0: sp.Rational(1, 10)}
    curve = result.output.subs(numbers)
    assert curve.subs(t, 0) == sp.Rational(1, 10)
    time = symbolic(depth).learning_time(sp.Rational(3, 4)).subs(numbers)
    assert abs(curve.subs(t, time).evalf(30) - 3) < 1e-20
    gap = result.output.diff(t) - depth * result.output ** (2 - sp.Rational(2, depth)) * (
        s - d * result.output
    )
    assert sp.expand(gap, power_base=False) == 0


def test_loss_factor_and_parameterisation_change_the_law_by_themselves():
    kappa = sp.Symbol("kappa", positive=True)
    net, task, w0 = chain(3, sk.Task.from_modes(s), u0, 1)
    law = sk.derive(net, task, w0, loss=sk.SquaredError(kappa))
    half = sp.Rational(1, 2)
    ratio = law.learning_time(half) / sk.derive(net, task, w0).learning_time(half)
    assert sp.simplify(ratio - 1 / (2 * kappa)) == 0
    problem = Problem(*chain(4, sampled(), 0.05, parameterisation="ntk"))
    assert flow_gap(LAW, problem) < BOUND
    fast = Problem(*chain(3, sampled(), 0.05, rates=[2.5] * 3))
    assert flow_gap(LAW, fast) < BOUND
    own = Problem(*chain(3, sampled(), 0.05)[:3], sk.SquaredError(1.7))
    assert flow_gap(LAW, own) < BOUND


@pytest.mark.parametrize("depth", [1, 3])
def test_every_observable_is_that_of_the_layers(depth):
    """Outputs, every hidden layer, Gram matrix, NTK and losses against the simulator at the start,
    and against gradient descent later."""
    net, task, w0 = chain(depth, sampled(d=[1.0, 2.0, 0.5, 3.0]), [0.3, 0.2, -0.1], 5)
    times = np.array([0.0, 0.5, 1.0])
    theory = sk.derive(net, task, w0, law="deep_modes").compile()(times)
    run = sk.simulate(net, task, w0, 2e-5, record=times)
    names = ["outputs", "ntk", "loss"] + ["hidden", "hidden_gram"] * (depth > 1)
    for name in names:
        mine, theirs = getattr(theory, name), getattr(run, name)
        size = np.abs(theirs).max()
        np.testing.assert_allclose(mine[0], theirs[0], atol=1e-12 * size)
        np.testing.assert_allclose(mine, theirs, atol=1e-3 * size)
    for k in range(1, depth):
        node = f"hidden{k}"
        np.testing.assert_allclose(theory.node(node), run.node(node), atol=1e-3)
    product = theory.fields["end_to_end"]()
    np.testing.assert_allclose(theory.outputs, task.X @ product.transpose(0, 2, 1), atol=1e-12)
    assert np.array_equal(theory.fields["task_losses"]()[:, 0], theory.loss)


def test_the_loss_keeps_its_digits_close_to_the_end():
    net, task, w0 = chain(3, sk.Task.from_modes([1.0]), 0.5, 2)
    compiled = sk.derive(net, task, w0).compile()
    loss = compiled([0.0, 12.0]).loss[1]
    slower = compiled([0.0, 11.0]).loss[1]
    assert 0 < loss < 1e-30  # a difference of modes would be 0 or 1e-32
    assert loss / slower == pytest.approx(math.exp(-6.0), rel=1e-9)


def test_a_curriculum_goes_through_all_branches():
    """A mode that falls to a weaker target, one that rises, and one that is reversed."""
    first, second, third = (
        sampled(q) for q in ((3.0, 1.5, 0.5), (1.0, 2.5, -0.5), (2.0, 0.0, 0.5))
    )
    net, _, w0 = chain(3, first, [0.2, 0.3, 0.4])
    course = sk.Curriculum([sk.Phase(first, 1.5), sk.Phase(second, 1.5), sk.Phase(third)])
    problem = Problem(net, course, w0)
    assert all(verdict.holds for verdict in LAW.test(problem))
    assert flow_gap(LAW, problem, np.linspace(0, 6, 25)) < 1e-10
    law = sk.derive(net, course, w0)
    modes = law.compile()([1.0, 2.5, 4.5]).modes
    for phase, time in enumerate((1.0, 2.5, 4.5)):
        values = [float(law.mode(k, phase).output.subs(t, time).evalf()) for k in range(3)]
        np.testing.assert_allclose(values, modes[phase], rtol=1e-10)
    losses = law.compile()([1.0, 4.5]).fields["task_losses"]()
    assert losses.shape == (2, 3)
    with pytest.raises(OutsideValidity, match="no such learning time"):
        law.learning_time(0.5, mode=2, phase=1)


def test_trap_6_negative_modes_fall_to_the_saddle():
    """The sigmoid in s > 0 would learn the mode; with the sign turned it falls to 0."""
    for depth in (2, 3, 4):
        net, task, w0 = chain(depth, sk.Task.from_modes([1.0]), -0.3, 2)
        law = sk.derive(net, task, w0, law="deep_modes")
        modes = law.compile()([0.0, 2.0, 40.0]).modes[:, 0]
        assert modes[0] == pytest.approx(-0.3)
        assert -0.3 < modes[1] < modes[2] < 0
        assert abs(modes[2]) < 0.05
        problem = Problem(net, task, w0)
        assert flow_gap(LAW, problem, np.linspace(0, 3, 7)) < 1e-10
        with pytest.raises(OutsideValidity):
            law.learning_time(0.5, mode=0)
    # One layer has no saddle.
    net, task, w0 = chain(1, sk.Task.from_modes([1.0]), -0.3)
    assert sk.derive(net, task, w0).compile()([0.0, 40.0]).modes[1, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("depth", [2, 3])
def test_the_sign_of_a_mode_is_kept_through_phases_of_open_duration(depth):
    T = sp.Symbol("T", positive=True)
    first, then = sk.Task.from_modes([1.0]), sk.Task.from_modes([3.0])
    net, _, w0 = chain(depth, first, -0.3, 2)
    course = sk.Curriculum([sk.Phase(first, T), sk.Phase(then)])
    law = sk.derive(net, course, w0, law="deep_modes")
    found = law.mode(0, 1).output.subs({T: 1, t: sp.Rational(3, 2)}).evalf()
    wanted = law.compile({T: 1.0})([1.5]).modes[0, 0]
    assert float(found) == pytest.approx(wanted, rel=1e-12)
    assert wanted < 0


def test_a_mode_that_starts_at_zero_stays_there_but_for_one_layer():
    task = sk.Task.from_modes([2.0, 1.0])
    for depth, last in ((3, 0.0), (1, 1.0)):
        law = sk.derive(*chain(depth, task, [0.5, 0]), law="deep_modes")
        assert law.compile()([0.0, 60.0]).modes[1, 1] == pytest.approx(last, abs=1e-15)
    net, task, w0 = chain(3, task, [0.5, 0])
    order = sk.derive(net, task, w0).learning_order()
    assert [mode for mode, _ in order] == [0, 1]
    nothing = sk.derive(*chain(3, sk.Task.from_modes([1.0, 0.0]), 0.5))
    assert nothing.learning_order(sp.Rational(3, 4))[1] == (1, sp.oo)
    assert order[1][1] == sp.oo


def test_trap_8_and_narrow_layers():
    """The narrowest layer bounds the modes that can be carried; the others start at zero."""
    net = sk.Network.mlp([3, 4, 2, 5, 3], "linear")
    task = sk.Task.from_modes([3.0, 2.0, 1.0])
    w0 = sk.weights.aligned(net, task, u=0.1)
    product = np.linalg.multi_dot(list(w0.arrays.values())[::-1])
    np.testing.assert_allclose(product, np.diag([0.1, 0.1, 0.0]), atol=1e-15)
    assert flow_gap(LAW, Problem(net, task, w0), np.linspace(0, 2, 9)) < 1e-9


def test_trap_14_descent_approaches_the_flow_with_slope_one():
    net, task, w0 = chain(3, sk.Task.from_modes([1.0]), 0.2, 2)
    times = np.linspace(0, 4, 9)
    theory = sk.derive(net, task, w0).compile()(times).modes
    errors = []
    for rate in (0.02, 0.01, 0.005):
        run = sk.simulate(net, task, w0, rate, record=times)
        product = np.array(
            [np.linalg.multi_dot([w[k] for w in run.weights.values()][::-1]) for k in range(9)]
        )
        errors.append(np.abs(product[:, 0, 0] - theory[:, 0]).max())
    slope = np.polyfit(np.log([4, 2, 1]), np.log(errors), 1)[0]
    assert errors[0] > 1e-3
    assert abs(slope - 1) < 0.1


def test_learning_order_and_small_scale():
    task = sk.Task.from_modes([3.0, 1.0])
    law = sk.derive(*chain(4, task, [0.001, 0.3]), law="deep_modes")
    (first, early), (second, late) = law.learning_order()
    assert (first, second) == (1, 0)
    modes = law.compile()([float(early), float(late)]).modes
    assert modes[0, 1] == pytest.approx(0.5, rel=1e-9)
    assert modes[1, 0] == pytest.approx(1.5, rel=1e-9)
    for depth in (2, 3, 7):
        exact = symbolic(depth).learning_time(sp.Rational(1, 2))
        short = symbolic(depth).learning_time(sp.Rational(1, 2), small_scale=True)
        values = {s: 1, d: 1, u0: sp.Rational(1, 10**12)}
        gap = (exact - short).subs(values).evalf(40)
        assert 0 < abs(gap) < 1e-3


def test_what_the_law_does_not_cover_is_refused_with_its_distance():
    task = sampled()
    net, _, w0 = chain(3, task, 0.1)
    arrays = dict(w0.arrays)

    def refused(words, net=net, task=task, weights=w0, **options):
        with pytest.raises(NoClosedForm, match=words) as caught:
            sk.derive(net, task, weights, law="deep_modes", **options)
        return [v for v in caught.value.verdicts if not v.holds]

    unbalanced = sk.weights.from_arrays(net, {**arrays, "W1": 1.01 * arrays["W1"]})
    (verdict,) = refused("same amplitude", weights=unbalanced)
    assert verdict.distance == pytest.approx(0.01, rel=0.02)
    turned = arrays["W2"] @ np.linalg.qr(np.eye(4) + 0.01 * np.eye(4, k=-1))[0]
    assert refused("one direction", weights=sk.weights.from_arrays(net, {**arrays, "W2": turned}))
    refused("one direction", weights=sk.weights.gaussian(net, 1.0))
    refused("one direction", weights=sk.weights.balanced(net, 1.0))
    slow, _, w1 = chain(3, task, 0.1, rates=[1, 1.05, 1])
    gap = refused("one learning rate", net=slow, weights=w1)[0].distance
    assert gap == pytest.approx(1 - 1 / 1.05)
    decay = sk.SquaredError(weight_decay=0.05)
    refused("no weight decay", loss=decay)
    # Neither is a near miss: bases and alignment were not tested, no law of a mode is left.

    def refuse(net, weights, loss, tolerance):
        sk.derive(net, task, weights, law="deep_modes", loss=loss, tolerance=tolerance)

    for case, accepted in product(((net, w0, decay), (slow, w1, None)), (None, 0.9)):
        with pytest.raises(NoClosedForm, match=r"one learning rate|no weight decay") as caught:
            refuse(*case, accepted)
        assert "near miss" not in str(caught.value)
    tanh = sk.Network.mlp([4, 4, 4, 3], "tanh")
    refused("activation tanh", net=tanh, weights=sk.weights.gaussian(tanh))
    X = np.random.default_rng(0).standard_normal((30, 4))
    mixed = sk.Task(X, X[:, :3] * [1, 2, 3])
    refused("diagonal in one pair", task=mixed, weights=sk.weights.aligned(net, mixed, u=0.1))


def test_symbols_of_a_deep_problem():
    law = symbolic(3)
    compiled = law.compile({s: 2.0, d: 0.5, u0: 0.1})
    value = law.result.output.subs({s: 2, d: sp.Rational(1, 2), u0: sp.Rational(1, 10), t: 1})
    assert compiled([1.0]).modes[0, 0] == pytest.approx(float(value.evalf()), rel=1e-13)
    r, T = sp.symbols("r T", positive=True)
    first, then = sk.Task.from_modes(s), sk.Task.from_modes(r)
    net = sk.Network.mlp([1, 1, 1, 1], "linear")
    course = sk.Curriculum([sk.Phase(first, T), sk.Phase(then)])
    law = sk.derive(net, course, sk.weights.aligned(net, first, u=u0))
    numbers = {s: 2, r: 1, u0: sp.Rational(1, 10), T: 3}
    later = law.mode(0, 1).output.subs({**numbers, t: 4}).evalf()
    found = law.compile(numbers)([4.0]).modes[0, 0]
    assert found == pytest.approx(float(later), rel=1e-12)
    p, q = sp.symbols("p q", positive=True)
    narrow, task = sk.Network.mlp([2, 1, 2, 2], "linear"), sk.Task.from_modes([p, q])
    law = sk.derive(narrow, task, sk.weights.aligned(narrow, task, u=0.1))
    with pytest.raises(InvalidArgument, match="hidden units for 2 modes"):
        law.mode(0)


def test_the_routine_keeps_its_source_and_times_end_with_the_curriculum():
    net, task, w0 = chain(3, sk.Task.from_modes([1.0]), 0.5, 2)
    assert "def deep_mode" in deep_routine(3).source
    assert deep_routine(3).rewritings == ()
    short = sk.derive(net, sk.Curriculum([sk.Phase(task, 1.0)]), w0)
    with pytest.raises(OutsideValidity, match="curriculum ends at flow time 1"):
        short.compile()([2.0])


def test_the_same_law_as_two_layers_have():
    task = sampled()
    net, _, w0 = chain(2, task, [0.1, 0.2, 0.3])
    times = np.linspace(0, 5, 11)
    two = sk.derive(net, task, w0, law="aligned_modes").compile()(times)
    deep = sk.derive(net, task, w0, law="deep_modes").compile()(times)
    np.testing.assert_allclose(deep.modes, two.modes, rtol=1e-12)
    for name, weight in two.weights.items():
        np.testing.assert_allclose(deep.weights[name], weight, atol=1e-12)
    assert ChainState.of(Problem(net, task, w0)).unbalanced == 0
