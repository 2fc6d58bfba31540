r"""The derivation of the frozen-kernel law, at matrix level, from the loss's factor.

All outputs on all samples stand in one vector f, so that the Jacobian J of outputs by trained
parameters is a matrix; D holds the weights with which the loss averages over samples, R the rates
of the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Formula, Result, Step
from symkernel.problem.problem import Problem
from symkernel.theory.frozen_system import LinearSystem
from symkernel.theory.gradient_flow import rate_of
from symkernel.theory.pseudo_kernel import ntk, pseudo_kernel
from symkernel.theory.residual_integral import ResidualIntegral, check_solution
from symkernel.theory.solutions import solve_autonomous
from symkernel.theory.words import Words, derivative, trace_gradient

_AGREE = 1e-12


def _size(name: str) -> sp.Symbol:
    return sp.Symbol(name, integer=True, positive=True)


_N, _P, _H = _size("N_f"), _size("P_d"), _size("N_h")
# The names of the vectors and matrices, with their shapes; x is any input, h any inner node there.
SHAPES = {
    "f": (_N, 1), "f_0": (_N, 1), "y": (_N, 1), "r": (_N, 1), "r_0": (_N, 1), "g": (_N, 1),
    "rho": (_N, 1), "rho_0": (_N, 1), "d": (_P, 1), "h": (_H, 1), "h_0": (_H, 1),
    "J": (_N, _P), "J_h": (_H, _P), "D": (_N, _N), "C": (_N, _N), "R": (_P, _P),
    "Theta": (_N, _N), "K_h": (_H, _N), "M": (_N, _N),
}  # fmt: skip
_MEANINGS = {
    "f": "outputs on all samples",
    "f_0": "the same at the start",
    "h": "the node at the inputs asked for",
    "h_0": "the same at the start",
    "J": "Jacobian of f by the trained parameters, at the start",
    "J_h": "Jacobian of h",
    "d": "displacement of the trained parameters",
    "D": "weights of the samples in the loss's mean, on the diagonal",
    "R": "learning rates of the parameters, on the diagonal",
    "r": "residual f - y",
    "y": "targets",
    "Theta": "tangent kernel of the training samples",
    "C": "root of D",
    "rho": "weighted residual",
    "M": "weighted tangent kernel",
    "g": "integral of the weighted residual",
    "rho_0": "weighted residual at the start",
    "r_0": "residual at the start",
    "K_h": "pseudo-kernel of the node by the training samples",
}
# C is the square root of D; both are diagonal, as R is.
_ROOT = {(("C", False), ("C", False)): Words.of("D")}
_DIAGONAL = ("D", "C", "R", "Theta", "M")


def _plain(words: Words) -> Words:
    """Return words without the transposes of symmetric matrices, and with C C for D."""
    items = (
        (tuple((n, f and n not in _DIAGONAL) for n, f in word), c)
        for word, c in words.terms.items()
    )
    return Words.collect(items).reduced(_ROOT)


def matrix(name: str) -> sp.MatrixSymbol:
    """Return a named matrix of the derivation."""
    return sp.MatrixSymbol(name, *SHAPES[name])


def _meanings(*names: str) -> tuple[tuple[Any, str], ...]:
    """Return what matrices stand for."""
    return tuple((matrix(name), _MEANINGS[name]) for name in names)


@dataclass(frozen=True)
class FrozenWords:
    """The derivation for a problem, which enters by its loss and, in one check, by its network.

    Attributes
    ----------
    problem : Problem
    """

    problem: Problem

    @property
    def factor(self) -> sp.Expr:
        """The loss's factor."""
        return self.problem.loss.factor

    @cached_property
    def linear(self) -> dict[str, Words]:
        """Output, residual and hidden activity to first order in d."""
        return {
            "f": Words.of("f_0") + Words.of("J", "d"),
            "r": Words.of("r_0") + Words.of("J", "d"),
            "h": Words.of("h_0") + Words.of("J_h", "d"),
        }

    @cached_property
    def loss(self) -> Words:
        """The loss under the trace, a quadratic form in d."""
        r = self.linear["r"]
        return (Words.of("D") @ r @ r.transposed()).scaled(self.factor)

    @cached_property
    def flow(self) -> Words:
        """Right-hand side of the flow of d, with the residual written as r."""
        gradient = _plain(trace_gradient(self.loss, "d"))
        return -(Words.of("R") @ self._folded(gradient))

    def _folded(self, words: Words) -> Words:
        """Return words with r_0 + J d collected as r."""
        return words.substituted({"r_0": Words.of("r") - Words.of("J", "d")})

    @cached_property
    def reduced(self) -> Words:
        """Rate of the residual: the product rule, kernel collected."""
        moved = derivative(self.linear["r"], {"d": self.flow})
        return _kernels(_plain(moved))

    @cached_property
    def weighted(self) -> Words:
        r"""Rate of $\rho = C r$ in $\rho$: $C^2 = D$."""
        moved = Words.of("C") @ self.reduced
        return _plain(moved)

    @cached_property
    def matrix_m(self) -> Words:
        """M, the symmetric matrix with which the weighted residual decays."""
        return Words.of("C", "Theta", "C", coefficient=2 * self.factor)

    @cached_property
    def integral(self) -> ResidualIntegral:
        """The node that stands for g."""
        return ResidualIntegral(matrix("M"), matrix("rho_0"), notation.t)

    @cached_property
    def solved(self) -> dict[str, Words]:
        """Displacement, output and hidden activity in terms of g."""
        down = Words.of("R", "J'", "C", "g", coefficient=-2 * self.factor)
        seen = {
            "f": Words.of("f_0") + Words.of("J") @ down,
            "h": Words.of("h_0") + Words.of("J_h") @ down,
        }
        return {"d": down, **{name: _kernels(words) for name, words in seen.items()}}

    # Checks ---------------------------------------------------------------------------------------

    def check_jacobian(self) -> Evidence:
        """Compare products with the Jacobian with the kernels that the expression gives."""
        task = self.problem.curriculum.phases[0].task
        if not self.problem.is_numeric_but_for_durations or task.X is None:
            return Evidence(False, "the problem has no numbers to compare on")
        system = LinearSystem.of(self.problem, task, self.problem.weights.arrays)
        net, tangent = self.problem.network, system.tangent
        few = slice(0, 2)
        X = np.ascontiguousarray(tangent.X[few])
        gates = {n: np.ascontiguousarray(g[few]) for n, g in tangent.gates.items()} or None
        some = type(tangent)(net, tangent.weights, X, gates or {})
        outputs = len(X) * int(net.outputs)
        unit = np.eye(outputs).reshape(outputs, len(X), int(net.outputs))
        rows = some.backward(unit)
        worst, names = 0.0, [n for n in ("output", "hidden") if n in net.nodes]
        for name in names:
            formula = ntk(net) if name == "output" else pseudo_kernel(net, of=name)
            kernel = formula.compile()(X, None, tangent.weights, gates)
            found = some.forward(rows, net.node(name)).transpose(1, 2, 0)
            size = float(np.abs(kernel).max()) or 1.0
            gap = np.abs(found.reshape(kernel.shape) - kernel).max()
            worst = max(worst, float(gap) / size)
        return Evidence(
            worst <= _AGREE,
            f"J J^T and J_h J^T equal the kernels derived from the network's expression, of "
            f"{' and '.join(names)}, to {worst:.1e}",
        )

    def check_flow(self) -> Evidence:
        """Compare the matrix gradient with scalar derivatives, entry by entry."""
        values = _small()
        scalar = _plain(self.loss).explicit(values).trace()
        moved = self.flow.substituted({"r": self.linear["r"]}).explicit(values)
        gap = [
            sp.expand(moved[k] + values["R"][k, k] * sp.diff(scalar, variable))
            for k, variable in enumerate(values["d"])
        ]
        return Evidence.of(not any(gap), f"{len(gap)} entries equal scalar derivatives exactly")

    def check_reduced(self) -> Evidence:
        """Differentiate the residual along the flow on explicit matrices."""
        values = _small()
        values["Theta"] = values["J"] * values["R"] * values["J"].T
        rate = self.flow.substituted({"r": self.linear["r"]}).explicit(values)
        residual = self.linear["r"].explicit(values)
        values["r"] = residual
        gap = values["J"] * rate - self.reduced.explicit(values)
        same = not any(sp.expand(entry) for entry in gap)
        return Evidence.of(same, "rate of the residual = -2 kappa Theta D r exactly")

    def check_weighted(self) -> Evidence:
        """Substitute r = C^-1 rho: the rate of C r holds C r alone."""
        wanted = -(self.matrix_m @ Words.of("C", "r"))
        gap = self.weighted - _plain(wanted)
        return Evidence.of(not gap.terms, "C times the rate of r = -M C r, word by word")

    def check_solution(self) -> Evidence:
        """Solve one eigenvalue by the linear rule, and substitute the whole into its equation."""
        rho, l, start = sp.Symbol("rho"), sp.Symbol("l", positive=True), sp.Symbol("rho_0")
        one = solve_autonomous(-l * rho, rho, start)
        decayed = one.expression.subs(dict(one.where))
        integral = sp.integrate(decayed, (notation.t, 0, notation.t))
        phi = self.integral.definition().args[0].of_eigenvalue(l, notation.t, sp.exp)
        same = sp.expand(integral - phi * start) == 0 and one.prove().passed
        whole = check_solution()
        return Evidence(same and whole.passed, f"linear rule on an eigenvalue; {whole.figure}")

    def check_displacement(self) -> Evidence:
        """Put the displacement into its flow: both sides hold rho_0 - M g."""
        g_rate = Words.of("rho_0") - self.matrix_m @ Words.of("g")
        rho = Words.of("rho_0") + _plain(Words.of("C") @ _kernels(Words.of("J") @ self.solved["d"]))
        moved = derivative(self.solved["d"], {"g": g_rate})
        # rho = C r, so that D r is C rho.
        wanted = Words.of("R", "J'", "C", coefficient=-2 * self.factor) @ rho
        gap = _plain(moved) - _plain(wanted)
        direct = self.flow - Words.of("R", "J'", "D", "r", coefficient=-2 * self.factor)
        same = not gap.terms and not direct.terms
        words = "displacement put into its flow, both sides equal word by word"
        return Evidence.of(same, words)

    # What is shown --------------------------------------------------------------------------------

    def _eq(self, name: str, words: Words, rate: bool = False) -> sp.Eq:
        left = rate_of(name, SHAPES) if rate else matrix(name)
        return sp.Eq(left, words.matrix(SHAPES), evaluate=False)

    def steps(self) -> tuple[Step, ...]:
        """Return the steps, each with its check."""
        theta, pseudo = Words.of("J", "R", "J'"), Words.of("J_h", "R", "J'")
        return (
            Step(
                "Linearisation",
                "outputs f on all samples and any node h at any input, to first order in the "
                "displacement d of the trained parameters; the Jacobians J and J_h stay at the "
                "initial weights",
                (self._eq("f", self.linear["f"]), self._eq("h", self.linear["h"])),
                self.check_jacobian,
                _meanings("f", "f_0", "h", "h_0", "J", "J_h", "d"),
            ),
            Step(
                "Gradient flow",
                "the loss is quadratic in d: D holds the weights of its mean over samples, R the "
                "rates of the parameters, r = f - y",
                (self._eq("d", self.flow, rate=True),),
                self.check_flow,
                _meanings("D", "R", "r", "y"),
            ),
            Step(
                "Reduced equation",
                "the residual obeys a linear equation of its own, with the tangent kernel",
                (self._eq("Theta", theta), self._eq("r", self.reduced, rate=True)),
                self.check_reduced,
                _meanings("Theta"),
            ),
            Step(
                "Symmetric form",
                "weighted by the root C of D, the residual decays with a symmetric matrix",
                (
                    self._eq("D", Words.of("C", "C")),
                    self._eq("rho", Words.of("C", "r")),
                    self._eq("M", self.matrix_m),
                    self._eq("rho", -Words.of("M", "rho"), rate=True),
                ),
                self.check_weighted,
                _meanings("C", "rho", "M"),
            ),
            Step(
                "Solution",
                "each eigenvector of M decays by the linear rule; g is the integral of the "
                "residual, and grows linearly where M has an eigenvalue 0",
                (sp.Eq(matrix("g"), self.integral, evaluate=False),),
                self.check_solution,
                _meanings("g", "rho_0", "r_0"),
            ),
            Step(
                "Displacement and hidden activity",
                "the displacement is linear in g, and so is every node at every input: the "
                "pseudo-kernel K_h carries the training samples to it",
                (
                    self._eq("K_h", pseudo),
                    self._eq("d", self.solved["d"]),
                    self._eq("f", self.solved["f"]),
                    self._eq("h", self.solved["h"]),
                ),
                self.check_displacement,
                _meanings("K_h"),
            ),
        )

    @cached_property
    def where(self) -> tuple[tuple[Any, Any], ...]:
        """What the abbreviations of the formulas stand for."""
        return (
            (matrix("Theta"), Words.of("J", "R", "J'").matrix(SHAPES)),
            (matrix("M"), self.matrix_m.matrix(SHAPES)),
            (matrix("rho_0"), Words.of("C", "r_0").matrix(SHAPES)),
            (matrix("g"), self.integral),
        )

    def formulas(self) -> tuple[Formula, ...]:
        """Return output, hidden activity, displacement and loss with abbreviations."""
        f, h, d = (self.solved[name].matrix(SHAPES) for name in ("f", "h", "d"))
        pseudo = (matrix("K_h"), Words.of("J_h", "R", "J'").matrix(SHAPES))
        loss = self.factor * sp.Trace(sp.MatMul(matrix("D"), matrix("r"), matrix("r").T))
        residual = (matrix("r"), sp.MatAdd(matrix("f"), sp.MatMul(-1, matrix("y"))))
        return (
            Formula("output on the training samples", matrix("f"), f, self.where),
            Formula("activity of a node at any input", matrix("h"), h, (*self.where, pseudo)),
            Formula("displacement of the parameters", matrix("d"), d, self.where),
            Formula("loss", LOSS, loss, (residual,)),
        )

    def result(self) -> Result:
        """Return everything as plain SymPy."""
        f, h, d, loss = self.formulas()
        return Result(
            {"output": f.plain, "hidden": h.plain, "displacement": d.plain, "loss": loss.plain}
        )


