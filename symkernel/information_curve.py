"""What a noisy layer of a law tells of its inputs through training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from symkernel.analysis.decoders import Noise
from symkernel.errors import (
    InvalidArgument,
    OutsideValidity,
    as_choice,
    as_positive,
    as_real_array,
)
from symkernel.information_inputs import BinaryInputs, ClassInputs, GaussianInputs, Inputs
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Gate, Node
from symkernel.theory.information_derivation import CONVENTIONS
from symkernel.theory.information_families import FAMILIES, checked_variance

if TYPE_CHECKING:
    from symkernel.compiled_law import CompiledLaw
    from symkernel.derivation import Derivation
    from symkernel.theory.information_derivation import DerivedFormula
    from symkernel.trajectory import Trajectory

# Times of the grid on which a peak is looked for before it is refined.
_GRID = 200
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class LayerInformation:
    """Information in a layer at flow times, in bits.

    Attributes
    ----------
    times : ndarray, shape (n_times,)
    relevant, irrelevant : ndarray, shape (n_times,)
        About either; see `symkernel.information_curve.information_curve` for what is known.
    noise : Noise
        Absolute, or relative to the layer's units.
    """

    times: np.ndarray
    relevant: np.ndarray
    irrelevant: np.ndarray
    noise: Noise

    def __repr__(self) -> str:
        last = f"relevant {self.relevant[-1]:.4f}, irrelevant {self.irrelevant[-1]:.4f} bits"
        return f"LayerInformation({len(self.times)} times; at the last {last}; {self.noise})"


@dataclass(frozen=True, eq=False)
class InformationCurve:
    r"""Information of $h = W x + \sigma\xi$ about inputs, along a law. Call it with flow times.

    Attributes
    ----------
    derivation : Derivation
        Of the law that gives the layer's weights.
    relevant, irrelevant
        What the information is about, as passed to `information_curve`.
    noise : Noise
    layer : str
        A name of ``network.nodes``.
    inputs : Inputs
        How those that are shown are distributed, and what of them is known.
    values : mapping of Symbol to number, or None
        For the symbols of the problem, if it has any.
    formula : DerivedFormula
        With the steps that lead to it, and their checks.
    """

    derivation: Derivation
    relevant: Any
    irrelevant: Any
    noise: Noise
    layer: str
    inputs: Inputs
    values: Mapping[sp.Symbol, Any] | None

    def __repr__(self) -> str:
        return (
            f"InformationCurve({self.derivation.law.name!r}; relevant {self.relevant!r}, "
            f"irrelevant {self.irrelevant!r}; {self.inputs}; {self.noise})"
        )

    @property
    def formula(self) -> DerivedFormula:
        """The formula in the Gram matrix of the layer's weights, which the law gives."""
        return self.inputs.formula()

    def latex(self, names: Mapping[str, str] | None = None) -> str:
        """Return the formula as an ``aligned`` block."""
        return self.formula.latex(names)

    def save_latex(self, path: str | Path, names: Mapping[str, str] | None = None) -> Path:
        """Write a document to a file: the law's steps and the formula's, each checked, and both.

        Parameters
        ----------
        path : str or Path
        names : mapping of str to str, optional
            LaTeX for the identifiers of symbols.
        """
        from symkernel.check_report import CheckReport
        from symkernel.report.files import save
        from symkernel.report.latex_steps import named, steps_document

        law, formula = self.derivation, self.formula
        steps = (*law.steps, *formula.steps)
        title = f"Information of a layer, along the law {law.law.name}"
        text = steps_document(
            title, law.rank, steps, named([*law.formulas, formula], names),
            conventions=(*law.conventions, *CONVENTIONS, f"the layer is '{self.layer}'"),
            report=CheckReport.of_steps(title, steps), citations=law.law.citations,
            own=dict.fromkeys(law.problem.free_symbols, ""), names=names,
        )  # fmt: skip
        return save(text, path)

    def __call__(self, times: Any, rtol: float | None = None) -> LayerInformation:
        """Return the information at flow times.

        Parameters
        ----------
        times : array_like, shape (n_times,)
        rtol : float, optional
            Of laws that are integrated.
        """
        path = self._compiled(times, rtol)
        network = self._compiled.problem.network
        gram = input_gram(network, path, self.layer)
        both = (self.relevant, self.irrelevant), (self.irrelevant, self.relevant)
        if self.noise.kind == "relative":
            C = self._shown.spread(gram.shape[1], both[0])
            variance = np.einsum("tij,ji->t", gram, C) / int(network.node(self.layer).size)
            # A layer that does not vary tells nothing at any noise.
            gram = gram / np.where(variance > 0, variance, 1.0)[:, None, None]
        found = [self._shown.bits(gram, self.noise.level, one, other) for one, other in both]
        return LayerInformation(path.times, found[0], found[1], self.noise)

    @cached_property
    def _compiled(self) -> CompiledLaw:
        return self.derivation.compile(self.values)

    @cached_property
    def _shown(self) -> Inputs:
        """The inputs; Gaussian ones with the second moment of the tasks if they have no other."""
        if not isinstance(self.inputs, GaussianInputs) or self.inputs.covariance is not None:
            return self.inputs
        phases = self._compiled.problem.curriculum.phases
        first, *others = (phase.task.Sxx for phase in phases)
        if any(np.abs(C - first).max() > _SAME * np.abs(first).max() for C in others):
            raise InvalidArgument(
                "Argument 'covariance' must be given, because the inputs have another one in each "
                "phase: information depends on whose inputs are shown."
            )
        return replace(self.inputs, covariance=np.asarray(first))

    def peak(self, until: float, of: str = "irrelevant") -> tuple[float, float]:
        """Return when, up to a flow time, the information is largest, and how large.

        Parameters
        ----------
        until : float
            Flow time, positive.
        of : {"irrelevant", "relevant"}

        Raises
        ------
        OutsideValidity
            If it is largest at one of the ends: there is no hump.
        """
        from scipy.optimize import minimize_scalar

        side = as_choice(of, "of", ("irrelevant", "relevant"))
        grid = np.linspace(0.0, as_positive(until, "until"), _GRID + 1)
        bits = getattr(self(grid), side)
        top = int(bits.argmax())
        if top in (0, _GRID):
            end = "start" if top == 0 else "end"
            raise OutsideValidity(
                f"The {side} information is largest at the {end} of the times from 0 to {until:g}: "
                f"it has no hump there."
            )
        found = minimize_scalar(
            lambda time: -float(getattr(self([0.0, time]), side)[-1]),
            bounds=(grid[top - 1], grid[top + 1]),
            method="bounded",
            options={"xatol": 1e-7 * until},
        )
        return float(found.x), -float(found.fun)


