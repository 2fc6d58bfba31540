r"""From the expression of a diagonal network to the flow of one coordinate.

The output is $f = \sum_j \beta_j x_j$ with the same quadratic form $\beta = \theta^T M\theta$ of
the trained diagonal weights in every coordinate, $\beta = w_+^2 - w_-^2$ or $\beta = uv$ say. On
inputs that are uncorrelated the coordinates learn apart,
$\dot\theta = 2\kappa (s - d\beta) A\theta$ with $A = 2 R M$, $R$ the rates. Where $A^2 = \mu^2$,
$\theta = \theta_+ e^{\varphi} + \theta_- e^{-\varphi}$ with $\theta_\pm = (1 \pm A/\mu)\theta_0/2$
and $\beta = (P_0 z - Q_0/z)/4$, $z = e^{2\varphi}$: the mode of a two-layer network, with
$P_0 = 4\beta(\theta_+)$ and $Q_0 = -4\beta(\theta_-)$.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.errors import NoClosedForm
from symkernel.formula import Evidence, Step
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Input, Linear, Node, Parameter, Sum
from symkernel.problem.problem import Problem
from symkernel.theory.mode_flow import Drive, exact_factors, exact_loss

_TIME = notation.t
BETA = notation.symbol("beta_j", r"\beta", "coefficient of the coordinate", real=True)
# A coefficient of each input, or the output: the sum over all of them.
_EACH, _SUMMED = "each", "summed"


def weight(parameter: Parameter | str) -> sp.Symbol:
    """Return the symbol of one entry of a diagonal parameter."""
    return sp.Symbol(parameter if isinstance(parameter, str) else parameter.name, real=True)


@dataclass(frozen=True)
class DiagonalFlow(Drive):
    r"""The flow of one coordinate.

    Attributes
    ----------
    names : tuple of str
        The trained diagonal parameters.
    form : sympy.Expr
        $\beta$ in the symbols of the parameters.
    rates : tuple of sympy.Expr
    turn : sympy.Matrix
        $A/\mu$, whose square is the identity.
    rate : sympy.Expr
        $\mu$.
    factor : sympy.Expr
        The loss's factor.
    """

    names: tuple[str, ...]
    form: sp.Expr
    rates: tuple[sp.Expr, ...]
    turn: sp.ImmutableMatrix
    rate: sp.Expr
    factor: sp.Expr

    @property
    def symbols(self) -> tuple[sp.Symbol, ...]:
        """Symbols of the parameters' entries."""
        return tuple(map(weight, self.names))

    @property
    def starts(self) -> tuple[sp.Symbol, ...]:
        """Symbols of the entries at the start."""
        return tuple(sp.Symbol(f"{name}_0", real=True) for name in self.names)

    def at_weights(self, values: Sequence[sp.Expr]) -> sp.Expr:
        r"""Return $\beta$ at given weights."""
        entry = dict(zip(self.symbols, values, strict=True))
        return self.form.subs(entry, simultaneous=True)

    def parts(self, start: Sequence[sp.Expr]) -> tuple[sp.Matrix, sp.Matrix]:
        r"""Return $\theta_+$ and $\theta_-$ of the weights at the start."""
        theta = sp.Matrix(start)
        turned = self.turn * theta
        return (theta + turned) / 2, (theta - turned) / 2

    def kernel(self, values: Sequence[sp.Expr]) -> sp.Expr:
        """Return the factor of $x_j x_j'$ in the tangent kernel, the rates in it."""
        entry = dict(zip(self.symbols, values, strict=True))
        slopes = (
            sp.diff(self.form, q) ** 2 * r for q, r in zip(self.symbols, self.rates, strict=True)
        )
        return sp.Add(*slopes).subs(entry, simultaneous=True)


