r"""Infinitely wide networks: their outputs before training (NNGP), and what moves them (NTK).

With independent Gaussian weights the pre-activations of every layer become Gaussian as the widths
grow, one layer after the other. Their covariances follow a recursion, and so does the tangent
kernel. In layer $l$, with weights $c_W W$ and biases $c_b b$,

$$C^l = \sigma_l^2\, k^{l-1} + \beta_l^2, \qquad
  \Theta^l = r_W\, k^{l-1} + r_b + \sigma_l^2\, \dot k^{l-1} \Theta^{l-1},$$

where $k^l = \langle\phi(u)\phi(u')\rangle$ and $\dot k^l = \langle\phi'(u)\phi'(u')\rangle$ are
averages over two Gaussian variables of covariance $C^l$. Nothing is fitted: the factors are read
off the network's expression, the averages are derived from the activation.

References
----------
C. K. I. Williams, Computing with infinite networks, Advances in Neural Information Processing
Systems 9 (1996), 295-301: the covariance for erf. Y. Cho and L. K. Saul, Kernel methods for deep
learning, Advances in Neural Information Processing Systems 22 (2009), 342-350: that for ReLU.
A. Jacot, F. Gabriel, C. Hongler, Neural tangent kernel, arXiv:1806.07572 (2018): the recursion of
the tangent kernel. All three are derived here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy.core.function import AppliedUndef

from symkernel import notation
from symkernel.equations import needed_lines
from symkernel.errors import InvalidArgument
from symkernel.formula import Formula, Step
from symkernel.problem.activation import ARGUMENT, Activation
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.task import Task
from symkernel.theory.gaussian_averages import GaussianAverages, gaussian_averages
from symkernel.theory.wide_layers import WideLayer, wide_layers
from symkernel.theory.wide_recursion import (
    OVERLAPS,
    Recursion,
    recursion_of,
    recursion_step,
)

if TYPE_CHECKING:
    from symkernel.theory.infinite_learning import InfiniteLearning
    from symkernel.theory.wide_routine import WideRoutine

__all__ = ["InfiniteWidth", "WideKernel", "infinite_width"]


@dataclass(frozen=True)
class WideKernel(Formula):
    r"""A kernel of the infinitely wide network, in $x \cdot x$, $x \cdot x'$ and $x' \cdot x'$.

    Each unit of a layer has this kernel, and different units do not correlate: of several outputs
    the kernel is this one times the identity.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(3, 100, 1, activation="relu", parameterisation="ntk")
    >>> K = sk.infinite_width(net).ntk.compile()(np.eye(3))
    >>> assert K.shape == (3, 3) and np.allclose(np.diag(K), 1 / 3)
    """

    limit: InfiniteWidth = field(kw_only=True, repr=False, compare=False)
    line: sp.Symbol = field(kw_only=True, repr=False, compare=False)

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return an ``aligned`` block, which says what averages without closed form are."""
        return _with_meaning(super().latex(names), self.where)

    def compile(
        self, values: Mapping[sp.Symbol, object] | None = None, *, tolerance: float = 1e-10
    ) -> WideRoutine:
        """Return the compiled kernel: ``routine(X, X2=None)``, an array (n_samples, n_samples2).

        Parameters
        ----------
        values : mapping of Symbol to number, optional
            For symbols in variances, rates and sizes.
        tolerance : float
            Largest relative error of averages that have no closed form.
        """
        from symkernel.theory.wide_routine import WideRoutine

        return WideRoutine(self.limit, (self,), values or {}, tolerance)


