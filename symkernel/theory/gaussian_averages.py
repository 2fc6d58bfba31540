r"""Averages of an activation over two Gaussian variables, derived.

For $(u, u') \sim N(0, [[v, c], [c, v']])$ wide networks need $\langle\phi(u)\phi(u')\rangle$ and
$\langle\phi'(u)\phi'(u')\rangle$. Price's theorem joins the two,
$\partial_c \langle f(u) g(u')\rangle = \langle f'(u) g'(u')\rangle$, for generalised functions too,
and at $c = 0$ the average is a product of two averages over one variable. Three families close:

- $\alpha + \beta z + \gamma |z|$, which are linear, ReLU, leaky ReLU and the absolute value: the
  curvature is a delta, so that Price's theorem starts from the density at the origin;
- $\alpha + \beta z + \gamma \operatorname{erf}(\kappa z)$: the slopes are Gaussians;
- sums of polynomial times exponential, sine and cosine: the characteristic function.

Any other activation is averaged by `symkernel.theory.hermite_averages`, to a stated accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import sympy as sp

from symkernel.formula import Evidence, Step
from symkernel.problem.activation import ARGUMENT as z
from symkernel.problem.activation import Activation, with_fractions
from symkernel.theory.average_exponentials import exponential_averages
from symkernel.theory.average_steps import (
    COSINE,
    COVARIANCE,
    DENSITY_EXPONENT,
    SINE,
    VARIANCES,
    c,
    equation,
    integral,
    price,
    residuals,
    stable_form,
    tidy,
    u,
    v,
    v1,
    v2,
)

__all__ = ["COSINE", "COVARIANCE", "SINE", "VARIANCES", "GaussianAverages", "gaussian_averages"]


@dataclass(frozen=True)
class GaussianAverages:
    r"""$\langle\phi\phi\rangle$ and $\langle\phi'\phi'\rangle$ of one activation in closed form.

    Attributes
    ----------
    activation : Activation
    family : str
        In words.
    value, slope : sympy.Expr
        $\langle\phi(u)\phi(u')\rangle$ and $\langle\phi'(u)\phi'(u')\rangle$ in `VARIANCES` and
        `COVARIANCE`.
    steps : tuple of Step
        The derivation; every check is exact.
    sine : sympy.Expr or None
        What stands in the arcsine, between -1 and 1; rounding may lead outside.
    stable : tuple of sympy.Expr
        Value and slope in `SINE` and `COSINE`, without cancellation near $\pm 1$.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.problem.activation import activation
    >>> from symkernel.theory.gaussian_averages import gaussian_averages
    >>> z = sp.Symbol("z")
    >>> k = gaussian_averages(activation(z**2))
    >>> v, c = k.variances[0], k.covariance
    >>> assert k.value.subs(k.variances[1], v).expand() == v**2 + 2 * c**2
    """

    activation: Activation
    family: str
    value: sp.Expr
    slope: sp.Expr
    steps: tuple[Step, ...]
    sine: sp.Expr | None
    stable: tuple[sp.Expr, sp.Expr]

    variances = VARIANCES
    covariance = COVARIANCE

    def at(self, first: sp.Expr, second: sp.Expr, covariance: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        """Return value and slope at two variances and a covariance."""
        given = {v1: first, v2: second, c: covariance}
        return tuple(e.xreplace(given) for e in (self.value, self.slope))

    def diagonal(self, variance: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        r"""Return $\langle\phi(u)^2\rangle$ and $\langle\phi'(u)^2\rangle$."""
        return tuple(tidy(e) for e in self.at(variance, variance, variance))

    @property
    def kink(self) -> tuple[sp.Expr, sp.Expr] | None:
        r"""Mean slope of $\alpha + \beta z + \gamma |z|$, and by how much that at 0 is off it.

        Averages at variance 0 have the slope at 0, which is not their limit then. None for the
        other families, whose slopes are continuous.
        """
        sides = _by_sides(with_fractions(self.activation.expression))
        if sides is None or sides[2] == 0:
            return None
        return sides[1], self.activation.slope.xreplace({z: sp.S.Zero}) - sides[1]

    def stable_diagonal(self, variance: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        """Return the same for machines: an arcsine near 1 would lose digits, an arctangent not."""

        def written(sine: sp.Expr) -> sp.Expr:
            return sp.atan(sine / sp.sqrt(sp.factor(1 - sine**2)))

        value, slope = (e.replace(sp.asin, written) for e in self.diagonal(variance))
        return value, slope


@cache
def gaussian_averages(phi: Activation) -> GaussianAverages | None:
    """Return the averages of an activation of one of the families, None for any other."""
    expression = with_fractions(phi.expression)
    for family in (_kinked, _error_function, _exponentials):
        found = family(phi, expression)
        if found is not None:
            return found
    return None


def _kinked(phi: Activation, expression: sp.Expr) -> GaussianAverages | None:
    r"""Derive the averages of $\alpha + \beta z + \gamma |z|$."""
    found = _by_sides(expression)
    if found is None:
        return None
    alpha, beta, gamma = found
    if gamma == 0:
        return None if alpha == beta == 0 else _exponentials(phi, alpha + beta * z)
    # phi'' = 2 gamma delta(z): the density of (u, u') at the origin.
    curvature = 4 * gamma**2 / (2 * sp.pi * sp.sqrt(v1 * v2 - c**2))
    sine = c / sp.sqrt(v1 * v2)
    slope = beta**2 + gamma**2 * 2 / sp.pi * sp.asin(sine)
    means = [alpha + gamma * _mean_modulus(w) for w in VARIANCES]
    value = sp.expand(means[0] * means[1] - gamma**2 * 2 / sp.pi * sp.sqrt(v1 * v2))
    bend = gamma**2 * 2 / sp.pi
    value += beta**2 * c + bend * (c * sp.asin(sine) + sp.sqrt(v1 * v2 - c**2))
    even = Step(
        "curvature",
        r"phi'' is 2 gamma times the delta function at 0: its average is the density of (u, u') "
        r"at the origin",
        (equation("phi''", curvature),),
        lambda: residuals(
            "curvature of alpha + beta z + gamma |z| away from 0, and its jump of slope",
            sp.diff(expression.xreplace({z: _P}), _P, 2),
            sp.diff(expression.xreplace({z: _P}) + expression.xreplace({z: -_P}), _P) - 2 * gamma,
            curvature**2 - (2 * gamma) ** 4 / (2 * sp.pi) ** 2 / (v1 * v2 - c**2),
        ),
    )
    rungs: tuple[Step, ...] = (
        even,
        integral("slope", slope, curvature, beta**2, "the mean slope is beta: |z| is even"),
        integral("value", value, slope, sp.expand(means[0] * means[1]), "means of |u| and |u'|"),
    )
    side = sp.sqrt(v1) * sp.sqrt(v2)
    arc = sp.asin(SINE)
    stable = (
        value.xreplace({sp.sqrt(v1 * v2 - c**2): side * COSINE, sp.asin(sine): arc}),
        slope.xreplace({sp.asin(sine): arc}),
    )
    name = "piecewise linear with a kink at 0"
    rungs += (stable_form(sine, (value, slope), stable),)
    return GaussianAverages(phi, name, value, slope, (price(), *rungs), sine, stable)


_P = sp.Symbol("p", positive=True)


def _by_sides(expression: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr] | None:
    r"""Return $\alpha, \beta, \gamma$ if both sides of 0 are straight lines that meet."""
    lines = []
    for side in (_P, -_P):
        written = sp.expand(expression.xreplace({z: side}))
        if not written.is_polynomial(_P) or sp.degree(written, _P) > 1:
            return None
        lines.append((written.coeff(_P, 0), written.coeff(_P, 1)))
    (right, up), (left, down) = lines
    return (right, (up - down) / 2, (up + down) / 2) if right == left else None


@cache
def _mean_modulus(variance: sp.Symbol) -> sp.Expr:
    density = sp.exp(-(_P**2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)
    return sp.integrate(2 * _P * density, (_P, 0, sp.oo))


def _error_function(phi: Activation, expression: sp.Expr) -> GaussianAverages | None:
    r"""Derive the averages of $\alpha + \beta z + \gamma \operatorname{erf}(\kappa z)$."""
    found = _by_error_function(expression)
    if found is None:
        return None
    alpha, beta, gamma, kappa = found
    peak = 2 * gamma * kappa / sp.sqrt(sp.pi)
    # A Gaussian factor exp(-kappa^2 z^2) on both sides: the integral of a narrower Gaussian.
    covariances = sp.Matrix([[v1, c], [c, v2]])
    determinant = sp.expand((sp.eye(2) + 2 * kappa**2 * covariances).det())
    first, second = (1 + 2 * kappa**2 * w for w in VARIANCES)
    both = peak**2 / sp.sqrt(determinant)
    single = beta * peak * (1 / sp.sqrt(first) + 1 / sp.sqrt(second))
    slope = beta**2 + single + both
    sine = 2 * kappa**2 * c / (sp.sqrt(first) * sp.sqrt(second))
    value = alpha**2 + (beta**2 + single) * c + gamma**2 * 2 / sp.pi * sp.asin(sine)
    rungs: tuple[Step, ...] = (
        Step(
            "slope",
            "a Gaussian factor narrows the density of (u, u') to one of another covariance, which "
            "has integral 1: what remains is a determinant",
            (equation("phi'", slope),),
            lambda: _narrowed(expression, (beta, peak, kappa), covariances, (first, determinant)),
        ),
        integral("value", value, slope, alpha**2, "erf and z are odd: the mean of phi is alpha"),
    )
    # 1 - S^2 = determinant / (first second)
    stable = (
        value.xreplace({sp.asin(sine): sp.asin(SINE)}),
        beta**2 + single + peak**2 / (sp.sqrt(first) * sp.sqrt(second) * COSINE),
    )
    rungs += (stable_form(sine, (value, slope), stable),)
    return GaussianAverages(phi, "error function", value, slope, (price(), *rungs), sine, stable)


def _by_error_function(expression: sp.Expr) -> tuple[sp.Expr, ...] | None:
    atoms = expression.atoms(sp.erf)
    if len(atoms) != 1:
        return None
    (atom,) = atoms
    kappa = sp.cancel(atom.args[0] / z)
    mark = sp.Dummy()
    rest = sp.expand(expression.xreplace({atom: mark}))
    if kappa.free_symbols or not rest.is_polynomial(z, mark):
        return None
    parts = sp.Poly(rest, z, mark).as_dict()
    if not set(parts) <= {(0, 0), (1, 0), (0, 1)}:
        return None
    alpha, beta, gamma = (parts.get(key, sp.S.Zero) for key in ((0, 0), (1, 0), (0, 1)))
    return alpha, beta, gamma, kappa


def _narrowed(
    expression: sp.Expr,
    parts: tuple[sp.Expr, sp.Expr, sp.Expr],
    covariances: sp.Matrix,
    wider: tuple[sp.Expr, sp.Expr],
) -> Evidence:
    """Compare exponents and determinants of narrower densities, of one variable and of both."""
    (beta, peak, kappa), (first, determinant) = parts, wider
    slope = sp.diff(expression, z) - beta - peak * sp.exp(-(kappa**2) * z**2)
    w = sp.Matrix([u, v])
    narrow = (covariances.inv() + 2 * kappa**2 * sp.eye(2)).inv()
    exponents = DENSITY_EXPONENT - kappa**2 * (u**2 + v**2) + (w.T * narrow.inv() * w)[0] / 2
    return residuals(
        "slope of erf; exponent of the narrower density; its determinant",
        slope,
        exponents,
        narrow.det() * determinant - covariances.det(),
        1 / v1 + 2 * kappa**2 - first / v1,
    )


def _exponentials(phi: Activation, expression: sp.Expr) -> GaussianAverages | None:
    """Derive the averages of polynomials, exponentials, sines and cosines."""
    found = exponential_averages(expression)
    if found is None:
        return None
    family, value, slope, steps = found
    return GaussianAverages(phi, family, value, slope, steps, None, (value, slope))
