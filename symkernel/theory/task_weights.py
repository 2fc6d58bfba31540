r"""What training on single tasks does to the weights of tasks: pseudo-kernel times read-out.

In the network $f = \psi(W_2\,\phi(W_s x_s + W_t x_t + b) + W_o x_t + c)$ of stimulus and response
groups, column (i, j) of $W_t$ is what the hidden layer knows of the task from stimulus group i to
response group j. The part of the pseudo-kernel that is due to $W_t$,

$$K(x, x') = (x_t \cdot x'_t)\; \phi'(a')\, W_2^T\, \psi'(a'_f),$$

lets the prompts of a task move its own column alone. With $\phi'(b) + \phi''(b)\,z$ for the slope
at a distance z from the bias, the sum over all $M^G$ stimuli keeps the mean of what the prompts ask
for, and its part linear in the features, which meets the stimulus weights: a unit learns about a
task the ALIGNMENT $\tilde w_j \cdot \tilde a_i$ of its read-out to response group j with its
weights from stimulus group i, both less their means over features. Read-outs that differ between
response groups separate the tasks; one read-out for all shares them by stimulus group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel import equations
from symkernel.check_report import CheckReport, Documented
from symkernel.environments.multitasking import Multitasking
from symkernel.errors import InvalidArgument, ShapeMismatch, as_real, as_real_array
from symkernel.formula import Formula, Step
from symkernel.problem.activation import ARGUMENT, Activation
from symkernel.problem.activation import activation as find_activation
from symkernel.problem.problem import CONVENTIONS
from symkernel.problem.weights import Weights
from symkernel.theory.pseudo_kernel import KernelFormula
from symkernel.theory.task_weights_steps import (
    ALIGNMENT,
    CORRELATIONS,
    LAZY_FACTORS,
    MOVED,
    UNIT,
    correlation_of,
    lazy_signal,
    movement_of,
    steps_of,
    task_kernel,
)

__all__ = ["TaskWeights", "task_weights"]

WeightsLike = Weights | Mapping[str, object]
_ASSUMED = (
    "Single tasks are trained, all prompts equally often, in full batches.",
    "First order in the stimulus weights: a unit's slope is that at its bias plus its curvature "
    "there times the input from the stimulus.",
    "In the lazy regime: the kernel stays as it was, outputs start at 0 and are linear.",
    "Correlations: of the alignment term alone, each weight less its mean over tasks.",
)
_TITLE = "Task weights: pseudo-kernel times alignment of the read-out"
# What is smaller than this share of the weights is rounding.
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class TaskWeights(Documented):
    """How training on single tasks moves the weights of tasks; made by `task_weights`.

    Attributes
    ----------
    environment : Multitasking
    activation, output_activation : Activation
    """

    environment: Any
    activation: Activation
    output_activation: Activation

    def __repr__(self) -> str:
        kinds = f"{self.activation.name}, output {self.output_activation.name}"
        return f"TaskWeights({self.environment!r}; {kinds})"

    @cached_property
    def sizes(self) -> tuple[sp.Symbol, sp.Symbol]:
        """The symbols of the formulas for the numbers of groups and of features."""
        given = (self.environment.groups, self.environment.features)
        plain = sp.symbols("G M", integer=True, positive=True)
        groups, features = (
            n if isinstance(n, sp.Symbol) else own for n, own in zip(given, plain, strict=True)
        )
        return groups, features

    @property
    def assumed(self) -> tuple[str, ...]:
        """What the law takes for granted."""
        return _ASSUMED

    @property
    def chosen(self) -> dict[sp.Symbol, str]:
        """The symbols of sizes, each with what it stands for."""
        words = "number of stimulus groups, and of response groups", "number of features of a group"
        return dict(zip(self.sizes, words, strict=True))

    @cached_property
    def kernel(self) -> KernelFormula:
        """The part of the pseudo-kernel that is due to the weights of tasks."""
        known = isinstance(self.environment, Multitasking)
        env = self.environment if known else Multitasking(2, 2)
        return task_kernel(
            env.network(activation=self.activation, output_activation=self.output_activation)
        )

    @cached_property
    def movement(self) -> Formula:
        """The movement of a unit's weight of task (i, j) in the lazy regime, outputs linear."""
        found = movement_of(lazy_signal(*self.sizes), *self.sizes)
        return Formula("movement of a task weight in the lazy regime", MOVED, found)

    @property
    def rho(self) -> sp.Symbol:
        r"""The symbol of $\rho_w$, the alignment of read-outs, in `correlations`."""
        return ALIGNMENT

    def correlations(self, pooled: object = 0) -> tuple[Formula, Formula, Formula]:
        r"""Return how the learned weights of two tasks correlate over units, in $\rho_w$.

        Of two tasks from the same stimulus group, to the same response group, and neither; task
        weights less their mean over tasks, of the alignment term alone.

        Parameters
        ----------
        pooled : number or SymPy expression
            $\nu$ of a signal $\delta_{jj'} (e_{iv} + \nu \sum_{i'} e_{i'v})$: 0 in the lazy
            regime, $-1/G$ where the right response group shows the features of all stimulus
            groups alike, and only the right one is left to be selected.
        """
        if isinstance(pooled, sp.Expr):
            value = pooled
        else:
            value = sp.nsimplify(as_real(pooled, "pooled"))
        found = map(sp.cancel, correlation_of(self.sizes[0], value))
        titles = ("from one stimulus group", "to one response group", "that share neither")
        first, second, third = (
            Formula(f"correlation of two tasks {title}", q, e)
            for title, q, e in zip(titles, CORRELATIONS, found, strict=True)
        )
        return first, second, third

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The derivation; every step carries a check that can fail."""
        return steps_of(self.kernel, *self.sizes)

    @property
    def formulas(self) -> tuple[Formula, ...]:
        """The results in the lazy regime: the movement, and the correlations."""
        return (self.movement, *self.correlations())

    def check(self) -> CheckReport:
        """Run the check of every step."""
        return replace(CheckReport.of_steps(_TITLE, self.steps), derivation=self)

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return a document: every step with what its check found, then the results.

        Parameters
        ----------
        names : mapping of str to str, optional
            LaTeX for the identifiers of symbols.
        """
        from symkernel.report.latex_blocks import items
        from symkernel.report.latex_steps import named, steps_document

        own = {**self.kernel.names, **(names or {})}
        kinds = f"{self.activation.name} hidden units, {self.output_activation.name} output"
        return steps_document(
            _TITLE, kinds, self.steps, named(self.formulas, own),
            conventions=CONVENTIONS[:2], sections={"Assumptions": [items(self.assumed)]},
            report=self.check(), own=self.chosen, names=own,
        )  # fmt: skip

    def _repr_latex_(self) -> str:
        rows = [(f.symbol, f.expression) for f in self.formulas]
        return f"$\\displaystyle {equations.block(rows)}$"

    def alignment(self, weights: WeightsLike) -> np.ndarray:
        r"""Return $\tilde w_j \cdot \tilde a_i$ of every unit and task, shape (n_hidden, n_tasks).

        Parameters
        ----------
        weights : Weights or mapping of str to array_like
            With the stimulus weights "W_s" and the read-out "W_2", say those of one time.
        """
        a, w = map(_centred, self._units(weights, "W_s", "W_2"))
        return np.einsum("hiv,hjv->hij", a, w).reshape(len(a), -1)

    def readout_alignment(self, weights: WeightsLike) -> float:
        r"""Return $\rho_w$, the mean cosine of the read-outs of two response groups.

        Over all units and features, each unit's read-out of a group less its mean over features.

        Parameters
        ----------
        weights : Weights or mapping of str to array_like
            With the read-out "W_2".
        """
        (read,) = self._units(weights, "W_2")
        raw, flat = (w.swapaxes(0, 1).reshape(w.shape[1], -1) for w in (read, _centred(read)))
        size = np.linalg.norm(flat, axis=1)
        if (size <= _ROUNDING * np.linalg.norm(raw, axis=1)).any():
            raise InvalidArgument(
                f"Argument 'weights' must hold a read-out 'W_2' that differs between the features "
                f"of every response group; that of group {int(np.argmin(size))} does not, and its "
                f"alignment would be 0/0."
            )
        cosines = flat @ flat.T / np.outer(size, size)
        return float(cosines[np.triu_indices(len(flat), 1)].mean())

    def predict(self, weights: WeightsLike, factors: Mapping[str, float]) -> np.ndarray:
        r"""Return the movement of all task weights in the lazy regime, shape (n_hidden, n_tasks).

        Parameters
        ----------
        weights : Weights or mapping of str to array_like
            Initial weights: "W_s", "W_t", "W_2" and the bias "b".
        factors : mapping of str to number
            $\gamma = (1 - e^{-\lambda t/N})/\lambda$ of the four eigenspaces of the training
            kernel that the targets lie in, with N prompts: "0m" and "0c", mean over tasks and
            contrasts between them of what does not depend on the stimulus, "1m" and "1c" of what
            is linear in its features.

        Raises
        ------
        InvalidArgument
            If the output is not linear: its slope is then part of what the prompts ask for. If
            the slope of the activation jumps, as that of ReLU.
        """
        if not self.output_activation.is_linear:
            raise InvalidArgument(
                f"The movement in the lazy regime is that of a network with linear output, not "
                f"{self.output_activation.name}; derive it with output_activation='linear'."
            )
        if not isinstance(factors, Mapping) or set(factors) != set(LAZY_FACTORS):
            raise InvalidArgument(
                f"Argument 'factors' must map {', '.join(LAZY_FACTORS)} to numbers, not "
                f"{factors!r}."
            )
        numbers: dict[Any, Any] = {
            q: as_real(factors[space], "factors") for space, q in LAZY_FACTORS.items()
        }
        numbers |= dict(zip(self.sizes, self._counts, strict=True))
        expression = self.movement.expression.subs(numbers)
        parts = self._values(weights)
        return sp.lambdify(UNIT, expression, "numpy")(*parts).reshape(len(parts[0]), -1)

    def _values(self, weights: WeightsLike) -> list[np.ndarray]:
        """Return the values of the formula's symbols, which broadcast to (n_hidden, G, G)."""
        stimulus, readout, task, bias = self._units(weights, "W_s", "W_2", "W_t", "b")
        a, w, read = _centred(stimulus), _centred(readout), readout.sum(-1)
        slope = self.activation.slope
        curvature = sp.diff(slope, ARGUMENT)
        if curvature.has(sp.DiracDelta):
            raise InvalidArgument(
                f"Argument 'activation' must have a slope without jumps for the movement of task "
                f"weights, which {self.activation.name} has not: what is asked for acts through "
                f"the curvature at the bias."
            )
        slopes = [
            np.broadcast_to(sp.lambdify(ARGUMENT, e, "numpy")(bias), bias.shape)
            for e in (slope, curvature)
        ]
        level = task + stimulus.mean(-1).sum(1)[:, None, None]
        return [
            *slopes,
            level,
            read.sum(1)[:, None, None],
            read[:, None, :],
            np.einsum("hiv,hjv->hij", a, w),
            np.einsum("hiv,hv->hi", a, w.sum(1))[:, :, None],
            np.einsum("hv,hjv->hj", a.sum(1), w)[:, None, :],
            np.einsum("hv,hv->h", a.sum(1), w.sum(1))[:, None, None],
        ]

    @property
    def _counts(self) -> tuple[int, int]:
        G, M = self.environment.groups, self.environment.features
        if any(isinstance(n, sp.Expr) for n in (G, M)):
            raise InvalidArgument(
                "Weights belong to an environment with numbers; this one has symbols for its "
                "groups or features."
            )
        return G, M

    def _units(self, weights: WeightsLike, *names: str) -> list[np.ndarray]:
        """Return weights by unit, all of one number of units."""
        found = [self._unit(weights, name) for name in names]
        if len({len(array) for array in found}) > 1:
            counts = ", ".join(f"{n!r} {len(w)}" for n, w in zip(names, found, strict=True))
            raise ShapeMismatch(
                f"Argument 'weights' must hold weights of one number of hidden units, not {counts}."
            )
        return found

    def _unit(self, weights: WeightsLike, name: str) -> np.ndarray:
        """Return a weight by unit: (n_hidden, G, M), of tasks (n_hidden, G, G), or a bias."""
        arrays = weights.arrays if isinstance(weights, Weights) else weights
        if not isinstance(arrays, Mapping) or name not in arrays:
            raise InvalidArgument(
                f"Argument 'weights' must be Weights or a mapping with an array {name!r}, not "
                f"{type(weights).__name__ if not isinstance(arrays, Mapping) else list(arrays)}."
            )
        found = as_real_array(arrays[name], name, 1 if name == "b" else 2)
        if name == "b":
            return found[:, None, None]
        rows = found.T if name == "W_2" else found
        G, M = self._counts
        shape = (G, G) if name == "W_t" else (G, M)
        if rows.shape[1] != shape[0] * shape[1]:
            raise ShapeMismatch(
                f"Argument 'weights' must hold {name!r} for {shape[0]} x {shape[1]} "
                f"{'tasks' if name == 'W_t' else 'features'}, not of shape {found.shape}."
            )
        return rows.reshape(len(rows), *shape)


