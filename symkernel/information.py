"""Closed forms of information in bits, in numbers and in symbols, with their derivations."""

from symkernel.theory.information_classes import (
    BinaryInformation,
    CategoricalInformation,
    binary,
    categorical,
)
from symkernel.theory.information_derivation import (
    DerivedFormula,
    binary_formula,
    categorical_formula,
)
from symkernel.theory.information_gaussian import gaussian, gaussian_formula
from symkernel.theory.information_hump import one_layer_hump, two_layer_hump
from symkernel.theory.information_memory import pretraining_memory

__all__ = [
    "BinaryInformation",
    "CategoricalInformation",
    "DerivedFormula",
    "binary",
    "binary_formula",
    "categorical",
    "categorical_formula",
    "gaussian",
    "gaussian_formula",
    "one_layer_hump",
    "pretraining_memory",
    "two_layer_hump",
]
