r"""Decisions: inputs with a label that is asked for, and another one that is not.

What a network keeps of either is what studies of usable information measure. Some samples train the
network, others probe it: the latter fit decoders and measure them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from symkernel.environments.checkerboard import checkerboard
from symkernel.environments.digits import class_of_digits, images
from symkernel.errors import (
    InvalidArgument,
    as_choice,
    as_classes,
    as_count,
    as_real,
    as_real_array,
    as_seed,
)
from symkernel.problem.task import Task

_TRAINED_DIGITS = 900
# Spreads of an input below this are rounding.
_CONSTANT = 1e-12


@dataclass(frozen=True, eq=False)
class Decision:
    """Inputs with a relevant and an irrelevant label, to train on and to probe.

    Use `of` for arrays, `of_checkerboard` or `of_digits`.

    Attributes
    ----------
    X, probe : ndarray, shape (n_samples, n_inputs)
        Inputs that train, and inputs that are decoded.
    relevant, irrelevant : ndarray of int, shape (n_samples,)
        Labels 0, 1, ... of what trains.
    probe_relevant, probe_irrelevant : ndarray of int, shape (n_probe,)
    names : (str, str)
        Of the relevant label and of the irrelevant one.
    conditional : bool
        Whether information about the irrelevant label is what is found beside the relevant one.
        Where they are not independent only this tells what is kept without need.
    title : str
    ceilings : (float, float) or None
        Bits that the inputs hold about both labels, where they are known.
    """

    X: np.ndarray
    relevant: np.ndarray
    irrelevant: np.ndarray
    probe: np.ndarray
    probe_relevant: np.ndarray
    probe_irrelevant: np.ndarray
    names: tuple[str, str]
    conditional: bool
    title: str
    ceilings: tuple[float, float] | None = None

    def __repr__(self) -> str:
        return (
            f"Decision({self.title}: {len(self.X)} samples to train, {len(self.probe)} to probe; "
            f"{self.X.shape[1]} inputs; relevant {self.names[0]!r}, irrelevant {self.names[1]!r})"
        )

    @cached_property
    def task(self) -> Task:
        """The task that asks for the relevant label, as one-hot targets."""
        return self._task(self.relevant)

    @cached_property
    def other_task(self) -> Task:
        """The task that asks for the irrelevant label."""
        return self._task(self.irrelevant)

    def _task(self, labels: np.ndarray) -> Task:
        return Task(self.X, np.eye(labels.max() + 1)[labels])

    @cached_property
    def irrelevant_direction(self) -> np.ndarray:
        """Direction of the inputs in which the irrelevant label moves their mean most, (n_inputs,).

        Beside the relevant label if information is conditional; of unit length.
        """
        beside = self.relevant if self.conditional else np.zeros_like(self.relevant)
        rows = []
        for one in np.unique(beside):
            here = beside == one
            labels = np.unique(self.irrelevant[here])
            means = [self.X[here & (self.irrelevant == label)].mean(0) for label in labels]
            rows.append(np.array(means) - np.mean(means, axis=0))
        found: np.ndarray = np.linalg.svd(np.concatenate(rows))[2][0]
        return found

    @cached_property
    def digest(self) -> str:
        """A name of all numbers, by which other data are told apart."""
        found = hashlib.sha256(repr((self.names, self.conditional)).encode())
        for array in (self.X, self.relevant, self.irrelevant, self.probe, self.probe_relevant,
                      self.probe_irrelevant):  # fmt: skip
            found.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:16]

    @classmethod
    def of(
        cls,
        X: Any,
        relevant: Any,
        irrelevant: Any,
        *,
        probed: float = 0.5,
        names: tuple[str, str] = ("relevant", "irrelevant"),
        conditional: bool = True,
        seed: int = 0,
    ) -> Decision:
        r"""Return a decision on your own arrays.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_inputs)
            Inputs. They are centred and divided by one number, the root mean square of their
            standard deviations, over the samples that train. Standardise inputs of different units
            yourself.
        relevant, irrelevant : array_like of int, shape (n_samples,)
            Labels of two classes or more.
        probed : float
            Share of the samples that is kept from training, for the decoders.
        names : (str, str)
        conditional : bool
            See `Decision`.
        seed : int
            Of the split.

        Raises
        ------
        InvalidArgument, ShapeMismatch
            For labels that are not integers or of one class, a class that is absent from the
            samples that train or from those that probe, inputs that do not vary.

        Examples
        --------
        >>> import numpy as np, symkernel as sk
        >>> stream = np.random.default_rng(0)
        >>> shape, colour = stream.integers(0, 2, (2, 400))
        >>> X = np.stack([shape, colour], axis=1) + 0.1 * stream.standard_normal((400, 2))
        >>> mine = sk.environments.Decision.of(X, shape, colour, names=("shape", "colour"))
        >>> assert mine.X.shape == mine.probe.shape == (200, 2)
        """
        inputs = as_real_array(X, "X", 2)
        labels = [
            _numbered(value, name, len(inputs))
            for value, name in ((relevant, "relevant"), (irrelevant, "irrelevant"))
        ]
        share = as_real(probed, "probed")
        if not 0 < share < 1:
            raise InvalidArgument(f"Argument 'probed' must be between 0 and 1, not {share:g}.")
        if not isinstance(conditional, bool):
            raise InvalidArgument(
                f"Argument 'conditional' must be True or False, not {conditional!r}."
            )
        order = np.random.default_rng(as_seed(seed)).permutation(len(inputs))
        kept = round(share * len(inputs))
        train, probe = order[kept:], order[:kept]
        for label, name in zip(labels, ("relevant", "irrelevant"), strict=True):
            for part, what in ((train, "train"), (probe, "probe")):
                missing = np.setdiff1d(label, label[part])
                if missing.size:
                    raise InvalidArgument(
                        f"Argument '{name}' must have every class among the samples that train and "
                        f"among those that probe, but class {missing[0]} (counted from 0) is "
                        f"absent from those that {what}; give more samples, or merge rare classes."
                    )
        scaled = _scaled(inputs, train)
        return cls(
            scaled[train], labels[0][train], labels[1][train], scaled[probe], labels[0][probe],
            labels[1][probe], _as_two_names(names), conditional, "your arrays",
        )  # fmt: skip

    @classmethod
    def of_checkerboard(cls, trials: int = 10_000, probes: int = 4000, seed: int = 1) -> Decision:
        """Return the checkerboard: direction is relevant, colour is not.

        Parameters
        ----------
        trials, probes : int
            To train, and to probe.
        seed : int
            Of the trials; those that probe are drawn with the next one.

        Examples
        --------
        >>> import symkernel as sk
        >>> board = sk.environments.Decision.of_checkerboard(200, 100)
        >>> assert board.task.Y.shape == (200, 2) and board.names == ("direction", "colour")
        """
        train = checkerboard(as_count(trials, "trials"), seed=as_seed(seed))
        probe = checkerboard(as_count(probes, "probes"), seed=seed + 1)
        return cls(
            train.X, train.labels["direction"], train.labels["colour"], probe.X,
            probe.labels["direction"], probe.labels["colour"], ("direction", "colour"), False,
            "checkerboard", (train.ceiling("direction"), train.ceiling("colour")),
        )  # fmt: skip

    @classmethod
    def of_digits(cls, targets: str = "parity", seed: int = 0) -> Decision:
        """Return the digits: one of two coarse classes is relevant, the digit itself is not.

        Parameters
        ----------
        targets : {"parity", "below 5", "random"}
            The coarse classes, the last of which is a random half of the ten digits.
        seed : int
            Of the random half and of the split: 900 images train, 897 probe.

        Examples
        --------
        >>> import symkernel as sk
        >>> digits = sk.environments.Decision.of_digits("below 5")
        >>> assert digits.X.shape == (900, 64) and digits.other_task.Y.shape == (900, 10)
        """
        name = as_choice(targets, "targets", ("parity", "below 5", "random"))
        pixels, digit = images()
        coarse = class_of_digits(name, as_seed(seed))[digit]
        probed = 1.0 - _TRAINED_DIGITS / len(pixels)
        names = "random half" if name == "random" else name, "digit"
        found = cls.of(pixels, coarse, digit, probed=probed, names=names, seed=seed)
        return replace(found, title=f"digits, {names[0]}")


def _numbered(value: Any, name: str, count: int) -> np.ndarray:
    """Return labels 0, 1, ... in the order of the given ones."""
    labels = as_classes(value, name, count)
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InvalidArgument(
            f"Argument '{name}' must hold labels of two classes or more, but all are {labels[0]}."
        )
    return numbers


def _scaled(inputs: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return inputs of mean 0 and mean variance 1 over the samples that train."""
    # In units of the largest entry: squares of very large or small ones leave the numbers.
    parts = inputs / (np.abs(inputs).max() or 1.0)
    spread = float(np.sqrt(parts[train].var(0).mean()))
    if spread < _CONSTANT:
        raise InvalidArgument("Argument 'X' must have an input that varies, but all are constant.")
    return (parts - parts[train].mean(0)) / spread


def _as_two_names(value: object) -> tuple[str, str]:
    whole = isinstance(value, (list, tuple)) and len(value) == 2
    found: tuple[Any, ...] = tuple(value) if whole else ()  # type: ignore[arg-type]
    if not whole or not all(isinstance(one, str) and one for one in found):
        raise InvalidArgument(
            f"Argument 'names' must be two names, of the relevant label and of the other one, not "
            f"{value!r}."
        )
    return found[0], found[1]
