r"""Checks of the derivation of task weights: the network written out, all stimuli summed up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from math import comb
from typing import Any

import numpy as np
import sympy as sp

from symkernel.codegen.matrix_nodes import Diagonal, Elementwise, InnerProduct, Rows
from symkernel.environments.multitasking import Multitasking
from symkernel.formula import Evidence
from symkernel.identities import vanishes
from symkernel.problem.activation import ARGUMENT
from symkernel.problem.network import Network
from symkernel.theory.pseudo_kernel import KernelFormula

# Numbers of groups and of features for which everything is written out.
SIZES = ((2, 2), (2, 3), (2, 5), (3, 2), (3, 3), (4, 2))
_ROUNDING = 1e-12
Powers = tuple[int, ...]
# Activations whose values at fractions are fractions.
_HIDDEN, _OUTPUT = ARGUMENT - ARGUMENT**2 / 3, ARGUMENT + ARGUMENT**2 / 7


def fractions(stream: np.random.Generator, *shape: int) -> np.ndarray:
    """Return an array of small fractions, for exact checks."""
    entries = [sp.Rational(int(n), 6) for n in stream.integers(-9, 10, int(np.prod(shape)))]
    return np.array(entries, dtype=object).reshape(shape)


def kernel_evidence(kernel_of: Callable[[Network], KernelFormula]) -> Evidence:
    """Compare the kernel with the gradient of the loss of a network written out, exactly."""
    env, moved = Multitasking(2, 2), 2
    net = env.network(2, _HIDDEN, _OUTPUT)
    stream = np.random.default_rng(0)
    given = {p.name: sp.Matrix(fractions(stream, *p.shape)) for p in net.parameters}
    theta = sp.Matrix(sp.symbols("theta:2"))
    free = {**given, "W_t": given["W_t"].copy()}
    free["W_t"][:, moved] = theta
    start = dict(zip(theta, given["W_t"][:, moved], strict=True))
    kernel = kernel_of(net)
    at = sp.zeros(env.inputs, 1)
    at[env.outputs + moved] = 1
    found, gradient = sp.zeros(2, 1), sp.zeros(2, 1)
    for x, y in zip(env.single.X.astype(int), env.single.Y.astype(int), strict=True):
        prompt, target = sp.Matrix(x.tolist()), sp.Matrix(y.tolist())
        residual = target - _output(given, prompt)
        known = {**given, "x": at, "x'": prompt}
        for symbol, meaning in kernel.where:
            if isinstance(symbol, sp.MatrixSymbol):
                known[symbol.name] = _written(meaning, known)
        found += _written(kernel.expression, known) * residual
        gradient += _output(free, prompt).jacobian(theta).subs(start).T * residual
    return Evidence.of(
        (found - gradient).expand() == sp.zeros(2, 1),
        "gradient of the loss of a network of 2 groups of 2 and 2 units with polynomial "
        "activations, 16 prompts, in fractions: difference 0",
    )


def _output(given: Mapping[str, sp.Matrix], x: sp.Matrix) -> sp.Matrix:
    """Return the output of a network of 2 x 2 groups, written out here once more."""
    stimulus, task = x[:4, :], x[4:, :]
    inner = given["W_s"] * stimulus + given["W_t"] * task + given["b"]
    hidden = inner.applyfunc(lambda e: _HIDDEN.subs(ARGUMENT, e))
    outer = given["W_2"] * hidden + given["W_o"] * task + given["c"]
    return outer.applyfunc(lambda e: _OUTPUT.subs(ARGUMENT, e))


def _written(expression: Any, known: Mapping[str, sp.Matrix]) -> Any:
    """Return a matrix expression with explicit matrices put in."""
    if isinstance(expression, sp.MatrixSymbol):
        return known[expression.name]
    if not isinstance(expression, (sp.MatrixExpr, InnerProduct)):
        return expression
    if isinstance(expression, Elementwise):
        return _written(expression.argument, known).applyfunc(expression.function)
    if isinstance(expression, Rows):
        start, stop, _ = expression.rowslice
        return _written(expression.parent, known)[start:stop, :]
    parts = [_written(part, known) for part in expression.args]
    match expression:
        case InnerProduct():
            return (parts[0].T * parts[1])[0]
        case Diagonal():
            return sp.diag(*parts[0])
        case sp.Transpose():
            return parts[0].T
        case sp.MatAdd():
            return sum(parts[1:], parts[0])
    return sp.prod(parts)


def features_evidence(values: Sequence[sp.Expr], M: sp.Symbol) -> Evidence:
    """Average over the M values of a feature, in symbols; then over 2 to 6 of them."""
    on, off, p = 1 - 1 / M, -1 / M, 1 / M
    averages = (
        p * on + (1 - p) * off,
        p * on**2 + (1 - p) * off**2,
        2 * p * on * off + (1 - 2 * p) * off**2,
    )
    kept = all(vanishes(a - b) for a, b in zip(averages, values, strict=True))
    for number in range(2, 7):
        e = sp.eye(number) - sp.ones(number, number) / number
        product = e.T * e / number
        first, square, other = (value.subs(M, number) for value in values)
        wanted = sp.eye(number) * (square - other) + sp.ones(number, number) * other
        kept &= product == wanted and sum(e[:, 0]) / number == first
    return Evidence.of(kept, "M values averaged, in symbols; 2 to 6 features written out")


class Unit:
    """A hidden unit with weights that are drawn, and the sums over all stimuli.

    Parameters
    ----------
    G, M : int
    seed : int
    """

    def __init__(self, G: int, M: int, seed: int = 0) -> None:
        stream = np.random.default_rng(seed)
        self.G, self.M = G, M
        self.a, self.w = fractions(stream, G, M), fractions(stream, G, M)
        self.task = fractions(stream, G, G)
        self.slopes = fractions(stream, 2)

    def given(self, i: int, j: int) -> list[sp.Expr]:
        """Return the values of the formula's symbols, in the order of `UNIT`."""
        a, w = (rows - rows.sum(1, keepdims=True) / self.M for rows in (self.a, self.w))
        level = self.task[i, j] + self.a.sum() / self.M
        products = (a[i] @ w[j], a[i] @ w.sum(0), a.sum(0) @ w[j], a.sum(0) @ w.sum(0))
        return [*self.slopes, level, self.w.sum(), self.w[j].sum(), *products]

    def summed(self, asked: Mapping[Powers, sp.Expr], second: np.ndarray, i: int, j: int) -> Any:
        """Return the sum over all stimuli of a signal, with products of two features added.

        The signal is given by its coefficients, the powers those of [j' = j], e_iv and the sum of
        e over groups.
        """
        (c1, c2), share = self.slopes, sp.Rational(1, self.M)
        total = sp.S.Zero
        for s in itertools.product(range(self.M), repeat=self.G):
            z = self.task[i, j] + sum(self.a[k, s[k]] for k in range(self.G))
            e = np.array([[int(v == one) - share for v in range(self.M)] for one in s])
            drive = sp.S.Zero
            for k, v in itertools.product(range(self.G), range(self.M)):
                terms = (int(k == j), e[i, v], e[:, v].sum())
                signal = sp.Add(*(c * sp.prod(map(pow, terms, n)) for n, c in asked.items()))
                drive += self.w[k, v] * (signal + second[k, v] * e[0, v] * e[1, 0])
            total += (c1 + c2 * z) * drive
        return total


