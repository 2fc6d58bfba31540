r"""The quotient of a problem by its permutation symmetries: a smaller problem, exactly.

Weights that no permutation of the group changes are mapped onto each other by gradient descent:
the loss is the same at weights that the group maps to each other, so that its gradient at a fixed
point is fixed too. On this manifold every entry of a weight equals those that the group maps it to,
and samples that the group maps to each other have the same loss: one of each suffices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symkernel.errors import InvalidArgument, ShapeMismatch, as_real_array
from symkernel.problem.automorphisms import orbits
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import Network
from symkernel.problem.permutations import Symmetries, symmetries
from symkernel.problem.task import Task
from symkernel.problem.tied_network import SmallNetwork, small_network
from symkernel.problem.tied_weights import TiedNetwork
from symkernel.problem.weights import Weights, from_arrays

# How far fixed parameters may be from what the symmetry allows, relative to the largest entry.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Quotient:
    """A problem restricted to the weights that its symmetries leave as they are.

    Attributes
    ----------
    original : Network
    original_curriculum : Curriculum
    symmetries : Symmetries
        The group by which is divided.
    small : SmallNetwork
        How `network` is made, and what it reads of the inputs.
    tied : TiedNetwork
        Which entries of which parameter are tied.
    curriculum : Curriculum
        The smaller tasks: one sample of each orbit, with the weight of all.
    """

    original: Network
    original_curriculum: Curriculum
    symmetries: Symmetries
    small: SmallNetwork
    tied: TiedNetwork
    curriculum: Curriculum

    @property
    def network(self) -> Network:
        """The smaller network, whose parameters are coordinates of tied weights."""
        return self.small.network

    def __repr__(self) -> str:
        tasks = dict.fromkeys(phase.task for phase in self.curriculum.phases)
        samples = ", ".join(str(len(task.X)) for task in tasks)
        full = ", ".join(str(len(task.X)) for task in self.symmetries.samples.tasks)
        count, all_of = (
            sum(int(np.prod(p.shape)) for p in net.parameters if p.trained)
            for net in (self.network, self.original)
        )
        return (
            f"Quotient(by {self.symmetries.order} permutations: {samples} samples for {full}, "
            f"{count} weights for {all_of})"
        )

    def reduce(self, weights: Weights) -> Weights:
        r"""Return the coordinates of the part of weights that the symmetries leave as it is.

        Raises
        ------
        InvalidArgument
            If a parameter that is not trained differs between units that are mapped to each other.
        ShapeMismatch
            For weights of another network.
        """
        arrays = self._arrays(weights)
        found = {name: tie.reduced(arrays[name]) for name, tie in self.tied.ties.items()}
        for name in (p.name for p in self.original.parameters if not p.trained):
            rest = float(np.abs(self.tied.ties[name].rest(arrays[name])).max())
            if rest > _ROUNDING * float(np.abs(arrays[name]).max()):
                raise InvalidArgument(
                    f"Parameter '{name}' is not trained and differs, by {rest:.3g} from its mean, "
                    f"between units that the symmetry maps to each other, so that it is no "
                    f"symmetry of the network; make it the same for them."
                )
        return from_arrays(self.network, {**found, **self.small.constants})

    def lift(self, weights: Weights | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the weights of the original network from coordinates.

        Parameters
        ----------
        weights : Weights, or mapping of str to ndarray
            Of the smaller network; with a first axis for time if they are ``trajectory.weights``.

        Returns
        -------
        dict of str to ndarray
            By name, with the same first axis.
        """
        shapes = {name: tie.shape for name, tie in self.tied.ties.items()}
        given = _checked(weights, shapes, "of the smaller network")
        return {name: tie.lifted(given[name]) for name, tie in self.tied.ties.items()}

    def project(self, weights: Weights) -> Weights:
        """Return the nearest weights that the symmetries leave as they are: means over orbits."""
        return from_arrays(self.original, self.lift(self.reduce(weights)))

    def transverse(self, weights: Weights | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what is left of weights without their projection, by name.

        Parameters
        ----------
        weights : Weights, or mapping of str to ndarray
            Of the original network; with a first axis for time if they are ``trajectory.weights``.
        """
        given = self._arrays(weights)
        return {name: tie.rest(given[name]) for name, tie in self.tied.ties.items()}

    def _arrays(self, weights: object) -> dict[str, np.ndarray]:
        """Return weights of the original network, with a first axis for time or without."""
        shapes = {p.name: tuple(p.shape) for p in self.original.parameters}
        return _checked(weights, shapes, "of the original network")


def _checked(
    weights: object, shapes: Mapping[str, tuple[int, ...]], whose: str
) -> dict[str, np.ndarray]:
    given = weights.arrays if isinstance(weights, Weights) else weights
    if not isinstance(given, Mapping):
        raise InvalidArgument(
            f"Argument 'weights' must be Weights {whose}, or a mapping of arrays, not {weights!r}."
        )
    found = {}
    for name, shape in shapes.items():
        value: Any = given.get(name)
        ndim = len(shape) + (np.ndim(value) == len(shape) + 1)
        found[name] = as_real_array(value, f"weights[{name!r}]", ndim)
        if found[name].shape[-len(shape) :] != shape:
            raise ShapeMismatch(
                f"Argument 'weights' must hold '{name}' of shape {shape}, {whose}, not "
                f"{found[name].shape}."
            )
    return found


def quotient(
    net: Network,
    curriculum: Task | Curriculum,
    fixing: object = (),
    generators: object = None,
) -> Quotient:
    r"""Return a problem divided by its permutation symmetries, which are found from the data.

    Parameters
    ----------
    net : Network
        With numbers, without gates.
    curriculum : Task or Curriculum
        Tasks with samples.
    fixing : str, slice, int, or sequence of them
        What the permutations leave where it is: inputs, by the name of a weight that reads them or
        by their numbers; or "output". `symmetries` lists what there is. Nothing by default: the
        quotient is by all symmetries, and smallest.
    generators : sequence of (inputs, outputs), optional
        Permutations to divide by, in place of those that are found: where every input goes, and
        where every output.

    Returns
    -------
    Quotient

    Raises
    ------
    InvalidArgument
        If there is no such symmetry, or it moves units in a way that is not covered: diagonal
        weights, weights in several places, inputs that are used without a dense weight.

    Notes
    -----
    Exact for full-batch gradient descent from weights on the manifold, with any rates of
    parameters and weight decay. From others it is the predictor "project, then train": what is left
    out, the transverse part, is small against the rest as long as it grows little.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> env = sk.environments.Multitasking(groups=3, features=3)
    >>> net = env.network(hidden=20)
    >>> quotient = sk.quotient(net, env.single.task, fixing="W_s")  # the stimulus stays
    >>> assert len(quotient.curriculum.phases[0].task.X) == 243 / 3
    >>> w0 = env.weights(net, scale=0.1)
    >>> start = quotient.reduce(w0)
    >>> small = sk.simulate(quotient.network, quotient.curriculum, start, 20.0, steps=9)
    >>> full = sk.simulate(net, env.single.task, quotient.project(w0), 20.0, steps=9)
    >>> lifted = quotient.lift(small.weights)
    >>> assert all(np.allclose(lifted[name], w, atol=1e-13) for name, w in full.weights.items())
    """
    whole = symmetries(net, curriculum, generators)
    found = whole.fixing(fixing)
    if not found.generators:
        raise InvalidArgument(_none(whole))
    tied = TiedNetwork(net, found)
    small = small_network(tied)
    course = Curriculum.of(curriculum)
    tasks = _representatives(found, small.features)
    phases = [Phase(tasks[phase.task], phase.duration) for phase in course.phases]
    return Quotient(net, course, found, small, tied, Curriculum(phases))


def _none(found: Symmetries) -> str:
    """Return why there is nothing to divide by."""
    if not found.generators:
        return (
            "The task and the network have no permutation symmetry: no permutation of inputs and "
            "outputs but the identity maps the samples of every phase, and the slices of inputs "
            "that the network reads, onto themselves."
        )
    choices = ", ".join(f"{name!r} (order {one.order})" for name, one in found.factors.items())
    return (
        f"Argument 'fixing' must leave some permutation, but none of the {found.order} of this "
        f"problem, other than the identity, leaves all that where it is; "
        f"{f'fix one of {choices}' if choices else 'fix less'}."
    )


def _representatives(found: Symmetries, features: np.ndarray) -> dict[Task, Task]:
    """Return each task with one sample of every orbit, which has the weight of all."""
    samples = found.samples
    moves = [samples.table.row_move(np.array(g)) for g in found.generators]
    label = orbits(moves, len(samples.task))
    _, first = np.unique(label, return_index=True)
    mass = np.bincount(label, samples.weights)
    return {
        task: _part(task, samples.first[mine], mass[samples.task[first] == k], features)
        for k, task in enumerate(samples.tasks)
        for mine in [first[samples.task[first] == k]]
    }


def _part(task: Task, chosen: np.ndarray, weights: np.ndarray, features: np.ndarray) -> Task:
    labels = {
        key: names if key == "outputs" else tuple(names[k] for k in chosen)
        for key, names in task.labels.items()
        if key != "inputs"
    }
    alike = np.ptp(weights) <= _ROUNDING * weights.max()
    shares = {} if alike else {"sample_weights": weights / weights.sum()}
    history = (*task.history, f"one of each orbit of {len(task.X)} samples")
    return Task(task.X[chosen] @ features, task.Y[chosen], labels, history=history, **shares)
