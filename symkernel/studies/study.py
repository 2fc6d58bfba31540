r"""Shared or separated task representations, and what they do to concurrent multitasking.

From the scale of the initial weights and the curriculum to representations and performance,
theories beside the simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from symkernel.environments.multitasking import CURRICULA, Multitasking
from symkernel.environments.symbolic_multitasking import SymbolicMultitasking
from symkernel.errors import (
    InvalidArgument,
    SymkernelError,
    as_count,
    as_different,
    as_positive,
    as_seed,
)
from symkernel.problem.network import ActivationLike
from symkernel.studies import cells
from symkernel.studies.bands import Band, bands, foreseen_bands, has_bands
from symkernel.studies.comparison import Comparison, compared
from symkernel.studies.folder import kept_in
from symkernel.studies.measures import any_learned, unlearned
from symkernel.studies.memory import refuse_memory
from symkernel.studies.predictors import PREDICTORS, predictor_of
from symkernel.studies.setting import Setting, as_text, usual_rate
from symkernel.studies.written import Study
from symkernel.sweeps.results import Sweep
from symkernel.sweeps.sweep import sweep
from symkernel.sweeps.workers import Workers

SCALES = (0.1, 0.3, 1.0, 2.0)
# Fixed before the first run; all are reported.
SEEDS = tuple(range(1000, 1008))
# Theories take longer than the simulation: without more being asked for, so many seeds of one
# curriculum.
_FEW_SEEDS, _FEW = 2, "single"
_KINDS = ("few", "all", "none")


@dataclass(frozen=True, eq=False, repr=False)
class MultitaskStudy(Study):
    """What was trained, what was measured, and what the theories say of it.

    Attributes
    ----------
    setting : Setting
        What all cells have in common.
    runs : Sweep
        Trainings over (scale, curriculum, seed), see `cells.trained`.
    contributions : Sweep
        Whose training moved the representation of whom, see `cells.attributed`.
    predictions : Sweep or None
        What theories foresee over (predictor, scale, curriculum, seed), see `cells.foreseen`.
    steps : Sweep or None
        How far descent is from flow there, see `cells.stepped`.
    """

    setting: Setting
    runs: Sweep
    contributions: Sweep
    predictions: Sweep | None
    steps: Sweep | None

    def __repr__(self) -> str:
        axes = ", ".join(f"{len(self.axis(name))} {name}" for name in ("scale", "curriculum"))
        return f"MultitaskStudy({axes}, {len(self.axis('seed'))} seeds)"

    @property
    def about(self) -> Mapping[str, Any]:
        """What makes a study the same one, for its folder."""
        return self.setting.about

    def axis(self, name: str, of: str = "runs") -> tuple[Any, ...]:
        """Return the values along an axis of the grid of `runs` or of another sweep."""
        return tuple(getattr(self, of).grid[name])

    def array(self, name: str, of: str = "runs") -> np.ndarray:
        """Return a value over the grid without the axes that all cells share.

        Its axes are (scale, curriculum, seed), before them the predictor in `predictions`, after
        them those of the value. `of` names the sweep.
        """
        found: Sweep = getattr(self, of)
        whole = found[name]
        kept = [len(v) for axis, v in found.grid.items() if axis not in asdict(self.setting)]
        return whole.reshape(*kept, *whole.shape[len(found.grid) :])

    def values(self, measure: str, scale: float, curriculum: str, K: int | None = None) -> Any:
        """Return a measure at the end of training, over seeds.

        Parameters
        ----------
        measure : str
            "S", "r_in", "r_out", "r_diff", "loss", "move", "acc", "acc_congruent" or
            "acc_incongruent".
        scale : float
        curriculum : str
            One of those of the study, or "init": the initial weights.
        K : int, optional
            Of accuracies: the number of tasks at once.

        Returns
        -------
        ndarray, shape (n_seeds,)
            nan where the cell failed.
        """
        last = 0 if curriculum == "init" else -1
        name = self.axis("curriculum")[0] if curriculum == "init" else curriculum
        place = self._place("scale", scale), self._place("curriculum", name)
        found = self.array(measure)[place][:, last]
        if not measure.startswith("acc"):
            return found
        if K is None or as_count(K, "K") > self.setting.groups:
            raise InvalidArgument(
                f"Argument 'K' must be the number of tasks at once, from 1 to "
                f"{self.setting.groups}, for {measure!r}, not {K!r}."
            )
        return found[:, K - 1]

    def _place(self, axis: str, value: object) -> int:
        known = self.axis(axis)
        if value not in known:
            raise InvalidArgument(
                f"Argument '{axis}' must be one of {', '.join(map(str, known))}, not {value!r}."
            )
        return known.index(value)

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """Bands of this package for its own setting, with what was found; held or not.

        They come from simulations of the published environment, not from a paper. Those of the
        trainings are for means over the seeds 1000 to 1007, those of the theories for each seed
        that was asked for; there are none for other settings.
        """
        if not has_bands(self.setting):
            return ()
        foreseen = tuple(foreseen_bands(self.comparisons))
        if self.axis("seed") != SEEDS:
            return foreseen

        def mean(curriculum: str, scale: float, measure: str, K: int | None = None) -> float:
            return float(self.values(measure, scale, curriculum, K).mean())

        return (*bands(mean, self.axis("scale"), self.axis("curriculum")), *foreseen)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Theories beside the simulation, in every cell of scale and curriculum."""
        return tuple(compared(self))

    @cached_property
    def unlearned(self) -> tuple[tuple[float, str, str], ...]:
        """Scale, curriculum and reason of cells that did not finish learning their tasks.

        On what was trained on last, accuracy is less than half way from chance to 1, or the loss
        of single tasks, if they were, is more than half of that at the start.
        """
        return tuple(unlearned(self))

    @property
    def failures(self) -> tuple[Any, ...]:
        """Cells that failed, of all sweeps, each with its parameters and its error."""
        sweeps = (self.runs, self.contributions, self.predictions, self.steps)
        return tuple(one for found in sweeps if found is not None for one in found.failures)

    def table(self) -> str:
        """Return means and standard deviations over seeds, a line for each cell, as text."""
        from symkernel.studies.tables import table_of_runs

        return table_of_runs(self)


