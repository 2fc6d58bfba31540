r"""From the matrix flow of a gated network to the amplitudes of its layers, one mode at a time.

With targets $\Sigma_{yx,k} = U_k S V^T$ and $\Sigma_{xx} = V D V^T$ in every context, weights
$W = L\,\mathrm{diag}(a)\,R^T$ in matching frames stay so. Layer $l$ of pathway $j$ then obeys

$\dot a_{jl} = c_{jl}\,\frac{\partial u_j}{\partial a_{jl}}\,g, \quad g = 2\kappa(s - d\sum_j u_j)$,

with $u_j$ the mode of pathway $j$ and $c_{jl}$ the share of contexts in which a weight of the layer
is open. All of it is read off the derived flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import sympy as sp

from symkernel import notation
from symkernel.errors import NoClosedForm
from symkernel.formula import Evidence, Step
from symkernel.identities import rational_orthogonal
from symkernel.problem.contexts import Context
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.pathways import Pathway, pathways_of
from symkernel.theory.context_flow import ContextFlow, joined
from symkernel.theory.mode_flow import ModeFlow, exact_factors, exact_loss
from symkernel.theory.words import Word, Words

_TIME = notation.t


def _amplitude(pathway: int, layer: int) -> sp.Symbol:
    name = f"{'abcdefgh'[pathway]}{layer + 1}"
    latex = rf"{name[0]}_{{{layer + 1}}}"
    meaning = f"amplitude of layer {layer + 1} of pathway {name[0]}"
    return notation.symbol(name, latex, meaning, real=True)


@dataclass(frozen=True)
class PathwayFlow:
    r"""The flow of the amplitudes of one mode.

    Attributes
    ----------
    system : ContextFlow
    shares : tuple of tuple of sympy.Expr
        ``shares[j][l]``: $c_{jl}$, the share of contexts that a weight of the layer serves, times
        the weight's learning rate.
    """

    system: ContextFlow
    shares: tuple[tuple[sp.Expr, ...], ...]

    @property
    def pathways(self) -> tuple[Pathway, ...]:
        """The pathways of the network."""
        return self.system.pathways

    @cached_property
    def amplitudes(self) -> tuple[tuple[sp.Symbol, ...], ...]:
        """Symbols of the amplitudes, by pathway and layer."""
        return tuple(
            tuple(_amplitude(j, layer) for layer in range(pathway.depth))
            for j, pathway in enumerate(self.pathways)
        )

    @cached_property
    def modes(self) -> tuple[sp.Expr, ...]:
        """The mode of each pathway in its amplitudes."""
        return tuple(
            pathway.scale * sp.Mul(*letters)
            for pathway, letters in zip(self.pathways, self.amplitudes, strict=True)
        )

    @property
    def push(self) -> sp.Expr:
        """Twice the factor of the loss."""
        return 2 * self.system.loss.factor

    @cached_property
    def drive(self) -> sp.Expr:
        """What is left of the target, times twice the loss's factor."""
        return self.push * (notation.s - notation.d * sp.Add(*self.modes))

    def rate(self, pathway: int, layer: int) -> sp.Expr:
        """Return the right-hand side for one amplitude."""
        slope = sp.diff(self.modes[pathway], self.amplitudes[pathway][layer])
        return self.shares[pathway][layer] * slope * self.drive

    def projection_step(self) -> Step:
        """Change to the frames in which everything is diagonal."""
        i, o, r, h = sp.symbols("I O r H", integer=True, positive=True)
        names = {"V": (i, r), "U_k": (o, r), "S": (r, r), "D": (r, r), "L": (h, r), "R": (h, r)}
        m = {name: sp.MatrixSymbol(name, *shape) for name, shape in names.items()}
        cross = sp.MatrixSymbol("Sigma_yx_k", o, i)
        weight, a = sp.MatrixSymbol("W", h, h), sp.MatrixSymbol("A", r, r)
        eqs: list[sp.Eq] = [
            sp.Eq(cross, m["U_k"] * m["S"] * m["V"].T, evaluate=False),
            sp.Eq(sp.MatrixSymbol("Sxx", i, i), m["V"] * m["D"] * m["V"].T, evaluate=False),
            sp.Eq(weight, m["L"] * a * m["R"].T, evaluate=False),
        ]
        moving = {
            letter: sp.Function(letter.name)(_TIME) for row in self.amplitudes for letter in row
        }
        for j, row in enumerate(self.amplitudes):
            for layer, letter in enumerate(row):
                rate = self.rate(j, layer).xreplace(moving)
                eqs.append(sp.Eq(moving[letter].diff(_TIME), rate, evaluate=False))
        return Step(
            "Amplitudes of the layers",
            "targets, inputs and weights are diagonal in frames that match from layer to layer, "
            "L of one layer being R of the next; V at the input, U_k at the output of context k",
            tuple(eqs),
            lambda: check_amplitudes(self),
            (
                (cross, "cross moment <y x^T> in context k"),
                (m["U_k"], "output directions of the modes in context k"),
                (weight, "a weight of any layer"),
                (m["L"], "frame of a layer's outputs"),
                (m["R"], "frame of a layer's inputs"),
                (a, "diagonal matrix of the amplitudes of the layer"),
            ),
        )

    def balance_step(self) -> Step:
        """State what is left of the conserved quantities in one mode."""
        eqs = []
        for row, shares in zip(self.amplitudes, self.shares, strict=True):
            first = row[0] ** 2 / shares[0]
            for letter, share in zip(row[1:], shares[1:], strict=True):
                kept = _time_derivative(first - letter**2 / share)
                eqs.append(sp.Eq(kept, 0, evaluate=False))

        def check() -> Evidence:
            for j, row in enumerate(self.amplitudes):
                for layer in range(1, len(row)):
                    moved = row[0] * self.rate(j, 0) / self.shares[j][0]
                    moved -= row[layer] * self.rate(j, layer) / self.shares[j][layer]
                    if sp.expand(moved) != 0:
                        return Evidence(False, "the balance of two layers moves")
            return Evidence(True, f"{len(eqs)} balances have rate of change exactly 0")

        return Step(
            "Balance of the layers",
            "squared amplitudes over the shares of contexts; balanced weights have equal ones, so "
            "that a layer shared by K contexts has K times the square of a private one",
            tuple(eqs),
            check,
        )


