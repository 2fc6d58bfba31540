r"""Usable information through training: what descent keeps of a label that nobody asks for.

From the noise of the gradient, the time of training and its beginning to relevant and irrelevant
information in every layer; a verdict on each claim in each setting, and theory in the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symkernel.environments.decision import Decision
from symkernel.errors import InvalidArgument, SymkernelError, as_different, as_seed
from symkernel.studies.decisions import cells
from symkernel.studies.decisions.found import Found
from symkernel.studies.decisions.measures import refuse_few
from symkernel.studies.decisions.setting import (
    ABOUT,
    ARRAYS,
    INFORMATION_SETTINGS,
    KEPT,
    InformationSetting,
    environment_of,
    settings_of_arrays,
)
from symkernel.studies.folder import claimed, kept_in
from symkernel.studies.written import Study
from symkernel.sweeps.folder import Outcome
from symkernel.sweeps.results import Sweep
from symkernel.sweeps.sweep import sweep
from symkernel.sweeps.workers import Workers

if TYPE_CHECKING:
    from symkernel.studies.bands import Band
    from symkernel.studies.decisions.verdicts import Verdict

# Fixed before the first run; all are reported.
SEEDS = tuple(range(1000, 1008))


@dataclass(frozen=True, eq=False, repr=False)
class InformationStudy(Study):
    """What was trained and measured, and what follows for the claims.

    Attributes
    ----------
    found : tuple of Found
        One for each setting: bits over descents, times, pretraining, layers, noises and seeds.
    seeds : tuple of int
    """

    found: tuple[Found, ...]
    seeds: tuple[int, ...]

    def __repr__(self) -> str:
        return f"InformationStudy({len(self.found)} settings, {len(self.seeds)} seeds)"

    @property
    def about(self) -> Mapping[str, Any]:
        """What makes a study the same one, for its folder."""
        return ABOUT

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """A verdict on every claim in every setting, under every noise of the measurement."""
        from symkernel.studies.decisions.verdicts import verdicts

        return tuple(one for found in self.found for one in verdicts(found))

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """Means of an earlier, independent simulation within two of its standard deviations.

        They are for the default settings and all eight seeds: none for others.
        """
        from symkernel.studies.decisions.bands import bands

        return tuple(bands(self.found)) if self.seeds == SEEDS else ()

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """Cells that failed, each with its parameters and its error."""
        return tuple(one for found in self.found for one in found.failures)


def information(
    environment: Decision | None = None,
    *,
    settings: Sequence[InformationSetting] | None = None,
    seeds: Sequence[int] = SEEDS,
    folder: str | Path | None = None,
    n_jobs: int = -1,
    scheduler: str | None = None,
    progress: bool = False,
) -> InformationStudy:
    r"""Train over noise, time and pretraining, and measure what every layer holds of two labels.

    Three claims are judged in each setting: (1) at one product of learning rate and steps, noisier
    descent leaves less irrelevant information in the last hidden layer; (2) irrelevant information
    rises first and falls later; (3) pretraining on the irrelevant label leaves more of it.

    Parameters
    ----------
    environment : Decision, optional
        Your own inputs and labels, from `symkernel.environments.Decision.of` or `read_arrays`.
    settings : sequence of InformationSetting, optional
        `INFORMATION_SETTINGS`, on checkerboard and digits, if not given; for your own a ReLU
        network with label noise and a tanh network of small weights with clean labels.
    seeds : sequence of int
        Of the initial weights and of the order of samples, the same for all trainings.
    folder : str or Path, optional
        Where finished cells are kept, so that a study that was stopped goes on; a temporary one
        if not given.
    n_jobs, scheduler, progress
        As in `symkernel.sweep`.

    Returns
    -------
    InformationStudy

    Raises
    ------
    InvalidArgument
        For arguments that cannot be used; fewer probes than the decoders bear, with the number
        that they need; and a folder that belongs to something else.
    SymkernelError
        If every training of a setting failed, or the scheduler cannot be reached.

    Notes
    -----
    Information is what a linear decoder finds on held-out probes, in bits, under three noises:
    "n0" none, "rel.3" of 0.3 times the spread of the layer's units, "abs.3" of standard deviation
    0.3. They answer different questions: what is there at any scale, at a scale relative to all
    else, and against a noise of the units' own.

    References
    ----------
    M. Kleinman, A. Achille, D. Idnani, J. C. Kao, arXiv:2010.02459 (2021). The settings here are
    this project's own.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> board = sk.environments.Decision.of_checkerboard(400, 200)
    >>> mine = sk.environments.Decision.of(board.X, board.relevant, board.irrelevant)
    >>> fast = sk.studies.Descent(learning_rate=0.1, batch_size=20, duration=2.0)
    >>> setting = sk.studies.InformationSetting("arrays", "tanh", 1.0, 0.0, (5,), [fast])
    >>> found = sk.studies.information(mine, settings=[setting], seeds=[1000]).found[0]
    >>> assert found.bits("trainings", "relevant", "n0").shape == (1, 1, 1)
    """
    if environment is not None and not isinstance(environment, Decision):
        raise InvalidArgument(
            f"Argument 'environment' must be a Decision, as of sk.environments.Decision.of(X, "
            f"relevant, irrelevant), not {environment!r}."
        )
    chosen = _as_settings(settings, environment)
    drawn = as_different(seeds, "seeds", as_seed)
    options: dict[str, Any] = {"n_jobs": n_jobs, "scheduler": scheduler, "progress": progress}
    pairs = [(setting, _decision(setting, environment)) for setting in chosen]
    for setting, decision in pairs:
        _check(setting, decision)
    # What is refused leaves no folder behind.
    _ = Workers.of(None, n_jobs, scheduler)
    with kept_in(folder, ABOUT) as root:
        found = tuple(_found(s, decision, drawn, root, options) for s, decision in pairs)
    return InformationStudy(found, tuple(drawn))


def _found(
    setting: InformationSetting,
    decision: Decision,
    seeds: Sequence[int],
    root: Path,
    options: Mapping[str, Any],
) -> Found:
    """Run the sweeps of a setting."""
    about = {**ABOUT, **asdict(setting), "data": decision.digest}
    kept = claimed(root / setting.slug, about)

    def swept(cell: Any, grid: Mapping[str, Sequence[Any]], name: str) -> Sweep:
        return sweep(cell, {**grid, "seed": seeds}, kept / name, **options)

    descents = [str(one) for one in setting.descents]
    trainings = swept(cells.Trained(setting, decision), {"descent": descents}, "trainings")
    if not trainings.values:
        raise SymkernelError(
            f"Every training of {setting.name!r} failed; the first: {trainings.failures[0].error}"
        )
    watched = pretrainings = None
    if setting.watched is not None:
        grid: dict[str, Sequence[Any]] = {"descent": [str(setting.watched)]}
        watched = swept(cells.Watched(setting, decision), grid, "watched")
    if setting.perturbed is not None:
        grid = {"epochs": setting.epochs, "readout": setting.readouts}
        pretrainings = swept(cells.Pretrained(setting, decision), grid, "pretrainings")
    return Found(
        setting,
        decision,
        trainings,
        watched if watched is not None and watched.values else None,
        pretrainings if pretrainings is not None and pretrainings.values else None,
    )


def _as_settings(settings: object, environment: Decision | None) -> tuple[InformationSetting, ...]:
    if settings is None:
        return INFORMATION_SETTINGS if environment is None else settings_of_arrays(environment)
    whole = isinstance(settings, (list, tuple)) and settings
    if not whole or not all(isinstance(one, InformationSetting) for one in settings):  # type: ignore[attr-defined]
        raise InvalidArgument(
            f"Argument 'settings' must be a list of one or more InformationSettings, not "
            f"{settings!r}."
        )
    chosen: tuple[InformationSetting, ...] = tuple(settings)  # type: ignore[arg-type]
    names = [one.slug for one in chosen]
    if len(set(names)) < len(names):
        raise InvalidArgument(
            "Argument 'settings' must hold settings that differ in environment, activation, gain "
            "or label noise; run others as studies of their own."
        )
    return chosen


def _decision(setting: InformationSetting, environment: Decision | None) -> Decision:
    if (setting.environment == ARRAYS) != (environment is not None):
        raise InvalidArgument(
            f"Argument 'environment' must be given with settings on {ARRAYS!r} and with no other; "
            f"the setting {setting.name!r} is not, or it is missing."
        )
    return environment_of(setting.environment) if environment is None else environment


def _check(setting: InformationSetting, decision: Decision) -> None:
    """Refuse what would fail in every cell."""
    refuse_few(decision, setting.hidden)
    classes = decision.task.Y.shape[1], decision.other_task.Y.shape[1]
    if setting.perturbed is not None and KEPT in setting.readouts and classes[0] != classes[1]:
        raise InvalidArgument(
            f"Argument 'readouts' must be ['new'] here: a read-out of {classes[1]} classes, from "
            f"pretraining, cannot be kept for a task of {classes[0]}."
        )
    every = [*setting.descents, setting.watched, setting.perturbed]
    largest = max(one.batch_size for one in every if one is not None)
    if largest > len(decision.X):
        raise InvalidArgument(
            f"Argument 'settings' must not have batches of {largest} samples: {len(decision.X)} "
            f"train."
        )
