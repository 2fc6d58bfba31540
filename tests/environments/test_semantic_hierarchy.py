"""The derived spectrum of the tree against explicit trees, built here from prefixes of paths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import solve_ivp

import symkernel as sk
from symkernel.environments import Hierarchy, semantic_hierarchy, tree
from symkernel.errors import InvalidArgument, MissingValues
from symkernel.problem.task import Task

B, L = sp.symbols("B L", integer=True, positive=True)
TREES = list(itertools.product((2, 3, 4), (1, 2, 3, 4)))


def paths(b: int, deep: int) -> list[tuple[int, ...]]:
    """All nodes, level by level, each as its path from the root."""
    return [path for k in range(deep + 1) for path in itertools.product(range(1, b + 1), repeat=k)]


def inherited(b: int, deep: int) -> np.ndarray:
    """Features of the items: a node's feature belongs to every item whose path starts with it."""
    nodes = paths(b, deep)
    items = [path for path in nodes if len(path) == deep]
    return np.array([[int(item[: len(node)] == node) for node in nodes] for item in items])


def sibling_contrasts(b: int, deep: int, level: int) -> np.ndarray:
    """Each sibling but the first against the first one: a basis, not orthogonal, of a level."""
    items = [path for path in paths(b, deep) if len(path) == deep]
    if level == 0:
        return np.ones((len(items), 1), dtype=int)
    columns = []
    for parent in itertools.product(range(1, b + 1), repeat=level - 1):
        for child in range(2, b + 1):
            first, other = (*parent, 1), (*parent, child)
            columns.append(
                [int(path[:level] == first) - int(path[:level] == other) for path in items]
            )
    return np.array(columns).T


@pytest.mark.parametrize(("b", "deep"), TREES)
def test_eigenvalues_and_multiplicities_are_exact_on_explicit_trees(b: int, deep: int) -> None:
    symbolic, numbers = Hierarchy(B, L), Hierarchy(b, deep)
    features = inherited(b, deep)
    gram = features @ features.T
    total = 0
    for level in range(deep + 1):
        value, count = numbers.eigenvalue(level), numbers.multiplicity(level)
        values = {B: b, L: deep, symbolic.level: level}
        assert value.is_Integer
        assert count.is_Integer
        assert symbolic.eigenvalue().subs(values, simultaneous=True) == value
        assert symbolic.multiplicity().subs(values, simultaneous=True) == count
        contrasts = sibling_contrasts(b, deep, level)
        assert contrasts.shape[1] == count
        assert np.array_equal(gram @ contrasts, int(value) * contrasts)
        assert np.linalg.matrix_rank(contrasts) == count
        total += count
    assert total == numbers.items == len(gram)
    assert numbers.features == features.shape[1]


@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize(("b", "deep"), TREES)
def test_task_of_numbers_is_the_explicit_tree(b: int, deep: int, whitened: bool) -> None:
    task = semantic_hierarchy(b, deep, whitened=whitened)
    n = b**deep
    assert np.array_equal(task.Y, inherited(b, deep))
    assert np.allclose(task.Sxx, np.eye(n) if whitened else np.eye(n) / n, rtol=1e-15)
    exact = Hierarchy(b, deep, whitened)
    predicted = np.repeat(
        [float(exact.singular_value(level)) for level in range(deep + 1)],
        [int(exact.multiplicity(level)) for level in range(deep + 1)],
    )
    found = np.linalg.svd(task.Syx, compute_uv=False)
    assert np.abs(found - predicted).max() < 1e-14 * predicted[0] * n
    assert len(task.history) == int(whitened)


@pytest.mark.parametrize(("b", "deep"), TREES)
def test_distinctions_are_an_orthogonal_basis_of_integers(b: int, deep: int) -> None:
    exact = Hierarchy(b, deep)
    columns = np.hstack([exact.distinctions(level) for level in range(deep + 1)])
    products = columns.T @ columns
    assert columns.shape == (b**deep, b**deep)
    assert np.array_equal(products, np.diag(np.diag(products)))
    for level in range(deep + 1):
        mine, independent = exact.distinctions(level), sibling_contrasts(b, deep, level)
        assert np.linalg.matrix_rank(np.hstack([mine, independent])) == mine.shape[1]


