"""Classes as targets."""

from __future__ import annotations

import numpy as np

from symkernel.errors import InvalidArgument, as_count


def one_hot(labels: object, classes: int | None = None) -> np.ndarray:
    r"""Return targets for classes: in row k a 1 at the label of sample k, otherwise 0.

    Parameters
    ----------
    labels : array_like of int, shape (n_samples,)
        Classes, counted from 0.
    classes : int, optional
        How many there are; one more than the largest label if not given.

    Returns
    -------
    ndarray, shape (n_samples, classes)

    Raises
    ------
    InvalidArgument
        For labels that are not integers, are negative or too large, or are all of one class.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> assert np.array_equal(sk.one_hot([0, 2, 1]), np.eye(3)[[0, 2, 1]])
    """
    given = np.asarray(labels)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "biu":
        raise InvalidArgument(
            f"Argument 'labels' must be a one-dimensional array of integers, the class of each "
            f"sample, not of shape {given.shape} and dtype {given.dtype}; number your classes from "
            f"0, as np.unique(labels, return_inverse=True)[1] does."
        )
    found = given.astype(np.int64)
    count = int(found.max()) + 1 if classes is None else as_count(classes, "classes", 2)
    if found.min() < 0 or found.max() >= count:
        raise InvalidArgument(
            f"Argument 'labels' must hold classes from 0 to {count - 1}, not from {found.min()} to "
            f"{found.max()}."
        )
    if len(np.unique(found)) < 2:
        raise InvalidArgument(
            f"Argument 'labels' must hold at least two classes, but all are {found[0]}."
        )
    return np.eye(count)[found]
