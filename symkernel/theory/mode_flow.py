r"""From the matrix flow of a two-layer linear network to the flow of one mode.

In the singular basis, $\Sigma_{yx} = U S V^T$ and $\Sigma_{xx} = V D V^T$, the two sides of mode
$i$ are the hidden vectors $p_i = W_1 v_i$ and $q_i = \rho\,W_2^T u_i$. If different modes do not
overlap, $p_i \cdot q_j = 0$ for $i \ne j$, the flow is $\dot p = g\,q,\ \dot q = g\,p$ with a
scalar drive $g = \sigma - \delta\, p\cdot q$. $\sigma$, $\delta$ and the factor $\rho$, with which
both sides have one drive though their layers learn at different rates, are read off the derived
flow, so that loss factor, parameterisation and rates enter by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import sympy as sp

from symkernel import notation
from symkernel.errors import NoClosedForm
from symkernel.formula import Evidence, Step
from symkernel.identities import rational_orthogonal
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.theory.gradient_flow import GradientFlow
from symkernel.theory.words import Word, Words

_OVERLAP = sp.Symbol("w", real=True)


@dataclass(frozen=True)
class Drive:
    r"""The flow of one mode: $\dot p = g q$, $\dot q = g p$, $g = \sigma - \delta\,p\cdot q$.

    Attributes
    ----------
    scale : sympy.Expr
        Factor between overlap and end-to-end mode, $u = c\,p\cdot q$.
    sigma, delta : sympy.Expr
        In the strength s and the input variance d of the mode.
    """

    scale: sp.Expr
    sigma: sp.Expr
    delta: sp.Expr

    @property
    def drive(self) -> sp.Expr:
        """The drive g as a function of the overlap w."""
        return self.sigma - self.delta * _OVERLAP

    @property
    def balanced_rate(self) -> sp.Expr:
        """Right-hand side of the equation of the end-to-end mode u, where the sides are equal."""
        u = notation.u
        return 2 * u * (self.sigma - self.delta * u / self.scale)

    def at(self, strength: sp.Expr, variance: sp.Expr = notation.d) -> Self:
        """Return the flow of a mode of given strength and input variance."""
        entry = {notation.s: strength, notation.d: variance}
        return replace(self, sigma=self.sigma.subs(entry), delta=self.delta.subs(entry))

    @property
    def unknowns(self) -> tuple[sp.Symbol, ...]:
        """Rates, sizes and factors that are symbols; trajectories have numbers for them."""
        given = {notation.s, notation.d}
        found = (v.free_symbols for v in vars(self).values() if isinstance(v, sp.Expr))
        return tuple(sorted(set().union(*found) - given, key=str))

    @property
    def tried(self) -> Self:
        """The same with 1 for each unknown: for checks in numbers."""
        ones = dict.fromkeys(self.unknowns, 1)
        parts = {k: v.subs(ones) for k, v in vars(self).items() if isinstance(v, sp.Expr)}
        return replace(self, **parts)

    def in_decimals(self) -> Self:
        """Return the same with its numbers evaluated."""
        numbers = {k: sp.N(v) for k, v in vars(self).items() if isinstance(v, sp.Expr)}
        return replace(self, **numbers)


@dataclass(frozen=True)
class ModeFlow(Drive):
    r"""The same of a network of two dense layers.

    Attributes
    ----------
    system : GradientFlow
    first, second : str
        Names of the weight next to the input and of the one next to the output.
    ratio : sympy.Expr
        The factor $\rho$ of the output side, the root of the ratio of the layers' rates.
    """

    system: GradientFlow
    first: str
    second: str
    ratio: sp.Expr

    def projection_step(self) -> Step:
        """Change to the task's singular basis."""
        H, r, i, o = sp.symbols("H r I O", integer=True, positive=True)
        names = {"V": (i, r), "U": (o, r), "S": (r, r), "D": (r, r), "P": (H, r), "Q": (H, r)}
        m = {name: sp.MatrixSymbol(name, *shape) for name, shape in names.items()}
        shapes = self.system.shapes
        syx, sxx = (sp.MatrixSymbol(n, *shapes[n]) for n in ("Syx", "Sxx"))
        W1, W2 = (sp.MatrixSymbol(n, *shapes[n]) for n in (self.first, self.second))
        eqs = (
            sp.Eq(syx, m["U"] * m["S"] * m["V"].T, evaluate=False),
            sp.Eq(sxx, m["V"] * m["D"] * m["V"].T, evaluate=False),
            sp.Eq(m["P"], sp.MatMul(W1, m["V"]), evaluate=False),
            sp.Eq(m["Q"], self.ratio * W2.T * m["U"], evaluate=False),
        )
        return Step(
            "Singular basis of the task",
            "inputs and outputs are turned into the bases in which the task is diagonal; column i "
            f"of P and Q holds the two sides of mode i in the hidden layer{self._counted}",
            eqs,
            lambda: check_projection(self),
        )

    @property
    def _counted(self) -> str:
        same = ", the output side so scaled that both have one rate"
        return "" if self.ratio == 1 else same


