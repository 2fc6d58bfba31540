r"""Usable information: how many bits about a label a decoder reads out of a representation.

$$I_u(Z; Y) = H(Y) - \min_q \langle -\log_2 q(y|z)\rangle$$

over a family of decoders q. One half of the samples fits the decoder, the other half measures it:
a fixed decoder's cross-entropy on fresh samples is at least $H(Y|Z)$, so that what is found is a
lower bound of the mutual information up to sampling error.

References
----------
M. Kleinman, A. Achille, D. Idnani, J. C. Kao, Usable information and evolution of optimal
representations during training, arXiv:2010.02459 (2021). Y. Xu, S. Zhao, J. Song, R. Stewart,
S. Ermon, A theory of usable information under computational constraints, arXiv:2002.10689 (2020),
for families of decoders in general.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from symkernel.analysis.decoders import Decoder, Noise
from symkernel.analysis.representation import Representation, as_representation
from symkernel.errors import (
    InvalidArgument,
    OutsideValidity,
    as_classes,
    as_real_array,
    as_seed,
)

_LN2 = math.log(2.0)


@dataclass(frozen=True)
class UsableInformation:
    r"""Usable information of one representation, and what it depends on.

    Attributes
    ----------
    bits : float
        $H(Y)$ less the held-out cross-entropy; not clipped at 0.
    standard_error : float
        In bits, from the spread over held-out samples; it knows nothing of the fitted half.
    bias : float or None
        In bits, by formula: $-\frac{K-1}{2\ln 2}[\frac{d+1}{n_{fit}} + \frac1{n_{test}}]$ for d
        features, those that are constant or made of others not counted, and K classes, averaged
        over the values of `given` by their frequency: to leading order in $1/n$, where the family
        holds the true distribution. The second term is that of $H(Y)$ from the held-out labels. It
        is within a fifth of the mean that was measured from $n_{fit} = 20 (d + 1)(K - 1)$ on; with
        as few samples as are accepted the bias is about twice that for two classes, and more for
        many. None for the decoder "mlp".
    entropy : float
        $H(Y)$, or $H(Y|\mathrm{given})$, of the held-out labels, in bits.
    decoder : Decoder
    noise : Noise
    fitted, held_out : int
        Numbers of samples.
    conditional : bool
        Whether another label was given.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> stream = np.random.default_rng(0)
    >>> y = stream.integers(0, 2, 4000)
    >>> z = 2 * y[:, None] - 1 + stream.standard_normal((4000, 1))
    >>> found = sk.usable_information(z, y)
    >>> assert abs(found.bits - 0.486) < 4 * found.standard_error
    """

    bits: float
    standard_error: float
    bias: float | None
    entropy: float
    decoder: Decoder
    noise: Noise
    fitted: int
    held_out: int
    conditional: bool

    def __repr__(self) -> str:
        return f"UsableInformation({_shown(self, f'{self.bits:.4f} +- {self.standard_error:.4f}')})"


@dataclass(frozen=True)
class UsableInformationCurve:
    """Usable information through time.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
    results : tuple of UsableInformation
        One for each time, with the same halves and the same draws of the noise.
    """

    times: np.ndarray
    results: tuple[UsableInformation, ...]

    @cached_property
    def bits(self) -> np.ndarray:
        """Information at every time, shape (n_times,)."""
        return np.array([found.bits for found in self.results])

    @cached_property
    def standard_error(self) -> np.ndarray:
        """Its standard error at every time, shape (n_times,)."""
        return np.array([found.standard_error for found in self.results])

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, position: int) -> UsableInformation:
        return self.results[position]

    def __iter__(self) -> Iterator[UsableInformation]:
        return iter(self.results)

    def __repr__(self) -> str:
        span = f"{self.bits[0]:.4f} to {self.bits[-1]:.4f}, most {self.bits.max():.4f}"
        return f"UsableInformationCurve({len(self)} times; {_shown(self.results[0], span)})"


def _shown(found: UsableInformation, bits: str) -> str:
    bias = "no formula for the bias" if found.bias is None else f"bias {found.bias:.4f}"
    of = "H(Y|given)" if found.conditional else "H(Y)"
    return (
        f"{bits} bits of {of} = {found.entropy:.4f}; {bias}; {found.decoder}; {found.noise}; "
        f"{found.fitted} + {found.held_out} samples"
    )


def usable_information(
    Z: Any,
    Y: Any,
    *,
    decoder: str | Decoder = "linear",
    noise: str | Noise = "none",
    given: Any = None,
    seed: int = 0,
) -> UsableInformation | UsableInformationCurve:
    r"""Return how many bits about labels a decoder reads out of a representation.

    Parameters
    ----------
    Z : array_like, Trajectory or Representation
        Activity, (n_samples, n_units), or through time (n_times, n_samples, n_units). Of a
        trajectory its node "hidden"; ``sk.analysis.Representation.of(run, "hidden1")`` for others.
    Y : array_like of int, shape (n_samples,)
        Labels.
    decoder : str or Decoder
        "linear", "quadratic", "random features" or "mlp".
    noise : str or Noise
        "none", "relative" or "absolute", with level 0.3; others as ``sk.analysis.Noise("relative",
        0.1)``. It is part of the definition: a deterministic layer keeps what it discards at any
        small scale, and what is found without noise depends on the ridge.
    given : array_like of int, shape (n_samples,), optional
        Another label: $I_u(Z; Y|\mathrm{given})$ then, one decoder for each of its values, weighted
        by their frequency. Where Y and the other label are correlated only this tells what Z says
        about Y beside it.
    seed : int
        Of the halves and of the noise.

    Returns
    -------
    UsableInformation or UsableInformationCurve
        The latter through time.

    Raises
    ------
    InvalidArgument
        For labels that are not integers, or of one class; if a class is absent from a half; for
        fewer samples than the decoder can bear; for noise or a ridge that is not positive.
    OutsideValidity
        Where a trajectory determines inner products of its hidden layer alone.

    Notes
    -----
    $H(Y)$ is at most what can be found, and less where inputs are ambiguous: compare with the
    information in the inputs.

    Examples
    --------
    What is discarded at a small scale is gone with noise alone:

    >>> import numpy as np, symkernel as sk
    >>> stream = np.random.default_rng(0)
    >>> y = stream.integers(0, 2, (2, 2000))
    >>> z = (2 * y - 1).T * [1.0, 0.01] + [0.1, 0.001] * stream.standard_normal((2000, 2))
    >>> kept = sk.usable_information(z, y[1], given=y[0])
    >>> gone = sk.usable_information(z, y[1], given=y[0], noise="relative")
    >>> assert kept.bits > 0.99 and abs(gone.bits) < 0.05
    """
    records, times = _records(Z)
    n = records.shape[1]
    labels, family, measured = as_classes(Y, "Y", n), Decoder.of(decoder), Noise.of(noise)
    if len(np.unique(labels)) < 2:
        raise InvalidArgument(
            f"Argument 'Y' must hold labels of two classes or more, but all are {labels[0]}."
        )
    other = None if given is None else as_classes(given, "given", n)
    order = np.random.default_rng((as_seed(seed), 0)).permutation(n)
    halves = _Halves(labels, other, order[: n // 2], order[n // 2 :], family)
    draws = np.empty(0)
    if measured.kind != "none":
        draws = np.random.default_rng((seed, 1)).standard_normal(records.shape[1:])
    found = tuple(halves.information(measured.added(z, draws), measured) for z in records)
    return found[0] if times is None else UsableInformationCurve(times, found)


def _records(source: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return activity, (n_times, n_samples, n_units), and times where there is such an axis."""
    if isinstance(source, (np.ndarray, list, tuple)) and _depth(source) == 2:
        return as_real_array(source, "Z", 2)[None], None
    if isinstance(source, (np.ndarray, list, tuple)):
        source = Representation.from_activity(as_real_array(source, "Z", 3))
    patterns = as_representation(source)
    if patterns.activity is None:
        raise OutsideValidity(
            "The hidden layer is determined up to a rotation here, by its inner products alone, "
            "and decoders read units: give X @ W1.T of the compiled law's weights(times)."
        )
    return patterns.activity, patterns.times