def _time_derivative(body: sp.Expr) -> sp.Expr:
    """Return the time derivative of an expression, unevaluated, for display."""
    moving = {q: sp.Function(q.name)(_TIME) for q in body.free_symbols}
    return sp.Derivative(body.xreplace(moving), _TIME)


def pathway_flow(network: Network, loss: SquaredError, contexts: Sequence[Context]) -> PathwayFlow:
    """Derive the flow of the amplitudes from network, contexts and loss.

    Raises
    ------
    NoClosedForm
        If the network has no pathways, or its weights of one layer do not learn alike.
    """
    patterns = tuple(tuple(c.gates.items()) for c in contexts)
    return _pathway_flow(network, loss, patterns)


# Testing, deriving and evaluating a law all start here, with the same network.
@lru_cache(maxsize=64)
def _pathway_flow(
    network: Network, loss: SquaredError, patterns: tuple[tuple[tuple[str, float], ...], ...]
) -> PathwayFlow:
    # Inside: a network is equal to itself only, and this one is new at every call.
    network, gates = exact_factors(network), tuple(map(dict, patterns))
    system = ContextFlow(network, exact_loss(loss), gates, pathways_of(network, gates))
    images = _amplitude_images(system)
    ones = PathwayFlow(system, tuple((sp.S.One,) * p.depth for p in system.pathways))
    shares = []
    for j, pathway in enumerate(system.pathways):
        row = []
        for layer in range(pathway.depth):
            found = {sp.expand(images[name]) for name in pathway.layers[layer]}
            unit = sp.expand(ones.rate(j, layer))
            first = sp.diff(images[pathway.layers[layer][0]], notation.s)
            share = sp.cancel(first / sp.diff(unit, notation.s))
            if len(found) > 1 or sp.expand(share * unit - found.pop()) != 0:
                raise NoClosedForm(
                    f"The weights of layer {layer + 1} ({pathway}) do not learn alike, or not "
                    f"towards one target; no equation for their amplitude."
                )
            row.append(share)
        shares.append(tuple(row))
    return PathwayFlow(system, tuple(shares))


def frames_of(pathways: Sequence[Pathway], contexts: int) -> dict[tuple[int, str], tuple[str, str]]:
    """Return the names of the frames (left, right) of each weight in each context.

    Contexts that share an output layer have one frame U there. Hidden frames of different contexts
    never meet unless the contexts share a weight, so that one name stands for all of them.
    """
    ends = joined([pathway.layers[-1] for pathway in pathways])
    readout = {k: group[0] for group in ends for k in group}
    found = {}
    for j, pathway in enumerate(pathways):
        hidden = [f"H{j}{layer}" for layer in range(pathway.depth - 1)]
        for k in range(contexts):
            sides = ["V", *hidden, f"U{readout[k]}"]
            for layer, name in enumerate(pathway.path(k)):
                found[k, name] = (sides[layer + 1], sides[layer])
    return found


