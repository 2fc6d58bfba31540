r"""Stimulus and response groups: many tasks over the same inputs and outputs, alone or at once.

The stimulus is G groups of M one-hot features, the task input is one-hot over the tasks (i, j), the
response is G groups of M units: task (i, j) copies the feature of stimulus group i to response
group j. A concurrent prompt switches on several tasks that share neither a stimulus group nor a
response group.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symkernel.environments.symbolic_multitasking import SymbolicMultitasking
from symkernel.errors import (
    InvalidArgument,
    ShapeMismatch,
    as_count,
    as_positive,
    as_real,
    as_seed,
    did_you_mean,
    refuse_large,
)
from symkernel.problem.activation import activation as find_activation
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import ActivationLike, Network
from symkernel.problem.nodes import Apply, Input, Node, Parameter
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights, from_arrays, require_numeric

CURRICULA = ("single", "concurrent", "single, concurrent", "concurrent, single", "interleaved")


@dataclass(frozen=True, eq=False)
class Prompts:
    """Inputs and targets of prompts, with the tasks that each of them switches on.

    Attributes
    ----------
    environment : Multitasking
    sets : tuple of tuple of int
        Sets of tasks, by number.
    X : ndarray, shape (n_prompts, G M + G^2)
        Stimulus, then task input; prompts stand set by set, all stimuli for each.
    Y : ndarray, shape (n_prompts, G M)
        1 for the feature that a switched-on task copies, 0 for every other unit.
    stimuli : ndarray of int, shape (n_prompts, G)
        The feature of every stimulus group.
    """

    environment: Multitasking
    sets: tuple[tuple[int, ...], ...]
    X: np.ndarray
    Y: np.ndarray
    stimuli: np.ndarray

    def __repr__(self) -> str:
        return f"Prompts({len(self.X)} prompts of {len(self.sets)} sets of tasks)"

    @cached_property
    def set_of(self) -> np.ndarray:
        """Return the position of each prompt's set in `sets`, shape (n_prompts,)."""
        return np.repeat(np.arange(len(self.sets)), len(self.X) // len(self.sets))

    @cached_property
    def task(self) -> Task:
        """The prompts as a task; samples are labelled by the sets of tasks they switch on."""
        names = [" and ".join(self.environment.name(k) for k in chosen) for chosen in self.sets]
        return Task(self.X, self.Y, {"tasks": [names[k] for k in self.set_of]})

    @cached_property
    def congruent(self) -> np.ndarray:
        """Whether all features that are to be copied are the same, shape (n_prompts,) of bool."""
        read = [[self.environment.tasks[k][0] for k in chosen] for chosen in self.sets]
        rows = zip(self.stimuli, self.set_of, strict=True)
        return np.array([len({row[i] for i in read[k]}) == 1 for row, k in rows])

    def correct(self, outputs: object) -> np.ndarray:
        """Return whether every addressed response group has its largest output in the right place.

        Parameters
        ----------
        outputs : array_like, shape (..., n_prompts, G M)

        Returns
        -------
        ndarray of bool, shape (..., n_prompts)
        """
        try:
            found = np.asarray(outputs, dtype=float)
        except (TypeError, ValueError) as error:
            raise InvalidArgument(
                f"Argument 'outputs' must be an array of real numbers, not {outputs!r}."
            ) from error
        if found.shape[-2:] != self.Y.shape:
            raise ShapeMismatch(
                f"Argument 'outputs' must end in the shape {self.Y.shape} of these prompts' "
                f"targets, not {found.shape}."
            )
        G, M = self.environment.groups, self.environment.features
        chosen = found.reshape(*found.shape[:-1], G, M).argmax(-1)
        target = self.Y.reshape(len(self.Y), G, M)
        addressed = target.any(-1)
        return ((chosen == target.argmax(-1)) | ~addressed).all(-1)

    def accuracy(self, outputs: object, congruent: bool | None = None) -> np.ndarray:
        """Return the share of prompts that are answered right.

        Parameters
        ----------
        outputs : array_like, shape (..., n_prompts, G M)
        congruent : bool, optional
            Count congruent prompts alone, or incongruent ones alone; all by default.

        Returns
        -------
        ndarray, shape (...)
        """
        right = self.correct(outputs)
        chosen = np.full(len(self.X), True) if congruent is None else self.congruent == congruent
        if not chosen.any():
            words = "congruent" if congruent else "incongruent"
            raise InvalidArgument(
                f"None of these {len(self.X)} prompts is {words}: prompts of one task are all "
                f"congruent; leave 'congruent' out."
            )
        return right[..., chosen].mean(-1)


@dataclass(frozen=True)
class Multitasking:
    r"""G stimulus groups and G response groups of M features each, and the tasks between them.

    Parameters
    ----------
    groups : int or SymPy expression
        G, at least 2. With a symbol in either place the result is a `SymbolicMultitasking`,
        which has closed forms in place of arrays.
    features : int or SymPy expression
        M, at least 2.

    Notes
    -----
    The environment of [1]_, as studied by [2]_. There are $T = G^2$ tasks, $T M^G$ prompts of a
    single task, and $\binom{G}{K}^2 K!$ sets of K tasks that can be done at once.

    References
    ----------
    .. [1] S. Musslick, A. Saxe, K. Ozcimder, B. Dey, G. Henselman, J. D. Cohen, "Multitasking
       capability versus learning efficiency in neural network architectures", CogSci (2017).
    .. [2] R. Pyle, S. Musslick, J. D. Cohen, A. B. Patel, arXiv:2307.07575 (2023).

    Examples
    --------
    >>> import symkernel as sk
    >>> env = sk.environments.Multitasking(groups=3, features=3)
    >>> assert env.prompts(env.task_sets(1)).X.shape == (243, 18)
    >>> assert [len(env.task_sets(K)) for K in (1, 2, 3)] == [9, 18, 6]

    What is right at the end of each phase, by the weights that were reached there:

    >>> net = env.network(hidden=30)
    >>> course = env.curriculum("single, concurrent", 20, single=200, concurrent=100)
    >>> ends = [4000.0, 6000.0]
    >>> run = sk.simulate(net, course, env.weights(net, scale=2, seed=1000), 20, record=ends)
    >>> for row in range(2):
    ...     reached = {name: w[row] for name, w in run.weights.items()}
    ...     both = sk.activity(net, reached, env.concurrent.X)
    ...     right = env.concurrent.accuracy(both, congruent=False)
    >>> assert right > 0.9
    """

    groups: int
    features: int

    def __new__(cls, groups: Any = None, features: Any = None) -> Any:
        """Return the environment, for symbols the one in closed form."""
        if any(isinstance(size, sp.Expr) and size.free_symbols for size in (groups, features)):
            return SymbolicMultitasking(groups, features)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name in ("groups", "features"):
            object.__setattr__(self, name, as_count(getattr(self, name), name, 2))

    @property
    def symbolic(self) -> SymbolicMultitasking:
        """The same environment in closed forms, with the symbols that kernels are written in."""
        return SymbolicMultitasking(sp.Integer(self.groups), sp.Integer(self.features))

    @property
    def tasks(self) -> tuple[tuple[int, int], ...]:
        """Stimulus group and response group of every task."""
        return tuple((i, j) for i in range(self.groups) for j in range(self.groups))

    def name(self, task: int) -> str:
        """Return the name of a task."""
        i, j = self.tasks[task]
        return f"{i} to {j}"

    @property
    def inputs(self) -> int:
        """Number of inputs: G M features and G^2 tasks."""
        return self.groups * self.features + self.groups**2

    @property
    def outputs(self) -> int:
        """Number of outputs, G M."""
        return self.groups * self.features

    def task_sets(self, K: int) -> tuple[tuple[int, ...], ...]:
        """Return all sets of K tasks that share no stimulus group and no response group."""
        count = as_count(K, "K")
        if count > self.groups:
            raise InvalidArgument(
                f"Argument 'K' must be at most the number of groups, {self.groups}, not {count}: "
                f"more tasks would share a response group."
            )
        return tuple(
            tuple(i * self.groups + j for i, j in zip(read, written, strict=True))
            for read in itertools.combinations(range(self.groups), count)
            for written in itertools.permutations(range(self.groups), count)
        )

    def prompts(self, sets: Sequence[Sequence[int]]) -> Prompts:
        """Return the prompts of sets of tasks, each with all stimuli.

        Raises
        ------
        InvalidArgument
            If a set is empty, or two of its tasks share a stimulus group or a response group.
        """
        listed = sets if isinstance(sets, (list, tuple, np.ndarray)) else [sets]
        chosen = tuple(self._checked(one) for one in listed)  # type: ignore[arg-type]
        if not chosen:
            raise InvalidArgument("Argument 'sets' must hold one set of tasks at least.")
        G, M = self.groups, self.features
        refuse_large((len(chosen), M**G, self.inputs + self.outputs), "the prompts")
        stimuli = np.array(list(itertools.product(range(M), repeat=G)))
        features = np.eye(M)[stimuli]
        parts_x, parts_y = [], []
        for one in chosen:
            switched = np.zeros(G * G)
            switched[list(one)] = 1.0
            target = np.zeros((len(stimuli), G, M))
            for k in one:
                i, j = self.tasks[k]
                target[:, j] = features[:, i]
            flat = features.reshape(len(stimuli), -1)
            parts_x.append(np.hstack([flat, np.tile(switched, (len(stimuli), 1))]))
            parts_y.append(target.reshape(len(stimuli), -1))
        X, Y = np.concatenate(parts_x), np.concatenate(parts_y)
        return Prompts(self, chosen, X, Y, np.tile(stimuli, (len(chosen), 1)))

    def _checked(self, one: Sequence[int]) -> tuple[int, ...]:
        if isinstance(one, (str, bytes)) or not isinstance(one, (Sequence, np.ndarray)):
            raise InvalidArgument(
                f"Argument 'sets' must hold sets of tasks, as [[0, 4], [1]], not {one!r}."
            )
        numbers = tuple(as_count(k, "sets", 0) for k in one)
        bad = [k for k in numbers if k >= len(self.tasks)]
        if not numbers or bad:
            raise InvalidArgument(
                f"Argument 'sets' must hold sets of tasks, numbers from 0 to "
                f"{len(self.tasks) - 1}, not {one!r}."
            )
        for side, words in ((0, "stimulus"), (1, "response")):
            used = [self.tasks[k][side] for k in numbers]
            if len(set(used)) < len(used):
                names = ", ".join(self.name(k) for k in numbers)
                raise InvalidArgument(
                    f"Tasks that are done at once must not share a {words} group; these do: "
                    f"{names}."
                )
        return numbers

    @cached_property
    def single(self) -> Prompts:
        """All prompts of single tasks."""
        return self.prompts(self.task_sets(1))

    @cached_property
    def concurrent(self) -> Prompts:
        """All prompts of two tasks or more, up to G, pooled."""
        many = range(2, self.groups + 1)
        return self.prompts([one for K in many for one in self.task_sets(K)])

    def curriculum(
        self, name: str, learning_rate: float, single: int = 1000, concurrent: int = 600
    ) -> Curriculum:
        """Return one of the five curricula, of full-batch steps.

        Parameters
        ----------
        name : {"single", "concurrent", "single, concurrent", "concurrent, single", "interleaved"}
            "interleaved" alternates one step on single tasks with one on concurrent ones,
            `concurrent` times.
        learning_rate : float
            That of the training to come: phases last so many steps times the learning rate.
        single, concurrent : int
            Steps on single tasks, and on concurrent ones.
        """
        if not isinstance(name, str) or name not in CURRICULA:
            raise InvalidArgument(
                f"Argument 'name' must be one of {'; '.join(CURRICULA)}, not {name!r}"
                f"{did_you_mean(name, CURRICULA)}"
            )
        rate = as_positive(learning_rate, "learning_rate")
        steps = {
            "single": as_count(single, "single"),
            "concurrent": as_count(concurrent, "concurrent"),
        }
        tasks = {"single": self.single.task, "concurrent": self.concurrent.task}
        if name == "interleaved":
            pair = [Phase(task, duration=rate) for task in tasks.values()]
            return Curriculum(pair * steps["concurrent"])
        parts = name.split(", ")
        return Curriculum([Phase(tasks[part], duration=rate * steps[part]) for part in parts])

    def network(
        self,
        hidden: int = 100,
        activation: ActivationLike = "sigmoid",
        output_activation: ActivationLike = "sigmoid",
        direct: bool = True,
    ) -> Network:
        r"""Return $f = \psi(W_2\, \phi(W_s x_s + W_t x_t + b) + W_o x_t + c)$, biases not trained.

        Parameters
        ----------
        hidden : int
        activation, output_activation : str, sympy.Expr or Activation
            $\phi$ and $\psi$.
        direct : bool
            Whether there is a path $W_o$ from the task to the output.
        """
        H, split = as_count(hidden, "hidden"), self.outputs
        x = Input(self.inputs)
        stimulus, task = x[:split], x[split:]
        b, c = (
            Parameter(name, (n,), "bias", trained=False) for name, n in (("b", H), ("c", split))
        )
        inner = (
            Parameter("W_s", (H, split)) @ stimulus + Parameter("W_t", (H, len(self.tasks))) @ task
        )
        h = Apply(find_activation(activation), inner + b)
        outer: Node = Parameter("W_2", (split, H)) @ h
        if direct:
            outer = outer + Parameter("W_o", (split, len(self.tasks))) @ task
        f = Apply(find_activation(output_activation), outer + c)
        return Network.build(f, {"hidden": h})

    def weights(
        self,
        net: Network,
        scale: float,
        seed: int = 0,
        bias: float = -2.0,
        output_bias: float = -2.0,
    ) -> Weights:
        r"""Return Gaussian initial weights of such a network.

        Entries of $W_s$ and $W_t$ have the standard deviation scale / $\sqrt{GM + G^2}$, those of
        $W_2$ scale / $\sqrt{H}$, those of $W_o$ scale / $G$; the biases are constants.
        """
        require_numeric(net)
        size = as_positive(scale, "scale")
        stream = np.random.default_rng(as_seed(seed))
        hidden = int(net.node("hidden").size)
        found = int(net.inputs), int(net.outputs)
        if found != (self.inputs, self.outputs):
            raise ShapeMismatch(
                f"Argument 'net' must have {self.inputs} inputs and {self.outputs} outputs, for "
                f"{self.groups} groups of {self.features} features, not {found[0]} and {found[1]}: "
                f"it was made for an environment of another size."
            )
        spread = {
            "W_s": size / np.sqrt(self.inputs),
            "W_t": size / np.sqrt(self.inputs),
            "W_2": size / np.sqrt(hidden),
            "W_o": size / self.groups,
        }
        constants = {"b": as_real(bias, "bias"), "c": as_real(output_bias, "output_bias")}
        arrays: dict[str, Any] = {}
        for p in net.parameters:
            shape = tuple(int(n) for n in p.shape)
            if p.name in constants:
                arrays[p.name] = np.full(shape, constants[p.name])
            elif p.name in spread:
                arrays[p.name] = spread[p.name] * stream.standard_normal(shape)
            else:
                raise InvalidArgument(
                    f"Argument 'net' must be a network of this environment, see `network`; it has "
                    f"a parameter {p.name!r}."
                )
        return from_arrays(net, arrays)
