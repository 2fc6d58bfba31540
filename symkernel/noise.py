"""What the noise of stochastic gradient descent does, in closed form, with the derivations."""

from symkernel.theory.balancedness_steps import balancedness_formula
from symkernel.theory.pruning_steps import pruning_formula
from symkernel.theory.second_moment import stability_limit
from symkernel.theory.second_moment_steps import isotropic_second_moment, second_moment_formula

__all__ = [
    "balancedness_formula",
    "isotropic_second_moment",
    "pruning_formula",
    "second_moment_formula",
    "stability_limit",
]
