r"""Handwritten digits: the real images that come with scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from symkernel.errors import InvalidArgument, as_choice, as_seed
from symkernel.problem.task import Task

_BRIGHTEST = 16
_CLASSES = 10
_OUTPUTS = {
    "digit": tuple(map(str, range(_CLASSES))),
    "parity": ("even", "odd"),
    "below 5": ("5 and above", "below 5"),
    "random": ("group 0", "group 1"),
}


def digits(
    components: int | None = 20, whiten: bool = True, *, targets: str = "digit", seed: int = 0
) -> Task:
    r"""Return 1797 images of handwritten digits, 8 x 8 pixels, with their labels as targets.

    Pixels are divided by their largest value 16 and centred, then replaced by their first
    principal components. The targets are the one-hot labels, centred. What was done is recorded
    in `Task.history`, in order.

    Parameters
    ----------
    components : int, optional
        How many principal components to keep, in order of falling variance; None keeps all 61
        that have any (three pixels are blank in every image).
    whiten : bool
        Whether each component is scaled to variance 1, so that
        $\langle x x^T \rangle = I$; otherwise $\langle x x^T \rangle$ is diagonal. Whitening
        CHANGES the learning dynamics.
    targets : {"digit", "parity", "below 5", "random"}
        What the targets are one-hot labels of: the digit, or one of two coarse classes, the last
        of which is a random half of the ten digits.
    seed : int
        Of the random half.

    Returns
    -------
    Task
        X (1797, components), Y (1797, 10) or (1797, 2), with labels of samples (the digit), inputs
        and outputs. As integers, ``task.Y.argmax(1)`` is the class and
        ``np.array(task.labels["samples"], dtype=int)`` the digit.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    InvalidArgument
        If `components` is not an integer between 1 and 61, or None, or `whiten` no boolean, or
        for unknown targets.

    References
    ----------
    .. [1] E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
       Learning Repository (1998); scikit-learn ships the test part.

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> task = sk.environments.digits(components=20)
    >>> assert task.X.shape == (1797, 20) and task.Y.shape == (1797, 10)
    >>> assert np.allclose(task.Sxx, np.eye(20)) and task.labels["outputs"][3] == "3"
    """
    if not isinstance(whiten, bool):
        raise InvalidArgument(f"Argument 'whiten' must be True or False, not {whiten!r}.")
    names = _OUTPUTS[as_choice(targets, "targets", _OUTPUTS)]
    class_of = class_of_digits(targets, as_seed(seed))
    pixels, digit = images()
    raw = Task(
        pixels / _BRIGHTEST,
        np.eye(len(names))[class_of[digit]],
        labels={"samples": list(map(str, digit)), "outputs": list(names)},
        history=(f"pixels divided by {_BRIGHTEST}",),
    ).centred()
    task = raw.whitened(components)
    return task if whiten else _unscaled(task, raw)


def class_of_digits(targets: str, seed: int) -> np.ndarray:
    """Return the class of each digit."""
    number = np.arange(_CLASSES)
    if targets == "random":
        return np.random.default_rng(seed).permutation(number) % 2
    return {"digit": number, "parity": number % 2, "below 5": (number < 5).astype(int)}[targets]


def _unscaled(white: Task, raw: Task) -> Task:
    """Return the principal components at their own variances."""
    assert white.X is not None
    assert raw.X is not None
    kept = white.X.shape[1]
    spread = np.linalg.svd(raw.X / np.sqrt(len(raw.X)), compute_uv=False)
    share = float((spread[:kept] ** 2).sum() / (spread**2).sum())
    note = f"principal components: {kept} of {raw.X.shape[1]} kept, {share:.1%} of the variance"
    return replace(white, X=white.X * spread[:kept], history=(*raw.history, note))


def images() -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of all images, (1797, 64), and their digits."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The digits come with scikit-learn, which is not installed; install it with "
            "pip install 'symkernel[data]' (or: pip install scikit-learn)."
        ) from error
    pixels, digit = load_digits(return_X_y=True)
    return pixels, digit
