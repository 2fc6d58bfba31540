r"""The task: what the network is trained on, as samples, as moments, or as modes with symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import sympy as sp

from symkernel.errors import InvalidArgument, as_positive, as_values
from symkernel.problem.exact import ExactMoments, check_shapes, exact_moments
from symkernel.problem.gates import as_gates
from symkernel.problem.mode import Mode, check_mode, samples_of
from symkernel.problem.moments import (
    as_labels,
    as_matrix,
    as_sample_weights,
    as_shares,
    check_joint,
    check_labels,
    check_moment,
    moments_of,
)
from symkernel.problem.scalars import as_expressions, broadcast

if TYPE_CHECKING:
    from symkernel.problem.network import Network
    from symkernel.problem.teacher import Teacher
    from symkernel.problem.weights import Weights


@dataclass(frozen=True, eq=False)
class Task:
    r"""Inputs and targets, or their second moments.

    Parameters
    ----------
    X : array_like, shape (n_samples, n_inputs)
        Inputs, one sample a row. SymPy matrices are kept exactly beside the floating point, and
        may have symbols.
    Y : array_like, shape (n_samples, n_outputs)
        Targets.
    labels : mapping, optional
        Names under the keys "samples", "inputs", "outputs"; under "tasks" the name of the task
        that each sample belongs to, where one Task holds several.
    sample_weights : array_like, shape (n_samples,), optional
        Positive weights that sum to 1, with which every mean over samples is taken; all alike if
        not given.
    gates : mapping of str to array_like, optional
        Gates of the samples for a network with gates of these names, (n_samples, size) each, or
        one column for all units.

    Attributes
    ----------
    Sxx, Syx, Syy : ndarray or None
        Uncentred second moments $\langle x x^T\rangle$, $\langle y x^T\rangle$,
        $\langle y y^T\rangle$, means over samples.
    modes : tuple of Mode or None
        Set for tasks that were given as modes.
    exact : ExactMoments or None
        Set for tasks that were given as SymPy matrices of exact numbers and symbols, up to
        12 x 12; `exact.modes` are their modes. A line in `history` says why it is not kept.
    history : tuple of str
        What was done to the data (centring, whitening), in order. Whitening changes the dynamics:
        a network trained on whitened inputs does not learn like one trained on the raw ones.
    teacher : Teacher or None
        Set for tasks whose samples are drawn anew in each step.

    Raises
    ------
    InvalidArgument, ShapeMismatch
        For empty, non-finite, complex or object arrays and for shapes that do not fit.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> task = sk.Task(np.eye(4), np.eye(4)[:, :2])
    >>> assert np.allclose(task.Syx, np.eye(4)[:2] / 4)
    """

    # None where the task has no samples, or no numbers yet; `is_numeric` tells.
    X: np.ndarray = None  # type: ignore[assignment]
    Y: np.ndarray = None  # type: ignore[assignment]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    Sxx: np.ndarray = field(default=None, kw_only=True)  # type: ignore[arg-type]
    Syx: np.ndarray = field(default=None, kw_only=True)  # type: ignore[arg-type]
    Syy: np.ndarray = field(default=None, kw_only=True)  # type: ignore[arg-type]
    sample_weights: np.ndarray = field(default=None, kw_only=True)  # type: ignore[arg-type]
    gates: Mapping[str, np.ndarray] = field(default_factory=dict, kw_only=True)
    modes: tuple[Mode, ...] | None = field(default=None, kw_only=True)
    exact: ExactMoments | None = field(default=None, kw_only=True)
    history: tuple[str, ...] = field(default=(), kw_only=True)
    teacher: Teacher | None = field(default=None, kw_only=True)
    # What a mixture of tasks with symbols is made of: its moments are more than its modes.
    parts: tuple[tuple[sp.Expr, Task], ...] = field(default=(), kw_only=True, repr=False)
    reverse_of: Task | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        bare = self.Syx is None and self.modes is None and self.teacher is None
        if self.X is not None or (bare and self.exact is None):
            weighted = self.sample_weights is not None
            exact, why_not = (None, ()) if weighted else exact_moments(X=self.X, Y=self.Y)
            derived: dict[str, object] = {
                "exact": exact or self.exact,
                "history": (*self.history, *why_not),
            }
            if exact is not None and exact.free_symbols:
                derived |= {"X": None, "Y": None}
            else:
                X, Y = as_matrix(self.X, "X"), as_matrix(self.Y, "Y")
                check_shapes(X=X, Y=Y)
                shares = as_sample_weights(self.sample_weights, len(X))
                derived |= {"X": X, "Y": Y, "sample_weights": shares, **moments_of(X, Y, shares)}
            for name, value in derived.items():
                object.__setattr__(self, name, value)
        for name in ("X", "Y", "Sxx", "Syx", "Syy", "sample_weights"):
            array = getattr(self, name)
            if array is not None:
                array = np.array(array)
                array.setflags(write=False)
                object.__setattr__(self, name, array)
        object.__setattr__(self, "gates", as_gates(self.gates, self.X))
        shape = None if self._moments is None else self._moments.Syx.shape
        labels = as_labels(self.labels)
        check_labels(labels, None if self.X is None else len(self.X), shape)
        object.__setattr__(self, "labels", MappingProxyType(labels))

    def __repr__(self) -> str:
        what = f"{self.inputs} inputs, {self.outputs} outputs"
        if self.modes is not None:
            what += f", modes s = {', '.join(str(mode.s) for mode in self.modes)}"
        if self.X is not None:
            what = f"{len(self.X)} samples, {what}"
        return f"Task({'; '.join((what, *self.history))})"

    @classmethod
    def from_moments(cls, Sxx: object, Syx: object, Syy: object) -> Task:
        """Return the task with these second moments: all that a linear network sees.

        Parameters
        ----------
        Sxx : array_like, shape (n_inputs, n_inputs)
            Second moment of the inputs, symmetric and positive semi-definite.
        Syx : array_like, shape (n_outputs, n_inputs)
            Cross moment of targets and inputs.
        Syy : array_like, shape (n_outputs, n_outputs)
            Second moment of the targets, symmetric and positive semi-definite.

        Raises
        ------
        ShapeMismatch, InvalidArgument
            If shapes do not fit, or no data can have these moments: one of the matrices, or all
            of them together, is not positive semi-definite.
        """
        exact, why_not = exact_moments(Sxx=Sxx, Syx=Syx, Syy=Syy)
        if exact is not None and exact.free_symbols:
            return cls(exact=exact)
        sxx, syx, syy = as_matrix(Sxx, "Sxx"), as_matrix(Syx, "Syx"), as_matrix(Syy, "Syy")
        check_shapes(Sxx=sxx, Syx=syx, Syy=syy)
        for name, moment in (("Sxx", sxx), ("Syy", syy)):
            check_moment(moment, name)
        check_joint(sxx, syx, syy)
        return cls(Sxx=sxx, Syx=syx, Syy=syy, exact=exact, history=why_not)

    @classmethod
    def from_modes(cls, s: object, multiplicity: object = 1, input_variance: object = 1) -> Task:
        r"""Return the task whose modes have strengths $s_i$; numbers or symbols.

        Input direction $i$ has variance $d_i$ and is to drive output direction $i$ with
        $\langle y_i x_i\rangle = s_i$; the targets have no other part. A numerical task of this
        kind also carries samples, one item for each input direction.

        Parameters
        ----------
        s : scalar or sequence
            Strengths, not negative.
        multiplicity : scalar or sequence
            How often each occurs; positive integers or symbols.
        input_variance : scalar or sequence
            Variances $d_i$; positive (1: whitened inputs).

        Examples
        --------
        >>> import sympy as sp, symkernel as sk
        >>> s = sp.Symbol("s", positive=True)
        >>> assert sk.Task.from_modes(s).free_symbols == {s}
        >>> assert sk.Task.from_modes([3, 1], multiplicity=[1, 2]).Syx.shape == (3, 3)
        """
        strengths = as_expressions(s, "s")
        counts = broadcast(multiplicity, "multiplicity", len(strengths))
        variances = broadcast(input_variance, "input_variance", len(strengths))
        modes = tuple(map(Mode, strengths, variances, counts))
        for mode in modes:
            check_mode(mode)
        if any(mode.free_symbols for mode in modes):
            return cls(modes=modes)
        return cls(*samples_of(modes), modes=modes)

    @classmethod
    def mixture(cls, tasks: Sequence[Task], weights: Sequence[object]) -> Task:
        r"""Return several tasks at once, $L = \sum_k w_k L_k$; see `symkernel.problem.mixture`.

        Parameters
        ----------
        tasks : sequence of Task
            All with samples (which are stacked), all given by moments, or all by modes of the
            same multiplicities (whose strengths and variances are averaged, symbols kept).
        weights : sequence
            Positive weights $w_k$ that sum to 1; SymPy expressions for tasks of modes.

        Examples
        --------
        >>> import symkernel as sk
        >>> one, other = sk.Task.from_modes([3, 1]), sk.Task.from_modes([1, 3])
        >>> assert sk.Task.mixture([one, other], weights=[0.75, 0.25]).Syx[0, 0] == 2.5
        """
        from symkernel.problem.mixture import mixture

        return mixture(tasks, weights)

    @classmethod
    def from_teacher(
        cls, teacher: Network, weights: Weights, noise: float = 0.0, covariance: object = None
    ) -> Task:
        r"""Return the task of samples $x \sim N(0, C),\ y = f^*(x) + \sigma\xi$ drawn in each step.

        Parameters
        ----------
        teacher : Network
            Any network with numbers and without gates.
        weights : Weights
            Its weights.
        noise : float
            Standard deviation $\sigma$ of the label noise of each output.
        covariance : array_like, shape (n_inputs, n_inputs), optional
            Covariance $C$ of the inputs, symmetric and positive semi-definite; the identity if
            not given.

        Notes
        -----
        The task of a linear teacher also has its exact moments, those of all samples together.

        Examples
        --------
        >>> import numpy as np, symkernel as sk
        >>> net = sk.Network.two_layer(inputs=4, hidden=3, outputs=1, activation="erf")
        >>> task = sk.Task.from_teacher(net, sk.weights.gaussian(net, seed=1))
        >>> w0 = sk.weights.gaussian(net, seed=2)
        >>> sim = sk.simulate(net, task, w0, learning_rate=0.1, steps=2000, batch_size=4)
        >>> assert sim.loss[-1] < sim.loss[0] / 5
        """
        from symkernel.problem.teacher import task_of

        return task_of(teacher, weights, noise, covariance)

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        mixed = [part for weight, task in self.parts for part in (weight, task)]
        whole = [part for part in (self.exact, self.reverse_of) if part is not None]
        parts = (*(self.modes or ()), *mixed, *whole)
        return set().union(*(part.free_symbols for part in parts))

    @property
    def is_numeric(self) -> bool:
        """Whether nothing in it is a symbol."""
        return self.Syx is not None or self.teacher is not None

    @property
    def inputs(self) -> sp.Expr:
        """Number of inputs, an integer or an expression."""
        if self._moments is not None:
            return sp.Integer(self._moments.Syx.shape[1])
        if self.teacher is not None:
            return sp.Integer(self.teacher.network.inputs)
        return sp.Add(*(mode.multiplicity for mode in self.modes or ()))

    @property
    def outputs(self) -> sp.Expr:
        """Number of outputs, an integer or an expression."""
        if self._moments is not None:
            return sp.Integer(self._moments.Syx.shape[0])
        if self.teacher is not None:
            return sp.Integer(self.teacher.network.outputs)
        return self.inputs

    @property
    def _moments(self) -> Task | ExactMoments | None:
        """What has moments: the task itself, or the exact ones while there are symbols."""
        return self if self.Syx is not None else self.exact

    def with_values(self, values: Mapping[sp.Symbol, object]) -> Task:
        """Return the task with numbers in place of its symbols.

        Raises
        ------
        MissingValues
            If a symbol has no value.
        """
        if self.is_numeric:
            return self
        values = as_values(values, self.free_symbols, "task")
        if self.reverse_of is not None:
            return self.reverse_of.with_values(values).reversed()
        if self.parts:
            from symkernel.problem.mixture import with_values

            return with_values(self.parts, values)
        if self.exact is not None:
            given = self.exact.at(values)
            if "X" in given:
                return Task(**given, labels=self.labels, history=self.history)
            return replace(Task.from_moments(**given), labels=self.labels)
        modes = self.modes or ()
        names = ("s", "multiplicity", "d")
        return Task.from_modes(*([getattr(m, q).subs(values) for m in modes] for q in names))

    def centred(self, inputs: bool = True, outputs: bool = True) -> Task:
        """Return the task with the means of inputs and outputs removed, and say so in `history`."""
        X, Y = self._samples("centred")
        done = " and ".join(w for w, on in (("inputs", inputs), ("outputs", outputs)) if on)
        if not done:
            return self
        return replace(
            self,
            X=X - np.average(X, 0, self.sample_weights) if inputs else X,
            Y=Y - np.average(Y, 0, self.sample_weights) if outputs else Y,
            modes=None,
            exact=None,
            history=(*self.history, f"centred: means of {done} removed"),
        )

    def whitened(self, components: int | None = None, tolerance: float = 1e-10) -> Task:
        r"""Return the task on whitened principal components of the inputs.

        The inputs become $\Lambda^{-1/2} P^T x$ with $\langle x x^T\rangle = P \Lambda P^T$, so
        that their second moment is the identity. This CHANGES the learning dynamics and is
        recorded in `history`.

        Parameters
        ----------
        components : int, optional
            How many components to keep, in order of falling variance; all that have any.
        tolerance : float
            Directions with less than this share of the largest variance count as empty.
        """
        X, _ = self._samples("whitened")
        _, spread, P = np.linalg.svd(as_shares(X, self.sample_weights), full_matrices=False)
        if spread[0] == 0:
            raise InvalidArgument("Inputs that are all zero cannot be whitened; they have no rank.")
        tolerance = as_positive(tolerance, "tolerance")
        rank = int((spread**2 > tolerance * spread[0] ** 2).sum())
        keep = rank if components is None else components
        whole = isinstance(keep, (int, np.integer)) and not isinstance(keep, bool)
        if not whole or not 1 <= keep <= rank:
            raise InvalidArgument(
                f"Argument 'components' must be an integer between 1 and the rank {rank} of the "
                f"inputs, not {components!r}."
            )
        share = float((spread[:keep] ** 2).sum() / (spread**2).sum())
        P = P[:keep]
        P = P * np.sign(P[np.arange(keep), np.abs(P).argmax(1)])[:, None]
        note = f"whitened: {keep} of {X.shape[1]} directions kept, {share:.1%} of the variance"
        labels = {k: v for k, v in self.labels.items() if k != "inputs"}
        labels["inputs"] = tuple(f"component {i + 1}" for i in range(keep))
        X = (X @ P.T) / spread[:keep]
        history = (*self.history, note)
        return replace(self, X=X, labels=labels, modes=None, exact=None, history=history)

    def reversed(self) -> Task:
        r"""Return the task with the opposite targets, $y \to -y$, for a later phase.

        Examples
        --------
        >>> import symkernel as sk
        >>> task = sk.Task.from_modes([2, 1])
        >>> assert (task.reversed().Syx == -task.Syx).all() and task.reversed().modes[0].s == -2
        """
        from symkernel.problem.reversal import reversal

        return reversal(self)

    def _samples(self, verb: str) -> tuple[np.ndarray, np.ndarray]:
        if self.X is None or self.Y is None:
            raise InvalidArgument(
                f"Only a task with samples can be {verb}, not one given by moments or symbols; "
                f"transform the moments before you make the task."
            )
        return self.X, self.Y