def coordinate_maps(network: Network, signs: Mapping[str, int]) -> dict[Node, tuple[str, sp.Expr]]:
    """Return what every node is of one coordinate of the input.

    Parameters
    ----------
    network : Network
    signs : mapping
        The sign of each fixed read-out, whose entries are all 1 or all -1.

    Raises
    ------
    NoClosedForm
        If the network is not diagonal; the message names the node.
    """
    found: dict[Node, tuple[str, sp.Expr]] = {}
    for node in network.order:
        kinds = {found[child][0] for child in node.children}
        match node:
            case Input():
                found[node] = (_EACH, sp.S.One)
            case Linear() if node.parameter.kind == "diagonal" and kinds == {_EACH}:
                p = node.parameter
                found[node] = (_EACH, p.scale * weight(p) * found[node.child][1])
            case Linear() if node.parameter.name in signs and kinds == {_EACH}:
                p = node.parameter
                found[node] = (_SUMMED, signs[p.name] * p.scale * found[node.child][1])
            case Sum() if len(kinds) == 1:
                terms = (found[term][1] for term in node.terms)
                found[node] = (kinds.pop(), sp.Add(*terms))
            case Apply() if node.activation.is_linear:
                found[node] = found[node.child]
            case _:
                raise NoClosedForm(
                    f"The network is not diagonal at {type(node).__name__}: the law covers sums of "
                    f"products of diagonal weights, read out by fixed rows of 1 or -1."
                )
    return found


def read_outs(problem: Problem) -> tuple[tuple[tuple[str, int], ...], float]:
    """Return the sign of each fixed row, and how far their entries are from all 1 or all -1."""
    signs, far = [], 0.0
    for node in problem.network.order:
        if isinstance(node, Linear) and len(node.parameter.shape) == 2:
            if node.parameter.trained:
                continue
            name = node.parameter.name
            row = problem.weights.arrays[name]
            sign = 1 if row.flat[0] > 0 else -1
            far = max(far, float(np.abs(row * sign - 1).max()))
            signs.append((name, sign))
    return tuple(dict(signs).items()), far


@lru_cache(maxsize=16)
def diagonal_flow(
    network: Network, loss: SquaredError, signs: tuple[tuple[str, int], ...]
) -> DiagonalFlow:
    """Derive the flow of one coordinate from network and loss.

    Raises
    ------
    NoClosedForm
        If the network is not diagonal, or its coordinates do not have the form of a mode.
    """
    exact, factor = exact_factors(network), exact_loss(loss).factor
    kind, form = coordinate_maps(exact, dict(signs))[exact.output]
    trained = [p for p in exact.parameters if p.trained]
    fixed = {p.name for p in exact.parameters if not p.trained}
    if kind != _SUMMED or fixed != {name for name, _ in signs}:
        raise NoClosedForm("The output is not a fixed sum of diagonal weights times inputs.")
    names, rates = tuple(p.name for p in trained), tuple(p.rate for p in trained)
    symbols = [weight(name) for name in names]
    form = sp.expand(form)
    if not symbols or any(sum(m) != 2 for m in sp.Poly(form, *symbols).monoms()):
        raise NoClosedForm(f"A coordinate is {form}, no quadratic form of its weights.")
    A = sp.diag(*rates) * sp.hessian(form, symbols)
    square = (A**2).applyfunc(sp.expand)
    if square != square[0, 0] * sp.eye(len(symbols)) or not square[0, 0].is_positive:
        raise NoClosedForm(
            f"The weights of a coordinate, {form}, do not grow and decay at one rate; give them "
            f"the same rates and scales."
        )
    mu = sp.sqrt(square[0, 0])
    drive = 2 * factor * mu
    turn = sp.ImmutableMatrix(A / mu)
    return DiagonalFlow(
        sp.S.One, drive * notation.s, drive * notation.d, names, form, rates, turn, mu, factor
    )


# What the words of a mode's law mean here.
OF_A_COORDINATE = tuple(
    (sp.Symbol(name), meaning)
    for name, meaning in (
        ("phi", "angle by which the weights of the coordinate grow and decay"),
        ("z", "squared growth factor of the coordinate, exp(2 phi)"),
        ("t_q", "time at which the coordinate reaches that fraction"),
        ("P0", "four times the growing part of the coefficient at t = 0"),
        ("Q0", "minus four times its decaying part"),
        ("w_t", "coefficient of the coordinate, as if it were p.q"),
        ("p", "input side of a mode with the same equation"),
        ("q_out", "output side of that mode"),
    )
)


