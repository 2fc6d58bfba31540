r"""The compiled program of a network: gradient descent and loss, written from its expression.

The source names no size (except where products are unrolled): all networks of one structure
share one compiled module. A parameter's scale is not in the program either: it moves the scaled
weight $c W$ with the rate of $W$ times $c^2$, which is the same descent. Weight decay shrinks
both alike.
"""

from __future__ import annotations

import inspect
import re
from types import ModuleType

from symkernel.codegen.activations import bodies_of
from symkernel.codegen.cache import load
from symkernel.numerics import elementary
from symkernel.simulation.layout import Layout
from symkernel.simulation.statements import Lines, Statements, indented, loop
from symkernel.simulation.tiles import WrittenOut

# `reassoc` lets sums over samples use vector registers, in an order fixed by the compiler.
_OPTIONS = 'error_model="numpy", fastmath={"contract", "reassoc"}'
_INPUTS = "Array(f8, 1, 'C', readonly=True)"
_ARRAYS = f"f8[:, ::1], f8[:, ::1], f8[:, ::1], {_INPUTS}, f8[::1], i8[::1]"
_NAMES = "thetas, grads, works, inputs, data, sizes"

_HEAD = """
import scipy.linalg.cython_blas  # numba's np.dot calls it
from numba import get_thread_id, njit, prange


@njit
def matrix(values, start, rows, columns):
    return values[start:start + rows * columns].reshape(rows, columns)
"""

# One block: everything in one loop over steps, arrays made once.
_ALONE = """
{head}
    {unpacked}
    grad = grads[0]
    {moving}
    start = 0
    m = n
    {views}
    for step in range(steps):
        {gradient}
        {update}
"""

# Mini-batches, all full: step k uses block first + k.
_BATCHES = """
{head}
    {unpacked}
    grad = grads[0]
    {moving}
    m = block
    {views}
    for step in range(steps):
        {batch}
        {gradient}
        {update}
"""

# A share's gradient goes to row `row`, that of its further blocks to the row after it. The types
# are named, or it is compiled a second time for the parallel loop; being named it is kept, or every
# process compiles it again. Sums are loops throughout: numba compiles the words of its errors into
# every assignment to a slice, which takes seconds.
_SHARE = """
@njit(
    "void(f8[::1], f8[:, ::1], f8[::1], {inputs}, f8[::1], i8[::1], i8, i8)", cache=True, {options}
)
def one_share(theta, grads, work, inputs, data, sizes, share, row):
    {unpacked}
    begin = share * blocks // shares
    for b in range(begin, (share + 1) * blocks // shares):
        grad = grads[row + (b > begin)]
        start = b * block
        m = min(block, n - start)
        {views}
        {gradient}
        if b > begin:
            total = grads[row]
            for q in range(total.size):
                total[q] += grad[q]
"""

_IN_TURN = """
{head}
    {unpacked}
    grad = grads[0]
    {moving}
    for step in range(steps):
        for share in range(shares):
            row = 2 if share else 0
            one_share(theta, grads, work, inputs, data, sizes, share, row)
            if share:
                more = grads[2]
                for q in range(grad.size):
                    grad[q] += more[q]
        {update}
"""

# How the descent of one network begins: as the entry, or as what the entry calls for each member.
_ENTRY = """
@njit("void({arrays}, f8[::1], i8)", cache=True, nogil=True, {options})
def descend({names}, rates, steps):
    theta = thetas[0]
    work = works[0]
"""
_CALLED = """
@njit({options})
def run(theta, grads, work, inputs, data, sizes, rates, steps):
"""

# The sum and the update are a function of their own: what stands in a parallel one is turned
# into parallel loops, each of which takes seconds to compile.
_ONE_BY_SHARES = """
@njit({options})
def finish(theta, grads, sizes, rates):
    {unpacked}
    grad = grads[0]
    {moving}
    for share in range(1, shares):
        more = grads[width * share]
        for q in range(grad.size):
            grad[q] += more[q]
    {update}


@njit("void({arrays}, f8[::1], i8)", cache=True, nogil=True, parallel=True, {options})
def descend({names}, rates, steps):
    {unpacked}
    for step in range(steps):
        for share in prange(shares):
            work = works[get_thread_id()]
            one_share(thetas[0], grads, work, inputs, data, sizes, share, width * share)
        finish(thetas[0], grads, sizes, rates)
"""

_MEMBERS = """
@njit("void({arrays}, f8[::1], i8)", cache=True, nogil=True, parallel=True, {options})
def descend({names}, rates, steps):
    for k in prange(thetas.shape[0]):
        run(thetas[k], grads[4 * k:4 * k + 4], works[k], inputs, data, sizes, rates, steps)
"""