LOSS = notation.symbol("loss", r"\mathcal{L}", "the loss", nonnegative=True)


def _kernels(words: Words) -> Words:
    """Return words with J R J^T written as Theta and J_h R J^T as K_h."""
    items = []
    for word, coefficient in words.terms.items():
        out: list[tuple[str, bool]] = []
        k = 0
        while k < len(word):
            three = word[k : k + 3]
            if three[1:] == (("R", False), ("J", True)) and three[0][0] in _KERNELS:
                out.append((_KERNELS[three[0][0]], False))
                k += 3
            else:
                out.append(word[k])
                k += 1
        items.append((tuple(out), coefficient))
    return Words.collect(items)


_KERNELS = {"J": "Theta", "J_h": "K_h"}


def _small() -> dict[str, sp.Matrix]:
    """Return symbolic entries at small sizes: two outputs of samples, three parameters."""

    def filled(name: str, rows: int, columns: int) -> sp.Matrix:
        return sp.Matrix(
            rows, columns, lambda i, j: sp.Symbol(f"{name}_{i}{j}", real=True, nonzero=True)
        )

    roots = sp.diag(*sp.symbols("c:2", positive=True))
    return {
        "J": filled("J", 2, 3), "d": filled("d", 3, 1), "r_0": filled("s", 2, 1), "C": roots,
        "D": roots**2, "R": sp.diag(*sp.symbols("q:3", positive=True)),
    }  # fmt: skip
