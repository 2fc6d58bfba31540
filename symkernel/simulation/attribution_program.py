r"""The compiled programs of path attribution, written from the network's expression.

`descend` takes steps of gradient descent and keeps, for each chord of one step or more, the weights
and the move of the weights that each group of samples made. `follow` goes through these chords on
the probe's samples, and sums up what each group contributed to the movement of every tracked node:

$$\Delta(W v) = \sum_g \Delta W_g\, v_{k+1} + W_k\, \Delta v_g, \qquad
\Delta\phi(a) = \sum_g D_k \circ \Delta a_g, \qquad
D_k = \frac{\phi(a_{k+1}) - \phi(a_k)}{a_{k+1} - a_k} .$$
"""

from __future__ import annotations

import inspect
import re
from types import ModuleType

from symkernel.codegen.activations import body_of
from symkernel.codegen.cache import load
from symkernel.numerics.secant import secant_slope
from symkernel.problem.nodes import Apply, Bias, Gate, Input, Linear, Node, Slice, Sum
from symkernel.simulation.attribution_plan import ProbeLayout, ProbePlan, is_curved
from symkernel.simulation.layout import Layout
from symkernel.simulation.plan import is_dense
from symkernel.simulation.program import Source, parameter_view
from symkernel.simulation.statements import Lines, Statements, loop

_DESCEND = """
@njit("void(f8[::1], f8[:, ::1], f8[:, :, ::1], f8[:, ::1], f8[::1], f8[::1], i8[::1], i8[::1], "
      "i8[:, ::1], f8[::1], f8[::1], i8[::1], i8[::1], i8[:, ::1], b1[:, ::1], i8[::1])",
      cache=True, nogil=True, {options})
def descend(theta, path, moves, spare, work, data, sizes, begins,
            spans, pace, shrink, batches, chords, places, opens, widths):
    {unpacked}
    part = spare[0]
    slope = spare[1]
    path[0] = theta
    for step in range(batches.size):
        chord = chords[step]
        last = -1
        slope[:] = 0.0
        for span in range(begins[batches[step]], begins[batches[step] + 1]):
            start = spans[span, 0]
            m = spans[span, 1]
            slot = spans[span, 2]
            whole = moves[chord, places[step, slot]]
            # Further spans of a large group, and its further batches in a chord, are added up.
            starts = opens[step, slot] and slot != last
            last = slot
            grad = whole if starts else part
            {views}
            {gradient}
            for q in range(slope.size):
                slope[q] += grad[q]
            if not starts:
                for q in range(whole.size):
                    whole[q] += grad[q]
        end = path[chord + 1]
        if shrink.size > 0:
            decayed = moves[chord, moves.shape[1] - 1]
            if step == 0 or chords[step - 1] != chord:
                decayed[:] = 0.0
            for q in range(theta.size):
                pull = -shrink[q] * theta[q]
                decayed[q] += pull
                theta[q] += pull - pace[q] * slope[q]
                end[q] = theta[q]
        else:
            for q in range(theta.size):
                theta[q] -= pace[q] * slope[q]
                end[q] = theta[q]
    for chord in range(widths.size):
        for place in range(widths[chord]):
            move = moves[chord, place]
            for q in range(move.size):
                move[q] *= -pace[q]
"""

_FOLLOW = """
@njit("void(f8[::1], f8[::1], f8[::1], i8[::1], i8)", cache=True, nogil=True, {options})
def start(theta, state, data, sizes, tile):
    {unpacked}
    start = tile * block
    m = min(block, n - start)
    {views}
    {weights}
    {values}


@njit("void(f8[:, ::1], f8[:, :, ::1], i8[:, ::1], f8[::1], f8[:, ::1], f8[::1], i8[::1], i8)",
      cache=True, nogil=True, {options})
def follow(path, moves, groups, state, totals, data, sizes, tile):
    {unpacked}
    start = tile * block
    m = min(block, n - start)
    {views}
    for step in range(groups.shape[0]):
        theta = path[step + 1]
        before = path[step]
        {weights}
        {earlier}
        {moved}
        for slot in range(groups.shape[1]):
            group = groups[step, slot]
            if group < 0:
                continue
            move = moves[step, slot]
            total = totals[group]
            {parts}
            {contributions}
"""


