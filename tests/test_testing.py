"""Strategies for users: every corner case that they promise, small counterexamples, the laws."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import sympy as sp
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import symkernel as sk
from symkernel import testing
from symkernel.errors import InvalidArgument
from symkernel.nodes import Apply, Gate
from symkernel.problem.modes import common_basis
from symkernel.problem.nodes import Bias, Linear, Slice, Sum
from symkernel.problem.problem import Problem
from symkernel.theory import LAWS
from symkernel.theory.mode_state import ModeState

SEARCH = settings(max_examples=1000, phases=[Phase.generate], database=None)
NET = sk.Network.two_layer(3, 2, 3)
WIDE = sk.Network.two_layer(2, 4, 2)
TASK = sk.Task.from_modes([3.0, 2.0, 1.0])


def sides(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    return ModeState.of(problem).amplitudes()


def has(kind, **how):
    return lambda net: any(
        isinstance(node, kind) and all(getattr(node, k) == v for k, v in how.items())
        for node in net.order
    )


def parameter(**how):
    return lambda net: any(
        all(getattr(p, key) == value for key, value in how.items()) for p in net.parameters
    )


def uses(net, kind):
    """Return how often the most used parameter, or gate, of a network occurs."""
    names = [
        node.name if kind is Gate else node.parameter.name
        for node in net.order
        if isinstance(node, kind)
    ]
    return max(map(names.count, names), default=0)


def strengths_of(task: sk.Task) -> np.ndarray:
    return np.linalg.svd(task.Syx, compute_uv=False)


def repeats(task: sk.Task) -> bool:
    s = strengths_of(task)
    return bool((np.isclose(s[1:], s[:-1], rtol=1e-9) & (s[1:] > 0.0005)).any())


def zeros(task: sk.Task) -> bool:
    return strengths_of(task)[-1] < 1e-9


def white(task: sk.Task) -> bool:
    return np.allclose(task.Sxx, np.eye(len(task.Sxx)))


def separated(cur: sk.Curriculum) -> bool:
    """Whether a later task tells modes apart that the first one does not."""
    first, *rest = (phase.task for phase in cur.phases)
    return repeats(first) and not zeros(first) and any(
        not repeats(task) and not zeros(task) for task in rest
    )  # fmt: skip


TWO, MLPS, NETS = testing.two_layer_networks(), testing.mlps(), testing.networks()
EXACT, ARRAYS = testing.exact_tasks(), testing.array_tasks()
ALIGNED = testing.aligned_problems(most=3)
GRAM = testing.gram_diagonal_problems(most=2)
CUR = testing.curricula(2, 2)
PROMISED = {
    "two layers, bottleneck": (TWO, lambda n: n.parameters[0].shape[0] < min(n.inputs, n.outputs)),
    "two layers, NTK": (TWO, lambda n: n.parameterisation == "ntk"),
    "two layers, tanh": (
        testing.two_layer_networks(activations=["linear", "tanh"]), lambda n: not n.is_linear
    ),
    "mlp of one layer": (MLPS, lambda n: "hidden" not in n.nodes),
    "mlp of four layers": (MLPS, lambda n: "hidden3" in n.nodes),
    "mlp with biases": (MLPS, parameter(kind="bias")),
    "mlp of relu": (MLPS, lambda n: any(a.activation.name == "relu" for a in n.order
                                        if isinstance(a, Apply))),
    "slice": (NETS, has(Slice)),
    "sum": (NETS, has(Sum)),
    "gate twice": (NETS, lambda n: uses(n, Gate) > 1),
    "shared weight": (NETS, lambda n: uses(n, Linear) > 1),
    "shared bias": (NETS, lambda n: uses(n, Bias) > 1),
    "fixed": (NETS, parameter(trained=False)),
    "diagonal": (NETS, parameter(kind="diagonal")),
    "scaled": (NETS, parameter(scale=1 / sp.sqrt(3))),
    "nonlinear output": (NETS, lambda n: isinstance(n.output, Apply)),
    "identity": (testing.orthogonal_matrices(3), lambda U: np.array_equal(U, np.eye(3))),
    "signs": (testing.orthogonal_matrices(3), lambda U: (U == -1).any()),
    "all zero after the first": (
        testing.commuting_tasks(3, 3), lambda tasks: np.linalg.matrix_rank(tasks[0].Syx) == 1
    ),
    "repeated": (testing.commuting_tasks(3, 3), lambda tasks: repeats(tasks[0])),
    "not white": (testing.commuting_tasks(3, 2), lambda tasks: not white(tasks[0])),
    "white": (testing.commuting_tasks(3, 2, samples=True), lambda tasks: white(tasks[0])),
    "reversal": (
        testing.commuting_tasks(1, 1, count=2), lambda ts: ts[0].Syx[0, 0] * ts[1].Syx[0, 0] < 0
    ),
    "modes, multiple": (testing.mode_tasks(), lambda t: t.modes[0].multiplicity == 3),
    "modes, zero": (testing.mode_tasks(), lambda t: any(m.s == 0 for m in t.modes)),
    "rank deficient": (ARRAYS, lambda t: np.linalg.matrix_rank(t.X) < min(t.X.shape)),
    "fewer samples than inputs": (ARRAYS, lambda t: t.X.shape[0] < t.X.shape[1]),
    "nothing to learn": (ARRAYS, lambda t: not t.Y.any()),
    "exact, zero": (EXACT, lambda t: t.exact.modes[-1].s == 0),
    "exact, repeated": (EXACT, lambda t: len({m.s for m in t.exact.modes} - {0}) <
                        sum(m.s != 0 for m in t.exact.modes)),
    "exact, named": (EXACT, lambda t: bool(t.exact.named)),
    "exact, variances": (EXACT, lambda t: len({m.d for m in t.exact.modes}) > 1),
    "balanced": (ALIGNED, lambda p: (lambda a, b: ((a == b) & (a != 0)).any())(*sides(p))),
    "opposite": (
        ALIGNED, lambda p: (lambda a, b: (np.isclose(a, -b, atol=0) & (a != 0)).any())(*sides(p))
    ),
    "one-sided": (ALIGNED, lambda p: (lambda a, b: ((b == 0) & (a != 0)).any())(*sides(p))),
    "other side": (ALIGNED, lambda p: (lambda a, b: ((a == 0) & (b != 0)).any())(*sides(p))),
    "no weights": (ALIGNED, lambda p: not any(w.any() for w in p.weights.arrays.values())),
    "bottleneck on a weak mode": (
        testing.aligned_weights(NET, TASK), lambda w: not w.arrays["W1"][:, 0].any()
        and w.arrays["W1"][:, 1].any() and w.arrays["W1"][:, 2].any()
    ),
    "aside": (GRAM, lambda p: ModeState.of(p).skewness > 0.1),
    "zero map": (
        GRAM, lambda p: not (p.weights.arrays["W2"] @ p.weights.arrays["W1"]).any()
        and all(w.any() for w in p.weights.arrays.values())
    ),
    "two phases": (GRAM, lambda p: len(p.curriculum.phases) == 2),
    "three phases": (CUR, lambda cur: len(cur.phases) == 3),
    "separated later": (CUR, separated),
    "large weights": (
        testing.gaussian_weights(NET), lambda w: np.abs(w.arrays["W1"]).max() > 3
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROMISED)
def test_every_corner_case_is_drawn(name: str) -> None:
    strategy, wanted = PROMISED[name]
    assert wanted(find(strategy, wanted, settings=SEARCH))


# Small counterexamples ----------------------------------------------------------------------------


def test_counterexamples_are_small() -> None:
    net = find(TWO, lambda net: int(net.outputs) > 2)
    assert (int(net.inputs), int(net.node("hidden").size), int(net.outputs)) == (1, 1, 3)
    deep = find(MLPS, lambda net: len(net.parameters) > 2)
    assert [p.shape for p in deep.parameters] == [(1, 1)] * 3
    gated = find(NETS, lambda net: net.gates)
    assert len(gated.parameters) <= 3
    assert max(int(node.size) for node in gated.order) == 1
    task = find(ARRAYS, lambda task: len(task.X) > 2)
    assert task.X.shape == (3, 1)
    exact = find(EXACT, lambda task: task.Syx.max() > 1)
    assert exact.Syx.shape == (1, 1)


@pytest.mark.parametrize("law", ["aligned_modes", "gram_diagonal"])
def test_counterexamples_of_a_law_have_one_mode(law: str) -> None:
    problem = find(
        testing.problems(law), lambda problem: any(w.any() for w in problem.weights.arrays.values())
    )
    assert (problem.network.inputs, problem.network.outputs) == (1, 1)
    assert len(problem.curriculum.phases) == 1


# What is drawn is of the class --------------------------------------------------------------------


@pytest.mark.parametrize("name", [law.name for law in LAWS])
@settings(max_examples=60)
@given(data=st.data())
def test_every_problem_is_accepted_by_its_law(name: str, data: st.DataObject) -> None:
    (law,) = (law for law in LAWS if law.name == name)
    problem = data.draw(testing.problems(name))
    verdicts = law.test(problem)
    assert all(v.holds for v in verdicts), "\n".join(map(str, verdicts))


@settings(max_examples=40)
@given(cur=testing.curricula(3, 2), data=st.data())
def test_weights_fit_any_curriculum_that_commutes(cur: sk.Curriculum, data: st.DataObject) -> None:
    assert [phase.duration is None for phase in cur.phases][-1]
    for hidden, strategy in ((3, testing.aligned_weights), (5, testing.gram_diagonal_weights)):
        net = sk.Network.two_layer(3, hidden, 2)
        problem = Problem(net, cur, data.draw(strategy(net, cur)))
        law = LAWS[strategy is testing.gram_diagonal_weights]
        verdicts = law.test(problem)
        assert all(v.holds for v in verdicts), "\n".join(map(str, verdicts))


@given(testing.commuting_tasks(3, 2, count=3))
def test_commuting_tasks_are_diagonal_in_one_pair_of_bases(tasks: list[sk.Task]) -> None:
    basis = common_basis(tasks)
    for task in tasks:
        cross, inner = basis.U.T @ task.Syx @ basis.V, basis.V.T @ task.Sxx @ basis.V
        for turned in (cross, inner):
            rest = turned - np.eye(*turned.shape) * turned
            assert np.abs(rest).max() < 1e-9 * max(1.0, np.abs(turned).max())


@given(testing.orthogonal_matrices(4))
def test_matrices_are_orthogonal(U: np.ndarray) -> None:
    assert np.abs(U @ U.T - np.eye(4)).max() < 1e-14


@settings(max_examples=15)
@given(EXACT)
def test_exact_tasks_have_exact_modes(task: sk.Task) -> None:
    assert len(task.exact.modes) == min(task.Syx.shape)
    assert task.history == ()


@given(testing.numerical_networks())
def test_numbers_fit_their_network(case: testing.NumericalNetwork) -> None:
    assert {p.name: tuple(p.shape) for p in case.net.parameters} == {
        name: w.shape for name, w in case.weights.items()
    }
    assert (len(case.X), len(case.X2)) == (2, 3)
    assert set(case.gates) == set(case.gates2) == set(case.net.gates)


@given(ALIGNED, st.data())
def test_times_lie_in_the_curriculum(problem, data: st.DataObject) -> None:
    clock = data.draw(testing.times(problem))
    assert (np.diff(clock) > 0).all()
    assert 0 <= clock[0] <= clock[-1] <= testing.horizon(problem)[-1]


def test_horizon_holds_the_switches_and_ends_with_the_curriculum() -> None:
    one = sk.Task.from_modes([2.0])
    cur = sk.Curriculum([sk.Phase(one, duration=0.5), sk.Phase(one, duration=0.75)])
    net = sk.Network.two_layer(1, 1, 1)
    problem = Problem(net, cur, sk.weights.aligned(net, one, a=0.1, b=0.1))
    clock = testing.horizon(problem)
    assert {0.0, 0.25, 0.5, 1.25} <= set(clock)
    assert clock[-1] == cur.end
    assert 0.5 in {find(testing.times(problem), lambda c: 0.5 in c)[0]}


# Refusals -----------------------------------------------------------------------------------------

SYMBOLIC = sk.Network.two_layer(1, sp.Symbol("n", integer=True, positive=True), 1)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, None, "3"])
def test_sizes_must_be_positive_integers(bad: object) -> None:
    for strategy, names in (
        (testing.two_layer_networks, ["most"]), (testing.mlps, ["most", "most_layers"]),
        (testing.networks, ["most", "most_nodes"]), (testing.mode_tasks, ["most"]),
        (testing.array_tasks, ["most", "most_samples"]), (testing.exact_tasks, ["most"]),
        (testing.aligned_problems, ["most", "phases"]), (testing.gram_diagonal_problems, ["most"]),
    ):  # fmt: skip
        for name in names:
            with pytest.raises(InvalidArgument, match=f"^Argument '{name}' must be an integer of"):
                strategy(**{name: bad})
    for strategy in (testing.commuting_tasks, testing.curricula):
        for sizes in ((bad, 1), (1, bad), (1, 1, bad)):
            with pytest.raises(InvalidArgument, match="must be an integer of at least 1"):
                strategy(*sizes)
    with pytest.raises(InvalidArgument, match="'size' must be an integer"):
        testing.orthogonal_matrices(bad)
    with pytest.raises(InvalidArgument, match="'samples' must be an integer"):
        testing.numerical(NET, 0, samples=(bad, 2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: testing.two_layer_networks(activations=["swish"]), "activation"),
        (lambda: testing.mlps(activations=[]), "'activations' must be a sequence of names"),
        (lambda: testing.mlps(activations="tanh"), "'activations' must be a sequence of names"),
        (lambda: testing.numerical(SYMBOLIC, 0), "'net' must be a Network without symbols"),
        (lambda: testing.numerical(NET, -1), "'seed' must be a non-negative integer"),
        (lambda: testing.numerical_networks(NET), "'of' must be a strategy"),
        (lambda: testing.gaussian_weights(SYMBOLIC), "'net' must be a Network without symbols"),
        (lambda: testing.aligned_weights(SYMBOLIC, TASK), "of two dense linear layers"),
        (
            lambda: testing.aligned_weights(sk.Network.mlp([3, 3, 3]), TASK),
            "of two dense linear layers",
        ),
        (
            lambda: testing.aligned_weights(NET, sk.Task.from_modes([sp.Symbol("s")] * 3)),
            "must have numbers",
        ),
        (lambda: testing.aligned_weights(NET, 3), "'curriculum' must be a Task or a Curriculum"),
        (lambda: testing.aligned_weights(WIDE, TASK), "must agree"),
        (lambda: testing.gram_diagonal_weights(NET, TASK), "two hidden units for each"),
        (lambda: testing.problems("saxe"), "'law' must be one of aligned_modes"),
        (lambda: testing.horizon(NET), "'problem' must be a Problem with numbers"),
        (lambda: testing.times(NET), "'problem' must be a Problem with numbers"),
    ],
)
def test_arguments_that_cannot_be_are_refused(call, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        call()


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, "1", None, 1j])
def test_time_constants_must_be_positive(bad: object) -> None:
    problem = LAWS[0].example()
    for call in (testing.horizon, testing.times):
        with pytest.raises(InvalidArgument, match="'strength' must be a"):
            call(problem, bad)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_hypothesis_is_loaded_on_demand_and_named_when_it_is_missing() -> None:
    assert run("import sys, symkernel; print('hypothesis' in sys.modules)").strip() == "False"
    missing = "import sys; sys.modules['hypothesis'] = None; import symkernel.testing"
    assert "ImportError: symkernel.testing draws with hypothesis, which is not" in run(missing)
