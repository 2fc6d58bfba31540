"""The lazy law of multitasking as a LaTeX document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import sympy as sp

from symkernel import equations, typesetting
from symkernel.environments.symbolic_multitasking import AT_ONCE
from symkernel.formula import Citation, Formula
from symkernel.problem.problem import CONVENTIONS
from symkernel.report.latex_blocks import displayed, items
from symkernel.report.latex_steps import steps_document

if TYPE_CHECKING:
    from symkernel.theory.lazy_multitasking import LazyMultitasking

__all__ = ["document"]

_SOURCES = (
    Citation(
        "musslick2017",
        "Musslick, Sebastian and Saxe, Andrew and Ozcimder, Kayhan and Dey, Biswadip and "
        "Henselman, Greg and Cohen, Jonathan D.",
        "Multitasking capability versus learning efficiency in neural network architectures",
        "CogSci",
        2017,
        place="the environment",
    ),
    Citation(
        "pyle2023",
        "Pyle, Ryan and Musslick, Sebastian and Cohen, Jonathan D. and Patel, Ankit B.",
        "A Quantitative Approach to Predicting Representational Learning and Performance in "
        "Neural Networks",
        "arXiv",
        2023,
        place="the question; the law is derived here",
        arxiv="2307.07575",
    ),
)


def document(law: LazyMultitasking, names: Mapping[str, str] | None = None) -> str:
    """Return environment, assumptions, derivation, results and checks of a law."""
    typesetting.check_names(names)
    return steps_document(
        "Multitasking in the lazy limit",
        "closed forms for groups, features and tasks at once",
        law.steps,
        tuple(_results(law)),
        conventions=_conventions(law),
        sections={"Environment": _environment(law, names), "Assumptions": [items(law.assumed)]},
        report=law.report,
        citations=_SOURCES,
        own=law.chosen,
        names=names,
    )


def _conventions(law: LazyMultitasking) -> Iterator[str]:
    yield from CONVENTIONS[:2]
    yield f"loss factor {law.loss.factor}"
    yield f"kernel: {law.kernel.words}; of another one the eigenvalues are others"


def _environment(law: LazyMultitasking, names: Mapping[str, str] | None) -> Iterator[str]:
    env = law.environment
    G, M = (f"${typesetting.latex(size, names)}$" for size in (env.groups, env.features))
    yield (
        f"A stimulus is {G} groups of {M} one-hot features, the response {G} groups of {M} units. "
        f"Task $(i, j)$ copies the feature of stimulus group $i$ to response group $j$; all other "
        f"units are 0. A prompt of several tasks switches on tasks that share neither a stimulus "
        f"group nor a response group."
    )
    K = AT_ONCE
    rows = [
        (sp.Symbol("T"), env.task_count),
        (sp.Symbol("n_sets"), env.set_count(K)),
        (sp.Symbol("n_prompts"), env.prompt_count(K)),
    ]
    yield displayed(equations.block(rows, (), {"T": "T", **(names or {})}))
    yield (
        "tasks, sets of $K$ tasks that can be done at once, and prompts of $K$ tasks. Training is "
        "on the prompts of one task."
    )


def _results(law: LazyMultitasking) -> Iterator[tuple[str, Formula]]:
    K = AT_ONCE
    yield "Output of a unit at a training prompt", law.output()
    yield "Output of a unit at a prompt of $K$ tasks", law.concurrent(K)
    yield (
        "Least lead, after training, of the right unit over all prompts of $K$ tasks; all of them "
        "are answered right if and only if it is positive",
        law.margin(K),
    )
    yield (
        "Flow time from which $K$ tasks are done at once, to leading order in the ratio of the "
        "eigenvalues of modes $1c$ and $1m$",
        law.time(K),
    )
