"""What a study takes, stated before anything is trained."""

from __future__ import annotations

import math

from symkernel.environments.symbolic_multitasking import SymbolicMultitasking
from symkernel.errors import InvalidArgument
from symkernel.studies.setting import Setting

_MOST_BYTES = 2**30
# Inputs and targets are held as they are, packed for the simulator, and as the answers to them.
_COPIES = 3
# Counts of more digits are told as powers of ten.
_MOST_DIGITS = 15


def refuse_memory(setting: Setting, trainings: int, predictions: int) -> None:
    """Refuse a study that would take more than 1 GiB.

    Parameters
    ----------
    setting : Setting
    trainings, predictions : int
        Numbers of their cells.
    """
    env, hidden = setting.environment, setting.hidden
    counts = prompt_counts(env.symbolic)
    single, total = counts[0], sum(counts)
    answered = 8 * (_COPIES * total * (env.inputs + env.outputs) + 2 * max(counts) * hidden)
    kept = 4 * trainings * single * hidden
    pairs = single * (single - 1) // 2
    # Each is worked out in double precision, with the places of its pairs.
    similar = 4 * predictions * pairs + (8 * 6 * pairs if predictions else 0)
    size = answered + kept + similar
    if size > _MOST_BYTES:
        raise InvalidArgument(
            f"Argument 'environment' must be smaller than {env.groups} groups of {env.features} "
            f"features, which have {_told(total)} prompts, {_told(single)} of them of single "
            f"tasks: the study would take {_told(size)} bytes, more than 1 GiB ({_MOST_BYTES:,}): "
            f"{_told(answered)} are for prompts and what {hidden} hidden units answer, "
            f"{_told(kept)} for the activity at the end of {trainings} trainings, "
            f"{_told(similar)} for similarities in "
            f"{predictions} predictions; take fewer groups or features, fewer scales, curricula "
            f"and seeds, or predictors='none'."
        )


def _told(count: int) -> str:
    """Return a count in digits, or its power of ten if these are many: it may exceed any float."""
    digits = int(count.bit_length() * math.log10(2))
    return f"{count:,}" if digits < _MOST_DIGITS else f"about 10^{digits}"


def prompt_counts(environment: SymbolicMultitasking) -> list[int]:
    """Return the numbers of prompts of 1, 2, ..., G tasks, of which none is made."""
    many = range(1, int(environment.groups) + 1)
    return [int(environment.prompt_count(K)) for K in many]