def input_gram(network: Network, path: Trajectory, layer: str) -> np.ndarray:
    r"""Return $W^T W$ through time of the map W from inputs to a layer, (n_times, I, I).

    Raises
    ------
    OutsideValidity
        If the law does not determine it.
    """
    node = network.node(layer)
    first = network.is_chain and node.children == (network.node("input"),)
    if first and "input_gram" in path.available:
        return float(network.parameters[0].scale) ** 2 * path.input_gram
    from symkernel.simulation.activity import activity

    # Of a layer with biases the part that the inputs make.
    shown = np.vstack([np.zeros(network.inputs), np.eye(network.inputs)])
    found = []
    for k in range(len(path.times)):
        held = {name: array[k] for name, array in path.weights.items()}
        base, *columns = activity(network, held, shown, layer)
        map_ = np.array(columns) - base
        found.append(map_ @ map_.T)
    return np.array(found)


def refuse_nonlinear(node: Node, layer: str) -> None:
    """Refuse a layer that gates or activations bend."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        bent = isinstance(one, Apply) and not one.activation.is_linear
        if bent or isinstance(one, Gate):
            what = f"activation {one.activation.name}" if isinstance(one, Apply) else "gates"
            raise OutsideValidity(
                f"The layer '{layer}' is no linear function of the inputs ({what}), and what it "
                f"tells of them has no closed form; measure it with sk.usable_information."
            )
        waiting += one.children


def information_curve(
    derivation: Derivation,
    *,
    relevant: Any,
    irrelevant: Any,
    noise: float | Noise,
    layer: str = "hidden",
    inputs: str = "gaussian",
    covariance: Any = None,
    family: str = "full covariance",
    variance: Any = None,
    marginal: bool = False,
    values: Mapping[sp.Symbol, Any] | None = None,
) -> InformationCurve:
    r"""Return what a noisy linear layer of a law tells of inputs, as ``law.information(...)``.

    Parameters
    ----------
    derivation : Derivation
        By any law that determines $W^T W$, W being the map from inputs to the layer.
    relevant, irrelevant : int, sequence of int, or array_like of shape (k, n_inputs)
        Inputs, or directions as rows; the information about either is that beside the other.
    noise : float or Noise
        Standard deviation of the noise of the layer's units; or as of `sk.usable_information`, say
        ``sk.analysis.Noise("relative", 0.3)``.
    layer : str
        A name of ``network.nodes`` that is linear in the inputs.
    inputs : {"gaussian", "binary", "one-hot"}
        How those that are shown are distributed. Gaussian; or 1 and -1, independent and equally
        likely: about one input where all others are known; or classes: of the relevant inputs one
        is 1, of the irrelevant ones one is 1, all equally likely. Classes must be at one distance
        in the layer, as two always are.
    covariance : array_like, shape (n_inputs, n_inputs), optional
        Of Gaussian inputs; the second moment of the tasks by default.
    family : {"full covariance", "scalar variance", "fixed variance"}
        Of decoders of Gaussian inputs, as of `sk.information.v_information`: the first has
        Shannon's information.
    variance : float, optional
        Of the last family.
    marginal : bool
        Whether nothing else is known, in place of the other inputs; for inputs of two values and
        for classes where the layer's weights keep them apart.
    values : mapping of Symbol to number, optional
        A value for every symbol of the problem.

    Returns
    -------
    InformationCurve
        To be called with flow times.

    Raises
    ------
    OutsideValidity
        If gates or activations make the layer another function of the inputs than a linear one.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> X = np.sqrt(2) * np.array([[1, 0.8], [0, 0.6]])  # two inputs of correlation 0.8
    >>> net = sk.Network.two_layer(inputs=2, hidden=4, outputs=1)
    >>> w0 = sk.weights.semi_orthogonal(net, a=0.1, b=0.1)
    >>> law = sk.derive(net, sk.Task(X, X[:, :1]), w0)
    >>> curve = law.information(relevant=0, irrelevant=1, noise=0.2)
    >>> found = curve([0.0, 3.0, 100.0])  # a hump: up, and back to where it was
    >>> assert found.irrelevant[1] > 1.2 * found.irrelevant[0]
    >>> assert np.isclose(found.irrelevant[2], found.irrelevant[0])
    """
    kind = as_choice(inputs, "inputs", ("gaussian", "binary", "one-hot"))
    own = None if covariance is None else as_real_array(covariance, "covariance", 2)
    size = noise if isinstance(noise, Noise) else Noise("absolute", as_positive(noise, "noise"))
    if size.kind == "none":
        raise InvalidArgument(
            "Argument 'noise' must be absolute or relative: without noise a linear layer holds all "
            "that it reads."
        )
    decoders = as_choice(family, "family", FAMILIES)
    if kind != "gaussian" and (decoders != FAMILIES[0] or own is not None):
        raise InvalidArgument(
            f"Arguments 'family' and 'covariance' must be left out for {kind} inputs: they are of "
            f"Gaussian ones."
        )
    if not isinstance(marginal, (bool, np.bool_)):
        raise InvalidArgument(f"Argument 'marginal' must be True or False, not {marginal!r}.")
    number = None if variance is None else as_positive(variance, "variance")
    spread = checked_variance(decoders, number)
    refuse_nonlinear(derivation.problem.network.node(layer), layer)
    shown: Inputs = GaussianInputs(bool(marginal), own, decoders, spread)
    if kind != "gaussian":
        shown = (BinaryInputs if kind == "binary" else ClassInputs)(bool(marginal))
    return InformationCurve(derivation, relevant, irrelevant, size, layer, shown, values)
