r"""The task: what the network is trained on, as samples, as moments, or as modes with symbols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import sympy as sp

from symkernel.errors import InvalidArgument, ShapeMismatch, as_real_array, as_values

_SYMMETRY_TOLERANCE = 1e-10
# A task of modes holds five square arrays of this size.
_MOST_MODES = 8192


@dataclass(frozen=True)
class Mode:
    r"""One mode of a task: strength $s$, input variance $d$, multiplicity (all may be symbols)."""

    s: sp.Expr
    d: sp.Expr
    multiplicity: sp.Expr

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        return self.s.free_symbols | self.d.free_symbols | self.multiplicity.free_symbols


@dataclass(frozen=True, eq=False)
class Task:
    r"""Inputs and targets, or their second moments.

    Parameters
    ----------
    X : array_like, shape (n_samples, n_inputs)
        Inputs, one sample a row. A SymPy matrix of numbers is turned into floating point.
    Y : array_like, shape (n_samples, n_outputs)
        Targets.
    labels : mapping, optional
        Names under the keys "samples", "inputs", "outputs".

    Attributes
    ----------
    Sxx, Syx, Syy : ndarray or None
        Uncentred second moments $\langle x x^T\rangle$, $\langle y x^T\rangle$,
        $\langle y y^T\rangle$, means over samples.
    modes : tuple of Mode or None
        Set for tasks that were given as modes.
    history : tuple of str
        What was done to the data (centring, whitening), in order. Whitening changes the dynamics:
        a network trained on whitened inputs does not learn like one trained on the raw ones.

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
    modes: tuple[Mode, ...] | None = field(default=None, kw_only=True)
    history: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.X is not None or (self.Syx is None and self.modes is None):
            X, Y = _matrix(self.X, "X"), _matrix(self.Y, "Y")
            if len(X) != len(Y):
                raise ShapeMismatch(
                    f"Arguments 'X' and 'Y' must have the same number of samples (rows), "
                    f"not {len(X)} and {len(Y)}."
                )
            derived = {"X": X, "Y": Y, **_moments(X, Y)}
            for name, value in derived.items():
                object.__setattr__(self, name, value)
        for name in ("X", "Y", "Sxx", "Syx", "Syy"):
            array = getattr(self, name)
            if array is not None:
                array = np.array(array)
                array.setflags(write=False)
                object.__setattr__(self, name, array)
        labels = _as_labels(self.labels)
        self._check_labels(labels)
        object.__setattr__(self, "labels", MappingProxyType(labels))

    def __repr__(self) -> str:
        what = f"{self.inputs} inputs, {self.outputs} outputs"
        if self.modes is not None:
            what += f", modes s = {', '.join(str(mode.s) for mode in self.modes)}"
        if self.X is not None:
            what = f"{len(self.X)} samples, {what}"
        return f"Task({'; '.join((what, *self.history))})"

    def _check_labels(self, labels: Mapping[str, tuple[str, ...]]) -> None:
        sizes: dict[str, int | None] = {"samples": None, "inputs": None, "outputs": None}
        if self.Syx is not None:
            sizes["outputs"], sizes["inputs"] = self.Syx.shape
        if self.X is not None:
            sizes["samples"] = len(self.X)
        for key, names in labels.items():
            if key not in sizes:
                raise InvalidArgument(
                    f"Argument 'labels' must have keys among {', '.join(sizes)}, not {key!r}."
                )
            if sizes[key] is not None and len(names) != sizes[key]:
                raise ShapeMismatch(
                    f"Argument 'labels' must name all {sizes[key]} {key}, not {len(names)}."
                )

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
        sxx, syx, syy = _matrix(Sxx, "Sxx"), _matrix(Syx, "Syx"), _matrix(Syy, "Syy")
        if sxx.shape != (syx.shape[1],) * 2 or syy.shape != (syx.shape[0],) * 2:
            raise ShapeMismatch(
                f"Arguments 'Sxx' and 'Syy' must be of shape {(syx.shape[1],) * 2} and "
                f"{(syx.shape[0],) * 2} to fit 'Syx', not {sxx.shape} and {syy.shape}."
            )
        for name, moment in (("Sxx", sxx), ("Syy", syy)):
            scale = max(float(np.abs(moment).max()), np.finfo(float).tiny)
            skew = float(np.abs(moment - moment.T).max()) / scale
            lowest = float(np.linalg.eigvalsh((moment + moment.T) / 2)[0]) / scale
            if skew > _SYMMETRY_TOLERANCE or lowest < -_SYMMETRY_TOLERANCE:
                raise InvalidArgument(
                    f"Argument '{name}' must be symmetric and positive semi-definite, but is off "
                    f"symmetry by {skew:.2g} and has smallest eigenvalue {lowest:.2g} (relative)."
                )
        _check_joint(sxx, syx, syy)
        return cls(Sxx=sxx, Syx=syx, Syy=syy)

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
        counts = _broadcast(as_expressions(multiplicity, "multiplicity"), len(strengths))
        variances = _broadcast(as_expressions(input_variance, "input_variance"), len(strengths))
        modes = tuple(map(Mode, strengths, variances, counts))
        for mode in modes:
            _check_mode(mode)
        if any(mode.free_symbols for mode in modes):
            return cls(modes=modes)
        return _sampled_modes(modes)

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        return set().union(*(mode.free_symbols for mode in self.modes or ()))

    @property
    def is_numeric(self) -> bool:
        """Whether all moments are numbers."""
        return self.Syx is not None

    @property
    def inputs(self) -> sp.Expr:
        """Number of inputs, an integer or an expression."""
        if self.Syx is not None:
            return sp.Integer(self.Syx.shape[1])
        return sp.Add(*(mode.multiplicity for mode in self.modes or ()))

    @property
    def outputs(self) -> sp.Expr:
        """Number of outputs, an integer or an expression."""
        return sp.Integer(self.Syx.shape[0]) if self.Syx is not None else self.inputs

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
        modes = self.modes or ()
        return Task.from_modes(
            [mode.s.subs(values) for mode in modes],
            [mode.multiplicity.subs(values) for mode in modes],
            [mode.d.subs(values) for mode in modes],
        )

    def centred(self, inputs: bool = True, outputs: bool = True) -> Task:
        """Return the task with the means of inputs and outputs removed, and say so in `history`."""
        X, Y = self._samples("centred")
        done = " and ".join(w for w, on in (("inputs", inputs), ("outputs", outputs)) if on)
        if not done:
            return self
        return replace(
            self,
            X=X - X.mean(0) if inputs else X,
            Y=Y - Y.mean(0) if outputs else Y,
            modes=None,
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
        _, spread, P = np.linalg.svd(X / np.sqrt(len(X)), full_matrices=False)
        if spread[0] == 0:
            raise InvalidArgument("Inputs that are all zero cannot be whitened; they have no rank.")
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
        return replace(self, X=X, labels=labels, modes=None, history=(*self.history, note))

    def _samples(self, verb: str) -> tuple[np.ndarray, np.ndarray]:
        if self.X is None or self.Y is None:
            raise InvalidArgument(
                f"Only a task with samples can be {verb}, not one given by moments or symbols; "
                f"transform the moments before you make the task."
            )
        return self.X, self.Y


def _matrix(value: object, name: str) -> np.ndarray:
    if isinstance(value, sp.MatrixBase):
        if value.free_symbols or any(entry.is_real is False for entry in value):
            raise InvalidArgument(
                f"Argument '{name}' must hold real numbers, not symbols or complex numbers; "
                f"Task.from_modes takes symbols."
            )
        value = np.array(value.tolist(), dtype=np.float64)
    return as_real_array(value, name, 2)


def _moments(X: np.ndarray, Y: np.ndarray) -> dict[str, np.ndarray]:
    with np.errstate(over="ignore", invalid="ignore"):
        found = {"Sxx": X.T @ X, "Syx": Y.T @ X, "Syy": Y.T @ Y}
    for name, moment in found.items():
        if not np.isfinite(moment).all():
            raise InvalidArgument(
                f"Arguments 'X' and 'Y' must be small enough for the moment {name} to be finite, "
                f"not up to {np.abs(X).max():.1e} and {np.abs(Y).max():.1e}; rescale them."
            )
    return {name: moment / len(X) for name, moment in found.items()}


def _as_labels(value: object) -> dict[str, tuple[str, ...]]:
    named = isinstance(value, Mapping) and not any(
        isinstance(names, (str, bytes)) or not isinstance(names, Iterable)
        for names in value.values()
    )
    if not named:
        raise InvalidArgument(
            f"Argument 'labels' must map 'samples', 'inputs' or 'outputs' to sequences of names, "
            f"not {value!r}."
        )
    return {key: tuple(map(str, names)) for key, names in value.items()}  # type: ignore[attr-defined]


def as_expressions(value: object, name: str) -> list[sp.Expr]:
    """Return a scalar or a sequence as SymPy expressions, none of them known not to be real."""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, np.ndarray):
        items = list(np.atleast_1d(value))
    out = []
    for item in items:
        if isinstance(item, sp.Expr) and _may_be_real(item):
            out.append(item)
        elif isinstance(item, (int, np.integer)) and not isinstance(item, bool):
            out.append(sp.Integer(int(item)))
        elif isinstance(item, (float, np.floating)) and np.isfinite(item):
            out.append(sp.Integer(item) if float(item).is_integer() else sp.Float(float(item)))
        else:
            raise InvalidArgument(
                f"Argument '{name}' must hold finite real numbers or SymPy expressions, "
                f"not {item!r}."
            )
    if not out:
        raise InvalidArgument(f"Argument '{name}' must not be empty.")
    return out


