r"""Two dense linear layers in canonical form: one drive, unit rates, no factor.

With $W_1 = \rho_1 w_1$ and $W_2 = \rho_2 w_2$ the derived flow of $c\,W_2 W_1 x$ becomes

$\dot w_1 = w_2^T (S - w_2 w_1 \Sigma_{xx}) - \gamma_1 w_1$,
$\dot w_2 = (S - w_2 w_1 \Sigma_{xx}) w_1^T - \gamma_2 w_2$,

whatever the factors of loss and parameterisation and the layers' rates: all of them go into
$\rho_1, \rho_2$ and into the scale of $S = \kappa\,\Sigma_{yx}$, none into time. Each layer decays
at its learning rate times the loss's weight decay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import sympy as sp

from symkernel.errors import NoClosedForm
from symkernel.formula import Evidence, Step
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.theory.gradient_flow import GradientFlow, rate_of
from symkernel.theory.mode_flow import exact_factors, exact_loss, two_layer_word
from symkernel.theory.words import Words, derivative

CANONICAL = {
    "w_1": Words.of("w_2'", "S") - Words.of("w_2'", "w_2", "w_1", "Sxx"),
    "w_2": Words.of("S", "w_1'") - Words.of("w_2", "w_1", "Sxx", "w_1'"),
}
# Products of the canonical weights, which do not change when the hidden layer is turned.
PRODUCTS = {
    "A": Words.of("w_1'", "w_1"),
    "B": Words.of("w_2", "w_2'"),
    "W": Words.of("w_2", "w_1"),
}


@dataclass(frozen=True)
class TwoLayer:
    r"""The canonical form of a two-layer linear network's gradient flow.

    Attributes
    ----------
    system : GradientFlow
    first, second : str
        Names of the two weights, from the input on.
    scale : sympy.Expr
        The output is this times $W_2 W_1 x$.
    rho1, rho2 : sympy.Expr
        Units of the weights.
    strength : sympy.Expr
        $\kappa$ in $S = \kappa\,\Sigma_{yx}$.
    decays : tuple of sympy.Expr
        $\gamma_1, \gamma_2$.
    variance : sympy.Expr
        What $\Sigma_{xx}$ is counted in: the variance of isotropic inputs, or 1.
    """

    system: GradientFlow
    first: str
    second: str
    scale: sp.Expr
    rho1: sp.Expr
    rho2: sp.Expr
    strength: sp.Expr
    decays: tuple[sp.Expr, sp.Expr]
    variance: sp.Expr = sp.S.One

    @property
    def decay(self) -> sp.Expr:
        r"""$\gamma$, where both layers decay at one rate.

        Raises
        ------
        NoClosedForm
            If they do not.
        """
        if self.decays[0] != self.decays[1]:
            raise NoClosedForm(
                "The two layers decay at different rates; the law 'reduced_flow' takes that."
            )
        return self.decays[0]

    def counted_in(self, variance: sp.Expr) -> TwoLayer:
        """Return the form in which the units of the weights take up the variance of the inputs."""
        root = sp.sqrt(variance)
        return replace(self, rho1=self.rho1 / root, rho2=self.rho2 / root, variance=variance)

    @cached_property
    def flow(self) -> dict[str, Words]:
        """The flow of w_1 and w_2, by substitution into the derived flow."""
        meaning = {
            self.first: Words.of("w_1", coefficient=self.rho1),
            self.second: Words.of("w_2", coefficient=self.rho2),
            "Syx": Words.of("S", coefficient=1 / self.strength),
            "Sxx": Words.of("Sxx", coefficient=self.variance),
        }
        names = {"w_1": (self.first, self.rho1), "w_2": (self.second, self.rho2)}
        return {
            name: Words.collect(
                (word, sp.powdenest(sp.expand(c), force=True))
                for word, c in self.system.flow[old]
                .substituted(meaning)
                .scaled(1 / rho)
                .terms.items()
            )
            for name, (old, rho) in names.items()
        }

    @cached_property
    def expected(self) -> dict[str, Words]:
        """The canonical flow."""
        return {
            name: words + Words.of(name, coefficient=-decay)
            for (name, words), decay in zip(CANONICAL.items(), self.decays, strict=True)
        }

    @property
    def shapes(self) -> dict[str, tuple[sp.Expr, sp.Expr]]:
        """Shapes of the canonical matrices."""
        given = self.system.shapes
        return {
            "w_1": given[self.first],
            "w_2": given[self.second],
            "S": given["Syx"],
            "Sxx": given["Sxx"],
        }

    def step(self) -> Step:
        """Change to the canonical form."""
        shapes = {**self.system.shapes, **self.shapes}
        old = {n: sp.MatrixSymbol(n, *shapes[n]) for n in (self.first, self.second, "Syx")}
        new = {n: sp.MatrixSymbol(n, *shapes[n]) for n in ("w_1", "w_2", "S")}
        return Step(
            "Canonical form",
            "the units of the weights take up loss factor, parameterisation and learning rates; "
            "time stays flow time",
            (
                sp.Eq(old[self.first], self.rho1 * new["w_1"], evaluate=False),
                sp.Eq(old[self.second], self.rho2 * new["w_2"], evaluate=False),
                sp.Eq(new["S"], self.strength * old["Syx"], evaluate=False),
                *self._inputs(),
                *(
                    sp.Eq(rate_of(name, shapes), words.matrix(shapes), evaluate=False)
                    for name, words in self._shown().items()
                ),
            ),
            self.check,
            (
                (new["w_1"], "first weight in its unit"),
                (new["w_2"], "second weight in its unit"),
                (new["S"], "cross moment in the units of the weights"),
            ),
        )

    def _inputs(self) -> tuple[sp.Eq, ...]:
        """State the covariance of isotropic inputs, where the units take up their variance."""
        if self.variance == 1:
            return ()
        shape = self.shapes["Sxx"]
        white = self.variance * sp.Identity(shape[0])
        return (sp.Eq(sp.MatrixSymbol("Sxx", *shape), white, evaluate=False),)

    def _shown(self) -> dict[str, Words]:
        """Return the canonical flow as it is printed: white inputs leave it."""
        return self.expected if self.variance == 1 else on_white_inputs(self.expected)

    def check(self) -> Evidence:
        """Substitute the units into the derived flow."""
        same = all(not (self.flow[name] - words).terms for name, words in self.expected.items())
        return Evidence.of(same, "derived flow in these units = canonical flow exactly")


def on_white_inputs(flow: Mapping[str, Words]) -> dict[str, Words]:
    """Return a canonical flow with 1 in place of Sxx."""
    return {
        name: Words.collect(
            (tuple(factor for factor in word if factor[0] != "Sxx"), c)
            for word, c in words.terms.items()
        )
        for name, words in flow.items()
    }


def two_layer(problem: Problem) -> TwoLayer:
    """Return the canonical form of a problem's flow.

    Raises
    ------
    NoClosedForm
        If the network is not a product of two trained dense matrices.
    """
    return canonical_form(problem.network, problem.loss)


@lru_cache(maxsize=16)
def canonical_form(network: Network, loss: SquaredError) -> TwoLayer:
    """Return the canonical form of a network's flow; see `two_layer`."""
    system = GradientFlow(exact_factors(network), exact_loss(loss))
    first, second, scale = two_layer_word(system)
    drive = {
        first: Words.of(second + "'", "Syx"),
        second: Words.of("Syx", first + "'"),
    }
    flow = {name: system.flow[name].terms for name in (first, second)}
    sigma = {name: terms[next(iter(drive[name].terms))] for name, terms in flow.items()}
    decay1, decay2 = (-flow[name].get(((name, False),), sp.S.Zero) for name in (first, second))
    # What falls with the weights is c times what drives them: sigma c w2^T w2 w1 Sxx.
    rho1, rho2 = (1 / sp.sqrt(scale * sigma[name]) for name in (second, first))
    strength = sp.sqrt(sigma[first] * sigma[second])
    if sp.expand(decay1 - decay2) == 0:
        decay2 = decay1  # also where they are written differently
    return TwoLayer(system, first, second, scale, rho1, rho2, strength, (decay1, decay2))


def gram_rates(flow: Mapping[str, Words]) -> dict[str, Words]:
    r"""Return the rates of $A = w_1^T w_1$, $B = w_2 w_2^T$ and $W = w_2 w_1$, in these alone.

    Raises
    ------
    NoClosedForm
        If the rates hold the weights in another combination.
    """
    rules = {
        (("w_1", True), ("w_1", False)): Words.of("A"),
        (("w_2", False), ("w_2", True)): Words.of("B"),
        (("w_2", False), ("w_1", False)): Words.of("W"),
        (("w_1", True), ("w_2", True)): Words.of("W'"),
    }
    found = {name: derivative(words, flow).reduced(rules) for name, words in PRODUCTS.items()}
    for name, words in found.items():
        if any(factor in ("w_1", "w_2") for word in words.terms for factor, _ in word):
            raise NoClosedForm(f"The rate of {name} holds more than A, B and W.")
    return found
