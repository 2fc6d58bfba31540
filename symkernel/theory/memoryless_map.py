r"""From the end-to-end map alone to hidden similarity and tangent kernel, whatever was trained on.

Where $-GJ$ has two eigenvalues, $-\alpha$ as often as there are inputs and $\beta$ as often as
there are outputs, gradient flow keeps them for any loss and any schedule of data, and
$A = -\lambda/2 + \sqrt{k^2 + W^TW}$, $B = \lambda/2 + \sqrt{k^2 + WW^T}$ with
$\lambda = \beta - \alpha$, $2k = \alpha + \beta$.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from symkernel.errors import (
    InvalidArgument,
    NoClosedForm,
    ShapeMismatch,
    as_real_array,
    refuse_large,
)
from symkernel.formula import Verdict
from symkernel.numerics import root_products
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import Network
from symkernel.problem.weights import Weights
from symkernel.theory.mode_state import TOLERANCE
from symkernel.theory.two_layer import TwoLayer, canonical_form

_ENTRY = """

@numba.njit(
    "void(float64[:, :, ::1], float64[::1], float64[::1], float64[:, :, ::1], float64[:, :, ::1])",
    cache=True,
    nogil=True,
    error_model="numpy",
)
def products(maps, alphas, betas, A, B):
    for k in range(maps.shape[0]):
        A[k], B[k] = root_products(maps[k], alphas[k], betas[k])
"""


@lru_cache(maxsize=1)
def products_source() -> str:
    """Return the module of the products, to which the law adds its own routine."""
    return inspect.getsource(root_products) + _ENTRY


def compiled(source: str) -> ModuleType:
    """Return a compiled module."""
    from symkernel.codegen.cache import load

    return load(source, "root_products")


def products(
    maps: np.ndarray, alphas: np.ndarray, betas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return A and B of canonical maps, (n_maps, n_outputs, n_inputs), and of their two values."""
    count, n_out, n_in = maps.shape
    A, B = np.empty((count, n_in, n_in)), np.empty((count, n_out, n_out))
    compiled(products_source()).products(np.ascontiguousarray(maps), alphas, betas, A, B)
    return A, B


