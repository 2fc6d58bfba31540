"""The problem: network, curriculum, initial weights and loss, checked against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from symkernel import notation
from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.loss import CrossEntropy, Loss, SquaredError
from symkernel.problem.network import Network
from symkernel.problem.scalars import as_sympy, short
from symkernel.problem.weights import Weights

HALF = SquaredError()
CONVENTIONS = (
    HALF.convention,
    "flow time t = learning rate x steps",
    "X (n_samples, n_inputs), W1 (n_hidden, n_inputs), W2 (n_outputs, n_hidden)",
)


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be learned, by what, from where.

    Raises
    ------
    ShapeMismatch
        If the network does not fit the tasks.
    """

    network: Network
    curriculum: Curriculum
    weights: Weights
    loss: Loss = HALF

    def __post_init__(self) -> None:
        for value, kind, name, words in (
            (self.network, Network, "network", "a Network"),
            (
                self.weights, Weights, "weights", "a Weights; make it with "
                "sk.weights.from_arrays(net, [W1, W2, ...])",
            ),
            (self.loss, (SquaredError, CrossEntropy), "loss", "a SquaredError or CrossEntropy"),
        ):  # fmt: skip
            if not isinstance(value, kind):
                wanted, _, advice = words.partition("; ")
                raise InvalidArgument(
                    f"Argument '{name}' must be {wanted}, not {type(value).__name__}"
                    f"{advice and '; '}{advice}."
                )
        object.__setattr__(self, "curriculum", Curriculum.of(self.curriculum))
        task = self.curriculum.phases[0].task
        for side in ("inputs", "outputs"):
            mine, theirs = as_sympy(getattr(self.network, side)), getattr(task, side)
            if mine.is_Integer and theirs.is_Integer and mine != theirs:
                raise ShapeMismatch(
                    f"The network has {mine} {side}, the task has {theirs}; they must agree."
                )
        for phase in self.curriculum.phases:
            self.loss.refuse(phase.task)
        amplitudes = self.weights.amplitudes
        if self.weights.values is None and amplitudes is not None and not amplitudes.fit(task):
            raise InvalidArgument(
                "The weights have symbols and are aligned with another task than the first one of "
                "the curriculum; align them with that one."
            )
        self._check_symbols()
        if self.weights.values is not None:
            for p in self.network.parameters:
                found = self.weights.values.get(p.name)
                if found is None or found.shape != tuple(p.shape):
                    raise ShapeMismatch(
                        f"Argument 'weights' must hold '{p.name}' of shape {tuple(p.shape)}, not "
                        f"{'nothing' if found is None else found.shape}."
                    )

    def _check_symbols(self) -> None:
        """Refuse symbols that mean something else in the laws; integers are sizes everywhere."""
        clocks = {q for q in self.free_symbols if q.name == notation.t.name}
        if clocks:
            raise InvalidArgument(
                "A symbol of the problem is called 't', which is the flow time in every law; give "
                "yours another name."
            )
        elsewhere = self.loss.free_symbols | self.network.free_symbols
        posed = self.curriculum.free_symbols
        for symbol in elsewhere | (posed & {notation.t, notation.fraction}):
            known = notation.entry(symbol.name)
            if known is not None and known.symbol == symbol and not symbol.is_integer:
                raise InvalidArgument(
                    f"The symbol '{symbol}' stands for something else in the laws "
                    f"({known.meaning}); give yours another name."
                )

    @property
    def squared_error(self) -> SquaredError:
        """The loss of the laws: the problem's own, unless that is another one."""
        if not isinstance(self.loss, SquaredError):
            raise InvalidArgument(
                f"Argument 'loss' must be a SquaredError here, not {type(self.loss).__name__}: the "
                f"result is for squared error alone. Use sk.simulate, which takes both."
            )
        return self.loss

    @property
    def is_numeric(self) -> bool:
        """Whether nothing in it is a symbol."""
        return self.is_numeric_but_for_durations and self.curriculum.is_numeric

    @property
    def is_numeric_but_for_durations(self) -> bool:
        """Whether nothing in it is a symbol, save durations of phases."""
        return (
            self.network.is_numeric
            and all(phase.task.is_numeric for phase in self.curriculum.phases)
            and self.weights.values is not None
            and not self.loss.free_symbols
        )

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        mine = self.network.free_symbols | self.loss.free_symbols
        return self.curriculum.free_symbols | set(self.weights.free_symbols) | mine

    @property
    def conventions(self) -> tuple[str, ...]:
        """The block of conventions that is printed with every result."""
        phis = (phi for phi in self.network.activations if phi.convention)
        return (
            self.loss.convention,
            *CONVENTIONS[1:],
            f"{self._factor}{self.network.parameterisation} parameterisation",
            *(f"activation {phi.name}: {phi.convention}" for phi in phis),
            *self._training(),
            *self._data(),
        )

    @property
    def _factor(self) -> str:
        squared = isinstance(self.loss, SquaredError)
        return f"loss factor {self.loss.factor}; " if squared else ""

    def _data(self) -> Iterator[str]:
        """Yield what was done to the data, with the phases where it was not done in all."""
        tasks = [phase.task for phase in self.curriculum.phases]
        for line in dict.fromkeys(line for task in tasks for line in task.history):
            where = [str(k) for k, task in enumerate(tasks) if line in task.history]
            if len(where) == len(tasks):
                yield f"data {line}"
            else:
                several = "s" if len(where) > 1 else ""
                yield f"data of phase{several} {', '.join(where)} (the first is 0) {line}"

    def _training(self) -> Iterator[str]:
        """Yield what the conventions say of weight decay and rates, where there are any."""
        if self.loss.weight_decay != 0:
            yield (
                f"L holds weight decay too: {short(self.loss.weight_decay)}/2 x the sum of squares "
                f"of all trained parameters as they are, biases included"
            )
        rates: dict[sp.Expr, list[str]] = {}
        for p in self.network.parameters:
            if p.trained:
                rates.setdefault(p.rate, []).append(p.name)
        if set(rates) - {sp.S.One}:
            parts = (f"times {short(rate)} for {', '.join(names)}" for rate, names in rates.items())
            yield f"learning rate {'; '.join(parts)}"

    def with_values(self, values: Mapping[sp.Symbol, object]) -> Problem:
        """Return the problem with numbers in place of symbols."""
        phases = tuple(
            Phase(phase.task.with_values(values), _with_values(phase.duration, values))
            for phase in self.curriculum.phases
        )
        network = self.network
        if not network.is_numeric:
            network = network.with_values(values)
        weights = self.weights.with_values(network, phases[0].task, values)
        return Problem(network, Curriculum(phases), weights, self.loss.with_values(values))


def _with_values(duration: Any, values: Mapping[sp.Symbol, object]) -> Any:
    return duration.subs(values) if isinstance(duration, sp.Expr) else duration
