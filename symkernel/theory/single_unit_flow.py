r"""One linear hidden unit on whitened inputs: a linear flow up to a common factor.

The output is $c\,W_2 W_1 x$ with a row $W_1$ and a column $W_2$. In the singular basis of the task
$p_i = W_1 v_i$ and $q_i = \rho\,u_i^T W_2$ obey
$\dot p_i = \sigma_i q_i - \delta |q|^2 p_i,\ \dot q_i = \sigma_i p_i - \delta |p|^2 q_i$, and
$\lambda = |q|^2 - |p|^2$ is conserved. With $|p|^2$ and $|q|^2$ written through $\lambda$ and their
sum this is $\dot x = F x - \frac\delta2 |x|^2 x$ for the vector $x$ of all sides, hence

$$x(t) = \frac{e^{Ft} x_0}{\sqrt{1 + \delta \int_0^t |e^{Fs} x_0|^2 ds}}, \qquad
  F_i = \begin{pmatrix} -h & \sigma_i \\ \sigma_i & h \end{pmatrix},\quad
  h = \delta\lambda/2,\quad F_i^2 = \omega_i^2 .$$
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import sympy as sp

from symkernel import notation
from symkernel.errors import NoClosedForm
from symkernel.formula import Evidence, Step
from symkernel.identities import rational_orthogonal, vanishes
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.theory.gradient_flow import GradientFlow
from symkernel.theory.mode_flow import ModeFlow, exact_factors, exact_loss, two_layer_word
from symkernel.theory.words import Words

_TIME = notation.t
_IN = notation.symbol("p_squared", "|p|^2", "square of all p_i", nonnegative=True)
_OUT = notation.symbol("q_squared", "|q|^2", "square of all q_i", nonnegative=True)
LAMBDA = notation.symbol("lam", r"\lambda", "conserved |q|^2 - |p|^2", real=True)
HALF_PULL = notation.symbol("h_pull", "h", "half the pull of the imbalance lambda", real=True)
OMEGA = notation.symbol("omega", r"\omega", "rate of the mode", positive=True)


@lru_cache(maxsize=16)
def unit_flow(network: Network, loss: SquaredError) -> ModeFlow:
    """Derive the coefficients of the flow of one hidden unit from network and loss.

    Raises
    ------
    NoClosedForm
        If the network is not a product of two trained dense matrices.
    """
    system = GradientFlow(exact_factors(network), exact_loss(loss))
    first, second, scale = two_layer_word(system)
    inputs, outputs = _reduced(system, first, second)
    fast = inputs.terms[(second, True), ("Syx", False)]
    slow = outputs.terms[("Syx", False), (first, True)]
    ratio = sp.sqrt(sp.cancel(fast / slow))
    delta = -inputs.terms[((first, False),)] / (_OUT * ratio**2)
    if sp.expand(delta + outputs.terms[((second, False),)] / _IN) != 0:
        raise NoClosedForm("No factor between the two layers gives their sides one law.")
    return ModeFlow(
        scale / ratio, fast / ratio * notation.s, sp.expand(delta), system, first, second, ratio
    )


def _reduced(system: GradientFlow, first: str, second: str) -> tuple[Words, Words]:
    """Return the flow of both weights, Sxx = d 1 and the squared lengths as numbers."""
    lengths = {
        ((second, True), (second, False)): Words({(): _OUT}),
        ((first, False), (first, True)): Words({(): _IN}),
    }
    white = {"Sxx": Words({(): notation.d})}
    flow = {name: system.flow[name].substituted(white) for name in (first, second)}
    return flow[first].reduced(lengths), flow[second].reduced(lengths)


@dataclass(frozen=True)
class Part:
    """One mode: its strength, and its two sides at the start, the output side scaled."""

    s: sp.Expr
    p: sp.Expr
    q: sp.Expr


@dataclass(frozen=True)
class UnitSolution:
    r"""The solution for given modes; directions that the task does not use have strength 0.

    Attributes
    ----------
    flow : ModeFlow
        With $\sigma$ in s and $\delta$ in d.
    parts : tuple of Part
    lam : sympy.Expr
        The conserved $\lambda$.
    """

    flow: ModeFlow
    parts: tuple[Part, ...]
    lam: sp.Expr

    @cached_property
    def pull(self) -> sp.Expr:
        """The half pull h."""
        return self.flow.delta * self.lam / 2

    def sigma(self, part: Part) -> sp.Expr:
        """Return the drive of a mode."""
        return self.flow.sigma.subs(notation.s, part.s)

    def block(self, part: Part) -> sp.Matrix:
        """Return F on the two sides of a mode."""
        g = self.sigma(part)
        return sp.Matrix([[-self.pull, g], [g, self.pull]])

    def omega(self, part: Part) -> sp.Expr:
        """Return the rate of a mode, the root of F squared."""
        return sp.sqrt(self.sigma(part) ** 2 + self.pull**2)

    def linear(self, part: Part) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
        r"""Return $e^{Ft} x_0$ and $\int_0^t |e^{Fs} x_0|^2 ds$ of one mode."""
        start, F = sp.Matrix([part.p, part.q]), self.block(part)
        if self.sigma(part) == 0:
            f = self.pull
            sides = part.p * sp.exp(-f * _TIME), part.q * sp.exp(f * _TIME)
            return *sides, part.p**2 * _grown(-f) + part.q**2 * _grown(f)
        return self.turned(start, F, self.omega(part))

    @staticmethod
    def turned(start: sp.Matrix, F: sp.Matrix, omega: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
        r"""Return the same for a block F whose square is $\omega^2$, proven by `check_linear`."""
        moved = F * start
        even, odd = sp.cosh(omega * _TIME), sp.sinh(omega * _TIME) / omega
        p, q = even * start + odd * moved
        return p, q, start.dot(start) * even * odd + start.dot(moved) * odd**2

    @cached_property
    def norm(self) -> sp.Expr:
        """The common factor squared, in time."""
        return 1 + self.flow.delta * sp.Add(*(self.linear(part)[2] for part in self.parts))

    def check_linear(self) -> Evidence:
        """Substitute the solution of one mode into its linear equation, and the integral."""
        g, h, w = sp.Symbol("g", real=True), HALF_PULL, OMEGA
        start = sp.Matrix(sp.symbols("p_0 q_0", real=True))
        F = sp.Matrix([[-h, g], [g, h]])
        if F**2 - (g**2 + h**2) * sp.eye(2) != sp.zeros(2):
            return Evidence(False, "F^2 is not a multiple of the identity")
        p, q, integral = self.turned(start, F, w)
        x = sp.Matrix([p, q])
        residuals = [*(x.diff(_TIME) - F * x), integral.diff(_TIME) - x.dot(x)]
        residuals += [*(x.subs(_TIME, 0) - start), integral.subs(_TIME, 0)]
        grown = sp.Symbol("E", positive=True)
        for residual in residuals:
            plain = residual.rewrite(sp.exp).subs(sp.exp(w * _TIME), grown)
            plain = plain.subs(sp.exp(-w * _TIME), 1 / grown)
            if not vanishes(plain, ((w, g**2 + h**2),)):
                return Evidence(False, "the solution of the linear equation leaves a residual")
        return Evidence(True, "x' = F x and its integral, initial values: residuals exactly 0")


def _grown(f: sp.Expr) -> sp.Expr:
    r"""Return $(e^{2ft} - 1)/(2f)$, $t$ at $f = 0$."""
    return _TIME if f == 0 else (sp.exp(2 * f * _TIME) - 1) / (2 * f)


def unit_steps(flow: ModeFlow) -> tuple[Step, ...]:
    """Return the steps from the matrix flow to the linear one."""
    p, q = sp.Function("p")(_TIME), sp.Function("q_out")(_TIME)
    sigma, delta, half = flow.sigma, flow.delta, sp.Rational(1, 2)
    faster = ", q times the root of the ratio of the layers' rates"
    scaled = "" if flow.ratio == 1 else faster
    sides = Step(
        "One hidden unit",
        "products W2^T W2 and W1 W1^T are numbers; in the singular basis of the task p and q are "
        f"the two sides of a mode{scaled}",
        (
            sp.Eq(p.diff(_TIME), sigma * q - delta * _OUT * p, evaluate=False),
            sp.Eq(q.diff(_TIME), sigma * p - delta * _IN * q, evaluate=False),
            sp.Eq(LAMBDA, _OUT - _IN, evaluate=False),
        ),
        lambda: check_sides(flow),
    )
    pull = delta * LAMBDA * half
    shared = delta * half * (_IN + _OUT)
    linear = Step(
        "Linear up to a common factor",
        "|q|^2 and |p|^2 are half their sum plus and minus half of lambda; the sum multiplies all "
        "sides alike",
        (
            sp.Eq(p.diff(_TIME), sigma * q - pull * p - shared * p, evaluate=False),
            sp.Eq(q.diff(_TIME), sigma * p + pull * q - shared * q, evaluate=False),
        ),
        lambda: check_common_factor(flow),
    )
    return sides, linear


def check_sides(flow: ModeFlow) -> Evidence:
    """Evaluate the matrix flow for 3 inputs, 1 unit and 2 outputs in exact orthogonal bases."""
    U, V = rational_orthogonal(2, 1), rational_orthogonal(3, 2)
    s = sp.symbols("s_0:2", positive=True)
    p, q = sp.symbols("p_0:3", real=True), sp.symbols("q_0:2", real=True)
    S = sp.zeros(2, 3)
    S[0, 0], S[1, 1] = s
    values = {
        flow.first: sp.Matrix([p]) * V.T,
        flow.second: U * sp.Matrix(q) / flow.ratio,
        "Syx": U * S * V.T,
        "Sxx": notation.d * sp.eye(3),
    }
    moved_p = (flow.system.flow[flow.first].explicit(values) * V).T
    moved_q = flow.ratio * U.T * flow.system.flow[flow.second].explicit(values)
    length_p, length_q = sum(x**2 for x in p), sum(x**2 for x in q)
    drive = [flow.sigma.subs(notation.s, x) for x in (*s, sp.S.Zero)]
    for i in range(3):
        partner = q[i] if i < 2 else sp.S.Zero
        if sp.expand(moved_p[i] - drive[i] * partner + flow.delta * length_q * p[i]) != 0:
            return Evidence(False, f"the flow of the input side {i} is another one")
    for i in range(2):
        if sp.expand(moved_q[i] - drive[i] * p[i] + flow.delta * length_p * q[i]) != 0:
            return Evidence(False, f"the flow of the output side {i} is another one")
    rate = 2 * (sp.Matrix(q).dot(moved_q) - sp.Matrix(p).dot(moved_p))
    if sp.expand(rate) != 0:
        return Evidence(False, "lambda is not conserved")
    return Evidence(True, "matrix flow = flow of the sides, lambda conserved: exactly, 3-1-2 units")


def check_common_factor(flow: ModeFlow) -> Evidence:
    """Compare both forms of the flow, and substitute x / sqrt(N), x' = F x, N' = delta |x|^2."""
    p, q, P, Q, g = sp.symbols("p q P Q g", real=True)
    h, shared = flow.delta * (Q - P) / 2, flow.delta * (P + Q) / 2
    pairs = (
        (g * q - flow.delta * Q * p, g * q - h * p - shared * p),
        (g * p - flow.delta * P * q, g * p + h * q - shared * q),
    )
    if any(sp.expand(one - other) != 0 for one, other in pairs):
        return Evidence(False, "the two forms of the flow differ")
    x, y, N = (sp.Function(name)(_TIME) for name in ("x", "y", "N"))
    pull = sp.Symbol("pull", real=True)
    rates = {
        x.diff(_TIME): -pull * x + g * y,
        y.diff(_TIME): g * x + pull * y,
        N.diff(_TIME): flow.delta * (x**2 + y**2),
    }
    for side, image in ((x, -pull * x + g * y), (y, g * x + pull * y)):
        moved = (side / sp.sqrt(N)).diff(_TIME).subs(rates)
        want = image / sp.sqrt(N) - flow.delta / 2 * (x**2 + y**2) / N * side / sp.sqrt(N)
        if sp.expand(moved - want) != 0:
            return Evidence(False, "x / sqrt(N) does not solve the flow")
    return Evidence(True, "both forms agree; x / sqrt(N) substituted: residual exactly 0")
