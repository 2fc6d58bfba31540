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
from symkernel.theory.information_families import (
    FAMILIES,
    v_information,
    v_information_formula,
)
from symkernel.theory.information_gaussian import gaussian, gaussian_formula
from symkernel.theory.information_hump import one_layer_hump, two_layer_hump
from symkernel.theory.information_memory import pretraining_memory
from symkernel.theory.information_shared import shared_readout_memory

__all__ = [
    "FAMILIES",
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
    "shared_readout_memory",
    "two_layer_hump",
    "v_information",
    "v_information_formula",
]