def _centred(array: np.ndarray) -> np.ndarray:
    return array - array.mean(-1, keepdims=True)


def task_weights(
    environment: Any,
    activation: str | sp.Expr | Activation = "sigmoid",
    output_activation: str | sp.Expr | Activation = "linear",
) -> TaskWeights:
    r"""Return how training on single tasks moves the weights of tasks, derived from the network.

    To first order in the activation of a unit around its bias, in the lazy regime,

    $$\Delta W_{t,(i,j)} = M^G \Bigl\{ (\phi'_b + \phi''_b \bar z_{ij}) \Bigl[
      \tfrac{\gamma_{0m}}{GM} \bar w + \tfrac{\gamma_{0c}}{M} (\bar w_j - \tfrac1G \bar w) \Bigr]
      + \tfrac{\phi''_b}{M} \Bigl[ \gamma_{1c}\, \tilde w_j \cdot \tilde a_i
      + \tfrac{\gamma_{1m} - \gamma_{1c}}{G^2} \textstyle\sum_{j'} \tilde w_{j'} \cdot
      \sum_{i'} \tilde a_{i'} \Bigr] \Bigr\}.$$

    Parameters
    ----------
    environment : Multitasking
        Its groups and features may be symbols.
    activation, output_activation : str, sympy.Expr or Activation
        Of the network. The movement in the lazy regime is that of a linear output; alignments and
        correlations do not depend on it.

    Returns
    -------
    TaskWeights
        With the formulas `movement` and `correlations`, the `steps` of the derivation, `latex`,
        and in numbers `predict`, `alignment` and `readout_alignment`.

    Raises
    ------
    InvalidArgument
        If the environment has no groups and features.

    Notes
    -----
    The sum over stimuli is exact for a slope truncated after its linear term. Of a sigmoid at bias
    -2 the movement is wrong by 4 per cent at weights of standard deviation 0.05, 12 at 0.2, 34 at
    0.5, 130 at 1. Correlations are of the alignment term, the largest one that differs between
    tasks only when the contrasts between tasks are learned ($\lambda_{1c} t/N$ of order 1):
    before, the term in $\gamma_{0c}$ makes tasks to one RESPONSE group alike.

    Examples
    --------
    >>> import sympy as sp, symkernel as sk
    >>> law = sk.task_weights(sk.environments.Multitasking(3, 3))
    >>> G, same = law.sizes[0], law.correlations()[0].expression
    >>> assert same.subs(law.rho, 1) == 1  # shared by stimulus group
    >>> assert sp.cancel(same.subs(law.rho, 0) + 1 / (G**2 - 1)) == 0  # separated
    """
    sizes = [getattr(environment, name, None) for name in ("groups", "features")]
    if not all(isinstance(n, (int, sp.Expr)) for n in sizes):
        raise InvalidArgument(
            f"Argument 'environment' must be sk.environments.Multitasking, not {environment!r}."
        )
    return TaskWeights(environment, find_activation(activation), find_activation(output_activation))
