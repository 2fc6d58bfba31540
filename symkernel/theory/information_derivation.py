r"""The derivation of the information about classes, step by step.

The check of a step takes the equation that the step shows, and what it follows from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mpmath
import sympy as sp

from symkernel import notation
from symkernel.check_report import CheckReport
from symkernel.formula import Evidence, Formula, Step
from symkernel.identities import vanishes
from symkernel.numerics.class_information import binary_bits, categorical_bits
from symkernel.theory.information_classes import (
    CLOCK,
    DENSITY,
    DISTANCE,
    TRANSFORM,
    BinaryInformation,
    CategoricalInformation,
    U,
    averaged,
)

__all__ = ["DerivedFormula", "binary_formula", "categorical_formula"]

CONVENTIONS = ("information in bits",)
PRECISION = 1e-12
_DIGITS = 30

m, t, u = DISTANCE, CLOCK, U
h = notation.symbol("h_unit", "h", "activity of the unit, with its noise", real=True)
y = notation.symbol("y_class", "y", "class, 1 or -1", real=True)
S = notation.symbol("S_class", "S", "sum of exp(m h) over classes", positive=True)
K = notation.symbol("K_class", "K", "number of classes", integer=True, positive=True)
UNITS = tuple(
    notation.symbol(f"h_unit{k}", f"h_{k}", f"activity of unit {k}", real=True) for k in (1, 2, 3)
)
LOGIT = m**2 + m * u
_POSTERIOR = sp.Function("p")(y, h)
_SUM_TRANSFORM = sp.Function("varphi_S")(t)
_LINE = (u, -sp.oo, sp.oo)


def eq(left: Any, right: Any) -> sp.Eq:
    """Return an equation that stays as it is written."""
    return sp.Eq(left, right, evaluate=False)


@dataclass(frozen=True)
class DerivedFormula(Formula):
    """A formula, and the steps that lead to it.

    Examples
    --------
    >>> import symkernel as sk
    >>> found = sk.information.gaussian_formula()
    >>> assert found.check().passed
    """

    steps: tuple[Step, ...] = field(kw_only=True, repr=False)

    def check(self) -> CheckReport:
        """Run the check of every step."""
        return CheckReport.of_steps(self.name, self.steps)

    def save_latex(self, path: str | Path, names: Mapping[str, str] | None = None) -> Path:
        """Write a document to a file: every step with what its check found, then the formula.

        Parameters
        ----------
        path : str or Path
        names : mapping of str to str, optional
            LaTeX for the identifiers of symbols.
        """
        from symkernel.report.files import save
        from symkernel.report.latex_steps import named, steps_document

        text = steps_document(
            self.name[:1].upper() + self.name[1:], "closed form", self.steps,
            named([self], names), conventions=CONVENTIONS, report=self.check(), names=names,
        )  # fmt: skip
        return save(text, path)


def binary_formula() -> DerivedFormula:
    """Return J(m), its definition and its derivation."""
    node = BinaryInformation(m)
    whole = node.definition()
    posterior = 1 / (1 + sp.exp(-2 * m * y * h))
    even = (m**2 - averaged(sp.log(sp.cosh(LOGIT)))) / sp.log(2)
    weak = (m**2 / 2 - m**4 / 4) / sp.log(2)
    steps = (
        Step(
            "Posterior",
            "the log-odds are linear in h: no decoder of y from h is better than a logistic one, "
            "and what it uses is Shannon's information",
            (eq(_POSTERIOR, posterior),),
            lambda: check_posterior(posterior),
        ),
        Step(
            "Average",
            "1 plus the mean of log2 p; at h = y (m + u), of the same distribution as m y + u, "
            "both classes have the same bits",
            (eq(node, whole),),
            lambda: check_average(whole, posterior),
        ),
        Step(
            "Symmetric form",
            "ln(1 + exp(-2x)) = ln 2 + ln cosh x - x, and the mean of x = m^2 + m u is m^2: "
            "nothing cancels at small m",
            (eq(node, even),),
            lambda: check_symmetric(even, whole),
        ),
        Step(
            "Derivative",
            "integrated by parts; the mean of tanh^2 is that of tanh, as the density of x is "
            "exp(x) times an even function",
            (eq(sp.Derivative(node, m), node.fdiff()),),
            lambda: check_derivative(node.fdiff()),
        ),
        Step(
            "Weak signals",
            "from the moments of u",
            (eq(node, weak + sp.O(m**6)),),
            lambda: check_weak(weak),
        ),
        Step(
            "Numbers",
            "a sum over equidistant points converges exponentially: the integrand is analytic",
            (eq(node, even),),
            lambda: check_binary_numbers(whole),
        ),
    )
    return DerivedFormula("information about one of two classes", node, whole, steps=steps)


def categorical_formula() -> DerivedFormula:
    """Return the information about one of K classes, its definition and its derivation."""
    node = CategoricalInformation(K, m)
    whole, transform = node.definition(), node.transform()
    posterior = sp.exp(m * UNITS[0]) / S
    logarithm = sp.Integral((sp.exp(-t) - sp.exp(-t * S)) / t, (t, 0, sp.oo))
    product = TRANSFORM(t * sp.exp(m**2)) * TRANSFORM(t) ** (K - 1)
    p1 = sp.Symbol("p_1")
    steps = (
        Step(
            "Posterior",
            "a softmax; m h has mean m^2 at the right class, so that the bits are log2 K less the "
            "mean of ln S - m h, over ln 2",
            (eq(p1, posterior),),
            lambda: check_softmax(posterior),
            ((p1, "posterior of the first class"),),
        ),
        Step(
            "Logarithm of a sum",
            "the derivative in S is 1/S, and at S = 1 it is 0",
            (eq(sp.log(S), logarithm),),
            lambda: check_logarithm(logarithm),
        ),
        Step(
            "Independent units",
            "the mean of exp(-t S) is a product over units; that of the right class is shifted by "
            "m, which multiplies t by exp(m^2)",
            (eq(TRANSFORM(t), transform), eq(_SUM_TRANSFORM, product), eq(node, whole)),
            lambda: check_product(product, transform),
            ((_SUM_TRANSFORM, "mean of exp(-t S)"),),
        ),
        Step(
            "Two classes",
            "only the difference of the two units counts, whose noise has variance 2",
            (eq(CategoricalInformation(2, m, evaluate=False), BinaryInformation(m / sp.sqrt(2))),),
            lambda: check_two(m / sp.sqrt(2)),
        ),
        Step(
            "Numbers",
            "with t = exp(v) the integral is a sum over equidistant points, and the transform a "
            "convolution on the same points: the cost does not depend on K",
            (eq(node, whole),),
            check_categorical_numbers,
        ),
    )
    where = ((TRANSFORM(t), transform),)
    return DerivedFormula("information about one of K classes", node, whole, where, steps=steps)


def _zero(what: str, *residuals: sp.Expr) -> Evidence:
    left = [sp.expand(r.rewrite(sp.exp)) for r in residuals]
    return Evidence.of(all(map(vanishes, left)), f"{what}: residual 0")


def _integrand(expression: sp.Expr) -> sp.Expr:
    """Return what is averaged over the noise."""
    return sp.cancel(expression.atoms(sp.Integral).pop().function / DENSITY)


def check_posterior(posterior: sp.Expr) -> Evidence:
    """Apply Bayes's rule to the two densities."""
    densities = {side: sp.exp(-((h - m * side) ** 2) / 2) for side in (1, -1)}
    gaps = (posterior.subs(y, k) - d / sum(densities.values()) for k, d in densities.items())
    return _zero("Bayes's rule for both classes", *gaps)