def product_evidence(
    signal: sp.Expr,
    arguments: Sequence[sp.Symbol],
    movement: sp.Expr,
    unit: Sequence[sp.Symbol],
    sizes: tuple[sp.Symbol, sp.Symbol],
) -> Evidence:
    """Sum over all stimuli, with drawn fractions for every symbol, at several G and M.

    Products of features of two groups, which must drop out, are added to the signal.
    """
    others = sorted(
        (signal.free_symbols | movement.free_symbols) - {*arguments, *unit, *sizes}, key=str
    )
    kept = True
    for seed, (G, M) in enumerate(SIZES):
        stream = np.random.default_rng(seed)
        values = dict(zip(others, fractions(stream, len(others)), strict=True))
        values |= dict(zip(sizes, (G, M), strict=True))
        drawn, (i, j) = Unit(G, M, seed), (seed % G, G - 1)
        asked = sp.Poly(signal.subs(values), *arguments).as_dict()
        given = dict(zip(unit, drawn.given(i, j), strict=True))
        formula = movement.subs(values).subs(given, simultaneous=True)
        second = fractions(stream, G, M)
        kept &= sp.expand(drawn.summed(asked, second, i, j) - formula) == 0
    words = ", ".join(f"{G} and {M}" for G, M in SIZES)
    return Evidence.of(kept, f"all stimuli summed up in fractions, groups and features {words}: 0")


def lazy_factors(kernel: np.ndarray, G: int, M: int, time: float) -> dict[str, float]:
    r"""Return $(1 - e^{-\lambda t'})/\lambda$ of the four eigenspaces.

    Parameters
    ----------
    kernel : ndarray, shape (G + 1, 2)
        Training kernel of two prompts, by the number of stimulus groups in which they agree and
        by whether their tasks do.
    """
    chance = 1 / M

    def mean(column: np.ndarray, n: int) -> float:
        weights = [comb(n, m) * chance**m * (1 - chance) ** (n - m) for m in range(n + 1)]
        return float(np.dot(weights, column[: n + 1]))

    levels = [M**G * mean(kernel[:, t], G) for t in (0, 1)]
    slopes = [M ** (G - 1) * mean(np.diff(kernel[:, t]), G - 1) for t in (0, 1)]
    found = {}
    for degree, (other, same) in enumerate((levels, slopes)):
        found[f"{degree}c"] = same - other
        found[f"{degree}m"] = same - other + G**2 * other
    return {space: -np.expm1(-rate * time) / rate for space, rate in found.items()}


