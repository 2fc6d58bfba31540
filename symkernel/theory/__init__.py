"""The laws, in the order in which `derive` tries them."""

from symkernel.formula import Law
from symkernel.theory import (
    aligned_modes,
    deep_linear,
    diagonal_network,
    frozen_kernel,
    gated_modes,
    gram_diagonal,
    lambda_balanced,
    memoryless_gram,
    neural_race,
    reduced_flow,
    relinearised,
    single_unit,
    two_eigenvalues,
)
from symkernel.theory.listing import Catalogue

LAWS: tuple[Law, ...] = (
    aligned_modes.LAW,
    gram_diagonal.LAW,
    deep_linear.LAW,
    single_unit.LAW,
    lambda_balanced.LAW,
    two_eigenvalues.LAW,
    diagonal_network.LAW,
    gated_modes.LAW,
    neural_race.LAW,
    memoryless_gram.LAW,
    reduced_flow.LAW,
    frozen_kernel.LAW,
    relinearised.LAW,
)


def catalogue() -> Catalogue:
    """Return every law: assumptions, outputs, source, rungs climbed when last checked.

    Examples
    --------
    >>> import symkernel as sk
    >>> assert sk.catalogue()[0].name == "aligned_modes"
    >>> print(sk.catalogue())  # doctest: +ELLIPSIS
    aligned_modes [exact; rungs climbed: 1, 2, 3, 4, 5, 6]
    ...
    """
    return Catalogue(LAWS)
