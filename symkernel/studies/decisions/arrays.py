"""Your own inputs and labels, from an NPZ file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from symkernel.environments.decision import Decision
from symkernel.errors import InvalidArgument
from symkernel.problem_file.arrays import read_array

_KEYS = ("X", "relevant", "irrelevant")


def read_arrays(
    path: str | Path, keys: tuple[str, str, str] = _KEYS, probed: float = 0.5
) -> Decision:
    """Return a decision on the arrays of an NPZ file, as `numpy.savez` writes it.

    Parameters
    ----------
    path : str or Path
    keys : (str, str, str)
        Names of the arrays: inputs (n_samples, ...), of which all axes but the first are made one;
        relevant labels and irrelevant labels, integers (n_samples,).
    probed : float
        Share of the samples that is kept from training, for the decoders.

    Returns
    -------
    Decision
        `Decision.of` these arrays; labels are called by their keys.

    Raises
    ------
    InvalidArgument, ShapeMismatch
        If there is no such file or array, or it holds anything but plain numbers: pickled objects
        are never read. Labels as in `Decision.of`.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, symkernel as sk
    >>> board = sk.environments.checkerboard(400)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "mine.npz"
    ...     np.savez(path, X=board.X, direction=board.labels["direction"],
    ...              colour=board.labels["colour"])
    ...     mine = sk.studies.read_arrays(path, keys=("X", "direction", "colour"))
    >>> assert mine.names == ("direction", "colour") and len(mine.probe) == 200
    """
    if not isinstance(path, (str, Path)) or not str(path).lower().endswith(".npz"):
        raise InvalidArgument(f"Argument 'path' must be the name of an NPZ file, not {path!r}.")
    whole = isinstance(keys, (list, tuple)) and len(keys) == 3
    if not whole or not all(isinstance(key, str) and key for key in keys):
        raise InvalidArgument(
            f"Argument 'keys' must be the names of three arrays, of the inputs, the relevant and "
            f"the irrelevant labels, not {keys!r}."
        )
    file = Path(path)
    X, relevant, irrelevant = (read_array(f"{file.name}:{key}", file.parent).array for key in keys)
    if X.ndim > 2:
        X = X.reshape(len(X), int(np.prod(X.shape[1:])))
    return Decision.of(X, relevant, irrelevant, names=(keys[1], keys[2]), probed=probed)