@dataclass(frozen=True)
class InfiniteWidth:
    """The limit of a network as its hidden layers become infinitely wide.

    Attributes
    ----------
    net : Network
        The sizes of its hidden layers matter in the standard parameterisation alone.
    layers : tuple of WideLayer
    rank : str
        In which sense it holds for a network of finite width.
    """

    net: Network
    layers: tuple[WideLayer, ...]

    def __repr__(self) -> str:
        kinds = ", ".join(phi.name for phi in self.activations) or "linear"
        return f"InfiniteWidth({len(self.layers)} layers; {kinds}; {self.net.parameterisation})"

    @property
    def rank(self) -> str:
        """In which sense it holds."""
        if len(self.layers) == 1:
            return "covariance exact, tangent kernel exact: there is no hidden layer"
        return "leading order in 1/width"

    @property
    def overlaps(self) -> tuple[sp.Symbol, sp.Symbol, sp.Symbol]:
        r"""The symbols of $x \cdot x$, $x \cdot x'$ and $x' \cdot x'$ in all formulas."""
        return OVERLAPS

    @property
    def activations(self) -> tuple[Activation, ...]:
        """Nonlinear activations, each once."""
        found = (layer.activation for layer in self.layers)
        return tuple(dict.fromkeys(phi for phi in found if phi is not None))

    @cached_property
    def averages(self) -> Mapping[Activation, GaussianAverages | None]:
        """Derived averages of each activation; None for those that are averaged numerically."""
        return {phi: gaussian_averages(phi) for phi in self.activations}

    @property
    def steps(self) -> tuple[Step, ...]:
        """The derivations of the averages and of the recursion; each step's check is exact."""
        derived = [found for found in self.averages.values() if found is not None]
        return (*(step for found in derived for step in found.steps), recursion_step())

    @cached_property
    def recursion(self) -> Recursion:
        """The lines of the recursion."""
        return recursion_of(self)

    @property
    def nngp(self) -> WideKernel:
        r"""Covariance $\langle f(x) f(x')\rangle$ of an output over random weights."""
        lines = self.recursion
        return self._kernel("covariance of an output", "K", lines.covariance[-1])

    @property
    def ntk(self) -> WideKernel:
        r"""Tangent kernel of an output, with each layer's learning rate."""
        return self._kernel("tangent kernel of an output", "Theta", self.recursion.tangent[-1])

    def similarity(self, of: str = "hidden") -> WideKernel:
        r"""Return $\langle h(x) h(x')\rangle$ of a unit of a hidden layer.

        It is the limit of $h(x) \cdot h(x')$ divided by the number of units.

        Parameters
        ----------
        of : str
            Name of a hidden layer: "hidden1", "hidden2", ...; "hidden" is the last one.
        """
        node = self.net.node(of)
        found = [
            k for k, layer in enumerate(self.layers[:-1]) if self.net.nodes.get(layer.name) is node
        ]
        if not found:
            known = ", ".join(layer.name for layer in self.layers[:-1]) or "none"
            raise InvalidArgument(
                f"Argument 'of' must name a hidden layer ({known}), not {of!r}; for outputs there "
                f"are 'nngp' and 'ntk'."
            )
        return self._kernel(f"similarity of {of} per unit", "k", self.recursion.activity[found[0]])

    def _kernel(self, name: str, letter: str, symbol: sp.Symbol) -> WideKernel:
        left = notation.symbol(
            f"{letter}_wide", _LETTERS[letter] + r"(x, x')", "kernel of wide networks"
        )
        lines = dict(self.recursion.lines)
        expression = lines.pop(symbol)
        where = needed_lines(list(lines.items()), expression.free_symbols)
        used = {f.func.__name__ for _, e in where for f in e.atoms(AppliedUndef)}
        for mark, phi in enumerate(self.activations):
            if f"k_average{mark}" in used:
                where.append((sp.Function(f"phi_wide{mark}")(ARGUMENT), phi.expression))
        return WideKernel(name, left, expression, tuple(where), limit=self, line=symbol)

    def compile(
        self, values: Mapping[sp.Symbol, object] | None = None, *, tolerance: float = 1e-10
    ) -> WideRoutine:
        """Return a routine that gives covariance and tangent kernel of the outputs at once.

        Parameters
        ----------
        values : mapping of Symbol to number, optional
            For symbols in variances, rates and sizes.
        tolerance : float
            Largest relative error of averages that have no closed form.

        Returns
        -------
        WideRoutine
            ``routine(X, X2=None)``, an array (2, n_samples, n_samples2): first `nngp`, then
            `ntk`.
        """
        from symkernel.theory.wide_routine import WideRoutine

        return WideRoutine(self, (self.nngp, self.ntk), values or {}, tolerance)

    def learn(self, task: Task, loss: SquaredError | None = None) -> InfiniteLearning:
        """Return the gradient flow of the limit on a task, from initial outputs 0.

        Parameters
        ----------
        task : Task
            With samples.
        loss : SquaredError, optional
            Without weight decay.
        """
        from symkernel.theory.infinite_learning import InfiniteLearning

        return InfiniteLearning(self, task, SquaredError() if loss is None else loss)

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return the recursions of both kernels as an ``aligned`` block."""
        from symkernel import equations

        K, T = self.nngp, self.ntk
        where = list(dict.fromkeys([*K.where, *T.where]))
        order = [symbol for symbol, _ in self.recursion.lines]
        where.sort(key=lambda line: order.index(line[0]) if line[0] in order else -1)
        rows = [(K.symbol, K.expression), (T.symbol, T.expression)]
        return _with_meaning(equations.block(rows, where, names), where)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"


_AVERAGES = r""" \\
\langle \phi \phi\rangle(v, v', c) &= \text{the mean of } \phi(u)\, \phi(u')
\text{ over Gaussian } u, u' \\
&\quad \text{of mean 0, variances } v, v' \text{ and covariance } c"""