def signal_evidence(
    signal: sp.Expr,
    arguments: Sequence[sp.Symbol],
    factors: Mapping[str, sp.Symbol],
    sizes: tuple[sp.Symbol, sp.Symbol],
) -> Evidence:
    """Compare with the residual integrated with the explicit kernel of all prompts."""
    worst = 0.0
    for seed, (G, M) in enumerate(SIZES):
        for kernel in _kernels(G, seed):
            time = 2.0 / (G**2 * M**G * kernel.max())
            numbers = lazy_factors(kernel, G, M, time)
            values = {factors[space]: value for space, value in numbers.items()}
            values |= dict(zip(sizes, (G, M), strict=True))
            asked = sp.lambdify(arguments, signal.subs(values), "numpy")
            wanted, terms = _integrated(kernel, G, M, time)
            gap = np.abs(asked(*terms) - wanted).max()
            worst = max(worst, float(gap / np.abs(wanted).max()))
    return Evidence.of(
        worst < _ROUNDING,
        f"explicit kernels of all prompts, {len(SIZES)} sizes, three kernels: {worst:.0e}",
    )


def _kernels(G: int, seed: int) -> tuple[np.ndarray, ...]:
    """Return a quadratic kernel, an exponential one, and one that is drawn."""
    agree = np.arange(G + 1)[:, None] + np.arange(2)[None, :]
    drawn = 1 + np.random.default_rng(seed).random((G + 1, 2))
    return 1 + 0.7 * agree + 0.3 * agree**2, np.exp(agree / (G + 1)), drawn


def _integrated(
    kernel: np.ndarray, G: int, M: int, time: float
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return the integrated residual of all prompts and outputs, and the terms of the signal."""
    prompts = Multitasking(G, M).single
    agree = (prompts.stimuli[:, None] == prompts.stimuli[None]).sum(-1)
    same = (prompts.set_of[:, None] == prompts.set_of[None]).astype(int)
    rates, vectors = np.linalg.eigh(kernel[agree, same])
    # Directions of rate 0 are learned at the rate 0: the integral is the time.
    small = np.abs(rates) < _ROUNDING * np.abs(rates).max()
    filtered = np.where(small, time, -np.expm1(-rates * time) / np.where(small, 1.0, rates))
    wanted = vectors @ (filtered[:, None] * (vectors.T @ prompts.Y))
    i, j = np.divmod(prompts.set_of, G)
    features = np.eye(M)[prompts.stimuli] - 1 / M
    read = features[np.arange(len(i)), i]
    own = np.repeat((np.arange(G)[None] == j[:, None]).astype(float), M, axis=1)
    return wanted, (own, np.tile(read, (1, G)), np.tile(features.sum(1), (1, G)))


def correlation_evidence(
    found: Sequence[sp.Expr], alignment: sp.Symbol, pooled: sp.Symbol, G: sp.Symbol
) -> Evidence:
    """Compare with the covariances of all pairs of tasks, written out for 2 to 5 groups."""
    kept = True
    for groups in range(2, 6):
        tasks = groups**2
        mixed = sp.eye(groups) + sp.ones(groups, groups) * pooled
        readouts = sp.ones(groups, groups) * alignment + sp.eye(groups) * (1 - alignment)
        centre = sp.eye(tasks) - sp.ones(tasks, tasks) / tasks
        covariance = sp.kronecker_product(mixed * mixed.T, readouts)
        centred = (centre * covariance * centre).expand()
        formulas = [e.subs(G, groups) for e in found]
        kept &= all(sp.expand(centred[p, p] - centred[0, 0]) == 0 for p in range(tasks))
        # Pairs of task 0 with all others: every class is among them.
        for p in range(1, tasks):
            formula = formulas[0 if p < groups else 1 if p % groups == 0 else 2]
            kept &= vanishes(centred[0, p] / centred[0, 0] - formula)
    return Evidence.of(
        kept, "covariances of the tasks of 2 to 5 groups written out, in both symbols: 0"
    )


def lazy_evidence(
    separated: Sequence[sp.Expr], shared: Sequence[sp.Expr], G: sp.Symbol
) -> Evidence:
    """Compare with what exchangeable patterns without their mean correlate by."""
    tasks, groups = -1 / (G**2 - 1), -1 / (G - 1)
    wanted = (tasks, tasks, tasks, 1, groups, groups)
    kept = all(vanishes(a - b) for a, b in zip((*separated, *shared), wanted, strict=True))
    return Evidence.of(kept, "exchangeable patterns less their mean: difference 0")


def selection_evidence(found: Sequence[sp.Expr], alignment: sp.Symbol, G: sp.Symbol) -> Evidence:
    """Compare with the products of the correlations of both sides."""
    wanted = (alignment, -1 / (G - 1), -alignment / (G - 1))
    kept = all(vanishes(a - b) for a, b in zip(found, wanted, strict=True))
    return Evidence.of(kept, "product of -1/(G - 1) between stimulus groups and rho_w: 0")
