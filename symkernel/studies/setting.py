"""What a run of the multitasking study is made of: environment, network, weights, curriculum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import sympy as sp

from symkernel.environments.multitasking import Multitasking, Prompts
from symkernel.errors import InvalidArgument, as_count, as_positive, as_real
from symkernel.problem.activation import ACTIVATIONS, Activation
from symkernel.problem.activation import activation as find_activation
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.formula_text import parse_formula
from symkernel.problem.network import ActivationLike, Network
from symkernel.problem.weights import Weights

# For sigmoid units with a negative bias, and by how much other functions are steeper.
_GENTLE, _STEEPER = 20.0, 10.0


@lru_cache(maxsize=8)
def environment_of(groups: int, features: int) -> Multitasking:
    """Return the environment of a size; its prompts are made once."""
    return Multitasking(groups, features)


@dataclass(frozen=True)
class Setting:
    """All that the cells of a study have in common, in numbers and texts.

    Attributes
    ----------
    groups, features : int
        G and M of the environment.
    hidden : int
    activation, output_activation : str
        Names, or formulas in z.
    direct : bool
        Whether there is a path from the task to the output.
    bias, output_bias : float
        Constants, not trained.
    learning_rate : float
    single_steps, concurrent_steps : int
        Of gradient descent on single tasks, and on concurrent ones.
    """

    groups: int = 3
    features: int = 3
    hidden: int = 100
    activation: str = "sigmoid"
    output_activation: str = "sigmoid"
    direct: bool = True
    bias: float = -2.0
    output_bias: float = -2.0
    learning_rate: float = 20.0
    single_steps: int = 1000
    concurrent_steps: int = 600

    def __post_init__(self) -> None:
        for name in ("hidden", "single_steps", "concurrent_steps"):
            object.__setattr__(self, name, as_count(getattr(self, name), name))
        for name in ("bias", "output_bias"):
            object.__setattr__(self, name, as_real(getattr(self, name), name))
        rate = as_positive(self.learning_rate, "learning_rate")
        object.__setattr__(self, "learning_rate", rate)
        if not isinstance(self.direct, bool):
            raise InvalidArgument(f"Argument 'direct' must be True or False, not {self.direct!r}.")
        for name in ("activation", "output_activation"):
            object.__setattr__(self, name, as_text(getattr(self, name)))
        _ = self.environment

    @property
    def environment(self) -> Multitasking:
        """The environment."""
        return environment_of(self.groups, self.features)

    @cached_property
    def network(self) -> Network:
        """The network."""
        phi, psi = (_function(text) for text in (self.activation, self.output_activation))
        return self.environment.network(self.hidden, phi, psi, self.direct)

    @cached_property
    def prompts(self) -> tuple[Prompts, ...]:
        """All prompts of 1, 2, ..., G tasks at once."""
        env = self.environment
        many = range(2, env.groups + 1)
        return (env.single, *(env.prompts(env.task_sets(K)) for K in many))

    @cached_property
    def inputs(self) -> np.ndarray:
        """Inputs of all prompts, those of single tasks first, shape (n_prompts, n_inputs)."""
        return np.concatenate([one.X for one in self.prompts])

    def weights(self, scale: float, seed: int) -> Weights:
        """Return initial weights."""
        return self.environment.weights(self.network, scale, seed, self.bias, self.output_bias)

    def curriculum(self, name: str) -> Curriculum:
        """Return what is trained on."""
        steps = self.single_steps, self.concurrent_steps
        return self.environment.curriculum(name, self.learning_rate, *steps)

    @property
    def finer(self) -> Setting:
        """The same with half the learning rate and twice as many steps."""
        return replace(
            self, learning_rate=self.learning_rate / 2, single_steps=2 * self.single_steps,
            concurrent_steps=2 * self.concurrent_steps,
        )  # fmt: skip

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Every attribute as a parameter of a sweep with one value."""
        return {name: [value] for name, value in asdict(self).items()}

    @property
    def about(self) -> dict[str, Any]:
        """What makes a study the same one, for its folder."""
        return {"symkernel_study": "multitask", **asdict(self)}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Setting:
        """Return the setting of a cell's parameters."""
        return _setting(*(parameters[field.name] for field in fields(cls)))


@lru_cache(maxsize=8)
def _setting(*values: Any) -> Setting:
    """Return a setting; its network and prompts are made once."""
    return Setting(*values)


def usual_rate(activation: str, output_activation: str, bias: object) -> float:
    """Return a learning rate that suits the functions: a step of flow time for these slopes."""
    gentle = activation == "sigmoid" and as_real(bias, "bias") < 0
    rate = _GENTLE if gentle else _GENTLE / _STEEPER
    return rate if output_activation == "sigmoid" else rate / _STEEPER


def as_text(value: ActivationLike) -> str:
    """Return an activation as a text that `Setting` reads again: a name, or a formula in z."""
    if isinstance(value, str) and value in ACTIVATIONS:
        return value
    if isinstance(value, str):
        return str(_function(value).expression)
    found = find_activation(value)
    text = found.name if found.name in ACTIVATIONS else str(found.expression)
    _function(text)
    return text


def _function(text: str) -> Activation:
    if text in ACTIVATIONS:
        return ACTIVATIONS[text]
    try:
        return find_activation(parse_formula(text, {"z": sp.Symbol("z", real=True)}))
    except InvalidArgument as error:
        raise InvalidArgument(
            f"Argument 'activation' must be one of {', '.join(sorted(ACTIVATIONS))}, or a formula "
            f"in z, not {text!r}: {error}"
        ) from error