@dataclass(frozen=True)
class TwoValues:
    r"""The spectrum of $-GJ$, that of the conserved matrix: two values, or how far from that.

    Attributes
    ----------
    alpha, beta : float
        Means of the eigenvalues that belong to inputs (turned positive) and to outputs.
    spread : float
        Largest distance of an eigenvalue from its mean, over their difference $\alpha + \beta$.
        Gradient flow does not change it.
    """

    alpha: float
    beta: float
    spread: float

    @classmethod
    def of(cls, factor: np.ndarray, n_inputs: int) -> TwoValues:
        """Return the spectrum from the stacked canonical weights."""
        n, size = len(factor), float(np.linalg.norm(factor, 2)) ** 2
        first, second = factor[:n_inputs], factor[n_inputs:]
        found = np.linalg.eigvalsh(second.T @ second - first.T @ first)
        # G J has as many eigenvalues as inputs and outputs; fewer hidden units leave zeros, and
        # more of them zeros of the conserved matrix that are none of G J.
        low, high = found[:n_inputs], found[max(len(found) - (n - n_inputs), 0) :]
        inputs = np.minimum(np.pad(low, (0, n_inputs - len(low))), 0.0)
        outputs = np.maximum(np.pad(high, (0, n - n_inputs - len(high))), 0.0)
        alpha, beta = -float(inputs.mean()), float(outputs.mean())
        gap = alpha + beta
        off = max(np.abs(inputs + alpha).max(), np.abs(outputs - beta).max())
        return cls(alpha, beta, float(off) / gap if gap > TOLERANCE * size else np.inf)

    def verdict(self, law: str) -> Verdict:
        """Test that there are two values, which differ."""
        advice = (
            "start from sk.weights.semi_orthogonal; Gaussian weights come near with the root of "
            "the width"
        )
        if not np.isfinite(self.spread):
            words = "the weights are not balanced: W2^T W2 - W1 W1^T is not 0"
            return Verdict(law, words, False, np.inf, 0.0, advice)
        words = "W2^T W2 - W1 W1^T has one value on all inputs, and one on all outputs"
        return Verdict(law, words, self.spread <= TOLERANCE, self.spread, TOLERANCE, advice)

    def products(self, maps: np.ndarray, shrunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return A and B of canonical maps; `shrunk` is what weight decay left of the values."""
        return products(maps, self.alpha * shrunk, self.beta * shrunk)


@dataclass(frozen=True, eq=False)
class MemorylessGram:
    r"""Hidden similarity and tangent kernel as functions of the present end-to-end map alone.

    Made by `symkernel.memoryless_gram`. Every method takes one map, shape (n_outputs, n_inputs),
    or several, shape (n_maps, n_outputs, n_inputs), and returns one result or several.

    Attributes
    ----------
    network : Network
    form : TwoLayer
        Its flow in canonical units.
    values : TwoValues
        Of the initial weights, in these units.
    """

    network: Network
    form: TwoLayer
    values: TwoValues

    @cached_property
    def _units(self) -> tuple[float, float, float]:
        return float(self.form.rho1), float(self.form.rho2), float(self.form.scale)

    def _products(self, end_to_end: Any) -> tuple[np.ndarray, np.ndarray, bool]:
        many = np.ndim(end_to_end) == 3
        maps = as_real_array(end_to_end, "end_to_end", 3 if many else 2)
        shape = (int(self.network.outputs), int(self.network.inputs))
        if maps.shape[-2:] != shape:
            raise ShapeMismatch(
                f"Argument 'end_to_end' must hold maps of shape {shape}, (outputs, inputs) of the "
                f"network, not {maps.shape[-2:]}."
            )
        first, second, scale = self._units
        canonical = maps.reshape(-1, *shape) / (scale * first * second)
        A, B = self.values.products(canonical, np.ones(len(canonical)))
        return first**2 * A, second**2 * B, many

    def input_gram(self, end_to_end: Any) -> np.ndarray:
        """Return $W_1^T W_1$, shape (..., n_inputs, n_inputs)."""
        A, _, many = self._products(end_to_end)
        return A if many else A[0]

    def readout_gram(self, end_to_end: Any) -> np.ndarray:
        """Return $W_2 W_2^T$, shape (..., n_outputs, n_outputs)."""
        _, B, many = self._products(end_to_end)
        return B if many else B[0]

    def _samples(self, X: Any) -> np.ndarray:
        samples = as_real_array(X, "X", 2)
        if samples.shape[1] != int(self.network.inputs):
            raise ShapeMismatch(
                f"Argument 'X' must have one column for each of the {self.network.inputs} inputs, "
                f"not {samples.shape[1]}."
            )
        return samples

    def hidden_gram(self, end_to_end: Any, X: Any) -> np.ndarray:
        """Return inner products of hidden activities, shape (..., n_samples, n_samples)."""
        samples = self._samples(X)
        A, _, many = self._products(end_to_end)
        refuse_large((len(A), len(samples), len(samples)), "hidden_gram")
        inner = float(self.network.parameters[0].scale)
        found = inner**2 * (samples @ A @ samples.T)
        return found if many else found[0]

    def ntk(self, end_to_end: Any, X: Any) -> np.ndarray:
        """Return the NTK with the layers' rates, (..., n_samples, n_outputs, n_samples, n_outputs).

        It is that of the flow without the loss's own factor.
        """
        samples = self._samples(X)
        A, B, many = self._products(end_to_end)
        n, o = len(samples), B.shape[1]
        refuse_large((len(A), n, o, n, o), "ntk")
        (inner, first), (outer, second) = (
            (float(p.scale), float(p.rate)) for p in self.network.parameters
        )
        similar = first * (inner * outer) ** 2 * (samples @ samples.T)
        activity = second * (inner * outer) ** 2 * (samples @ A @ samples.T)
        kernel = similar[None, :, None, :, None] * B[:, None, :, None, :]
        kernel = kernel + activity[:, :, None, :, None] * np.eye(o)[None, None, :, None, :]
        return kernel if many else kernel[0]


def memoryless_gram(network: Network, weights: Weights) -> MemorylessGram:
    r"""Return hidden similarity and kernel as functions of the end-to-end map, for any training.

    From these initial weights gradient flow on ANY loss of the output, over any schedule of any
    data, keeps

    $W_1^TW_1 = -\lambda/2 + \sqrt{k^2 + W^TW}$, $W_2W_2^T = \lambda/2 + \sqrt{k^2 + WW^T}$,
    $W = W_2W_1$

    (one learning rate and plain parameterisation written out; without weight decay).

    Parameters
    ----------
    network : Network
        Two dense linear layers.
    weights : Weights
        Initial weights, say of `symkernel.weights.semi_orthogonal`.

    Raises
    ------
    NoClosedForm
        If the weights are not of the class; ``error.verdicts`` says by how much.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(inputs=2, hidden=5, outputs=1)
    >>> gram = sk.memoryless_gram(net, sk.weights.semi_orthogonal(net, a=0.5, b=0.5))
    >>> found = gram.input_gram([[1.2, 0.0]])  # whatever loss and data led to this map
    >>> assert np.allclose(found, np.diag([1.3, 0.5]))
    """
    if not isinstance(network, Network) or not isinstance(weights, Weights):
        raise InvalidArgument(
            f"Arguments 'network' and 'weights' must be a Network and Weights, not {network!r} and "
            f"{weights!r}."
        )
    if not network.is_numeric or weights.values is None:
        raise InvalidArgument(
            "Arguments 'network' and 'weights' must hold numbers, not symbols; give values."
        )
    form = canonical_form(network, SquaredError())
    arrays = weights.arrays
    for parameter in network.parameters:
        found = arrays[parameter.name].shape if parameter.name in arrays else None
        if found != tuple(int(n) for n in parameter.shape):
            raise ShapeMismatch(
                f"Argument 'weights' must hold '{parameter.name}' of shape {parameter.shape}, not "
                f"{found}."
            )
    factor = np.vstack([
        arrays[form.first].T / float(form.rho1),
        arrays[form.second] / float(form.rho2),
    ])  # fmt: skip
    values = TwoValues.of(factor, int(network.inputs))
    verdict = values.verdict("memoryless_gram")
    if not verdict.holds:
        raise NoClosedForm(f"The weights are not of the class:\n  {verdict}", (verdict,))
    return MemorylessGram(network, form, values)