_SQUARES = """
@njit("f8({arrays}, i8)", cache=True, nogil=True, {options})
def squares({names}, member):
    {unpacked}
    theta = thetas[member]
    work = works[0]
    total = 0.0
    for b in range(blocks):
        start = b * block
        m = min(block, n - start)
        {views}
        {forward}
        {sum}
    return total
"""


class Source:
    """The source of a layout's program."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.plan = layout.plan
        self.statements = (
            WrittenOut(layout.plan, layout.block)
            if layout.is_written_out
            else Statements(layout.plan, layout.is_unrolled)
        )

    def text(self, mode: str) -> str:
        """Return the module.

        Parameters
        ----------
        mode : {"one", "members", "batches"}
            Descent of one network, of many at once, or of one on mini-batches.
        """
        if mode == "batches":
            parts = [_BATCHES]
        elif self.layout.blocks == 1:
            parts = [_ALONE] if mode == "one" else [_ALONE, _MEMBERS]
        else:
            parts = [_SHARE, _ONE_BY_SHARES] if mode == "one" else [_SHARE, _IN_TURN, _MEMBERS]
        head = _CALLED if mode == "members" else _ENTRY
        parts = [part.replace("\n{head}\n", head) for part in parts]
        data, work, slices = self.data_views(), self.work_views(), self.slice_views()
        blocks = {
            "views": [*data, *self.weight_views(True), *work, *slices],
            "gradient": [*self.statements.forward(), *self.statements.backward()],
            "moving": self.moving(),
            "update": self.update(),
        }
        if mode == "batches":
            stacks, batch = self.stacks()
            blocks["views"] = [*stacks, *self.weight_views(True), *work]
            blocks["batch"] = [*batch, *slices]
        if isinstance(self.statements, WrittenOut):
            # The loss is taken by another program.
            descend = self.filled(parts[0], blocks)
            return self.module(self.statements.helpers(_OPTIONS), descend)
        squares = {
            **blocks,
            "views": [*data, *self.weight_views(False), *work, *slices],
            "forward": self.statements.forward(),
            "sum": self.summed_misfits(),
        }
        functions = [self.filled(part, blocks) for part in parts]
        return self.module(*functions, self.filled(_SQUARES, squares))

    def module(self, *functions: str) -> str:
        """Return functions with all that they call in front of them."""
        bodies = bodies_of(self.layout.net.activations)
        return inspect.getsource(elementary) + bodies + _HEAD + "\n".join(functions)

    def filled(self, template: str, blocks: dict[str, Lines]) -> str:
        """Return a template with blocks of statements in place of their names."""
        text = template
        words = (("options", _OPTIONS), ("arrays", _ARRAYS), ("inputs", _INPUTS), ("names", _NAMES))
        for word, value in words:
            text = text.replace(f"{{{word}}}", value)
        text = _with_blocks(text, blocks)
        functions = map(_without_idle_views, re.split(r"(?=^@njit)", text, flags=re.MULTILINE))
        return "".join(
            _with_blocks(function, {"unpacked": self._unpacked(function)}) for function in functions
        )

    def _unpacked(self, function: str) -> Lines:
        words = set(re.findall(r"\w+", function))
        return [f"{name} = sizes[{k}]" for k, name in enumerate(self.layout.sizes) if name in words]

    def data_views(self) -> Lines:
        """Return the statements for the data of m samples from `start` on."""
        lines = [
            f"{name} = matrix(data, at_{name} + {rows} * start, "
            f"{f'm, {rows}' if name == 'xs' else f'{rows}, m'})"
            for name, rows in self.layout.parts
        ]
        if self.layout.is_direct:
            lines.append("xs = matrix(inputs, n_in * start, m, n_in)")
            lines.append("x = xs.T")
        return lines

    def stacks(self) -> tuple[Lines, Lines]:
        """Return the statements for the data of all batches as arrays, and for those of a step."""
        stacks, batch = [], []
        for name, rows in self.layout.parts:
            shape = f"m, {rows}" if name == "xs" else f"{rows}, m"
            span = f"[at_{name}:at_{name} + {rows} * n]"
            stacks.append(f"all_{name} = data{span}.reshape(blocks, {shape})")
            batch.append(f"{name} = all_{name}[first + step]")
        return stacks, batch

    def weight_views(self, with_gradients: bool) -> Lines:
        """Return the statements for parameters and their gradients as arrays."""
        lines = []
        for j, parameter in enumerate(self.plan.parameters):
            dense = parameter.kind == "dense"
            lines.append(f"w{j} = {parameter_view('theta', f'start_w{j}', j, dense)}")
            if with_gradients:
                lines.append(f"g{j} = {parameter_view('grad', f'start_w{j}', j, dense)}")
            if parameter in self.plan.shared:
                lines.append(f"t{j} = {parameter_view('work', f'at_t{j}', j, dense)}")
        return lines

    def work_views(self) -> Lines:
        """Return the statements for working arrays."""
        lines = []
        lines += [f"{name} = work[at_{name}:at_{name} + m]" for name in self.plan.columns]
        for name, _ in (*self.plan.buffers, *self.layout.transposes):
            shape = f"m, rows_{name}" if name.startswith("u") else f"rows_{name}, m"
            lines.append(f"{name} = matrix(work, at_{name}, {shape})")
        return lines

    def slice_views(self) -> Lines:
        """Return the statements for slices of units, some of them of the inputs."""
        return [
            f"v{k} = {self.plan.value(node.children[0])}[z{k}:end{k}]"
            for node, k in self.plan.index.items()
            if node in self.plan.stored and self.plan.is_view(node)
        ]

    def moving(self) -> Lines:
        """Return the statements for trained parameters and their gradients as vectors.

        Loops over a vector from 0 on vectorise; over a part of one, the check for negative
        positions is in the way.
        """
        lines = []
        for j, parameter in enumerate(self.plan.parameters):
            if parameter.trained:
                span = f"[start_w{j}:start_w{j} + rows_w{j} * columns_w{j}]"
                lines += [f"moved{j} = theta{span}", f"slope{j} = grad{span}"]
        return lines

    def update(self) -> Lines:
        """Return the statements of one step down the gradient."""
        lines = []
        for j, parameter in enumerate(self.plan.parameters):
            if parameter.trained:
                lines += [f"rate = rates[{j}]"]
                step = f"rate * slope{j}[q]"
                if self.layout.decays:
                    lines += [f"shrink = rates[{len(self.plan.parameters) + j}]"]
                    step += f" + shrink * moved{j}[q]"
                lines += [f"for q in range(moved{j}.size):", f"    moved{j}[q] -= {step}"]
        return lines or ["pass"]

    def summed_misfits(self) -> Lines:
        """Return the statements that add a block's misfits to `total`.

        On moments: what they exceed those of least squares by, without cancellation.
        """
        output = self.plan.net.output
        value = self.plan.value(output)
        if self.plan.on_moments:
            if not self.layout.is_unrolled:
                return [f"off = {value} - best", "total += np.sum(np.dot(off, sxx) * off)"]
            # The same in loops: array expressions take a second to compile.
            return [
                "for r in range(n_out):",
                "    for c in range(n_in):",
                "        e = 0.0",
                "        for q in range(n_in):",
                f"            e += ({value}[r, q] - best[r, q]) * sxx[q, c]",
                f"        total += e * ({value}[r, c] - best[r, c])",
            ]
        before: Lines = []
        e, part = f"{value}[r, c] - y[r, c]", "e * e"
        if self.plan.misfit == "softmax":
            before = self.statements.softmax(self.plan.gradient(output))
            e, part = f"math.log(mass[c]) + (top[c] - {value}[r, c])", "2.0 * y[r, c] * e"
        elif self.plan.misfit == "logistic":
            sides = (f"(1.0 {s} y[r, c]) * softplus({t}{value}[r, c])" for s, t in ("+-", "- "))
            e, part = " + ".join(sides), "e"
        part = f"omega[0, c] * {part}" if self.plan.is_weighted else part
        return [*before, *loop(f"{value}.shape[0]", f"{value}.shape[1]",
                               [f"e = {e}", f"total += {part}"])]  # fmt: skip


def parameter_view(vector: str, start: str, j: int, dense: bool) -> str:
    """Return the part of a vector that holds parameter j, as a matrix where it is one."""
    if dense:
        return f"matrix({vector}, {start}, rows_w{j}, columns_w{j})"
    return f"{vector}[{start}:{start} + rows_w{j} * columns_w{j}]"


def _without_idle_views(function: str) -> str:
    """Return the function without the matrices that nothing in it uses: each takes compiling."""
    for name in re.findall(r"^ +(\w+) = matrix\(", function, flags=re.MULTILINE):
        if len(re.findall(rf"\b{name}\b", function)) == 1:
            function = re.sub(rf"^ +{name} = matrix\(.*\n", "", function, flags=re.MULTILINE)
    return function


def _with_blocks(text: str, blocks: dict[str, Lines]) -> str:
    lines: Lines = []
    for line in text.split("\n"):
        block = blocks.get(line.strip()[1:-1]) if line.strip().startswith("{") else None
        if block is None:
            lines.append(line)
        else:
            lines += indented(block, (len(line) - len(line.lstrip())) // 4)
    return "\n".join(lines)


def compiled(layout: Layout, mode: str = "one") -> ModuleType:
    """Return the module of a layout, with functions ``descend`` and ``squares``.

    Parameters
    ----------
    layout : Layout
        Of the network and its samples.
    mode : {"one", "members", "batches"}
        One network over blocks of samples, many networks, or one network on a batch in each step.

    Returns
    -------
    module
        Its ``squares`` adds up the misfits of all samples, whatever the loss.
    """
    text = Source(layout).text(mode)
    return load(text, f"descent_{mode}", straight=layout.is_written_out)