def diagonal_steps(flow: DiagonalFlow) -> tuple[Step, ...]:
    """Return the steps from the network's expression to the flow of a mode."""
    gradient = _gradient(flow)
    clock = [sp.Function(name)(_TIME) for name in flow.names]
    moving = dict(zip(flow.symbols, clock, strict=True))
    first = Step(
        "One coordinate",
        "inputs are uncorrelated, so that the loss is a sum over coordinates; each weight follows "
        "minus its gradient",
        (
            sp.Eq(BETA, flow.form, evaluate=False),
            *(
                sp.Eq(q.diff(_TIME), rate.subs(moving), evaluate=False)
                for q, rate in zip(clock, gradient, strict=True)
            ),
        ),
        lambda: check_gradient(flow),
        (
            (notation.s, "cross moment <y x> of target and input at the coordinate"),
            (notation.d, "second moment <x x> of the input at the coordinate"),
            *((q, "weight of the coordinate") for q in flow.symbols),
        ),
    )
    angle = sp.Function("phi")(_TIME)
    second = Step(
        "Growing and decaying weights",
        "the flow is one drive times a matrix whose square is a multiple of the identity: one "
        "combination of the weights at t = 0 grows by exp(phi), the other one decays by it",
        (
            sp.Eq(angle.diff(_TIME), flow.sigma - flow.delta * BETA, evaluate=False),
            *(
                sp.Eq(q, value, evaluate=False)
                for q, value in zip(clock, _turned(flow, flow.starts, angle), strict=True)
            ),
        ),
        lambda: check_turn(flow),
        (*((q, "that weight at t = 0") for q in flow.starts), *OF_A_COORDINATE),
    )
    return first, second


def _gradient(flow: DiagonalFlow) -> list[sp.Expr]:
    """Return what each weight of a coordinate moves by."""
    loss = flow.factor * (notation.d * flow.form**2 - 2 * notation.s * flow.form)
    pairs = zip(flow.symbols, flow.rates, strict=True)
    return [sp.factor(-rate * sp.diff(loss, q)) for q, rate in pairs]


def _turned(flow: DiagonalFlow, start: Sequence[sp.Expr], angle: sp.Expr) -> list[sp.Expr]:
    plus, minus = flow.parts(start)
    return [p * sp.exp(angle) + m * sp.exp(-angle) for p, m in zip(plus, minus, strict=True)]


def check_gradient(flow: DiagonalFlow) -> Evidence:
    """Compare with the loss of a network of two coordinates on explicit moments."""
    copies = [{q: sp.Symbol(f"{q.name}_{j}", real=True) for q in flow.symbols} for j in (0, 1)]
    s, d = sp.symbols("s_0:2", real=True), sp.symbols("d_0:2", positive=True)
    beta = sp.Matrix([flow.form.subs(copy) for copy in copies])
    total = sp.Symbol("S_yy", positive=True) - 2 * sp.Matrix(s).dot(beta)
    total = flow.factor * (total + (beta.T * sp.diag(*d) * beta)[0])
    gradient = _gradient(flow)
    for j, copy in enumerate(copies):
        entry = {**copy, notation.s: s[j], notation.d: d[j]}
        for q, rate, moved in zip(flow.symbols, flow.rates, gradient, strict=True):
            found = moved.subs(entry, simultaneous=True) + rate * sp.diff(total, copy[q])
            if sp.expand(found) != 0:
                return Evidence(False, f"the flow of {q} is not the gradient of the loss")
    return Evidence(True, "flow = minus gradient of the loss of two coordinates, exactly")


def check_turn(flow: DiagonalFlow) -> Evidence:
    """Substitute the growing and decaying weights, and the coefficient, exactly."""
    grown = sp.Symbol("y", positive=True)
    start = [sp.Symbol(f"{name}_start", real=True) for name in flow.names]
    plus, minus = flow.parts(start)
    theta = plus * grown + minus / grown
    beta = flow.at_weights(theta)
    gradient = _gradient(flow)
    pull = flow.sigma - flow.delta * beta
    # d/dt = g y d/dy with the drive g.
    for moved, side in zip(gradient, theta, strict=True):
        rate = moved.subs(dict(zip(flow.symbols, theta, strict=True)), simultaneous=True)
        if sp.expand(rate - pull * grown * sp.diff(side, grown)) != 0:
            return Evidence(False, "the weights do not solve their flow")
    P0, Q0 = 4 * flow.at_weights(plus), -4 * flow.at_weights(minus)
    if sp.expand(beta - (P0 * grown**2 - Q0 / grown**2) / 4) != 0:
        return Evidence(False, "the coefficient is not (P0 z - Q0/z)/4")
    return Evidence(True, "weights and coefficient substituted: residuals exactly 0")
