"""Theories beside the simulation: how nearly each foresees what was learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from symkernel.studies.measures import agreement, mean_and_deviation, similarities
from symkernel.studies.predictors import SMALL, Predictor, predictor_of

if TYPE_CHECKING:
    from symkernel.studies.study import MultitaskStudy


@dataclass(frozen=True, eq=False)
class Comparison:
    """One theory in one cell of scale and curriculum, over seeds.

    Attributes
    ----------
    name, title : str
        Of the theory.
    scale : float
    curriculum : str
    similarities : ndarray, shape (n_seeds,)
        Correlation of the foreseen similarities of all prompts with those that were learned.
    S, true_S : ndarray, shape (n_seeds,)
    acc, true_acc : ndarray, shape (n_seeds, G)
    valid : ndarray, shape (n_seeds,)
        1 where the theory says of itself that it holds, 0 where not, nan where it gave nothing.
    step_error : ndarray, shape (n_seeds,)
        How far descent is from gradient flow, relative to the movement of the hidden layer, for
        theories that presume small steps; 0 for others.
    learned : ndarray of bool, shape (n_seeds,)
        Whether descent ended at no larger loss on what was trained on than at its start.
    statement : str
        What it says of its own validity, and what descent adds, for the first seed.
    """

    name: str
    title: str
    scale: float
    curriculum: str
    similarities: np.ndarray
    S: np.ndarray
    true_S: np.ndarray
    acc: np.ndarray
    true_acc: np.ndarray
    valid: np.ndarray
    step_error: np.ndarray
    learned: np.ndarray
    statement: str

    @property
    def holds(self) -> bool:
        """Whether, for every seed, it says that it holds, descent learned, and its steps allow."""
        return bool(((self.valid == 1) & self.learned & (self.step_error < SMALL)).all())


def learned_similarities(study: MultitaskStudy, where: tuple[int, int, int]) -> np.ndarray:
    """Return the similarities of all prompts of single tasks at the end of a training."""
    return similarities(study.array("activity")[where].astype(float))


def compared(study: MultitaskStudy) -> Iterator[Comparison]:
    """Yield every theory in every cell of scale and curriculum, scale by scale."""
    if study.predictions is None or not study.predictions.values:
        return
    names, scales, curricula, seeds = (
        study.axis(name, "predictions") for name in ("predictor", "scale", "curriculum", "seed")
    )
    theirs = {
        name: study.array(name, "predictions")
        for name in ("similarities", "S", "acc", "valid", "statement")
    }
    for j, scale in enumerate(scales):
        for k, curriculum in enumerate(curricula):
            places = [
                (study.axis("scale").index(scale), study.axis("curriculum").index(curriculum), i)
                for i in map(study.axis("seed").index, seeds)
            ]
            wanted = [learned_similarities(study, place) for place in places]
            true_S, true_acc = (
                np.array([study.array(name)[place][-1] for place in places])
                for name in ("S", "acc")
            )
            step_error, after, before = (
                _of_steps(study, name)[j, k] for name in ("error", "after", "before")
            )
            # nan, of what failed, is not below.
            learned = after <= before
            for n, name in enumerate(names):
                here, theory = (n, j, k), predictor_of(name)
                found = theirs["similarities"][here]
                of_steps = step_error if theory.small_steps else np.zeros_like(step_error)
                said = str(theirs["statement"][here][0]) or "gave nothing here"
                yield Comparison(
                    name,
                    theory.title,
                    scale,
                    curriculum,
                    np.array([agreement(*pair) for pair in zip(found, wanted, strict=True)]),
                    theirs["S"][here],
                    true_S,
                    theirs["acc"][here],
                    true_acc,
                    theirs["valid"][here].astype(float),
                    of_steps,
                    learned,
                    _stated(theory, said, step_error[0], bool(learned[0])),
                )


def _of_steps(study: MultitaskStudy, name: str) -> np.ndarray:
    """Return what is known of the steps of descent, nan where every training failed."""
    if study.steps is not None and study.steps.values:
        return study.array(name, "steps")
    axes = (study.axis(axis, "predictions") for axis in ("scale", "curriculum", "seed"))
    return np.full([len(values) for values in axes], np.nan)


def _stated(theory: Predictor, said: str, step_error: float, learned: bool) -> str:
    """Return a theory's statement of its validity, with what descent adds."""
    if not learned:
        lost = "descent diverged, or ended at a larger loss than at its start, so that there is"
        return f"{lost} nothing learned to foresee; of itself it says: {said}"
    if not theory.small_steps:
        return said
    return (
        f"{said}; the size of the steps matters by {step_error:.2g} of the movement of the hidden "
        f"layer"
    )


def contribution_means(study: MultitaskStudy) -> dict[float, dict[str, float]]:
    """Return the mean contribution of training on tasks of each class, by scale.

    Entries of the contribution matrix of single tasks by single tasks, averaged over tasks of one
    class and over seeds; empty if what was trained on is something else.
    """
    env = study.setting.environment
    found = study.contributions.values.get("matrix")
    if found is None or found.shape[-1] != len(env.tasks):
        return {}
    matrices = study.array("matrix", "contributions")[:, 0]
    pairs = np.array(env.tasks)
    same_in, same_out = (pairs[:, None, side] == pairs[None, :, side] for side in (0, 1))
    classes = {
        "own": same_in & same_out,
        "same input": same_in & ~same_out,
        "same output": ~same_in & same_out,
        "neither": ~same_in & ~same_out,
    }
    return {
        scale: {
            name: mean_and_deviation(matrix[:, chosen].mean(axis=1))[0]
            for name, chosen in classes.items()
        }
        for scale, matrix in zip(study.axis("scale"), matrices, strict=True)
    }
