"""Ready tasks, one per file."""

from __future__ import annotations

# Loaded at once, not on first use: a function and its file share a name, and the file that is
# loaded last would hide the function. Data sets and their libraries are loaded when asked for.
from symkernel.environments.checkerboard import Checkerboard, checkerboard
from symkernel.environments.contexts import contexts
from symkernel.environments.decision import Decision
from symkernel.environments.digits import digits
from symkernel.environments.multitasking import Multitasking
from symkernel.environments.semantic_hierarchy import Hierarchy, semantic_hierarchy
from symkernel.environments.symbolic_multitasking import SymbolicMultitasking

__all__ = [
    "Checkerboard",
    "Decision",
    "Hierarchy",
    "Multitasking",
    "SymbolicMultitasking",
    "checkerboard",
    "contexts",
    "digits",
    "semantic_hierarchy",
]