def mode_flow(problem: Problem) -> ModeFlow:
    """Derive the flow of one mode from network and loss.

    Raises
    ------
    NoClosedForm
        If the network is not a product of two trained dense matrices.
    """
    return flow_of_modes(problem.network, problem.loss)


# Testing, deriving and evaluating a law all start here, with the same network.
@lru_cache(maxsize=16)
def flow_of_modes(network: Network, loss: SquaredError) -> ModeFlow:
    """Derive the flow of one mode; see `mode_flow`."""
    system = GradientFlow(exact_factors(network), exact_loss(loss))
    first, second, scale = two_layer_word(system)
    fast, slow = _drives(system, first, second, sp.S.One)
    ratio = sp.sqrt(sp.cancel(fast / slow))
    drive, other = _drives(system, first, second, ratio)
    if sp.expand(drive - other) != 0:
        raise NoClosedForm("No factor between the two layers gives them one drive.")
    poly = sp.Poly(drive, _OVERLAP)
    if poly.degree() > 1:
        raise NoClosedForm(f"The drive {drive} is not linear in the overlap of the sides.")
    sigma, delta = poly.coeff_monomial(1), -poly.coeff_monomial(_OVERLAP)
    return ModeFlow(scale / ratio, sigma, delta, system, first, second, ratio)


def exact_factors(network: Network) -> Network:
    """Return the network with decimal rates and scales as fractions: the proofs are exact."""
    factors = [q for p in network.parameters for q in (p.rate, p.scale)]
    return network.with_values(_fractions(*factors))


def exact_loss(loss: SquaredError) -> SquaredError:
    """Return the loss with its decimals as fractions."""
    return loss.with_values(_fractions(loss.factor, loss.weight_decay))


def _fractions(*expressions: sp.Expr) -> dict[sp.Expr, sp.Rational]:
    decimals = {f for q in expressions for f in q.atoms(sp.Float)}
    return {f: sp.Rational(repr(float(f))) for f in decimals}


def _drives(
    system: GradientFlow, first: str, second: str, ratio: sp.Expr
) -> tuple[sp.Expr, sp.Expr]:
    """Return what the flow of either side of a mode is, over the other side."""
    images = projected_flow(system, first, second, ratio)
    drives = []
    for side, other in (("P", "Q"), ("Q", "P")):
        terms = []
        for word, coefficient in images[side].terms.items():
            if word[0] != (other, False):
                raise NoClosedForm(f"The flow of {side} is not along {other}; no mode equation.")
            terms.append(coefficient * _scalar(word[1:]))
        drives.append(sp.expand(sp.Add(*terms)))
    return drives[0], drives[1]


