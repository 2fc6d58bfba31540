"""Two numbers about the geometry of a representation: alignment with another, dimensionality."""

from __future__ import annotations

from typing import Any

import numpy as np

from symkernel.analysis.representation import Representation, as_representation
from symkernel.errors import OutsideValidity, ShapeMismatch, refuse_large


def centred_kernel_alignment(first: Any, second: Any = None) -> np.ndarray:
    r"""Return the linear centred kernel alignment between all times of two representations.

    $$\mathrm{CKA}(K, L) = \frac{\langle JKJ, JLJ\rangle_F}{|JKJ|_F\,|JLJ|_F},\qquad
    K = H H^T,\quad J = 1 - \tfrac1n \mathbf 1\mathbf 1^T:$$

    1 for representations that agree up to rotation, scale and shift, 0 for unrelated ones.

    Parameters
    ----------
    first : Trajectory, Representation or array_like, shape (n_times, n_samples, n_units)
        Inner products are all that is needed.
    second : the same, optional
        Another node, network or law on the same samples, with units and times of its own; `first`
        itself if not given.

    Returns
    -------
    ndarray, shape (n_times of first, n_times of second)

    Raises
    ------
    ShapeMismatch
        If the two are not on the same samples.
    OutsideValidity
        If at some time all patterns agree (one sample always does), where it is 0/0.
    InvalidArgument
        If the centred Gram matrices would take more than 1 GiB; the message states the figure.

    Notes
    -----
    The estimate is not corrected for the number of samples: unrelated activities of more units
    than samples have an alignment well above 0.

    References
    ----------
    S. Kornblith, M. Norouzi, H. Lee, G. Hinton, Similarity of neural network representations
    revisited, ICML 2019, arXiv 1905.00414.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> patterns = np.random.default_rng(0).normal(size=(6, 4))
    >>> turned = 3 * patterns[:, ::-1] + 1
    >>> assert np.isclose(sk.analysis.centred_kernel_alignment(patterns, turned)[0, 0], 1)
    """
    one = as_representation(first)
    left = _directions(one)
    if second is None:
        return _products(left, left)
    other = as_representation(second)
    named = not any(_is_numbered(patterns) for patterns in (one, other))
    if other.n_samples != one.n_samples or (named and other.labels != one.labels):
        raise ShapeMismatch(
            f"Argument 'second' must hold the samples of 'first', in the same order, but there are "
            f"{other.n_samples} ({_few(other)}) and {one.n_samples} ({_few(one)})."
        )
    return _products(left, _directions(other))


def _is_numbered(patterns: Representation) -> bool:
    return patterns.labels == tuple(map(str, range(patterns.n_samples)))


def _few(patterns: Representation) -> str:
    return ", ".join(patterns.labels[:4]) + (", ..." if patterns.n_samples > 4 else "")


def _products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    # Up to rounding both bounds hold; arccos of the result must not fail.
    return np.clip(left @ right.T, 0.0, 1.0)


def _directions(patterns: Representation) -> np.ndarray:
    """Return the centred Gram matrices at unit Frobenius norm, (n_times, n_samples^2)."""
    shape = (len(patterns.times), patterns.n_samples**2)
    refuse_large(shape, "centred Gram matrices")
    directions = np.empty(shape)
    for k in range(len(directions)):
        gram = patterns.centred_gram(k).ravel()
        directions[k] = gram / _checked_norm(gram, patterns, k, "alignment")
    return directions


def _checked_norm(gram: np.ndarray, patterns: Representation, k: int, name: str) -> float:
    norm = float(np.linalg.norm(gram))
    if norm == 0:
        count = patterns.n_samples
        agree = "there is one sample only" if count == 1 else f"all {count} patterns agree"
        raise OutsideValidity(
            f"The {name} is 0/0 where the patterns do not differ: at time {patterns.times[k]:g} "
            f"{agree}; leave that time out, with Representation.at."
        )
    return norm


def participation_ratio(source: Any) -> np.ndarray:
    r"""Return the effective number of dimensions in which the patterns vary, at every time.

    $$\frac{(\sum_k \lambda_k)^2}{\sum_k \lambda_k^2} = \frac{(\mathrm{tr}\, JKJ)^2}{|JKJ|_F^2}$$

    with $\lambda$ the eigenvalues of the covariance of units over samples, which are those of the
    centred Gram matrix $JKJ/n$: 1 for patterns on a line, $d$ for equal variance in $d$
    directions, at most the smaller of n_samples - 1 and n_units.

    Parameters
    ----------
    source : Trajectory, Representation or array_like, shape (n_times, n_samples, n_units)
        Inner products are all that is needed.

    Returns
    -------
    ndarray, shape (n_times,)

    Raises
    ------
    OutsideValidity
        If at some time all patterns agree (one sample always does), where it is 0/0.

    Notes
    -----
    Patterns agree if no entry differs from the mean over samples by more than 2e-15 of the largest
    entry. Differences above that count, also where they are the rounding of whoever computed the
    activities, which a long sum makes larger: the ratio of all but constant patterns then tells of
    that rounding.

    References
    ----------
    P. Gao, E. Trautmann, B. Yu, G. Santhanam, S. Ryu, K. Shenoy, S. Ganguli, A theory of
    multineuronal dimensionality, dynamics and measurement, 2017.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> assert np.isclose(sk.analysis.participation_ratio(np.eye(5))[0], 4)
    """
    patterns = as_representation(source)
    ratios = np.empty(len(patterns.times))
    for k in range(len(ratios)):
        gram = _smaller_gram(patterns, k)
        norm = _checked_norm(gram, patterns, k, "participation ratio")
        ratios[k] = (np.trace(gram) / norm) ** 2
    return ratios


def _smaller_gram(patterns: Representation, k: int) -> np.ndarray:
    """Return inner products of patterns or of units: they have the same eigenvalues but zeros."""
    centred = patterns.centred_activity(k)
    if centred is None or len(centred) <= centred.shape[1]:
        return patterns.centred_gram(k)
    centred = centred / (abs(centred).max() or 1.0)
    return centred.T @ centred