def check_average(whole: sp.Expr, posterior: sp.Expr) -> Evidence:
    """Put h = y (m + u) into the posterior, for both classes."""
    averaged_one = _integrand(whole)
    shown = (posterior.subs(h, y * (m + u)).subs(y, side) for side in (1, -1))
    gaps = (sp.exp(averaged_one) * p - 1 for p in shown)
    mark = sp.Dummy()
    outer = whole.replace(sp.Integral, lambda *_: mark) - (1 - mark / sp.log(2))
    return _zero("bits of a sample of either class", outer, *gaps)


def check_symmetric(even: sp.Expr, whole: sp.Expr) -> Evidence:
    """Compare the two integrands at every u, and average what is linear in u."""
    gap = _integrand(whole) - (sp.log(2) + _integrand(even) - LOGIT)
    mean = sp.integrate(DENSITY * LOGIT, _LINE)
    mark = sp.Dummy()
    outer = even.replace(sp.Integral, lambda *_: mark) - (mean - mark) / sp.log(2)
    return _zero(
        "slope in u of the gap, its value at u = -m, mean of x",
        sp.diff(gap, u),
        gap.subs(u, -m),
        outer,
    )


def check_derivative(slope: sp.Expr) -> Evidence:
    """Integrate the derivative by parts, and use that odd integrands have no mean."""
    tanh, mark, x = sp.tanh(LOGIT), sp.Dummy(), sp.Dummy(real=True)
    rate = sp.diff(sp.log(sp.cosh(LOGIT)), m) * DENSITY + sp.diff(DENSITY * tanh, u)
    parts = rate / DENSITY - (2 * m * tanh + m * (1 - tanh**2))
    # The density of x is that of u at (x - m^2) / m: exp(x) times an even function.
    odd = sp.exp(x) * (sp.tanh(x) - sp.tanh(x) ** 2)
    exponent = -((x - m**2) ** 2) / (2 * m**2) - x
    whole = (2 * m - (2 * m * mark + m * (1 - mark))) / sp.log(2)
    return _zero(
        "integration by parts, parities, what is left",
        parts,
        odd + odd.subs(x, -x),
        sp.expand(exponent - exponent.subs(x, -x)),
        slope.replace(sp.Integral, lambda *_: mark) - whole,
        _integrand(slope) - tanh,
    )