def multitask(
    environment: Multitasking | None = None,
    *,
    scales: Sequence[float] = SCALES,
    curricula: Sequence[str] = CURRICULA,
    seeds: Sequence[int] = SEEDS,
    activation: ActivationLike = "sigmoid",
    output_activation: ActivationLike = "sigmoid",
    hidden: int = 100,
    direct: bool = True,
    bias: float = -2.0,
    output_bias: float = -2.0,
    learning_rate: float | None = None,
    steps: tuple[int, int] = (1000, 600),
    predictors: str | Sequence[str] = "few",
    folder: str | Path | None = None,
    n_jobs: int = -1,
    scheduler: str | None = None,
    progress: bool = False,
) -> MultitaskStudy:
    r"""Train over scales of the initial weights and curricula, measure, and ask the theories.

    Parameters
    ----------
    environment : Multitasking, optional
        That of 3 groups of 3 features by default.
    scales : sequence of float
        Of the initial weights.
    curricula : sequence of str
        Some of `symkernel.environments.multitasking.CURRICULA`.
    seeds : sequence of int
        Of the initial weights, the same for all scales and curricula.
    activation, output_activation : str, sympy.Expr or Activation
        Of the hidden layer and of the output.
    hidden : int
        Number of hidden units.
    direct : bool
        Whether there is a path from the task input to the output.
    bias, output_bias : float
        Constants, not trained.
    learning_rate : float, optional
        By default 20, which suits sigmoid units with negative biases; 2 for sigmoid units with bias
        0 or linear outputs, and for tanh, erf and ReLU; 0.2 for these with linear outputs.
    steps : (int, int)
        On single tasks and on concurrent ones.
    predictors : {"few", "all", "none"} or sequence of str
        "few": every theory, on the single-task curriculum and the first two seeds. "all": on all
        curricula and seeds. Names: these, as "few".
    folder : str or Path, optional
        Where finished cells are kept, so that a study that was stopped goes on; a temporary one
        if not given.
    n_jobs, scheduler, progress
        As in `symkernel.sweep`.

    Returns
    -------
    MultitaskStudy

    Raises
    ------
    InvalidArgument
        For arguments that cannot be used, a folder that belongs to something else, and a study
        that would take more than 1 GiB: before anything is trained.
    SymkernelError
        If every training failed, or the scheduler cannot be reached.

    Notes
    -----
    Read measures after convergence: small weights go through a stage at which the representations
    of all tasks agree. Congruent prompts, of which all features to be copied are the same, are
    answered right by any network that reads one of them: $M^{1-K}$ is the floor of accuracy.

    Frozen and refreshed kernels and infinite width presume small steps. Near the largest stable
    learning rate descent is something else, so they are said to hold only where halving the rate
    shows that the size of the steps matters little: twice the change of the hidden activity at the
    end, relative to its movement, is to be below the same limit as what the theory itself
    neglects. Where descent diverged, or ended at a larger loss than at its start, no theory is
    said to hold.

    References
    ----------
    R. Pyle, S. Musslick, J. D. Cohen, A. B. Patel, arXiv:2307.07575 (2023). The environment:
    S. Musslick et al., CogSci (2017).

    Examples
    --------
    >>> import symkernel as sk
    >>> env = sk.environments.Multitasking(groups=2, features=2)
    >>> found = sk.studies.multitask(
    ...     env, scales=[0.1, 2.0], curricula=["single"], seeds=[1000], hidden=20,
    ...     steps=(100, 50), predictors="none",
    ... )
    >>> assert found.values("acc", 2.0, "single", K=1).shape == (1,)
    """
    env = Multitasking(3, 3) if environment is None else environment
    if isinstance(env, SymbolicMultitasking):
        raise InvalidArgument(
            f"Argument 'environment' must have numbers for its groups and features, to be trained "
            f"on, not {env!r}; give Multitasking(3, 3), say. sk.lazy_multitasking and "
            f"sk.small_weights take symbols."
        )
    if not isinstance(env, Multitasking):
        raise InvalidArgument(f"Argument 'environment' must be a Multitasking, not {env!r}.")
    single, concurrent = _as_steps(steps)
    phi, psi = as_text(activation), as_text(output_activation)
    rate = usual_rate(phi, psi, bias) if learning_rate is None else learning_rate
    setting = Setting(
        env.groups, env.features, hidden, phi, psi, direct, bias, output_bias, rate, single,
        concurrent,
    )  # fmt: skip
    axes: dict[str, list[Any]] = {
        "scale": as_different(scales, "scales", as_positive),
        "curriculum": as_different(curricula, "curricula", _as_curriculum),
        "seed": as_different(seeds, "seeds", as_seed),
    }
    names, few = _asked(predictors), _few(axes)
    where = axes if isinstance(predictors, str) and predictors == "all" else few
    refuse_memory(setting, _cells(axes), len(names) * _cells(where))
    options: dict[str, Any] = {"n_jobs": n_jobs, "scheduler": scheduler, "progress": progress}
    # What is refused leaves no folder behind.
    _ = setting.network, Workers.of(None, n_jobs, scheduler)
    with kept_in(folder, setting.about) as kept:

        def swept(cell: Callable[..., Any], grid: Mapping[str, Any], name: str) -> Sweep:
            return sweep(cell, {**setting.axes, **grid}, kept / name, **options)

        runs = swept(cells.trained, axes, "trainings")
        if not runs.values:
            raise SymkernelError(f"Every training failed; the first: {runs.failures[0].error}")
        moved = swept(cells.attributed, few, "contributions")
        said = stepped = None
        if names and any_learned(runs):
            said = swept(cells.foreseen, {"predictor": names, **where}, "predictions")
            stepped = swept(cells.stepped, where, "steps")
    return MultitaskStudy(setting, runs, moved, said, stepped)