def _with_meaning(block: str, where: Iterable[tuple[Any, Any]]) -> str:
    """Return a block of equations and, if some have no closed form, what the averages in it are."""
    used = {f.func.__name__ for _, e in where for f in e.atoms(AppliedUndef)}
    if not any("_average" in name for name in used):
        return block
    end = "\n\\end{aligned}"
    return block.removesuffix(end) + _AVERAGES + end


_LETTERS = {"K": "K", "Theta": r"\Theta", "k": "k"}


def infinite_width(
    net: Network, weight_variance: object = 1, bias_variance: object = 0
) -> InfiniteWidth:
    r"""Return the limit of a multilayer perceptron with Gaussian weights as its layers get wide.

    Parameters
    ----------
    net : Network
        From `Network.mlp`, with any activations, biases and layer-wise rates, and a linear output.
    weight_variance : number, symbol or a sequence of them, one for each layer
        Variance of a weight times its fan-in: the square of ``scale`` in
        `symkernel.weights.gaussian`, in either parameterisation.
    bias_variance : number, symbol or a sequence of them, one for each layer
        Variance of the biases; `symkernel.weights.gaussian` draws them as 0.

    Returns
    -------
    InfiniteWidth
        With the formulas `nngp` and `ntk`, `similarity` of the hidden layers, the `steps` of the
        derivation, `latex` and `compile`.

    Raises
    ------
    InvalidArgument
        If the network is no multilayer perceptron with a linear output, or for wrong variances.

    Notes
    -----
    Leading order in 1/width: kernels of a network of width $n$ differ by $O(n^{-1/2})$ from draw
    to draw and by $O(n^{-1})$ on average. In the parameterisation "ntk" training moves the
    kernel by $O(1/n)$ and the activity of a unit by $O(n^{-1/2})$, so that the limit of the
    tangent kernel drives all of learning. In the standard parameterisation the tangent kernel
    grows with the widths, which stay in the formula: each layer's term is then right to leading
    order, and learning rates have to fall as 1/width for the kernel to stay. With a read-out of
    variance $1/n^2$ (mean-field scaling) this limit does not describe learning: features move.

    Parameters enter as `Network` has them, so that trained biases add their rate to the tangent
    kernel whatever their variance, and a weight variance multiplies what is passed backward, not
    what training the weight adds.

    Where a pre-activation has variance 0 (x = 0 and no variance of biases) compiled kernels have
    the activation's slope at 0, as finite networks do: 0 for ReLU. Printed formulas have the limit
    of small variance.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> I, H = sp.symbols("I H", integer=True, positive=True)
    >>> net = sk.Network.two_layer(I, H, 1, activation="erf", parameterisation="ntk")
    >>> K = sk.infinite_width(net).nngp.plain
    >>> xx, xy, yy = sp.symbols("xx xy yy")
    >>> assert str(K) == "2*asin(xy/(I*sqrt(1 + xx/I)*sqrt(1 + yy/I)))/pi"
    """
    return InfiniteWidth(net, tuple(wide_layers(net, weight_variance, bias_variance)))
