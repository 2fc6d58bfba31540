"""Studies that would not fit into memory are refused before anything is trained."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import InvalidArgument
from symkernel.studies import memory, study
from symkernel.studies.memory import prompt_counts, refuse_memory
from symkernel.studies.setting import Setting


@pytest.mark.parametrize("sizes", [(2, 2), (3, 2), (2, 4)])
def test_prompts_are_counted_without_being_made(sizes):
    setting = Setting(*sizes)
    wanted = [len(some.X) for some in setting.prompts]
    assert prompt_counts(setting.environment.symbolic) == wanted


def test_what_is_too_large_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(study, "sweep", lambda *arguments, **options: pytest.fail("trained"))
    words = r"1,582,080 prompts, 25,600 of them of single tasks: the study would take [\d,]+ bytes"
    with pytest.raises(InvalidArgument, match=words):
        sk.studies.multitask(sk.environments.Multitasking(5, 4), predictors="none")
    # Similarities of all pairs of prompts are what does not fit.
    with pytest.raises(InvalidArgument, match=r"similarities in 64 predictions.*predictors='none'"):
        sk.studies.multitask(sk.environments.Multitasking(5, 3))


def test_what_fits_is_not_refused():
    refuse_memory(Setting(), trainings=160, predictions=1280)
    refuse_memory(Setting(4, 3), trainings=160, predictions=64)
    refuse_memory(Setting(5, 3), trainings=32, predictions=0)


def test_every_part_counts(monkeypatch):
    setting = Setting(2, 2, hidden=10)
    # 16 and 8 prompts of 8 inputs and 4 outputs.
    answered = 8 * (3 * 24 * 12 + 2 * 16 * 10)
    trained, foreseen = 4 * 16 * 10, 4 * 120
    for trainings, predictions in ((1, 0), (7, 0), (2, 5)):
        size = answered + trainings * trained + predictions * foreseen
        size += 48 * 120 * bool(predictions)
        monkeypatch.setattr(memory, "_MOST_BYTES", size)
        refuse_memory(setting, trainings, predictions)
        monkeypatch.setattr(memory, "_MOST_BYTES", size - 1)
        with pytest.raises(InvalidArgument, match=f"take {size:,} bytes"):
            refuse_memory(setting, trainings, predictions)


def test_four_groups_do_not_need_kernels_of_all_prompts():
    """A kernel of all 16,848 prompts takes 2.3 GB."""
    from symkernel.studies.wide import limit_kernels

    setting = Setting(4, 3, activation="erf", bias=0.0)
    covariance, _ = limit_kernels(setting, 1.0)
    z = covariance.drawn(np.random.default_rng(0), 3)
    assert z.shape == (208, 81, 3)
    assert covariance.blocks.nbytes < 2e6


def test_what_no_float_can_hold_is_refused_like_the_rest():
    with pytest.raises(InvalidArgument, match=r"would take about 10\^409 bytes, more than 1 GiB"):
        refuse_memory(Setting(100, 100), trainings=4, predictions=8)