def _as_steps(value: object) -> tuple[int, int]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise InvalidArgument(
            f"Argument 'steps' must be two numbers of steps, on single tasks and on concurrent "
            f"ones, not {value!r}."
        )
    return as_count(value[0], "steps"), as_count(value[1], "steps")


def _as_curriculum(value: object, name: str) -> str:
    if value not in CURRICULA:
        raise InvalidArgument(
            f"Argument '{name}' must hold some of {'; '.join(CURRICULA)}, not {value!r}."
        )
    return str(value)


def _cells(axes: Mapping[str, list[Any]]) -> int:
    return math.prod(map(len, axes.values()))


def _few(axes: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the cells that are looked at more closely."""
    curricula = axes["curriculum"]
    return {
        **axes,
        "curriculum": [_FEW] if _FEW in curricula else curricula[:1],
        "seed": axes["seed"][:_FEW_SEEDS],
    }


def _asked(predictors: object) -> list[str]:
    """Return the names of the theories that are asked."""
    every = [one.name for one in PREDICTORS]
    if not isinstance(predictors, str):
        return as_different(predictors, "predictors", lambda one, _: predictor_of(one).name)
    if predictors not in _KINDS:
        raise InvalidArgument(
            f"Argument 'predictors' must be one of {', '.join(_KINDS)}, or a list of some of "
            f"{', '.join(every)}, not {predictors!r}."
        )
    return [] if predictors == "none" else every