class _Follow(Statements):
    """Statements that move a probe's values by one step, and split their movements."""

    plan: ProbePlan

    def values(self) -> Lines:
        """Return the statements that compute all values and slopes for the first time."""
        return [line for node in self._own() for line in self._value(node, "")]

    def moved(self) -> Lines:
        """Return the statements for values after a step and secant slopes along it."""
        trained = (node for node in self._own() if node in self.plan.trained)
        return [line for node in trained for line in self._value(node, "secant")]

    def _own(self) -> list[Node]:
        plan = self.plan
        return [o for o in plan.stored if not (isinstance(o, Input) or plan.is_view(o))]

    def _value(self, node: Node, how: str) -> Lines:
        k = self.plan.index[node]
        rows = f"v{k}.shape[0]", f"v{k}.shape[1]"
        if is_dense(node):
            j = self.plan.parameter_index[node.parameter]  # type: ignore[attr-defined]
            return [f"np.dot(w{j}, {self.plan.value(node.children[0])}, v{k})"]
        if not is_curved(node):
            return loop(*rows, [f"v{k}[r, c] = {self._inside(node, 'r')}"])
        assert isinstance(node, Apply)
        at = self._at(node.child, "r")
        if node not in self.plan.trained:
            return loop(*rows, [f"v{k}[r, c] = {body_of(node.activation)}({at})[0]"])
        names = [f"{letter}{k}[r, c]" for letter in "pvd"]
        body = [f"a = {at}", f"value, slope = {body_of(node.activation)}(a)"]
        if how:
            body.append(f"s{k}[r, c] = secant_slope(a, value, slope, {', '.join(names)})")
        body += [f"{old} = {new}" for old, new in zip(names, ("a", "value", "slope"), strict=True)]
        return loop(*rows, body)

    def contributions(self) -> Lines:
        """Return the statements for what one group contributes to all movements."""
        lines: Lines = []
        for node in self._own():
            if node in self.plan.trained:
                lines += self._dense(node) if is_dense(node) else self._elementwise(node)
        for node in self.plan.tracked:
            if is_dense(node) or self.plan.is_view(node):
                lines += self._summed(node)
        return lines

    def _summed(self, node: Node) -> Lines:
        k = self.plan.index[node]
        return loop(f"total{k}.shape[0]", f"total{k}.shape[1]", [f"total{k}[r, c] += c{k}[r, c]"])

    def _dense(self, node: Node) -> Lines:
        k, child = self.plan.index[node], node.children[0]
        parameter = node.parameter  # type: ignore[attr-defined]
        j, lines = self.plan.parameter_index[parameter], []
        if parameter.trained:
            lines.append(f"np.dot(h{j}, {self.plan.value(child)}, c{k})")
        if child in self.plan.trained:
            out = f"q{k}" if parameter.trained else f"c{k}"
            lines.append(f"np.dot(o{j}, c{self.plan.index[child]}, {out})")
            if parameter.trained:
                shape = f"c{k}.shape[0]", f"c{k}.shape[1]"
                lines += loop(*shape, [f"c{k}[r, c] += q{k}[r, c]"])
        return lines

    def _elementwise(self, node: Node) -> Lines:
        k = self.plan.index[node]
        if is_curved(node):
            part = f"s{k}[r, c] * {self._move(node.children[0], 'r')}"
        else:
            part = self._move_inside(node, "r")
        body = [f"e = {part}"]
        if self.plan.moves_on(node):
            body.append(f"c{k}[r, c] = e")
        if node in self.plan.tracked:
            body.append(f"total{k}[r, c] += e")
        return loop(f"v{k}.shape[0]", f"v{k}.shape[1]", body)

    def _move(self, node: Node, row: str) -> str:
        """Return the expression for a group's contribution to a trained node at (row, c)."""
        if self.plan.is_stored(node):
            return f"c{self.plan.index[node]}[{row}, c]"
        return self._move_inside(node, row)

    def _move_inside(self, node: Node, row: str) -> str:
        """Return the expression for an elementwise node's contribution by its children's."""
        plan = self.plan
        match node:
            case Sum():
                moving = [term for term in node.terms if term in plan.trained]
                return "(" + " + ".join(self._move(term, row) for term in moving) + ")"
            case Bias():
                return f"h{plan.parameter_index[node.parameter]}[{row}]"
            case Linear():
                j, parts = plan.parameter_index[node.parameter], []
                if node.parameter.trained:
                    parts.append(f"h{j}[{row}] * {self._at(node.child, row)}")
                if node.child in plan.trained:
                    parts.append(f"o{j}[{row}] * {self._move(node.child, row)}")
                return f"({' + '.join(parts)})"
            case Gate():
                gate = plan.gates.index(node.name)
                return f"(m{gate}[{row}, c] * {self._move(node.child, row)})"
            case Slice():
                return self._move(node.child, f"{row} + z{plan.index[node]}")
            case Apply():
                return self._move(node.child, row)
            case _:
                # A network takes no nodes of other classes.
                raise AssertionError(node)