def _amplitude_images(system: ContextFlow) -> dict[str, sp.Expr]:
    """Return the flow of each weight, seen in its frames, as an expression in the amplitudes."""
    count = len(system.contexts)
    frames = frames_of(system.pathways, count)
    letters: dict[str, sp.Expr] = {"S": notation.s, "D": notation.d}
    basis: dict[str, Words] = {"Sxx": Words.of("V", "D", "V'")}
    for j, pathway in enumerate(system.pathways):
        for layer, names in enumerate(pathway.layers):
            diagonal = f"A{j}{layer}"
            letters[diagonal] = _amplitude(j, layer)
            for k, name in enumerate(names):
                left, right = frames[k, name]
                basis[name] = Words.of(left, diagonal, f"{right}'")
    for k in range(count):
        left = frames[k, system.pathways[0].path(k)[-1]][0]
        basis[f"Syx{k}"] = Words.of(left, "S", "V'")
    one = Words({(): sp.S.One})
    sides = {side for pair in frames.values() for side in pair}
    rules: dict[Word, Words] = {((side, True), (side, False)): one for side in sides}
    images = {}
    for (_, name), (left, right) in frames.items():
        turned = Words.of(f"{left}'") @ system.flow[name].substituted(basis) @ Words.of(right)
        total = sp.S.Zero
        for word, coefficient in turned.reduced(rules).terms.items():
            unknown = [part for part, _ in word if part not in letters]
            if unknown:
                raise NoClosedForm(f"The flow of {name} still holds the frame {unknown[0]}.")
            total += coefficient * sp.Mul(*(letters[part] for part, _ in word))
        images[name] = sp.expand(total)
    return images


def check_amplitudes(flow: PathwayFlow) -> Evidence:
    """Evaluate the matrix flow in exact orthogonal frames and compare it with the amplitudes."""
    system, size, modes = flow.system, 3, 2
    frames = frames_of(system.pathways, len(system.contexts))
    sides = sorted({side for pair in frames.values() for side in pair})
    frame = {side: rational_orthogonal(size, q + 1)[:, :modes] for q, side in enumerate(sides)}
    s, d = sp.Matrix([3, 1]) / 2, sp.Matrix([2, 5]) / 3
    numbers = {
        letter: sp.Matrix(modes, 1, lambda i, _, q=place: sp.Rational(2 * q + i + 1, 4 + q - i))
        for place, letter in enumerate(a for row in flow.amplitudes for a in row)
    }
    values = {"Sxx": frame["V"] * sp.diag(*d) * frame["V"].T}
    for j, pathway in enumerate(system.pathways):
        for layer, names in enumerate(pathway.layers):
            for k, name in enumerate(names):
                left, right = (frame[side] for side in frames[k, name])
                values[name] = left * sp.diag(*numbers[flow.amplitudes[j][layer]]) * right.T
    for k in range(len(system.contexts)):
        left = frame[frames[k, system.pathways[0].path(k)[-1]][0]]
        values[f"Syx{k}"] = left * sp.diag(*s) * frame["V"].T
    for j, pathway in enumerate(system.pathways):
        for layer, names in enumerate(pathway.layers):
            for k, name in enumerate(names):
                left, right = (frame[side] for side in frames[k, name])
                wanted = sp.zeros(modes)
                for i in range(modes):
                    entry = {letter: column[i] for letter, column in numbers.items()}
                    entry |= {notation.s: s[i], notation.d: d[i]}
                    wanted[i, i] = flow.rate(j, layer).subs(entry)
                gap = system.flow[name].explicit(values) - left * wanted * right.T
                if any(sp.expand(value) != 0 for value in gap):
                    return Evidence(False, f"the flow of {name} is not that of its amplitudes")
    return Evidence(True, f"matrix flow = flow of the amplitudes exactly, {len(frames)} weights")


def rate_of(push: sp.Expr, scale: sp.Expr, shares: Sequence[sp.Expr]) -> sp.Expr:
    r"""Return $\rho = 2\kappa D (\sigma \prod_l \sqrt{c_l})^{2/D}$ of a balanced pathway.

    Examples
    --------
    >>> import sympy as sp
    >>> from symkernel.theory.pathway_flow import rate_of
    >>> K = sp.Symbol("K", positive=True)
    >>> assert rate_of(sp.S.One, sp.S.One, (sp.S.One, 1 / K)) == 2 / sp.sqrt(K)
    """
    depth = len(shares)
    root = scale * sp.Mul(*map(sp.sqrt, shares))
    return push * depth * sp.powdenest(root ** sp.Rational(2, depth), force=True)


def equal_sides(flow: PathwayFlow) -> ModeFlow:
    r"""Return the flow of $\alpha = a/\sqrt{c_1}$, $\beta = b/\sqrt{c_2}$: one rate for both."""
    (first, second), (shares,) = flow.pathways[0].layers, flow.shares
    scale = flow.pathways[0].scale
    root = sp.sqrt(shares[0] * shares[1])
    drive = root * scale * flow.push
    return ModeFlow(
        scale=root * scale,
        sigma=drive * notation.s,
        delta=drive * notation.d * root * scale,
        system=flow.system,
        first=first[0],
        second=second[0],
        ratio=sp.S.One,
    )
