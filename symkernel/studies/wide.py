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
from symkernel.problem.moments import shares_of
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply
from symkernel.studies.prompt_kernels import PromptKernel, PromptScheme
from symkernel.studies.setting import Setting
from symkernel.theory.infinite_width import infinite_width

# Units that are drawn: correlations over them are those of the limit to about 1/sqrt of them.
_UNITS = 4096
# Midpoint steps in the time constant of the fastest direction.
_FINENESS = 2
# Numbers that are held at a time for the prompts that are trained on.
_AT_ONCE = 2**24


class AtEnd(NamedTuple):
    """What is foreseen: hidden activity, outputs, how far units or the kernel move."""

    hidden: np.ndarray
    outputs: np.ndarray
    moved: float


class Units(NamedTuple):
    """Hidden units: weights from the inputs (n_inputs, n), to the outputs (n_outputs, n)."""

    inner: np.ndarray
    readout: np.ndarray

    def moved_by(
        self, phi: Activation, bias: float, X: np.ndarray, pulls: np.ndarray
    ) -> np.ndarray:
        """Return how the weights from the inputs move, by pulls (n_samples, n_outputs) at X."""
        moved = np.empty_like(self.inner)
        some = max(1, _AT_ONCE // len(X))
        for start in range(0, moved.shape[1], some):
            part = slice(start, start + some)
            slope = value_and_slope(phi, X @ self.inner[:, part] + bias)[1]
            moved[:, part] = -X.T @ (slope * (pulls @ self.readout[:, part]))
        return moved


def foreseen_wide(
    setting: Setting, scale: float, curriculum: Curriculum, stream: np.random.Generator
) -> AtEnd:
    """Return what the limit foresees of the end of a curriculum."""
    env, (phi, psi) = setting.environment, functions_of(setting.network)
    covariance, kernel = limit_kernels(setting, scale)
    z = setting.output_bias + covariance.drawn(stream, env.outputs)
    units = Units(
        scale / np.sqrt(env.inputs) * stream.standard_normal((env.inputs, _UNITS)),
        scale / np.sqrt(setting.hidden) * stream.standard_normal((env.outputs, _UNITS)),
    )
    change = np.zeros_like(units.inner)
    for phase in curriculum.phases:
        task = phase.task
        here = kernel.scheme.sets_of(task.X)
        shape = len(here), *z.shape[1:]
        shares = shares_of(task)
        pulls = integrated_pulls(
            psi, kernel.between(here, here), z[here], task.Y.reshape(shape),
            shares.reshape(shape[:2]), phase.duration,
        )  # fmt: skip
        z = z - kernel.between(slice(None), here) @ pulls
        change += units.moved_by(phi, setting.bias, task.X, pulls.reshape(len(task.X), -1))
    single = setting.prompts[0].X
    start, slope = value_and_slope(phi, single @ units.inner + setting.bias)
    moved = slope * (single @ change)
    spread = float(np.std(start - start.mean(axis=0)))
    far = float(np.sqrt((moved**2).mean()))
    outputs = value_and_slope(psi, z)[0].reshape(-1, env.outputs)
    return AtEnd(start + moved, outputs, far / spread)


def limit_kernels(setting: Setting, scale: float) -> tuple[PromptKernel, PromptKernel]:
    """Return covariance and tangent kernel of the limit, with the direct path if there is one."""
    env, (phi, _) = setting.environment, functions_of(setting.network)
    # Fixed biases are a part of the function that is applied.
    shifted = phi.expression.subs(ARGUMENT, ARGUMENT + sp.Rational(setting.bias))
    net = Network.mlp([env.inputs, setting.hidden, env.outputs], find_activation(shifted))
    limit = infinite_width(net, weight_variance=scale**2).compile(tolerance=1e-8)
    scheme = PromptScheme(env)
    covariance, kernel = scheme.values(limit)
    if setting.direct:
        overlap = scheme.overlap[:, :, None]
        covariance = covariance + scale**2 / setting.groups**2 * overlap
        kernel = kernel + overlap
    return scheme.kernel(covariance), scheme.kernel(kernel)


def functions_of(net: Network) -> tuple[Activation, Activation]:
    """Return hidden and output activation of a network of the environment."""
    linear = find_activation("linear")
    phi, psi = (
        node.activation if isinstance(node, Apply) else linear
        for node in (net.node("hidden"), net.output)
    )
    return phi, psi


def integrated_pulls(
    psi: Activation,
    kernel: PromptKernel,
    z: np.ndarray,
    targets: np.ndarray,
    shares: np.ndarray,
    duration: float,
) -> np.ndarray:
    """Return the integrals of the weighted slopes of the loss over a phase.

    Parameters
    ----------
    psi : Activation
    kernel : PromptKernel
        Of the prompts that are trained on.
    z, targets : ndarray, shape (n_sets, n_stimuli, n_outputs)
    shares : ndarray, shape (n_sets, n_stimuli)
        Weights of the prompts, alike for all stimuli.
    duration : float
    """
    steepest = float(np.abs(value_and_slope(psi, np.linspace(-8.0, 8.0, 401))[1]).max())
    fastest = kernel.largest(shares[:, 0]) * steepest**2
    steps = int(np.ceil(_FINENESS * duration * fastest))
    pulls, weighted = np.zeros_like(z), duration / steps * shares[:, :, None]

    def pull(z: np.ndarray) -> np.ndarray:
        value, slope = value_and_slope(psi, z)
        return weighted * slope * (value - targets)

    for _ in range(steps):
        found = pull(z - kernel @ (pull(z) / 2))
        pulls += found
        z = z - kernel @ found
    return pulls
