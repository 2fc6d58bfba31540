"""The parts of a problem, each from its table: network, tasks, weights, loss."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp

from symkernel import environments
from symkernel.errors import InvalidArgument
from symkernel.problem import weights
from symkernel.problem.activation import ACTIVATIONS
from symkernel.problem.curriculum import Curriculum, Phase
from symkernel.problem.loss import SquaredError
from symkernel.problem.network import PARAMETERISATIONS, Network
from symkernel.problem.task import Task
from symkernel.problem.weights import Weights
from symkernel.problem_file.arrays import Found, read_array
from symkernel.problem_file.keys import (
    BOOLEAN,
    FORMULA,
    LIST,
    TEXT,
    TEXTS,
    WHOLE,
    Keys,
    Kind,
    shown,
)
from symkernel.problem_file.notation import Symbols

_MOST_LAYERS = 100
_MOST_PARAMETERS = 2**26
_ARRAY = Kind("a file, such as 'x.csv' or 'data.npz:X'", TEXT.holds)
_STEPS = Kind(
    "a list of 'centre', 'whiten' or { step = '...', ... }",
    lambda value: isinstance(value, list) and all(isinstance(one, (str, dict)) for one in value),
)
_TREE = {"branching": FORMULA, "depth": FORMULA, "whitened": BOOLEAN}


# ---- network


def network_of(keys: Keys, symbols: Symbols) -> Network:
    """Return the network of the table [network]."""
    kind = keys.choice("kind", ("two_layer", "mlp"))
    if kind == "mlp":
        sizes = keys.take("sizes", LIST)
        if not 2 <= len(sizes) <= _MOST_LAYERS:
            keys.fail("sizes", f"must hold 2 to {_MOST_LAYERS} sizes, not {len(sizes)}")
        units = [_size(keys, "sizes", one, symbols) for one in sizes]
    else:
        names = ("inputs", "hidden", "outputs")
        units = [_size(keys, name, keys.take(name, FORMULA), symbols) for name in names]
    activation = keys.choice("activation", ACTIVATIONS, "linear" if kind == "two_layer" else "tanh")
    bias = keys.take("bias", BOOLEAN, False)
    parameterisation = keys.choice("parameterisation", PARAMETERISATIONS, "standard")
    keys.done()
    if all(one.is_Integer for one in units):
        count = int(sum(math.prod(pair) for pair in pairwise(units)))
        if count > _MOST_PARAMETERS:
            raise InvalidArgument(
                f"{keys.file}: table 'network' must not have more than {_MOST_PARAMETERS:,} "
                f"weights; these sizes make {count:,}."
            )
    with keys.blame():
        return Network.mlp(units, activation, bias, parameterisation)


def _size(keys: Keys, key: str, value: Any, symbols: Symbols) -> sp.Expr:
    if not FORMULA.holds(value):
        keys.fail(key, f"must hold whole numbers or formulas in quotes, not {shown(value)}")
    size = symbols.expression(keys, key, value)
    if size.is_number and not (size.is_Integer and size > 0):
        keys.fail(key, f"must be a positive whole number, not {size}")
    return size


# ---- tasks


def curriculum_of(keys: Keys, symbols: Symbols) -> Curriculum:
    """Return the phases of the file: one table [task], or several [[phase]]."""
    if ("task" in keys) == ("phase" in keys):
        raise InvalidArgument(
            f"{keys.file}: there must be either one table [task] or tables [[phase]], each with "
            f"its [phase.task] and duration, not {'both' if 'task' in keys else 'neither'}."
        )
    if "task" in keys:
        return Curriculum.of(_task(keys.table("task"), symbols))
    phases = [_phase(one, symbols) for one in keys.tables("phase")]
    with keys.blame("phase"):
        return Curriculum(phases)


def _phase(keys: Keys, symbols: Symbols) -> Phase:
    task = _task(keys.table("task"), symbols)
    duration = None
    if "duration" in keys:
        duration = symbols.expression(keys, "duration", keys.take("duration", FORMULA))
    keys.done()
    with keys.blame("duration"):
        return Phase(task, duration)


def _task(keys: Keys, symbols: Symbols) -> Task:
    kinds = {
        "X": _task_of_samples,
        "s": _task_of_modes,
        "Syx": _task_of_moments,
        "environment": _task_of_environment,
    }
    given = [key for key in kinds if key in keys]
    if len(given) != 1:
        raise InvalidArgument(
            f"{keys.file}: table '{keys.where}' must say what the task is by exactly one of the "
            f"keys X (with Y), s (modes), Syx (with Sxx and Syy) and environment, not by "
            f"{' and '.join(given) or 'none of them'}."
        )
    with keys.blame():
        task = kinds[given[0]](keys, symbols)
    for position, step in enumerate(keys.take("steps", _STEPS, [])):
        task = _transformed(task, keys, position, step)
    keys.done()
    return task


def _task_of_samples(keys: Keys, _: Symbols) -> Task:
    X, Y = (_array(keys, name) for name in ("X", "Y"))
    columns = {"inputs": X.columns, "outputs": Y.columns}
    labels = {key: names for key, names in columns.items() if names is not None}
    named = keys.table("labels", {})
    labels |= named.options(dict.fromkeys(("samples", "inputs", "outputs"), TEXTS))
    named.done()
    return Task(X.array, Y.array, labels)


def _task_of_modes(keys: Keys, symbols: Symbols) -> Task:
    options = ("multiplicity", "input_variance")
    given = {name: symbols.expressions(keys, name, default=1) for name in options}
    return Task.from_modes(symbols.expressions(keys, "s"), **given)


def _task_of_moments(keys: Keys, _: Symbols) -> Task:
    return Task.from_moments(*(_array(keys, name).array for name in ("Sxx", "Syx", "Syy")))


def _task_of_environment(keys: Keys, symbols: Symbols) -> Task:
    if keys.choice("environment", ("digits", "semantic_hierarchy")) == "digits":
        return environments.digits(**keys.options({"components": WHOLE, "whiten": BOOLEAN}))
    options = keys.options(_TREE)
    for key in ("branching", "depth"):
        if key not in options:
            keys.take(key, FORMULA)
        options[key] = symbols.expression(keys, key, options[key])
    if options["depth"].free_symbols:
        keys.fail("depth", "must be a number: the tasks of a file have a known number of modes")
    task = environments.semantic_hierarchy(**options)
    assert isinstance(task, Task)
    return task


def _transformed(task: Task, keys: Keys, position: int, step: str | dict[str, Any]) -> Task:
    where = f"{keys.name('steps')}[{position}]"
    one = Keys(keys.file, where, {"step": step} if isinstance(step, str) else step)
    if one.choice("step", ("centre", "whiten")) == "centre":
        options = one.options({"inputs": BOOLEAN, "outputs": BOOLEAN})
        transform: Any = task.centred
    else:
        options = one.options({"components": WHOLE})
        transform = task.whitened
    one.done()
    with one.blame():
        return transform(**options)


def _array(keys: Keys, key: str) -> Found:
    reference = keys.take(key, _ARRAY)
    with keys.blame(key):
        return read_array(reference, keys.file.parent)


# ---- weights and loss


def weights_of(keys: Keys, net: Network, task: Task, symbols: Symbols) -> Weights:
    """Return the initial weights of the table [weights]; `task` is that of the first phase."""
    kind = keys.choice("kind", ("gaussian", "balanced", "aligned", "arrays"))
    if kind == "arrays":
        arrays = {p.name: _array(keys, p.name).array for p in net.parameters}
        keys.done()
        with keys.blame():
            return weights.from_arrays(net, _shaped(net, arrays))
    seed = keys.take("seed", WHOLE, 0)
    if kind == "aligned":
        sides = {side: symbols.expressions(keys, side) for side in ("a", "b")}
        keys.done()
        with keys.blame():
            return weights.aligned(net, task, **sides, seed=seed)
    scale = symbols.number(keys, "scale", keys.take("scale", FORMULA, 1))
    keys.done()
    draw = weights.gaussian if kind == "gaussian" else weights.balanced
    with keys.blame():
        return draw(net, float(scale), seed)


def _shaped(net: Network, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return vectors for the parameters that are vectors; a CSV file holds rows of columns."""
    for p in net.parameters:
        array = arrays[p.name]
        if len(p.shape) == 1 and array.ndim == 2 and 1 in array.shape:
            arrays[p.name] = array.ravel()
    return arrays


def loss_of(keys: Keys, symbols: Symbols) -> SquaredError:
    """Return the loss of the table [loss]."""
    factor = symbols.expression(keys, "factor", keys.take("factor", FORMULA, "1/2"))
    keys.done()
    with keys.blame("factor"):
        return SquaredError(factor)