def check_weak(weak: sp.Expr) -> Evidence:
    """Average the series of ln cosh."""
    x = sp.Dummy()
    powers = sp.series(sp.log(sp.cosh(x)), x, 0, 6).removeO().subs(x, LOGIT)
    mean = sp.integrate(sp.expand(DENSITY * powers), _LINE)
    rest = sp.Poly(sp.expand(m**2 - mean - weak * sp.log(2)), m)
    lowest = min(power for (power,) in rest.monoms())
    return Evidence.of(lowest >= 6, f"what is left starts at m^{lowest}")


def check_binary_numbers(whole: sp.Expr) -> Evidence:
    """Compare the routine with the definition's integral by mpmath."""
    integrand = sp.lambdify((u, m), _integrand(whole) * DENSITY, "mpmath")
    worst = mpmath.mpf(0)
    with mpmath.workdps(_DIGITS):
        for size in (0.04, 0.3, 1.0, 2.5, 5.0):
            ends = sorted([-15 - size, -size - 2, -size, 2 - size, 0, 3, 15])
            lost = mpmath.quad(partial(integrand, m_class=mpmath.mpf(size)), ends)
            worst = max(worst, abs(1 - lost / mpmath.log(2) - binary_bits(size)))
    words = f"routine against {_DIGITS} digits: error {float(worst):.1e} in 5 values to m = 5"
    return Evidence.of(worst <= PRECISION, words)


def check_softmax(posterior: sp.Expr) -> Evidence:
    """Apply Bayes's rule to the densities of three classes."""
    logs = [-sum((q - (m if q is own else 0)) ** 2 for q in UNITS) / 2 for own in UNITS]
    shares = sum(sp.exp(sp.expand(log - logs[0])) for log in logs)
    mean = sp.integrate(DENSITY * m * (m + u), _LINE)
    given = posterior.subs(S, sum(sp.exp(m * q) for q in UNITS))
    return _zero("Bayes's rule for three classes; mean of m h", given * shares - 1, mean - m**2)


def check_logarithm(integral: sp.Expr) -> Evidence:
    """Differentiate under the integral, and put in S = 1."""
    inner = integral.function
    slope = sp.integrate(sp.cancel(sp.diff(inner, S)), (t, 0, sp.oo))
    return _zero("derivative in S, and value at S = 1", slope - 1 / S, inner.subs(S, 1))


def check_product(product: sp.Expr, transform: sp.Expr) -> Evidence:
    """Compare the exponents of the right class's unit, and count the other units."""
    right, others = (product.subs(K, k) for k in (1, 2))
    exponent = sp.log(_integrand(transform.subs(t, right.args[0])))
    shown = -t * sp.exp(m * (m + u))
    return _zero(
        "exponent of the shifted unit; one factor more for a class more",
        sp.expand_log(exponent, force=True) - shown,
        others - right * TRANSFORM(t),
    )


def check_two(n: sp.Expr) -> Evidence:
    """Compare ln S - m h_1 = ln(1 + exp(m (h_2 - h_1))) with what J averages."""
    exponent = m * (sp.sqrt(2) * u - m)
    binary = _integrand(BinaryInformation(n).definition())
    return _zero("what is averaged, u turned", sp.exp(binary.subs(u, -u)) - 1 - sp.exp(exponent))


def check_categorical_numbers() -> Evidence:
    """Compare the routine with J for two classes, and with more digits for others."""
    worst = 0.0
    for count, size in ((2, 0.2), (2, 1.5), (2, 6.0), (3, 0.5), (5, 1.0)):
        exact = CategoricalInformation(sp.Integer(count), sp.Float(size, _DIGITS))
        worst = max(worst, abs(categorical_bits(count, size) - float(exact.evalf(20))))
    words = f"routine against J for K = 2 and against 20 digits: error {worst:.1e} in 5 values"
    return Evidence.of(worst <= PRECISION, words)
