"""Initial weights of two linear layers with a given conserved matrix."""

from __future__ import annotations

import numpy as np

from symkernel.errors import InvalidArgument, as_positive, as_real, as_seed
from symkernel.problem.amplitudes import orthonormal
from symkernel.problem.network import Network
from symkernel.problem.weights import Weights, frozen, linear_chain, require_numeric


def _two_layers(net: Network, name: str) -> tuple[tuple[str, str], tuple[int, int, int]]:
    require_numeric(net)
    chain = linear_chain(net, name)
    if len(chain) != 2:
        raise InvalidArgument(f"{name} weights are defined for two layers, not {len(chain)}.")
    first, second = (node.parameter for node in chain)
    n_hidden, n_in = (int(n) for n in first.shape)
    return (first.name, second.name), (n_in, n_hidden, int(second.shape[0]))


def lambda_balanced(net: Network, lam: float, scale: float = 1.0, seed: int = 0) -> Weights:
    r"""Return weights with $W_2^T W_2 - W_1 W_1^T = \lambda 1$, not aligned with any task.

    The singular values of the end-to-end map are those of a Gaussian matrix with entries of
    standard deviation ``scale`` / sqrt(n_inputs), cut to the smallest width, as for `balanced`.

    Parameters
    ----------
    net : Network
        Two dense linear layers, with at most as many hidden units as outputs where lam > 0, and as
        inputs where lam < 0: the identity must be a product of the larger side.
    lam : float
        Any sign; in the units of squared weights.
    scale : float
        Positive.
    seed : int
        Seed of the stream (PCG64).

    Notes
    -----
    With layer-wise learning rates $r_1, r_2$ what is conserved is
    $W_2^T W_2/r_2 - W_1 W_1^T/r_1$; lam is that, so that the law holds.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(inputs=4, hidden=3, outputs=5)
    >>> W = sk.weights.lambda_balanced(net, lam=0.5).arrays
    >>> assert np.allclose(W["W2"].T @ W["W2"] - W["W1"] @ W["W1"].T, 0.5 * np.eye(3))
    """
    names, (n_in, n_hidden, n_out) = _two_layers(net, "Lambda-balanced")
    lam = as_real(lam, "lam")
    scale = as_positive(scale, "scale")
    most, side = (n_out, "outputs") if lam > 0 else (n_in, "inputs")
    if lam and n_hidden > most:
        raise InvalidArgument(
            f"Argument 'lam' must be 0 for {n_hidden} hidden units and {most} {side}, not {lam:g}: "
            f"a multiple of the identity of rank {n_hidden} cannot be a product of {most} {side}. "
            f"Use at most {most} hidden units, or sk.weights.semi_orthogonal for wide networks."
        )
    stream = np.random.default_rng(as_seed(seed))
    k = min(n_in, n_hidden, n_out)
    draw = scale / np.sqrt(n_in) * stream.standard_normal((n_out, n_in))
    U, u, Vt = np.linalg.svd(draw, full_matrices=True)
    product = np.zeros(n_hidden)
    product[:k] = u[:k]
    # b^2 - a^2 = lam and a b = u.
    larger = np.sqrt(np.hypot(product, lam / 2) + abs(lam) / 2)
    smaller = np.divide(product, larger, out=np.zeros_like(product), where=larger > 0)
    a, b = (smaller, larger) if lam > 0 else (larger, smaller)
    R = orthonormal(stream, n_hidden, n_hidden)
    speed = [float(p.rate) for p in net.parameters]
    m, q = min(n_hidden, n_in), min(n_hidden, n_out)
    first = np.sqrt(speed[0]) * (R[:, :m] * a[:m]) @ Vt[:m]
    second = np.sqrt(speed[1]) * (U[:, :q] * b[:q]) @ R[:, :q].T
    values = dict(zip(names, (first, second), strict=True))
    return Weights(frozen(values), f"lambda-balanced, lambda {lam:g}, scale {scale:g}, seed {seed}")


def semi_orthogonal(net: Network, a: float, b: float, seed: int = 0) -> Weights:
    r"""Return weights with $W_1^T W_1 = a 1$, $W_2 W_2^T = b 1$, $W_2 W_1 = 0$.

    They are what independent Gaussian weights of variances a/H and b/H become at infinite width.

    Parameters
    ----------
    net : Network
        Two dense linear layers with at least as many hidden units as inputs and outputs together.
    a, b : float
        Positive.
    seed : int
        Seed of the stream (PCG64).

    Notes
    -----
    With layer-wise learning rates $r_1, r_2$ these are $W_1^T W_1/r_1$ and $W_2 W_2^T/r_2$.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(inputs=2, hidden=5, outputs=3)
    >>> W = sk.weights.semi_orthogonal(net, a=0.5, b=2.0).arrays
    >>> assert np.allclose(W["W1"].T @ W["W1"], 0.5 * np.eye(2))
    >>> assert np.allclose(W["W2"] @ W["W1"], 0)
    """
    names, (n_in, n_hidden, n_out) = _two_layers(net, "Semi-orthogonal")
    a, b = as_positive(a, "a"), as_positive(b, "b")
    if n_hidden < n_in + n_out:
        raise InvalidArgument(
            f"Semi-orthogonal weights need at least {n_in + n_out} hidden units for {n_in} inputs "
            f"and {n_out} outputs, not {n_hidden}: all directions must be orthogonal."
        )
    frame = orthonormal(np.random.default_rng(as_seed(seed)), n_hidden, n_in + n_out)
    speed = [float(p.rate) for p in net.parameters]
    first = np.sqrt(a * speed[0]) * frame[:, :n_in]
    second = np.sqrt(b * speed[1]) * frame[:, n_in:].T
    values = dict(zip(names, (first, second), strict=True))
    return Weights(frozen(values), f"semi-orthogonal, a {a:g}, b {b:g}, seed {seed}")
