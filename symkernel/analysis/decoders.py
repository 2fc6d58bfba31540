r"""Decoders of labels, and the noise with which representations are measured.

A decoder is a family of conditional distributions $q(y|z)$; with the noise it defines what
information is usable. All but one are convex: softmax regression on fixed features, fitted by
damped Newton until the gradient vanishes, so that no optimiser is part of the definition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from symkernel.errors import (
    InvalidArgument,
    OutsideValidity,
    as_choice,
    as_count,
    as_positive,
    as_seed,
    refuse_large,
)

# Log-probabilities of every class, (n_samples, n_classes), of rows of units.
Decoded = Callable[[np.ndarray], np.ndarray]

GRADIENT = 1e-9
_ITERATIONS = 100
# Spreads of a unit or feature below so much of its size are rounding.
_ROUNDING = 1e-13
# Squared lengths of what others do not make of a feature, below which it is rounding.
_DEPENDENT = 1e-12
# Where the bias has its formula; below, it grows faster.
_SAMPLES_PER_FEATURE = 5


@dataclass(frozen=True)
class Noise:
    r"""Gaussian noise that is added to all units before decoding.

    Parameters
    ----------
    kind : {"none", "relative", "absolute"}
        "relative": its standard deviation is `level` times the root mean square of the units'
        standard deviations, which is free of scale. "absolute": it is `level`. "none": units are
        standardised, and the decoder's ridge alone sets a scale.
    level : float
        Positive; of no meaning for "none".

    Examples
    --------
    >>> import symkernel as sk
    >>> assert str(sk.analysis.Noise("absolute", 0.1)) == "absolute noise 0.1"
    """

    kind: str = "none"
    level: float = 0.3

    def __post_init__(self) -> None:
        as_choice(self.kind, "noise", ("none", "relative", "absolute"))
        object.__setattr__(self, "level", as_positive(self.level, "level"))

    def __str__(self) -> str:
        if self.kind == "none":
            return "no noise, units standardised"
        return f"{self.kind} noise {self.level:g}"

    @classmethod
    def of(cls, value: Any) -> Noise:
        """Return noise, given as such or by the name of its kind."""
        return value if isinstance(value, cls) else cls(value)

    def added(self, units: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Return units with noise, from standard normal draws."""
        if self.kind == "none":
            return units
        if self.kind == "absolute":
            return units + self.level * draws
        top = np.abs(units).max() or 1.0
        return units + self.level * top * np.sqrt((units / top).var(0).mean()) * draws


@dataclass(frozen=True)
class Decoder:
    r"""A family of decoders.

    Parameters
    ----------
    kind : {"linear", "quadratic", "random features", "mlp"}
        Softmax regression on the units; on them and all their products of two; on them and fixed
        random features $\tanh(\omega \cdot z + b)$; or a perceptron of one hidden layer, by
        scikit-learn. The last is not convex: what it misses may be the optimiser's fault.
    ridge : float, optional
        Positive; 1e-4 if not given, 5e-4 for "mlp". The ridge times the sum of the squared weights
        is added to the mean cross-entropy in nats. Features are standardised, and weights of a
        softmax sum to 0 over classes: for two classes it is $|w_1 - w_0|^2/2$ that is added.
    size : int
        Number of random features, or of hidden units.
    seed : int
        Of the random features, or of the initial weights.
    """

    kind: str = "linear"
    ridge: float | None = None
    size: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        as_choice(self.kind, "decoder", _KINDS)
        if self.ridge is not None:
            object.__setattr__(self, "ridge", as_positive(self.ridge, "ridge"))
        object.__setattr__(self, "size", as_count(self.size, "size"))
        object.__setattr__(self, "seed", as_seed(self.seed))

    def __str__(self) -> str:
        sized = f" ({self.size})" if self.kind in ("random features", "mlp") else ""
        return f"{self.kind} decoder{sized}, ridge {self.weight_decay:g}"

    @classmethod
    def of(cls, value: Any) -> Decoder:
        """Return a decoder, given as such or by the name of its kind."""
        return value if isinstance(value, cls) else cls(value)

    @property
    def weight_decay(self) -> float:
        """The ridge, or the default of the kind."""
        if self.ridge is not None:
            return self.ridge
        return 1e-4 if self.convex else 5e-4

    @property
    def convex(self) -> bool:
        """Whether the fit has one optimum, which is found."""
        return self.kind != "mlp"

    def features(self, units: int) -> int:
        """Return the number of features made of so many units; hidden units count as such."""
        if self.kind == "quadratic":
            return units + units * (units + 1) // 2
        return units + (0 if self.kind == "linear" else self.size)

    def samples(self, units: int) -> int:
        """Return the number of samples that a fit needs."""
        return _SAMPLES_PER_FEATURE * (self.features(units) + 1)

    def used(self, units: np.ndarray) -> int:
        """Return how many features of these samples are neither constant nor made of others."""
        features = self._map(Scale.of(units)(units))
        columns = Scale.of(features)(features)
        if not columns.shape[1]:
            return 0
        spectrum = np.linalg.eigvalsh(columns.T @ columns)
        return int((spectrum > _DEPENDENT * spectrum[-1]).sum())

    def fit(self, units: np.ndarray, y: np.ndarray, classes: int) -> Decoded:
        """Return the decoder of labels 0, 1, ... fitted to these samples."""
        scale = Scale.of(units)
        if self.kind == "mlp":
            return _perceptron(self, scale, units, y)
        refuse_large((len(units), self.features(units.shape[1])), "features of the decoder")
        features = self._map(scale(units))
        inner = Scale.of(features)
        refuse_large((((features.shape[1] + 1) * (classes - 1)),) * 2, "Hessian of the decoder")
        weights = fit_softmax(inner(features), y, classes, self.weight_decay)
        return lambda new: log_softmax(inner(self._map(scale(new))), weights)

    def _map(self, units: np.ndarray) -> np.ndarray:
        d = units.shape[1]
        if self.kind == "quadratic":
            i, j = np.triu_indices(d)
            return np.hstack([units, units[:, i] * units[:, j]])
        if self.kind == "random features":
            stream = np.random.default_rng(self.seed)
            slopes = stream.standard_normal((d, self.size)) * np.sqrt(2.0 / max(d, 1))
            return np.hstack([units, np.tanh(units @ slopes + stream.standard_normal(self.size))])
        return units