class FollowSource(Source):
    """The source of the program that follows a probe.

    Parameters
    ----------
    layout : ProbeLayout
        Of the probe's samples.
    """

    layout: ProbeLayout
    plan: ProbePlan

    def text(self, mode: str = "follow") -> str:
        """Return the module."""
        statements = _Follow(self.plan)
        blocks = {
            "views": [*self.data_views(), *self.state_views()],
            "weights": self.vector_views("w", "theta"),
            "earlier": self.vector_views("o", "before"),
            "parts": [*self.vector_views("h", "move"), *self.total_views()],
            "values": statements.values(),
            "moved": statements.moved(),
            "contributions": statements.contributions(),
        }
        helper = inspect.getsource(getattr(secant_slope, "py_func", secant_slope))
        return self.module(f"\n\n{helper}", self.filled(_FOLLOW, blocks))

    def state_views(self) -> Lines:
        """Return the statements for the arrays of one tile of samples."""
        lines = [re.sub(r"\bwork\b", "state", line) for line in self.work_views()]
        lines += self.slice_views()
        for node in self.plan.stored:
            if self.plan.is_view(node) and node in self.plan.trained:
                k, child = self.plan.index[node], self.plan.index[node.children[0]]
                lines.append(f"c{k} = c{child}[z{k}:end{k}]")
        return lines

    def vector_views(self, letter: str, vector: str) -> Lines:
        """Return the statements for the parameters in a vector, as arrays."""
        kinds = enumerate(parameter.kind == "dense" for parameter in self.plan.parameters)
        return [
            f"{letter}{j} = {parameter_view(vector, f'start_w{j}', j, dense)}" for j, dense in kinds
        ]

    def total_views(self) -> Lines:
        """Return the statements for the sums of one group."""
        names = [f"total{self.plan.index[node]}" for node in self.plan.tracked]
        return [f"{name} = matrix(total, at_{name}, rows_{name}, m)" for name in names]


class DescendSource(Source):
    """The source of the descent that keeps what each group of samples moved."""

    def text(self, mode: str = "descend") -> str:
        """Return the module."""
        blocks = {
            "views": [
                *self.data_views(),
                *self.weight_views(True),
                *self.work_views(),
                *self.slice_views(),
            ],
            "gradient": [*self.statements.forward(), *self.statements.backward()],
        }
        return self.module(self.filled(_DESCEND, blocks))


def compiled_descent(layout: Layout) -> ModuleType:
    """Return the module of a layout of training samples, with a function ``descend``."""
    return load(DescendSource(layout).text(), "attribution_descend")


def compiled_follow(layout: ProbeLayout) -> ModuleType:
    """Return the module of a layout of a probe, with functions ``start`` and ``follow``."""
    return load(FollowSource(layout).text(), "attribution_follow")
