"""The laws, in the order in which `derive` tries them."""

from symkernel.formula import Law
from symkernel.theory import aligned_modes, gram_diagonal, lambda_balanced

LAWS: tuple[Law, ...] = (aligned_modes.LAW, gram_diagonal.LAW, lambda_balanced.LAW)


def catalogue() -> tuple[Law, ...]:
    """Return every law: assumptions, outputs, source.

    Examples
    --------
    >>> import symkernel as sk
    >>> assert sk.catalogue()[0].name == "aligned_modes"
    """
    return LAWS
