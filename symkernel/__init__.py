"""symkernel: exact laws of learning, derived, compiled, judged and exported.

The public face is loaded on first use, so that importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_FACE = {
    "Network": "symkernel.problem.network",
    "Task": "symkernel.problem.task",
    "Phase": "symkernel.problem.curriculum",
    "Curriculum": "symkernel.problem.curriculum",
    "SquaredError": "symkernel.problem.loss",
    "CrossEntropy": "symkernel.problem.loss",
    "LabelNoise": "symkernel.problem.label_noise",
    "one_hot": "symkernel.problem.classes",
    "quotient": "symkernel.problem.quotient",
    "symmetries": "symkernel.problem.permutations",
    "parse_formula": "symkernel.problem.formula_text",
    "load_problem": "symkernel.problem_file",
    "Trajectory": "symkernel.trajectory",
    "Formula": "symkernel.formula",
    "infinite_width": "symkernel.theory.infinite_width",
    "pseudo_kernel": "symkernel.theory.pseudo_kernel",
    "ntk": "symkernel.theory.pseudo_kernel",
    "time_derivatives": "symkernel.theory.time_derivatives",
    "task_weights": "symkernel.theory.task_weights",
    "deep_mode": "symkernel.theory.deep_mode",
    "lazy_multitasking": "symkernel.theory.lazy_multitasking",
    "second_moment": "symkernel.theory.second_moment",
    "balancedness": "symkernel.theory.balancedness",
    "pruning_clock": "symkernel.theory.pruning_clock",
    "memoryless_gram": "symkernel.theory.memoryless_map",
    "small_weights": "symkernel.theory.small_weights",
    "derive": "symkernel.derivation",
    "Derivation": "symkernel.derivation",
    "task_pair": "symkernel.task_pairs",
    "catalogue": "symkernel.theory",
    "simulate": "symkernel.simulation",
    "simulate_ensemble": "symkernel.simulation",
    "simulate_quotient": "symkernel.simulation.quotient_run",
    "activity": "symkernel.simulation.activity",
    "usable_information": "symkernel.analysis.usable_information",
    "Attribution": "symkernel.simulation.attribution",
    "check": "symkernel.ladder",
    "check_claim": "symkernel.claims",
    "sweep": "symkernel.sweeps.sweep",
}
_ROOMS = {
    "analysis": "symkernel.analysis",
    "weights": "symkernel.weights",
    "nodes": "symkernel.nodes",
    "pathways": "symkernel.pathways",
    "information": "symkernel.information",
    "noise": "symkernel.noise",
    "environments": "symkernel.environments",
    "studies": "symkernel.studies",
}

__all__ = [*sorted(_FACE), *sorted(_ROOMS)]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        value: Any = import_module(_ROOMS[name])
    elif name in _FACE:
        value = getattr(import_module(_FACE[name]), name)
    else:
        raise AttributeError(f"module 'symkernel' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
