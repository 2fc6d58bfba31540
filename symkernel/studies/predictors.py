"""The theories that are held against the simulation, each with its own statement of validity.

A predictor is one function of a `Case`, the initial weights and the curriculum, and one entry in
`PREDICTORS`. It knows nothing of the training that it is compared with, but for "path", which is an
account of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from symkernel.derivation import derive
from symkernel.errors import InvalidArgument
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.network import Network
from symkernel.problem.quotient import quotient
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights
from symkernel.simulation import simulate
from symkernel.simulation.activity import activity
from symkernel.simulation.quotient_run import QuotientRun, simulate_quotient
from symkernel.studies.inside import frozen_inside
from symkernel.studies.setting import Setting
from symkernel.studies.wide import foreseen_wide

# Most is learned early: kernels are refreshed at times spaced by ratios, as shares of each phase.
REFRESHES, _FIRST = 16, 0.02
# What a theory neglects is small if it is less than this of what it keeps.
SMALL = 0.25
# Of an account that is exact but for rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Case:
    """One training, before it is done.

    Attributes
    ----------
    setting : Setting
    scale : float
        Of the initial weights.
    name : str
        Of the curriculum.
    seed : int
    """

    setting: Setting
    scale: float
    name: str
    seed: int

    @property
    def network(self) -> Network:
        """The network."""
        return self.setting.network

    @cached_property
    def weights(self) -> Weights:
        """Its initial weights."""
        return self.setting.weights(self.scale, self.seed)

    @cached_property
    def trained_on(self) -> Curriculum:
        """What gradient descent is trained on."""
        return self.setting.curriculum(self.name)

    @cached_property
    def curriculum(self) -> Curriculum:
        """The same for theories of flow: interleaved steps are a mixture, to first order."""
        if self.name != "interleaved":
            return self.trained_on
        env = self.setting.environment
        both = Task.mixture([env.single.task, env.concurrent.task], [0.5, 0.5])
        return Curriculum([Phase(both, self.trained_on.end)])


@dataclass(frozen=True, eq=False)
class Foreseen:
    """What a theory says of the end of a training.

    Attributes
    ----------
    hidden : ndarray, shape (n_single, n_units)
        Activity on the prompts of single tasks; of a wide network, of any number of units.
    outputs : ndarray, shape (n_prompts, n_outputs)
        On all prompts.
    error : float
        What the theory neglects, in units of what it keeps, as it knows itself; nan if it does not.
    statement : str
        The same in words.
    limit : float
        What the error has to be below.
    """

    hidden: np.ndarray
    outputs: np.ndarray
    error: float
    statement: str
    limit: float = SMALL

    @property
    def valid(self) -> bool:
        """Whether the theory says of itself that it holds here."""
        return bool(self.error < self.limit)


@dataclass(frozen=True)
class Predictor:
    """A theory by name.

    Attributes
    ----------
    name, title : str
    run : callable
    small_steps : bool
        Whether it presumes small steps: of gradient flow, or of first order in the displacement.
    """

    name: str
    title: str
    run: Callable[[Case, np.random.Generator], Foreseen]
    small_steps: bool = False


def _nothing(case: Case, _: np.random.Generator) -> Foreseen:
    setting, start = case.setting, case.weights
    hidden = activity(case.network, start, setting.prompts[0].X, "hidden")
    outputs = activity(case.network, start, setting.inputs)
    return Foreseen(hidden, outputs, float("nan"), "the initial weights; a floor, no theory")


def _frozen(case: Case, _: np.random.Generator) -> Foreseen:
    law = derive(case.network, case.curriculum, case.weights, law="frozen_kernel").compile()
    found = law.predict(case.setting.inputs, [case.curriculum.end])
    moved = float(found.kernel_movement[-1])
    words = f"leading order in 1/width and 1/scale; the kernel moves by {moved:.2g} of itself"
    hidden = found.hidden[-1, : len(case.setting.prompts[0].X)]
    return Foreseen(hidden, found.outputs[-1], moved, words)


def _frozen_inside(case: Case, _: np.random.Generator) -> Foreseen:
    found = frozen_inside(case.setting, case.weights, case.curriculum)
    words = f"leading order in 1/width and 1/scale; the kernel moves by {found.moved:.2g} of itself"
    return Foreseen(found.hidden, found.outputs, found.moved, words)


def _relinearised(case: Case, _: np.random.Generator) -> Foreseen:
    law = derive(case.network, case.curriculum, case.weights, law="relinearised").compile()
    shares = np.geomspace(_FIRST, 1.0, REFRESHES)[:-1]
    found, coarser = (
        law.predict(case.setting.inputs, [0.0, case.curriculum.end], refreshes=some)
        for some in (shares, shares[1::2])
    )
    single = len(case.setting.prompts[0].X)
    start, last = found.hidden[:, :single]
    # An error that falls as 1/refreshes is as large as what half of them change.
    gap = np.linalg.norm(last - coarser.hidden[-1, :single])
    error = float(gap / np.linalg.norm(last - start))
    words = (
        f"leading order in 1/refreshes; half of them differ by {error:.2g} of the movement of the "
        f"hidden layer"
    )
    return Foreseen(last, found.outputs[-1], error, words)


def _infinite(case: Case, stream: np.random.Generator) -> Foreseen:
    found = foreseen_wide(case.setting, case.scale, case.curriculum, stream)
    words = f"leading order in 1/width; units would move by {found.moved:.2g} of their spread"
    return Foreseen(found.hidden, found.outputs, found.moved, words)


def _quotient(case: Case, _: np.random.Generator) -> Foreseen:
    return _divided(case, 0)


def _first_order(case: Case, _: np.random.Generator) -> Foreseen:
    return _divided(case, 1)


def _divided(case: Case, order: int) -> Foreseen:
    setting, run = case.setting, _quotient_run(case)
    beyond = run.is_beyond_first_order
    found = run.weights_at(-1, 0 if beyond else order)
    error = float("nan" if beyond else run.transverse_size[-1] / run.tied_size[-1])
    end = "grows beyond first order" if beyond else f"ends at {error:.2g} of the weights on it"
    words = (
        f"exact on the invariant manifold, {'first' if order and not beyond else 'zeroth'} order "
        f"beside it; what lies beside it {end}"
    )
    if order and beyond:
        words = f"NO first order, the numbers repeat those of the zeroth: {words}"
    hidden = activity(case.network, found, setting.prompts[0].X, "hidden")
    outputs = activity(case.network, found, setting.inputs)
    return Foreseen(hidden, outputs, error, words)


@lru_cache(maxsize=256)
def _quotient_run(case: Case) -> QuotientRun:
    """Train a quotient, once for both orders of what lies beside it."""
    course = case.trained_on
    # What reads the stimulus stays: permutations of response groups, tasks and outputs together.
    smaller = quotient(case.network, course, fixing="W_s")
    rate = case.setting.learning_rate
    return simulate_quotient(smaller, case.weights, rate, record=[0.0, course.end])


def _path(case: Case, _: np.random.Generator) -> Foreseen:
    setting, course = case.setting, case.trained_on
    together = [np.zeros(len(phase.task.X), dtype=int) for phase in course.phases]
    run = simulate(
        case.network, course, case.weights, setting.learning_rate, record=[0.0, course.end],
        attribute=together, probe=setting.inputs,
    )  # fmt: skip
    hidden, output = (run.attribution(node=node) for node in ("hidden", "output"))
    seen, said = (one.initial + one.contributions[-1].sum(-1) for one in (hidden, output))
    error = max(hidden.residual, output.residual)
    words = f"exact, an account of the whole path: its sums are off by {error:.0e}"
    return Foreseen(seen[: len(setting.prompts[0].X)], said, error, words, _ROUNDING)


PREDICTORS = (
    Predictor("nothing", "nothing changes", _nothing),
    Predictor("frozen", "frozen kernel of the actual weights", _frozen, small_steps=True),
    Predictor(
        "frozen_inside", "frozen kernel, output nonlinearity kept", _frozen_inside, small_steps=True
    ),
    Predictor("infinite", "infinite width, output nonlinearity kept", _infinite, small_steps=True),
    Predictor(
        "relinearised", f"re-linearised, {REFRESHES} refreshes", _relinearised, small_steps=True
    ),
    Predictor("quotient", "symmetry quotient", _quotient),
    Predictor("quotient_first", "quotient, first order beside it", _first_order),
    Predictor("path", "path pseudo-kernel, an account", _path),
)


def predictor_of(name: object) -> Predictor:
    """Return a predictor by name."""
    for one in PREDICTORS:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in PREDICTORS)
    raise InvalidArgument(f"Argument 'predictors' must name some of {known}, not {name!r}.")
