r"""From the matrix flow of a chain of linear layers to the flow of one mode.

Aligned and balanced layers are $W_l = M_l A M_{l-1}^T$ with $M_0 = V$, $M_D = U$, orthonormal
hidden directions $M_l$ and ONE diagonal matrix A. Put into the derived flow every layer gives the
same equation for the amplitude of a mode, $\dot a = a^{D-1}(\sigma - \delta a^D)$; $\sigma$ and
$\delta$ are read off it, so that loss factor, parameterisation and a common learning rate enter by
themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import sympy as sp

from symkernel import notation
from symkernel.errors import NoClosedForm
from symkernel.formula import Evidence, Step
from symkernel.identities import rational_orthogonal
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.problem import Problem
from symkernel.theory.gradient_flow import GradientFlow
from symkernel.theory.mode_flow import exact_factors, exact_loss
from symkernel.theory.words import Words

_SIZES = {"inputs": 3, "hidden": 2, "outputs": 2}


@dataclass(frozen=True)
class ChainFlow:
    r"""The flow of one mode of a chain: $\dot a = a^{D-1}(\sigma - \delta a^D)$, $u = c\,a^D$.

    Attributes
    ----------
    system : GradientFlow
    layers : tuple of str
        Names of the weights, from the input on.
    scale : sympy.Expr
        The output is c times the product of the weights.
    sigma, delta : sympy.Expr
        In the strength s and the input variance d of the mode.
    """

    system: GradientFlow
    layers: tuple[str, ...]
    scale: sp.Expr
    sigma: sp.Expr
    delta: sp.Expr

    @property
    def depth(self) -> int:
        """Number of weight matrices."""
        return len(self.layers)

    def steps(self) -> tuple[Step, ...]:
        """Gradient flow, conserved quantities, change to the singular basis."""
        flow, kept = self.system.steps()
        steps: tuple[Step, ...] = (replace(flow, check=lambda: check_gradients(self)),)
        if self.depth > 1:
            steps += (
                replace(
                    kept,
                    title="Conserved quantities",
                    reason="neighbouring layers that are balanced, W W^T = V^T V for V after W, "
                    "stay balanced (null space of the product rule)",
                    check=lambda: check_conserved(self),
                ),
            )
        return (*steps, self._projection_step())

    def _projection_step(self) -> Step:
        r = sp.Symbol("r", integer=True, positive=True)
        shapes = self.system.shapes
        frames = frame_names(self.depth)
        sizes = [shapes[self.layers[0]][1], *(shapes[name][0] for name in self.layers)]
        R = [sp.MatrixSymbol(n, k, r) for n, k in zip(frames, sizes, strict=True)]
        S, D, A = (sp.MatrixSymbol(n, r, r) for n in ("S", "D", "A"))
        syx, sxx = (sp.MatrixSymbol(n, *shapes[n]) for n in ("Syx", "Sxx"))
        eqs = [
            sp.Eq(syx, R[-1] * S * R[0].T, evaluate=False),
            sp.Eq(sxx, R[0] * D * R[0].T, evaluate=False),
        ]
        for name, (before, after) in zip(self.layers, pairwise(R), strict=True):
            W = sp.MatrixSymbol(name, *shapes[name])
            eqs.append(sp.Eq(W, after * A * before.T, evaluate=False))
        return Step(
            "Singular basis of the task",
            "aligned layers carry each mode along one direction, and balanced ones with one "
            "amplitude, so that all layers have one diagonal matrix, A",
            tuple(eqs),
            lambda: check_projection(self),
            (
                (A, "diagonal matrix of the amplitudes a"),
                *(
                    (frame, f"directions of the modes in hidden layer {k}, as columns")
                    for k, frame in enumerate(R[1:-1], 1)
                ),
            ),
        )


def frame_names(depth: int) -> list[str]:
    """Return names of the directions of the modes at the input, in the hidden layers and out."""
    return ["V", *(f"M{k}" for k in range(1, depth)), "U"]


def chain_word(system: GradientFlow) -> tuple[tuple[str, ...], sp.Expr]:
    r"""Return the layers and c if the output is $c\,W_D \dots W_1 x$, all trained, else raise."""
    terms = list(system.output.terms.items())
    word, scale = terms[0]
    names = tuple(name for name, _ in word[-2::-1])
    trained = {p.name for p in system.network.parameters if p.trained}
    if len(terms) > 1 or not names or len(set(names)) < len(names) or set(names) != trained:
        raise NoClosedForm(
            "The output of the network is not a product W_D ... W_1 x of different trained "
            "matrices."
        )
    return names, scale


def chain_flow(problem: Problem) -> ChainFlow:
    """Derive the flow of one mode from network and loss.

    Raises
    ------
    NoClosedForm
        If the network is no chain of trained dense layers, or the layers learn at different rates.
    """
    return _chain_flow(problem.network, problem.loss)


# Testing, deriving and evaluating a law all start here, with the same network.
@lru_cache(maxsize=16)
def _chain_flow(network: Network, loss: SquaredError) -> ChainFlow:
    system = GradientFlow(exact_factors(network), exact_loss(loss))
    layers, scale = chain_word(system)
    drives = [sp.expand(drive) for drive in projected_flow(system, layers)]
    if any(sp.expand(drive - drives[0]) != 0 for drive in drives):
        raise NoClosedForm(
            "The layers learn at different rates, so that they do not stay balanced; use one rate."
        )
    poly = sp.Poly(drives[0], notation.a)
    low, high = len(layers) - 1, 2 * len(layers) - 1
    if {power for (power,) in poly.monoms()} != {low, high}:
        raise NoClosedForm(f"The flow {drives[0]} of a mode is not that of a chain.")
    sigma, delta = poly.coeff_monomial(notation.a**low), -poly.coeff_monomial(notation.a**high)
    return ChainFlow(system, layers, scale, sigma, delta)


def projected_flow(system: GradientFlow, layers: tuple[str, ...]) -> list[sp.Expr]:
    """Return the flow of the amplitude of one mode, once from each layer."""
    frames = frame_names(len(layers))
    sides = dict(zip(layers, pairwise(frames), strict=True))
    basis = {name: Words.of(after, "A", before + "'") for name, (before, after) in sides.items()}
    basis |= {"Syx": Words.of("U", "S", "V'"), "Sxx": Words.of("V", "D", "V'")}
    one = Words({(): sp.S.One})
    rules = {((frame, True), (frame, False)): one for frame in frames}
    meaning = {"S": notation.s, "D": notation.d, "A": notation.a}
    found = []
    for name, (before, after) in sides.items():
        total = sp.S.Zero
        for word, coefficient in system.flow[name].substituted(basis).reduced(rules).terms.items():
            inside = [factor for factor, _ in word[1:-1]]
            ends = (word[0], word[-1]) == ((after, False), (before, True))
            if not ends or any(factor not in meaning for factor in inside):
                raise NoClosedForm(f"The flow of {name} leaves the directions of the modes.")
            total += coefficient * sp.Mul(*(meaning[factor] for factor in inside))
        found.append(total)
    return found


def _rational_values(flow: ChainFlow) -> dict[str, sp.Matrix]:
    """Return weights and moments of small unequal sizes, in exact numbers."""
    sizes = [_SIZES["inputs"], *[_SIZES["hidden"]] * (flow.depth - 1), _SIZES["outputs"]]
    values = {
        name: sp.Matrix(rows, columns, lambda i, j, k=k: sp.Rational(3 * i - 2 * j + k % 3 - 1, 2))
        for k, (name, (columns, rows)) in enumerate(zip(flow.layers, pairwise(sizes), strict=True))
    }
    i, o = sizes[0], sizes[-1]
    root = sp.Matrix(i, i, lambda r, c: sp.Rational(r + 2 * c + 1, 2 + r))
    values["Sxx"] = root * root.T
    values["Syx"] = sp.Matrix(o, i, lambda r, c: sp.Rational(2 * r - c + 1, 1 + c))
    values["Syy"] = 5 * sp.eye(o)
    return values


def check_gradients(flow: ChainFlow) -> Evidence:
    """Compare the matrix gradients with differences of the loss, which is quadratic in a layer.

    For a quadratic function the central difference is the derivative, exactly; a symbolic loss of
    many layers has thousands of terms.
    """
    values = _rational_values(flow)
    rates = {p.name: p.rate for p in flow.system.network.parameters}
    entries = 0

    def loss(name: str, changed: sp.Matrix) -> sp.Expr:
        return flow.system.expected_loss.explicit({**values, name: changed}).trace()

    for name in flow.layers:
        claimed = flow.system.flow[name].explicit(values)
        for k in range(len(values[name])):
            step = sp.zeros(*values[name].shape)
            step[k] = 1
            slope = (loss(name, values[name] + step) - loss(name, values[name] - step)) / 2
            if sp.expand(claimed[k] + rates[name] * slope) != 0:
                return Evidence(False, f"gradient of {name}, entry {k}, differs")
            entries += 1
    return Evidence(True, f"{entries} entries equal derivatives of the loss in exact numbers")


def check_conserved(flow: ChainFlow) -> Evidence:
    """Take central differences of the conserved quantities along the flow, in exact numbers."""
    values = _rational_values(flow)
    found = flow.system.conserved
    if len(found) < flow.depth - 1:
        return Evidence(False, f"{len(found)} conserved matrices for {flow.depth} layers")
    moved = {name: flow.system.flow[name].explicit(values) for name in flow.layers}
    ahead, behind = (
        {name: values[name] + sign * moved[name] for name in flow.layers} for sign in (1, -1)
    )
    for words in found:
        rate = words.explicit(ahead) - words.explicit(behind)
        if any(sp.expand(entry) != 0 for entry in rate):
            return Evidence(False, "a conserved quantity moves")
    return Evidence(True, f"rates of change of {len(found)} matrices exactly 0 in exact numbers")


def check_projection(flow: ChainFlow) -> Evidence:
    """Evaluate the matrix flow on exact aligned layers and compare it with the mode flow."""
    frames = [rational_orthogonal(3, k)[:, :2] for k in range(flow.depth + 1)]
    a, s, d = (
        [sp.Rational(p, q) for p in pair] for pair, q in (((2, 3), 2), ((5, -1), 3), ((1, 2), 1))
    )
    U, V = frames[-1], frames[0]
    values = {"Syx": U * sp.diag(*s) * V.T, "Sxx": V * sp.diag(*d) * V.T, "Syy": sp.eye(3)}
    for name, (before, after) in zip(flow.layers, pairwise(frames), strict=True):
        values[name] = after * sp.diag(*a) * before.T
    power = flow.depth
    for name, (before, after) in zip(flow.layers, pairwise(frames), strict=True):
        rates = [
            (a[i] ** (power - 1) * (flow.sigma - flow.delta * a[i] ** power)).subs(
                {notation.s: s[i], notation.d: d[i]}
            )
            for i in range(2)
        ]
        moved = flow.system.flow[name].explicit(values) - after * sp.diag(*rates) * before.T
        if any(sp.expand(entry) != 0 for entry in moved):
            return Evidence(False, f"the flow of {name} is not that of its modes")
    return Evidence(
        True, f"matrix flow of all {flow.depth} layers = mode flow in exact numbers, for 2 modes"
    )
