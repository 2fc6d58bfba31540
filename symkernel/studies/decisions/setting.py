"""What the trainings of a setting have in common, and the settings that are studied by default."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from symkernel.environments.decision import Decision
from symkernel.errors import InvalidArgument, as_choice, as_count, as_positive, as_real
from symkernel.problem.activation import ACTIVATIONS
from symkernel.problem.network import Network
from symkernel.problem.weights import Weights, gaussian

# What makes the folder of a study one of this kind; each setting has a folder of its own in it.
ABOUT = {"symkernel_study": "information"}
ARRAYS = "arrays"
ENVIRONMENTS = ("checkerboard", "digits parity", "digits below 5", "digits random", ARRAYS)
KEPT, NEW = "kept", "new"
# Their variance is that of the inputs times the gain squared only if half the units are cut off.
_HALVED = {"relu": math.sqrt(2.0)}


@dataclass(frozen=True)
class Descent:
    """Stochastic gradient descent.

    Attributes
    ----------
    learning_rate : float
    batch_size : int
    duration : float
        Learning rate x steps.
    """

    learning_rate: float
    batch_size: int
    duration: float

    def __post_init__(self) -> None:
        for name in ("learning_rate", "duration"):
            object.__setattr__(self, name, as_positive(getattr(self, name), name))
        as_count(self.batch_size, "batch_size")

    def __str__(self) -> str:
        """Return rate and batch size, as their ratio."""
        return f"{self.learning_rate:g}/{self.batch_size}"

    @property
    def noise(self) -> float:
        """Learning rate by batch size: how noisy the gradient is."""
        return self.learning_rate / self.batch_size


@dataclass(frozen=True)
class InformationSetting:
    """A network on an environment, and which descents train it.

    Attributes
    ----------
    environment : str
        One of `ENVIRONMENTS`.
    activation : str
    gain : float
        Weights have standard deviation gain / sqrt(fan-in), times sqrt(2) for ReLU; biases are 0.
    label_noise : float
        Probability that a label is drawn anew from all classes whenever it is seen.
    hidden : tuple of int
        Units of the hidden layers.
    descents : tuple of Descent
        For the first claim, all of one duration.
    watched : Descent or None
        The one that is looked at throughout, for the second claim.
    perturbed : Descent or None
        The one before which there is pretraining, for the third claim.
    epochs : tuple of int
        How many of pretraining; 0 is none, and is there.
    readouts : tuple of str
        Of "kept" and "new": what becomes of the read-out after pretraining. With as many
        classes as the task only, it can be kept.
    ridge : float
        Of the decoders: about 1 by the number of samples that fit one keeps them from fitting
        noise.
    """

    environment: str
    activation: str
    gain: float
    label_noise: float
    hidden: tuple[int, ...]
    descents: tuple[Descent, ...]
    watched: Descent | None = None
    perturbed: Descent | None = None
    epochs: tuple[int, ...] = (0,)
    readouts: tuple[str, ...] = (NEW,)
    ridge: float = 1e-4

    def __post_init__(self) -> None:
        as_choice(self.environment, "environment", ENVIRONMENTS)
        as_choice(self.activation, "activation", sorted(ACTIVATIONS))
        for name in ("gain", "ridge"):
            object.__setattr__(self, name, as_positive(getattr(self, name), name))
        noise = as_real(self.label_noise, "label_noise")
        if not 0 <= noise < 1:
            raise InvalidArgument(
                f"Argument 'label_noise' must be a probability below 1, not {noise:g}."
            )
        object.__setattr__(self, "label_noise", noise)
        self._check_lists()

    def _check_lists(self) -> None:
        for name in ("hidden", "descents", "epochs", "readouts"):
            value = getattr(self, name)
            whole = isinstance(value, (list, tuple)) and value
            if not whole or (name != "hidden" and len(set(value)) < len(value)):
                raise InvalidArgument(
                    f"Argument '{name}' must be a list of one or more different values, not "
                    f"{value!r}."
                )
            object.__setattr__(self, name, tuple(value))
        for width in self.hidden:
            as_count(width, "hidden")
        for k in self.epochs:
            as_count(k, "epochs", 0)
        if 0 not in self.epochs:
            raise InvalidArgument(
                f"Argument 'epochs' must hold 0, with which the others are compared, not "
                f"{list(self.epochs)}."
            )
        for name in self.readouts:
            as_choice(name, "readouts", (KEPT, NEW))
        if not all(isinstance(one, Descent) for one in self.descents):
            raise InvalidArgument(f"Argument 'descents' must hold Descents, not {self.descents!r}.")
        for name in ("watched", "perturbed"):
            if not isinstance(getattr(self, name), Descent | None):
                raise InvalidArgument(
                    f"Argument '{name}' must be a Descent or None, not {getattr(self, name)!r}."
                )
        if len({one.duration for one in self.descents}) > 1:
            raise InvalidArgument(
                "Argument 'descents' must hold descents of one duration (learning rate x steps): a "
                "larger rate over as many steps trains for longer, which discards more by itself."
            )

    @property
    def name(self) -> str:
        """What tells the setting apart from others, in words."""
        noise = f"label noise {self.label_noise:g}" if self.label_noise else "clean labels"
        return f"{self.environment}, {self.activation} gain {self.gain:g}, {noise}"

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return "".join(c if c.isalnum() or c == "." else "_" for c in self.name).replace("__", "_")

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the hidden layers."""
        return tuple(f"hidden{k}" for k in range(1, len(self.hidden) + 1))

    def network(self, inputs: int, classes: int) -> Network:
        """Return the network for so many inputs and classes."""
        return Network.mlp([inputs, *self.hidden, classes], self.activation, bias=True)

    def weights(self, net: Network, seed: int) -> Weights:
        """Return initial weights."""
        return gaussian(net, self.gain * _HALVED.get(self.activation, 1.0), seed)


