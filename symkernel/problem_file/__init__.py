"""Problems from files: TOML for what is said, CSV and NPZ for arrays. No text is evaluated."""

from __future__ import annotations

from symkernel.problem_file.load import Claim, ProblemFile, load_problem

__all__ = ["Claim", "ProblemFile", "load_problem"]