def test_labels_name_items_and_features_in_order() -> None:
    task = semantic_hierarchy(2, 2)
    assert task.labels["inputs"] == ("item 1.1", "item 1.2", "item 2.1", "item 2.2")
    assert task.labels["samples"] == task.labels["inputs"]
    assert task.labels["outputs"][:4] == tuple(f"feature of {p}" for p in ("all", "1", "2", "1.1"))
    named = dict(zip(task.labels["outputs"], task.Y.T, strict=True))
    assert named["feature of 2"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("whitened", [False, True])
def test_every_step_carries_a_check_that_passes(whitened: bool) -> None:
    steps = Hierarchy(B, L, whitened).steps
    assert [step.title for step in steps][2:4] == ["Eigenvalues", "Multiplicities"]
    for step in steps:
        evidence = step.check()
        assert evidence.passed, f"{step.title}: {evidence.figure}"
        assert r"\begin{aligned}" in step.latex()


def test_checks_of_the_steps_fail_on_wrong_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    level = tree.LEVEL
    squared = B ** (-2 * L) * tree.eigenvalue()
    shared = tree.steps(False)[0].equations[0].rhs
    assert tree._check_similarity(shared).passed
    assert not tree._check_similarity(shared - 1).passed
    assert not tree._check_order(squared, 2 * B ** (-L - level)).passed
    assert not tree._check_singular(2 * squared, False).passed
    for name, wrong, check in (
        ("eigenvalue", (B ** (L - level) - 1) / (B - 1), tree._check_eigenvalue),
        ("eigenvalue", -tree.eigenvalue(), tree._check_eigenvalue),
        ("multiplicity", B**level, tree._check_multiplicity),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(tree, name, lambda wrong=wrong: wrong)
            assert not check().passed


def test_levels_with_numbers_are_free_of_the_singularity_at_one_branch() -> None:
    value = Hierarchy(B, 3).eigenvalue(1)
    assert value == B**2 + B + 1
    assert Hierarchy(B, 3).features.subs(B, 1) == 4
    # In symbols it is removable, with the chain's value L - l + 1.
    closed = Hierarchy(B, L).eigenvalue().subs({L: 5, tree.LEVEL: 2}, simultaneous=True)
    assert sp.limit(closed.subs(B, sp.Symbol("x")), sp.Symbol("x"), 1) == 4


def test_depth_as_a_number_and_branching_as_a_symbol_give_modes() -> None:
    task = semantic_hierarchy(branching=B, depth=3)
    assert isinstance(task, Task)
    assert len(task.modes) == 4
    assert task.free_symbols == {B}
    assert task.inputs == B**3
    for b in (2, 3):
        found = task.with_values({B: b})
        explicit = semantic_hierarchy(b, 3)
        assert np.allclose(np.linalg.svd(found.Syx)[1], np.linalg.svd(explicit.Syx)[1], rtol=1e-13)
        assert np.allclose(found.Sxx, explicit.Sxx, rtol=1e-15)


@pytest.mark.parametrize("branching", [B, 3, sp.Integer(3), 2 * B])
def test_symbolic_depth_gives_a_hierarchy(branching: object) -> None:
    found = semantic_hierarchy(branching=branching, depth=L)
    assert isinstance(found, Hierarchy)
    assert found == Hierarchy(branching, L)
    assert hash(found) == hash(Hierarchy(branching, L))
    values = {B: 2, L: 2} if found.branching.free_symbols else {L: 2}
    task = found.task(values)
    assert task.X is not None
    assert task.inputs == found.items.subs(values)
    with pytest.raises(MissingValues, match="depth"):
        found.task()
    with pytest.raises(AttributeError):
        found.depth = 3


def test_task_with_depth_alone_keeps_the_branching_symbolic() -> None:
    task = Hierarchy(B, L).task({L: 2})
    assert [mode.s for mode in task.modes] == [mode.s for mode in semantic_hierarchy(B, 2).modes]


@pytest.mark.parametrize("whitened", [False, True])
def test_level_task_is_one_level_of_the_tree(whitened: bool) -> None:
    symbolic = Hierarchy(B, L, whitened)
    (mode,) = symbolic.level_task().modes
    assert mode.free_symbols == {B, L, symbolic.level}
    for b, deep, level in ((2, 3, 0), (2, 3, 2), (3, 2, 1), (4, 2, 2)):
        values = {B: b, L: deep, symbolic.level: level}
        found = symbolic.level_task().with_values(values)
        exact = Hierarchy(b, deep, whitened)
        assert found.inputs == exact.multiplicity(level)
        strength = float(exact.singular_value(level))
        assert np.allclose(found.Syx, strength * np.eye(len(found.Syx)), rtol=1e-14)
        assert np.allclose(np.diag(found.Sxx), float(exact.input_variance), rtol=1e-14)


def test_large_trees_need_no_arrays() -> None:
    big = Hierarchy(10, 30)
    assert big.items == 10**30
    assert big.eigenvalue(29) == 11
    assert big.singular_value(30) == sp.Rational(1, 10**30)
    assert float(big.ratio(0)) == pytest.approx(np.sqrt(10), rel=1e-15)
    with pytest.raises(InvalidArgument, match=r"at most 4096 items .* not 6561"):
        semantic_hierarchy(3, 8)


# Broad before fine -------------------------------------------------------------------------


@pytest.mark.parametrize("whitened", [False, True])
def test_drive_falls_strictly_with_the_level(whitened: bool) -> None:
    symbolic = Hierarchy(B, L, whitened)
    level = symbolic.level
    gap = symbolic.singular_value(level) ** 2 - symbolic.singular_value(level + 1) ** 2
    expected = symbolic.input_variance / symbolic.items * B ** (L - level)
    assert sp.expand(sp.numer(sp.together(gap - expected))) == 0
    assert expected.is_positive
    for b, deep in TREES:
        exact = Hierarchy(b, deep, whitened)
        strengths = [exact.singular_value(k) for k in range(deep + 1)]
        assert all(x > y for x, y in itertools.pairwise(strengths))
        ratios = [exact.ratio(k) for k in range(deep)]
        assert ratios == [sp.sqrt((x / y) ** 2) for x, y in itertools.pairwise(strengths)]
        # Between the ratio at the leaves, root of B + 1, and that far above, root of B.
        assert all(b < ratio**2 <= b + 1 for ratio in ratios)


def learning_time(s: object, d: object, u0: object, q: object) -> sp.Expr:
    """Time at which the balanced mode law reaches the fraction q of its final value s / d."""
    return sp.log(q * (s / (d * u0) - 1) / (1 - q)) / (2 * s)


def test_learning_time_follows_from_the_mode_law() -> None:
    s, d, u0, q, t = sp.symbols("s d u0 q t", positive=True)
    law = (s / d) / (1 + (s / (d * u0) - 1) * sp.exp(-2 * s * t))
    assert sp.cancel(law.subs(t, learning_time(s, d, u0, q)) - q * s / d) == 0


def test_learning_time_falls_with_the_strength_below_an_explicit_start() -> None:
    """For dt/ds < 0 it needs ln[q (r - 1) / (1 - q)] > r / (r - 1), r = s / (d u0)."""
    s, d, u0, q = sp.symbols("s d u0 q", positive=True)
    r = s / (d * u0)
    slope = sp.diff(learning_time(s, d, u0, q), s)
    claimed = (r / (r - 1) - sp.log(q * (r - 1) / (1 - q))) / (2 * s**2)
    assert sp.cancel(sp.together(slope - claimed)) == 0
    # The left side of the condition rises with r and the right side falls: it holds on all
    # levels if it holds on the last one, where s / d is 1 for one-hot inputs.
    for b, deep in TREES:
        exact = Hierarchy(b, deep)
        assert exact.singular_value(deep) / exact.input_variance == 1
        for fraction, start in ((0.5, 0.2), (0.5, 1e-3), (0.9, 0.4), (0.1, 0.03), (0.99, 1e-9)):
            finest = np.log(fraction / (1 - fraction) * (1 / start - 1))
            assert finest > 1 / (1 - start)
            times = [
                float(
                    learning_time(
                        exact.singular_value(k), exact.input_variance, start, sp.Float(fraction)
                    )
                )
                for k in range(deep + 1)
            ]
            assert all(x < y for x, y in itertools.pairwise(times))


def test_a_large_start_reverses_the_order() -> None:
    """The condition is needed: half-way, from u0 = 0.49, the fine distinction comes first."""
    exact = Hierarchy(2, 1)
    times = [
        float(learning_time(exact.singular_value(k), exact.input_variance, 0.49, sp.Rational(1, 2)))
        for k in (0, 1)
    ]
    assert times[0] > times[1]


@pytest.mark.parametrize(("b", "deep"), [(2, 2), (3, 2), (2, 3)])
def test_levels_of_an_integrated_network_are_learned_in_time(b: int, deep: int) -> None:
    """Full weights, balanced and aligned, integrated: each level's half time is the formula's."""
    task, exact, start = semantic_hierarchy(b, deep), Hierarchy(b, deep), 1e-3
    n, out = b**deep, task.Syx.shape[0]
    net = sk.Network.two_layer(inputs=n, hidden=n, outputs=out)
    w0 = sk.weights.aligned(net, task, a=start**0.5, b=start**0.5, seed=1000)
    sizes = n * n

    def flow(_: float, w: np.ndarray) -> np.ndarray:
        W1, W2 = w[:sizes].reshape(n, n), w[sizes:].reshape(out, n)
        error = task.Syx - W2 @ W1 @ task.Sxx
        return np.concatenate([(W2.T @ error).ravel(), (error @ W1.T).ravel()])

    half = [
        float(learning_time(exact.singular_value(k), exact.input_variance, start, sp.S.Half))
        for k in range(deep + 1)
    ]
    first = np.concatenate([w0.arrays["W1"].ravel(), w0.arrays["W2"].ravel()])
    run = solve_ivp(
        flow, (0, half[-1] * 1.01), first, method="DOP853", rtol=1e-11, atol=1e-14, t_eval=half
    )
    for level, w in enumerate(run.y.T):
        W = w[sizes:].reshape(out, n) @ w[:sizes].reshape(n, n)
        for contrast in exact.distinctions(level).T:
            learned = np.linalg.norm(W @ contrast) / np.linalg.norm(task.Y.T @ contrast)
            assert learned == pytest.approx(0.5, abs=1e-8)


# Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [1, 0, -2, 2.5, 3.0, True, "2", None, np.nan, 2j, [2], np.array([2, 3]), sp.Rational(5, 2),
     sp.Float(2.0), sp.oo, sp.nan, sp.sqrt(2), sp.Symbol("x", integer=False),
     sp.Symbol("x", negative=True)],
)  # fmt: skip
@pytest.mark.parametrize("build", [semantic_hierarchy, Hierarchy])
def test_branching_must_be_an_integer_of_at_least_two(build: object, bad: object) -> None:
    with pytest.raises(InvalidArgument, match=r"Argument 'branching' must be an integer .*least 2"):
        build(bad, 2)