@lru_cache(maxsize=8)
def environment_of(name: str) -> Decision:
    """Return a ready environment; it is made once."""
    if name == "checkerboard":
        return Decision.of_checkerboard()
    return Decision.of_digits(name.removeprefix("digits "))


def _descents(duration: float, *cells: tuple[float, int]) -> tuple[Descent, ...]:
    return tuple(Descent(rate, size, duration) for rate, size in cells)


_BOARD, _IMAGES = (20, 20, 20), (32, 16)
_NOISY = _descents(
    3000, (0.05, 16), (0.1, 64), (0.05, 4), (0.2, 64), (0.1, 16), (0.2, 16), (0.1, 4), (0.2, 4)
)
_RICH = _descents(3000, (0.05, 16), (0.2, 64), (0.5, 64), (0.05, 4), (0.2, 16), (0.5, 16), (0.2, 4))
_CLEAN = _descents(3000, (0.05, 16), (0.2, 64), (0.05, 4), (0.2, 16), (0.2, 4))
_DIGITS = _descents(400, (0.1, 64), (0.05, 16), (0.1, 16), (0.05, 4), (0.1, 4))
_LONG = (0, 1, 4, 16, 64)
_WATCHED_DIGITS = Descent(0.05, 16, 600)
# Of the 897 images that probe, some 220 of each parity fit a decoder.
_FEW = 4e-3

INFORMATION_SETTINGS = (
    InformationSetting(
        "checkerboard", "relu", 1.0, 0.2, _BOARD, _NOISY, Descent(0.2, 4, 3000),
        Descent(0.2, 4, 3000), _LONG, (KEPT, NEW),
    ),
    InformationSetting("checkerboard", "relu", 1.0, 0.0, _BOARD, _CLEAN, Descent(0.2, 4, 3000)),
    InformationSetting(
        "checkerboard", "tanh", 0.5, 0.0, _BOARD, _RICH, Descent(0.1, 16, 3000),
        Descent(0.1, 16, 2000), _LONG, (KEPT, NEW),
    ),
    InformationSetting(
        "digits parity", "relu", 1.0, 0.2, _IMAGES, _DIGITS, _WATCHED_DIGITS,
        Descent(0.1, 4, 400), (0, 5, 20, 100), ridge=_FEW,
    ),
    InformationSetting(
        "digits parity", "relu", 1.0, 0.0, _IMAGES, _DIGITS, _WATCHED_DIGITS, ridge=_FEW
    ),
    InformationSetting(
        "digits parity", "tanh", 0.5, 0.0, _IMAGES, _DIGITS, _WATCHED_DIGITS,
        Descent(0.1, 16, 400), (0, 5, 20, 100), ridge=_FEW,
    ),
    InformationSetting("digits below 5", "relu", 1.0, 0.2, _IMAGES, _DIGITS, ridge=_FEW),
    InformationSetting("digits random", "relu", 1.0, 0.2, _IMAGES, _DIGITS, ridge=_FEW),
)  # fmt: skip


def settings_of_arrays(
    decision: Decision, hidden: tuple[int, ...] = _IMAGES
) -> tuple[InformationSetting, ...]:
    """Return settings for your own arrays: with label noise, and rich with clean labels."""
    count = len(decision.X)
    groups = decision.probe_relevant.max() + 1 if decision.conditional else 1
    ridge = 2.0 * float(groups) / len(decision.probe)
    size = min(64, count)
    descents = tuple(
        dict.fromkeys(_descents(400, (0.1, size), (0.1, min(16, count)), (0.1, min(4, count))))
    )
    noisy = InformationSetting(
        ARRAYS, "relu", 1.0, 0.2, hidden, descents, descents[-1], ridge=ridge
    )
    rich = replace(
        noisy, activation="tanh", gain=0.5, label_noise=0.0, perturbed=descents[len(descents) // 2],
        watched=descents[len(descents) // 2], epochs=(0, 5, 20),
    )  # fmt: skip
    return noisy, rich


def steps_of(descent: Descent) -> int:
    """Return how many steps a descent takes."""
    return max(1, round(descent.duration / descent.learning_rate))
