r"""The multitasking network of infinite width, and the first order of its units in 1/width.

The argument z of the output nonlinearity follows the kernel of the limit, to which the direct path
adds the overlap of the tasks:

$$\dot z(x) = -\sum_i w_i\,\Theta(x, x_i)\,\psi'(z_i)(\psi(z_i) - y_i), \qquad
\Theta = \Theta_\infty + x_t \cdot x_t'.$$

It starts from one draw of its Gaussian process. With the integrals R of what stands behind
$\Theta$, a unit of input weights a and read-out w moves by
$\Delta a(x) = -\sum_i (x \cdot x_i)\,\phi'(a_i)\,(w \cdot R_i)$, to leading order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import sympy as sp

from symkernel.codegen.activation_values import value_and_slope
from symkernel.problem.activation import ARGUMENT, Activation
from symkernel.problem.activation import activation as find_activation
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply
from symkernel.studies.setting import Setting
from symkernel.theory.infinite_width import infinite_width

# Units that are drawn: correlations over them are those of the limit to about 1/sqrt of them.
_UNITS = 4096
# What is added to the diagonal of a covariance, relative to its mean, to draw from it.
_JITTER = 1e-10


class Wide(NamedTuple):
    """What the limit foresees: units drawn from it, outputs, and how far the units move."""

    hidden: np.ndarray
    outputs: np.ndarray
    moved: float


def foreseen_wide(
    setting: Setting, scale: float, curriculum: Curriculum, stream: np.random.Generator
) -> Wide:
    """Return what the limit foresees of the end of a curriculum."""
    X, split = setting.inputs, setting.environment.outputs
    phi, psi = functions_of(setting.network)
    # Fixed biases are a part of the function that is applied.
    shifted = phi.expression.subs(ARGUMENT, ARGUMENT + sp.Rational(setting.bias))
    net = Network.mlp([X.shape[1], setting.hidden, split], find_activation(shifted))
    limit = infinite_width(net, weight_variance=scale**2).compile(tolerance=1e-8)
    covariance, kernel = limit(X)
    if setting.direct:
        overlap = X[:, split:] @ X[:, split:].T
        covariance = covariance + scale**2 / setting.groups**2 * overlap
        kernel = kernel + overlap
    covariance[np.diag_indices(len(X))] += _JITTER * np.trace(covariance) / len(X)
    draw = np.linalg.cholesky(covariance) @ stream.standard_normal((len(X), split))
    z = setting.output_bias + draw
    rows = {x.tobytes(): k for k, x in enumerate(X)}

    inner = scale / np.sqrt(X.shape[1]) * stream.standard_normal((X.shape[1], _UNITS))
    readout = scale / np.sqrt(setting.hidden) * stream.standard_normal((split, _UNITS))
    single = len(setting.prompts[0].X)
    before = X @ inner + setting.bias
    value, slope = value_and_slope(phi, before)
    change = np.zeros((single, _UNITS))
    for phase in curriculum.phases:
        task = phase.task
        here = np.array([rows[x.tobytes()] for x in task.X])
        shares = task.sample_weights
        shares = np.full(len(here), 1.0 / len(here)) if shares is None else shares
        pulls = _pulls(psi, kernel[np.ix_(here, here)], z[here], task.Y, shares, phase.duration)
        z = z - kernel[:, here] @ pulls
        change -= (X[:single] @ task.X.T) @ (slope[here] * (pulls @ readout))
    start = value[:single]
    moved = slope[:single] * change
    spread = float(np.std(start - start.mean(axis=0)))
    far = float(np.sqrt((moved**2).mean()))
    return Wide(start + moved, value_and_slope(psi, z)[0], far / spread)


def functions_of(net: Network) -> tuple[Activation, Activation]:
    """Return hidden and output activation of a network of the environment."""
    linear = find_activation("linear")
    phi, psi = (
        node.activation if isinstance(node, Apply) else linear
        for node in (net.node("hidden"), net.output)
    )
    return phi, psi


def _pulls(
    psi: Activation,
    kernel: np.ndarray,
    z: np.ndarray,
    targets: np.ndarray,
    shares: np.ndarray,
    duration: float,
) -> np.ndarray:
    """Return the integrals of the weighted slopes of the loss, (n_samples, n_outputs)."""
    steepest = float(np.abs(value_and_slope(psi, np.linspace(-8.0, 8.0, 401))[1]).max())
    fastest = float(np.linalg.norm(kernel * np.sqrt(np.outer(shares, shares)), 2)) * steepest**2
    # Steps of half the time constant of the fastest direction.
    steps = int(np.ceil(2 * duration * fastest))
    step, pulls = duration / steps, np.zeros_like(z)
    weighted = step * shares[:, None]
    for _ in range(steps):
        value, slope = value_and_slope(psi, z)
        pull = weighted * slope * (value - targets)
        pulls += pull
        z = z - kernel @ pull
    return pulls