def _may_be_real(item: sp.Expr) -> bool:
    return item is not sp.nan and item.is_finite is not False and item.is_real is not False


def _broadcast(items: list[sp.Expr], length: int) -> list[sp.Expr]:
    if len(items) not in (1, length):
        raise ShapeMismatch(
            f"One value, or one for each of the {length} modes, must be given, not {len(items)}."
        )
    return items * length if len(items) == 1 else items


def _check_mode(mode: Mode) -> None:
    if mode.s.is_negative or mode.s.is_real is False:
        raise InvalidArgument(
            f"Argument 's' must hold non-negative strengths, not {mode.s}; turn the sign of the "
            f"output direction instead."
        )
    if mode.d.is_positive is False:
        raise InvalidArgument(f"Argument 'input_variance' must be positive, not {mode.d}.")
    if mode.multiplicity.is_integer is False or mode.multiplicity.is_positive is False:
        raise InvalidArgument(
            f"Argument 'multiplicity' must hold positive integers, not {mode.multiplicity}."
        )


def _sampled_modes(modes: tuple[Mode, ...]) -> Task:
    counts = [int(mode.multiplicity) for mode in modes]
    if sum(counts) > _MOST_MODES:
        raise InvalidArgument(
            f"Argument 'multiplicity' adds up to {sum(counts):,} modes, whose moments would take "
            f"{5 * 8 * sum(counts) ** 2 / 2**30:,.0f} GiB; use at most {_MOST_MODES:,} modes."
        )
    s = np.repeat([float(mode.s) for mode in modes], counts)
    d = np.repeat([float(mode.d) for mode in modes], counts)
    X = np.diag(np.sqrt(len(d) * d))
    return Task(X, (s / d)[:, None] * X, modes=modes)


def _check_joint(sxx: np.ndarray, syx: np.ndarray, syy: np.ndarray) -> None:
    """Refuse moments that no joint distribution of inputs and targets has."""
    sizes = [max(float(np.abs(m).max()), np.finfo(float).tiny) for m in (sxx, syy)]
    cross = syx / np.sqrt(sizes[0]) / np.sqrt(sizes[1])
    joint = np.block([[sxx / sizes[0], cross.T], [cross, syy / sizes[1]]])
    lowest = float(np.linalg.eigvalsh((joint + joint.T) / 2)[0])
    if not lowest >= -len(joint) * _SYMMETRY_TOLERANCE:
        raise InvalidArgument(
            f"Arguments 'Sxx', 'Syx' and 'Syy' must be moments of one distribution, but their "
            f"joint matrix has eigenvalue {lowest:.2g} (relative): 'Syy' must be at least "
            f"Syx Sxx^-1 Syx^T."
        )