def _depth(source: Any) -> int:
    try:
        return np.ndim(source)
    except ValueError:
        return 2


@dataclass(frozen=True, eq=False)
class _Halves:
    """Labels, and which samples fit the decoders and which measure them."""

    labels: np.ndarray
    given: np.ndarray | None
    fit: np.ndarray
    test: np.ndarray
    decoder: Decoder

    @cached_property
    def groups(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Return words, and the samples of both halves, for each value of the other label."""
        if self.given is None:
            return [("", self.fit, self.test)]
        values = np.unique(self.given)
        parts = ([half[self.given[half] == v] for half in (self.fit, self.test)] for v in values)
        return [(f" where 'given' is {v}", *p) for v, p in zip(values, parts, strict=True)]

    def information(self, units: np.ndarray, noise: Noise) -> UsableInformation:
        pointwise, entropy, bias = [], 0.0, 0.0
        for words, fit, test in self.groups:
            share = len(test) / len(self.test)
            classes = self._classes(words, fit, test)
            if len(classes) < 2:
                pointwise.append(np.zeros(len(test)))
                continue
            self._check_size(words, units.shape[1], len(fit))
            y, found = (np.searchsorted(classes, self.labels[half]) for half in (fit, test))
            logs = self.decoder.fit(units[fit], y, len(classes))(units[test])
            prior = np.log(np.bincount(found) / len(found))[found]
            pointwise.append((logs[np.arange(len(found)), found] - prior) / _LN2)
            entropy -= share * float(prior.mean()) / _LN2
            if self.decoder.convex:
                once = (self.decoder.used(units[fit]) + 1) / len(fit) + 1 / len(test)
                bias -= share * (len(classes) - 1) * once / (2 * _LN2)
        each = np.concatenate(pointwise)
        return UsableInformation(
            bits=float(each.mean()),
            standard_error=float(each.std(ddof=1) / math.sqrt(len(each))),
            bias=bias if self.decoder.convex else None,
            entropy=entropy,
            decoder=self.decoder,
            noise=noise,
            fitted=len(self.fit),
            held_out=len(self.test),
            conditional=self.given is not None,
        )

    def _classes(self, words: str, fit: np.ndarray, test: np.ndarray) -> np.ndarray:
        classes = np.unique(self.labels[np.concatenate([fit, test])])
        for half, samples in (("fits the decoder", fit), ("measures it", test)):
            missing = np.setdiff1d(classes, self.labels[samples])
            if missing.size:
                raise InvalidArgument(
                    f"Argument 'Y' must have every class in both halves of the samples, but class "
                    f"{missing[0]} is absent from the half that {half}{words}; give more samples, "
                    f"or merge rare classes."
                )
        return classes

    def _check_size(self, words: str, units: int, samples: int) -> None:
        needed = self.decoder.samples(units)
        if samples < needed:
            raise InvalidArgument(
                f"Argument 'Z' must have {needed} samples or more in the half that fits the "
                f"{self.decoder.kind} decoder of {units} units, 5 for each of its "
                f"{self.decoder.features(units)} features and its offset: about "
                f"{2 * needed} in all{words}, not {samples} in this half."
            )
