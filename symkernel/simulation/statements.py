r"""The statements of one gradient: forward in order, back in reverse, over a block of samples.

Elementwise nodes between stored ones are computed in passing: one loop over (unit r, sample c)
for each stored node, values by substitution, gradients handed down the same way.
"""

from __future__ import annotations

from collections.abc import Iterable

from symkernel.codegen.activations import body_of
from symkernel.problem.nodes import Apply, Bias, Gate, Input, Linear, Node, Slice, Sum
from symkernel.simulation.plan import Plan, is_dense, is_identity

Lines = list[str]


def indented(lines: Iterable[str], levels: int = 1) -> Lines:
    """Return the lines moved to the right."""
    return ["    " * levels + line for line in lines]


def loop(rows: str, columns: str, body: Iterable[str]) -> Lines:
    """Return a loop over units r and samples c."""
    return [
        f"for r in range({rows}):",
        f"    for c in range({columns}):",
        *indented(body, 2),
    ]


class Statements:
    """Statements for the nodes of one plan.

    Parameters
    ----------
    plan : Plan
        Names and decisions.
    unrolled : bool
        Whether products are loops with the contracted index written out, instead of calls of
        BLAS: for matrices so small that the call takes longer than the product. The number of
        columns stays a variable on purpose: with literal bounds LLVM unrolls the loop over
        columns instead of vectorising it, and is half as fast.
    """

    def __init__(self, plan: Plan, unrolled: bool = False) -> None:
        self.plan = plan
        self.unrolled = unrolled

    def forward(self) -> Lines:
        """Return the statements that compute all values and slopes."""
        lines: Lines = []
        for node in self.plan.stored:
            if isinstance(node, Input) or self.plan.is_weight(node) or self.plan.is_view(node):
                continue
            if is_dense(node):
                child = node.children[0]
                weight = f"w{self.plan.parameter_index[node.parameter]}"  # type: ignore[attr-defined]
                value = self.plan.value(child)
                sizes = int(node.size), int(child.size), None
                lines += self._product("", self.plan.value(node), weight, value, sizes)
            else:
                lines += self._evaluate(node)
        return lines

    def backward(self) -> Lines:
        """Return the statements that write the error and every gradient."""
        plan = self.plan
        lines: Lines = []
        for j, parameter in enumerate(plan.parameters):
            if parameter.trained and parameter.kind != "dense":
                lines.append(f"g{j}[:] = 0.0")
        output = plan.net.output
        for node in plan.stored:
            if node in plan.trained and node is not output and plan.accumulates(node):
                lines.append(f"{plan.gradient(node)}[:, :] = 0.0")
        lines += self.error()
        written: set[int] = set()
        for node in reversed(plan.stored):
            if node in plan.trained:
                lines += self._back_dense(node, written) if is_dense(node) else self._back(node)
        return lines

    def error(self) -> Lines:
        """Return the statements for the gradient of half the summed misfits by the output."""
        output = self.plan.net.output
        target, value = self.plan.gradient(output), self.plan.value(output)
        shape = self.shape(target, output)
        if not self.plan.on_moments:
            before: Lines = []
            off = f"{value}[r, c] - y[r, c]"
            if self.plan.misfit == "softmax":
                before = self.softmax(target)
                off = f"{target}[r, c] / mass[c] - y[r, c]"
            elif self.plan.misfit == "logistic":
                # Half the difference of both sides: neither tail loses digits.
                up, down = (f"sigmoid({sign}{value}[r, c])" for sign in ("", "-"))
                off = f"0.5 * ((1.0 - y[r, c]) * {up} - (1.0 + y[r, c]) * {down})"
            off = f"omega[0, c] * ({off})" if self.plan.is_weighted else off
            return [*before, *self.each(*shape, [f"e = {off}", f"{target}[r, c] = e"])]
        # The input is the identity, so that samples are input directions: f Sxx - Syx.
        sizes = int(output.size), None, None
        return self._product("", target, value, "sxx", sizes, minus="y")

    def softmax(self, out: str) -> Lines:
        """Return the statements for exponentials of outputs, less the largest, and their sum."""
        value = self.plan.value(self.plan.net.output)
        rows, columns = self.shape(value, self.plan.net.output)
        larger = [f"e = {value}[r, c] if {value}[r, c] > top[c] else top[c]", "top[c] = e"]
        parts = [f"e = exp({value}[r, c] - top[c])", f"{out}[r, c] = e", "mass[c] += e"]
        return [
            *self.across(columns, [f"e = {value}[0, c]", "top[c] = e", "mass[c] = 0.0"]),
            *self.each(f"1, {rows}", columns, larger),
            *self.each(rows, columns, parts),
        ]

    def across(self, columns: str, body: Lines) -> Lines:
        """Return a loop over samples c. What it stores is computed into a name of its own first."""
        return [f"for c in range({columns}):", *indented(body)]

    def each(self, rows: str, columns: str, body: Lines) -> Lines:
        """Return a loop over units r and samples c."""
        return [f"for r in range({rows}):", *indented(self.across(columns, body))]

    def shape(self, array: str, node: Node) -> tuple[str, str]:
        """Return the expressions for the numbers of units and samples of a node's array."""
        return f"{array}.shape[0]", f"{array}.shape[1]"

    def _product(
        self,
        flip: str,
        out: str,
        a: str,
        b: str,
        sizes: tuple[int | None, int | None, int | None],
        between: str = "",
        minus: str = "",
    ) -> Lines:
        """Return out = a b - minus, with `flip` "a" or "b" for the transpose of one of them.

        `sizes` are those of out's rows, the contracted index and out's columns, None for that of
        the samples; `between` is a place for the transpose of b.
        """
        if not self.unrolled:
            left, right = (f"{m}.T" if flip == side else m for side, m in (("a", a), ("b", b)))
            rest = loop(f"{out}.shape[0]", f"{out}.shape[1]", [f"{out}[r, c] -= {minus}[r, c]"])
            return [f"np.dot({left}, {right}, {out})", *(rest if minus else [])]
        lines: Lines = []
        # Unrolled it is on moments alone, where there are as many samples as inputs.
        count, inner, _ = (int(self.plan.net.inputs) if k is None else k for k in sizes)
        span = range(inner)
        if flip == "b":
            lines += [
                f"for c in range({len(span)}):",
                f"    for r in range({b}.shape[0]):",
                f"        {between}[c, r] = {b}[r, c]",
            ]
            b = between
        # Two rows at a time use each entry of b twice.
        places = ["r", "r + 1"] if count % 2 == 0 else ["r"]
        lines.append(f"for r in range(0, {count}, {len(places)}):")
        for k, row in enumerate(places):
            at = f"{a}[{{i}}, {row}]" if flip == "a" else f"{a}[{row}, {{i}}]"
            lines += [f"    e{k}_{i} = {at.format(i=i)}" for i in span]
        lines.append(f"    for c in range({out}.shape[1]):")
        for k, row in enumerate(places):
            terms = [f"e{k}_{i} * {b}[{i}, c]" for i in span]
            less = f" - {minus}[{row}, c]" if minus else ""
            lines.append(f"        {out}[{row}, c] = {' + '.join(terms)}{less}")
        return lines

    def _evaluate(self, node: Node) -> Lines:
        k = self.plan.index[node]
        rows = self.shape(f"v{k}", node)
        if isinstance(node, Apply) and not is_identity(node):
            call = f"{body_of(node.activation)}({self._at(node.child, 'r')})"
            if node.child in self.plan.trained:
                body = [f"e, s = {call}", f"v{k}[r, c] = e", f"d{k}[r, c] = s"]
                return self.each(*rows, body)
            return self.each(*rows, [f"e = {call}[0]", f"v{k}[r, c] = e"])
        return self.each(*rows, [f"e = {self._inside(node, 'r')}", f"v{k}[r, c] = e"])

    def _at(self, node: Node, row: str) -> str:
        """Return the expression for a node's value at (row, c)."""
        if self.plan.is_stored(node):
            return f"{self.plan.value(node)}[{row}, c]"
        return self._inside(node, row)

    def _inside(self, node: Node, row: str) -> str:
        """Return the expression for an elementwise node's value by its children's."""
        match node:
            case Sum():
                return "(" + " + ".join(self._at(term, row) for term in node.terms) + ")"
            case Bias():
                return f"w{self.plan.parameter_index[node.parameter]}[{row}]"
            case Linear():
                weight = f"w{self.plan.parameter_index[node.parameter]}[{row}]"
                return f"({weight} * {self._at(node.child, row)})"
            case Gate():
                gate = self.plan.gates.index(node.name)
                return f"(m{gate}[{row}, c] * {self._at(node.child, row)})"
            case Slice():
                return self._at(node.child, f"{row} + z{self.plan.index[node]}")
        assert isinstance(node, Apply)  # an identity: values of other nodes are stored
        return self._at(node.child, row)

    def _back_dense(self, node: Node, written: set[int]) -> Lines:
        plan, lines = self.plan, []
        k, (child,) = plan.index[node], node.children
        parameter = node.parameter  # type: ignore[attr-defined]
        j, mine = plan.parameter_index[parameter], plan.gradient(node)
        inputs = int(child.size)
        if parameter.trained and mine != f"g{j}":
            out = f"t{j}" if j in written else f"g{j}"
            if plan.is_weight(node):
                lines += loop(f"g{j}.shape[0]", f"g{j}.shape[1]", [f"{out}[r, c] = {mine}[r, c]"])
            elif isinstance(child, Input):
                lines += self._product("", out, mine, "xs", (int(node.size), None, inputs))
            else:
                sizes = int(node.size), None, inputs
                lines += self._product("b", out, mine, plan.value(child), sizes, f"u{k}")
            if j in written:
                lines += loop(f"g{j}.shape[0]", f"g{j}.shape[1]", [f"g{j}[r, c] += t{j}[r, c]"])
            written.add(j)
        if child in plan.trained:
            theirs, many = plan.gradient(child), plan.accumulates(child)
            out = f"q{k}" if many else theirs
            lines += self._product("a", out, f"w{j}", mine, (inputs, int(node.size), None))
            if many:
                lines += loop(*self.shape(out, child), [f"{theirs}[r, c] += {out}[r, c]"])
        return lines

    def _back(self, node: Node) -> Lines:
        """Return the loop that hands an elementwise node's gradient to its children."""
        k = self.plan.index[node]
        before: Lines = []
        inside: Lines = []
        after: Lines = []
        mine = f"{self.plan.gradient(node)}[r, c]"
        if isinstance(node, Apply) and not is_identity(node):
            inside.append(f"g = {mine} * d{k}[r, c]")
            self._hand(node.child, "r", "g", before, inside, after)
        else:
            inside.append(f"g = {mine}")
            self._inward(node, "r", "g", before, inside, after)
        rows, columns = self.shape(self.plan.gradient(node), node)
        return [
            f"for r in range({rows}):",
            *indented([*before, *self.across(columns, inside), *after]),
        ]

    def _hand(
        self, node: Node, row: str, g: str, before: Lines, inside: Lines, after: Lines
    ) -> None:
        """Add a gradient to a child: to its array, or further in where it has none."""
        if not self.plan.is_stored(node):
            self._inward(node, row, g, before, inside, after)
        elif node in self.plan.trained:
            sign = "+=" if self.plan.accumulates(node) else "="
            line = f"{self.plan.gradient(node)}[{row}, c] {sign} {g}"
            # Terms of one sum share an array.
            if sign == "+=" or line not in inside:
                inside.append(line)

    def _inward(
        self, node: Node, row: str, g: str, before: Lines, inside: Lines, after: Lines
    ) -> None:
        """Hand a gradient through an elementwise node to its parameter and its children."""
        rest = (before, inside, after)
        k = self.plan.index[node]
        if node not in self.plan.trained:
            return
        if isinstance(node, (Bias, Linear)) and node.parameter.trained:
            j = self.plan.parameter_index[node.parameter]
            part = g if isinstance(node, Bias) else f"{g} * {self._at(node.child, row)}"
            before.append(f"s{k} = 0.0")
            inside.append(f"s{k} += {part}")
            after.append(f"g{j}[{row}] += s{k}")
        match node:
            case Sum():
                for term in node.terms:
                    self._hand(term, row, g, *rest)
            case Linear():
                weight = f"w{self.plan.parameter_index[node.parameter]}[{row}]"
                self._hand(node.child, row, f"{g} * {weight}", *rest)
            case Gate():
                gate = f"m{self.plan.gates.index(node.name)}[{row}, c]"
                self._hand(node.child, row, f"{g} * {gate}", *rest)
            case Slice():
                self._hand(node.child, f"{row} + z{k}", g, *rest)
            case Apply():
                self._hand(node.child, row, g, *rest)