@pytest.mark.parametrize("bad", [0, -1, 1.5, False, "3", None, sp.Rational(1, 2), sp.oo, 1j])
@pytest.mark.parametrize("build", [semantic_hierarchy, Hierarchy])
def test_depth_must_be_an_integer_of_at_least_one(build: object, bad: object) -> None:
    with pytest.raises(InvalidArgument, match=r"Argument 'depth' must be an integer .*least 1"):
        build(2, bad)


@pytest.mark.parametrize("bad", [-1, 4, 1.5, "1", None, sp.Rational(1, 2)])
def test_level_must_be_on_the_tree(bad: object) -> None:
    exact = Hierarchy(2, 3)
    for ask in (exact.eigenvalue, exact.singular_value, exact.multiplicity, exact.level_task):
        with pytest.raises(InvalidArgument, match="Argument 'level' must be"):
            ask(bad)
    with pytest.raises(InvalidArgument, match="Argument 'level' must be"):
        exact.ratio(3)
    with pytest.raises(InvalidArgument, match="Argument 'level' must be"):
        Hierarchy(B, L).singular_value(L + 1)


def test_values_are_checked_as_arguments_are() -> None:
    with pytest.raises(InvalidArgument, match="'branching' must be"):
        Hierarchy(B, L).task({B: 1, L: 2})
    with pytest.raises(InvalidArgument, match="'depth' must be"):
        Hierarchy(B, L).task({B: 2, L: sp.Rational(1, 2)})
    with pytest.raises(InvalidArgument, match="'values' must map"):
        Hierarchy(B, L).task({B: 2, L: "3"})
    with pytest.raises(InvalidArgument, match="'whitened' must be"):
        semantic_hierarchy(2, 2, whitened="yes")
    with pytest.raises(MissingValues, match="must be numbers"):
        Hierarchy(B, 2).distinctions(1)