_KINDS = ("linear", "quadratic", "random features", "mlp")


@dataclass(frozen=True)
class Scale:
    """Centres and spreads of columns, by which others are standardised; constant ones are left out.

    Attributes
    ----------
    kept : ndarray of bool, shape (n_columns,)
    mean, spread : ndarray, shape (n_kept,)
    """

    kept: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, columns: np.ndarray) -> Scale:
        """Return those of some samples."""
        # In units of the largest entry: squares of very large or small ones leave the numbers.
        size = np.abs(columns).max(0, initial=0.0)
        parts = columns / np.where(size > 0, size, 1.0)
        spread = parts.std(0)
        kept = spread > _ROUNDING
        return cls(kept, (size * parts.mean(0))[kept], (size * spread)[kept])

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        """Return columns in these units."""
        return (columns[:, self.kept] - self.mean) / self.spread


def log_softmax(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    r"""Return $\ln q(c|x)$, (n_samples, n_classes); the last row of the weights is the offset."""
    logits = features @ weights[:-1] + weights[-1]
    logits -= logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def fit_softmax(features: np.ndarray, y: np.ndarray, classes: int, ridge: float) -> np.ndarray:
    """Return the weights of a softmax regression, (n_features + 1, n_classes), by damped Newton.

    Raises
    ------
    OutsideValidity
        If the gradient does not fall below 1e-9.
    """
    n = len(y)
    rows = np.column_stack([features, np.ones(n)])
    contrasts = _contrasts(classes)
    target = np.eye(classes)[y]
    decay = np.full((rows.shape[1], 1), ridge)
    decay[-1] = 0.0

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        logs = log_softmax(features, v @ contrasts.T)
        return float(-logs[np.arange(n), y].mean() + 0.5 * (decay * v**2).sum()), logs

    v = np.zeros((rows.shape[1], classes - 1))
    value, logs = loss(v)
    for _ in range(_ITERATIONS):
        p = np.exp(logs)
        gradient = rows.T @ ((p - target) @ contrasts) / n + decay * v
        if np.abs(gradient).max() < GRADIENT:
            return v @ contrasts.T
        step = -np.linalg.solve(
            _hessian(rows, p, contrasts, decay), gradient.T.reshape(-1, 1)
        ).reshape(v.T.shape).T  # fmt: skip
        slope, length = float((gradient * step).sum()), 1.0
        while True:
            trial, trial_logs = loss(v + length * step)
            # The last steps change the loss by less than its rounding.
            if trial <= value + 1e-4 * length * slope + 1e-14 * (1.0 + value) or length < 1e-8:
                break
            length /= 2
        v, value, logs = v + length * step, trial, trial_logs
    raise OutsideValidity(
        f"The decoder's fit has a gradient of {np.abs(gradient).max():.1e} after {_ITERATIONS} "
        f"Newton steps, not below {GRADIENT:g}; use a larger ridge than {ridge:g}."
    )


def _contrasts(classes: int) -> np.ndarray:
    """Return a basis of the weights that sum to 0 over classes; of two, their difference."""
    q = np.linalg.qr(np.eye(classes) - 1.0 / classes)[0][:, : classes - 1]
    return q / np.sqrt(2.0)


def _hessian(
    rows: np.ndarray, p: np.ndarray, contrasts: np.ndarray, decay: np.ndarray
) -> np.ndarray:
    n, d = rows.shape
    count = contrasts.shape[1]
    projected = p @ contrasts
    whole = np.empty((count, d, count, d))
    for a in range(count):
        for b in range(a, count):
            curvature = p @ (contrasts[:, a] * contrasts[:, b]) - projected[:, a] * projected[:, b]
            whole[a, :, b] = rows.T @ (curvature[:, None] * rows) / n
            whole[b, :, a] = whole[a, :, b].T
        whole[a, :, a] += np.diag(decay[:, 0])
    return whole.reshape(count * d, count * d)


def _perceptron(decoder: Decoder, scale: Scale, units: np.ndarray, y: np.ndarray) -> Decoded:
    try:
        from sklearn.neural_network import MLPClassifier
    except ImportError as error:
        raise ImportError(
            "The decoder 'mlp' is scikit-learn's, which is not installed; install it with "
            "pip install 'symkernel[data]' (or: pip install scikit-learn), or use the decoder "
            "'random features'."
        ) from error
    if not scale.kept.any():
        raise InvalidArgument("Argument 'Z' must have a unit that varies, but all are constant.")
    # Its `alpha` is divided by twice the number of samples.
    alpha = 2 * decoder.weight_decay * len(units)
    model: Any = MLPClassifier(
        (decoder.size,),
        activation="tanh",
        solver="lbfgs",
        alpha=alpha,
        max_iter=2000,
        random_state=decoder.seed,
    )
    model.fit(scale(units), y)
    return lambda new: np.log(np.maximum(model.predict_proba(scale(new)), 1e-300))
