"""The recursion of a wide network in the form in which its kernels are compiled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sympy as sp

from symkernel.codegen.pairwise import PairFormulas
from symkernel.theory.gaussian_averages import (
    COSINE,
    COVARIANCE,
    SINE,
    VARIANCES,
    GaussianAverages,
)
from symkernel.theory.wide_layers import LEAST_VARIANCE, WideLayer

if TYPE_CHECKING:
    from symkernel.theory.infinite_width import InfiniteWidth

__all__ = ["lowered"]

_OWN, _OVERLAP = sp.Symbol("own"), sp.Symbol("overlap")

Two = tuple[sp.Expr, sp.Expr]


def lowered(
    limit: InfiniteWidth, constants: tuple[sp.Symbol, ...], outputs: tuple[sp.Symbol, ...]
) -> PairFormulas:
    """Return the recursion in constants, with the arcsines in their stable form.

    Parameters
    ----------
    limit : InfiniteWidth
        All of whose averages are closed.
    constants : tuple of Symbol
        weight, bias, weight_rate and bias_rate of each layer.
    outputs : tuple of Symbol
        Lines of the recursion.
    """
    done = _Lowering(limit, {q.name: q for q in constants})
    done.add_layers()
    return PairFormulas(
        own=_OWN,
        overlap=_OVERLAP,
        numbers=constants,
        samples=tuple(done.samples),
        partner=done.partner,
        pairs=tuple(done.pairs),
        outputs=outputs,
        diagonal=tuple(done.ends[q] for q in outputs),
    )


@dataclass
class _Lowering:
    """Lines as they are added; `ends` are what lines of pairs become at x' = x."""

    limit: InfiniteWidth
    constants: dict[str, sp.Symbol]
    samples: list[tuple[sp.Symbol, sp.Expr]] = field(default_factory=list)
    pairs: list[tuple[sp.Symbol, sp.Expr]] = field(default_factory=list)
    partner: dict[sp.Symbol, sp.Symbol] = field(default_factory=dict)
    ends: dict[sp.Symbol, sp.Symbol] = field(default_factory=dict)

    def add_layers(self) -> None:
        """Add all lines, layer by layer."""
        lines = self.limit.recursion
        own, both = _OWN, _OVERLAP
        slopes: Two = (sp.S.Zero, sp.S.Zero)
        tangents: Two = (sp.S.Zero, sp.S.Zero)
        for k, layer in enumerate(self.limit.layers, 1):
            weight, bias, rate, shift = (
                self.constants[f"{name}{k}"]
                for name in ("weight", "bias", "weight_rate", "bias_rate")
            )
            variance = self._of_sample(f"variance{k}", weight * own + bias)
            covariance = self._of_pair(lines.covariance[k - 1], weight * both + bias, variance)
            passed = tuple(weight * d * t for d, t in zip(slopes, tangents, strict=True))
            climbing = self._of_sample(f"own_t{k}", rate * own + shift + passed[0])
            tangent = self._of_pair(lines.tangent[k - 1], rate * both + shift + passed[1], climbing)
            tangents = climbing, tangent
            if k == len(self.limit.layers):
                break
            value, steep = self._own_averages(layer, variance)
            own, steep = self._of_sample(f"own_k{k}", value), self._of_sample(f"own_d{k}", steep)
            value, slope = self._pair_averages(layer, variance, covariance, k)
            both = self._of_pair(lines.activity[k - 1], value, own)
            self.pairs.append((lines.slope[k - 1], slope))
            slopes = steep, lines.slope[k - 1]

    def _of_sample(self, name: str, expression: sp.Expr) -> sp.Symbol:
        symbol = sp.Symbol(name, real=True)
        self.samples.append((symbol, expression))
        return symbol

    def _of_pair(self, symbol: sp.Symbol, expression: sp.Expr, end: sp.Symbol) -> sp.Symbol:
        self.pairs.append((symbol, expression))
        self.ends[symbol] = end
        return symbol

    def _of_both(self, name: str, expression: sp.Expr, **signs: bool) -> Two:
        """Add a line of a sample that pairs need; return it at x and x'."""
        here, there = (sp.Symbol(name + side, **signs) for side in ("", "_other"))
        self.samples.append((here, expression))
        self.partner[here] = there
        return here, there

    def _averages(self, layer: WideLayer) -> GaussianAverages | None:
        if layer.activation is None:
            return None
        derived = self.limit.averages[layer.activation]
        assert derived is not None
        return derived

    def _own_averages(self, layer: WideLayer, variance: sp.Symbol) -> Two:
        derived = self._averages(layer)
        if derived is None:
            return variance, sp.S.One
        value, slope = derived.stable_diagonal(variance)
        if derived.kink is None:
            return value, slope
        moves = sp.Heaviside(variance, 0)
        return value, slope * moves + sum(derived.kink) ** 2 * (1 - moves)

    def _pair_averages(
        self, layer: WideLayer, variance: sp.Symbol, covariance: sp.Symbol, k: int
    ) -> Two:
        """Return value and slope in sine and cosine of the layer's angle, whose lines are added."""
        derived = self._averages(layer)
        if derived is None:
            return covariance, sp.S.One
        sides = self._of_both(
            f"divisor{k}", sp.Max(variance, sp.Float(LEAST_VARIANCE)), positive=True
        )
        given = {**dict(zip(VARIANCES, sides, strict=True)), COVARIANCE: covariance}
        if derived.sine is not None:
            given |= self._angle(derived.sine.xreplace(given), k)
        value, slope = (e.xreplace(given) for e in derived.stable)
        if derived.kink is not None:
            mean, off = derived.kink
            # The covariance is 0 where a variance is, and with it the arcsine.
            here, there = self._of_both(f"rests{k}", off * (1 - sp.Heaviside(variance, 0)))
            slope += mean * here + mean * there + here * there
        return value, slope

    def _angle(self, quotient: sp.Expr, k: int) -> dict[sp.Expr, sp.Expr]:
        """Add the lines of an arcsine; return what stands for it, its sine and its cosine."""
        sine, cosine = sp.Symbol(f"sine{k}", real=True), sp.Symbol(f"cosine{k}", nonnegative=True)
        angle, ratio = (sp.Symbol(f"{name}{k}", real=True) for name in ("angle", "quotient"))
        self.pairs += [
            (ratio, quotient),
            # Rounding may lead outside.
            (sine, sp.Max(-1, sp.Min(1, ratio))),
            (cosine, sp.sqrt(sp.Mul(1 - sine, 1 + sine, evaluate=False))),
            (angle, sp.asin(sine)),
        ]
        return {sp.asin(SINE): angle, SINE: sine, COSINE: cosine}
