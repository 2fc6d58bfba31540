"""Initial weights: drawn, aligned with a task, balanced, or given."""

from symkernel.problem.balanced_weights import lambda_balanced, semi_orthogonal
from symkernel.problem.weights import Weights, aligned, balanced, from_arrays, gaussian

__all__ = [
    "Weights",
    "aligned",
    "balanced",
    "from_arrays",
    "gaussian",
    "lambda_balanced",
    "semi_orthogonal",
]