def two_layer_word(system: GradientFlow) -> tuple[str, str, sp.Expr]:
    r"""Return (W1, W2, c) if the output is $c\,W_2 W_1 x$ with both trained, else raise."""
    terms = list(system.output.terms.items())
    word, scale = terms[0]
    trained = {p.name for p in system.network.parameters if p.trained}
    fits = (
        len(terms) == 1
        and len(word) == 3
        and word[0][0] != word[1][0]
        and {name for name, _ in word[:2]} == trained
    )
    if not fits:
        raise NoClosedForm(
            "The output of the network is not a product W2 W1 x of two different trained "
            "matrices; the mode laws cover no other network."
        )
    return word[1][0], word[0][0], scale


def projected_flow(
    system: GradientFlow, first: str, second: str, ratio: sp.Expr
) -> dict[str, Words]:
    """Return the flow of P = W1 V and Q = rho W2^T U, modes without overlap between them."""
    basis = {
        first: Words.of("P", "V'"),
        second: Words.of("U", "Q'", coefficient=1 / ratio),
        "Syx": Words.of("U", "S", "V'"),
        "Sxx": Words.of("V", "D", "V'"),
    }
    one = Words({(): sp.S.One})
    rules: dict[Word, Words] = {
        (("V", True), ("V", False)): one,
        (("U", True), ("U", False)): one,
        (("Q", True), ("P", False)): Words.of("w"),
        (("P", True), ("Q", False)): Words.of("w"),
    }
    flow = {name: system.flow[name].substituted(basis) for name in (first, second)}
    images = {
        "P": flow[first] @ Words.of("V"),
        "Q": (flow[second].transposed() @ Words.of("U")).scaled(ratio),
    }
    return {name: words.reduced(rules) for name, words in images.items()}


def _scalar(word: Word) -> sp.Expr:
    """Return a product of diagonal matrices as the product of one mode's entries."""
    meaning = {"S": notation.s, "D": notation.d, "w": _OVERLAP}
    product = sp.S.One
    for name, _ in word:
        if name not in meaning:
            raise NoClosedForm(f"The flow of a mode still holds the matrix {name}.")
        product *= meaning[name]
    return product


def check_projection(modes: ModeFlow) -> Evidence:
    """Evaluate the matrix flow on exact orthogonal bases and compare it with the mode flow."""
    r, hidden = 2, 4
    U, V, frame = (rational_orthogonal(k, salt) for k, salt in ((r, 1), (r, 2), (hidden, 3)))
    s, d = sp.symbols("s_0:2", positive=True), sp.symbols("d_0:2", positive=True)
    own, across = sp.symbols("alpha_0:2", real=True), sp.symbols("beta_0:2", real=True)
    extra = sp.symbols("gamma_0:2", real=True)
    P = sp.Matrix.hstack(*(frame[:, i] * own[i] + frame[:, i + 2] * extra[i] for i in range(r)))
    Q = sp.Matrix.hstack(*(frame[:, i] * across[i] for i in range(r)))
    values = {
        modes.first: P * V.T,
        modes.second: U * Q.T / modes.ratio,
        "Syx": U * sp.diag(*s) * V.T,
        "Sxx": V * sp.diag(*d) * V.T,
    }
    flow = modes.system.flow
    moved_p = flow[modes.first].explicit(values) * V
    moved_q = modes.ratio * flow[modes.second].explicit(values).T * U
    for i in range(r):
        entry = {notation.s: s[i], notation.d: d[i], _OVERLAP: own[i] * across[i]}
        g = modes.drive.subs(entry, simultaneous=True)
        for moved, other in ((moved_p, Q), (moved_q, P)):
            difference = moved[:, i] - g * other[:, i]
            if any(sp.expand(value) != 0 for value in difference):
                return Evidence(False, f"mode {i}: the flow is not the drive times the other side")
    return Evidence(True, "matrix flow = mode flow exactly, for 2 modes in 4 hidden units")
