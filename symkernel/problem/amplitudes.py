"""Amplitudes of weights that are aligned with a task, and the directions they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sympy as sp

from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.problem.exact import ExactMoments
from symkernel.problem.mode import Mode
from symkernel.problem.modes import singular_basis
from symkernel.problem.nodes import Linear
from symkernel.problem.task import Task


@dataclass(frozen=True)
class Amplitudes:
    """Amplitudes of the input side (a) and the output side (b), per mode; may be symbols.

    In a chain of layers b is that of the last layer and a that of all others. `modes` and `exact`
    are those of the task of the alignment, if it has them; `named` are the arguments given.
    """

    a: tuple[sp.Expr, ...]
    b: tuple[sp.Expr, ...]
    seed: int
    modes: tuple[Mode, ...] | None = None
    exact: ExactMoments | None = None
    named: tuple[str, str] = ("a", "b")

    def fit(self, task: Task) -> bool:
        """Whether they are those of weights that are aligned with this task, as far as is known."""
        return (self.modes, self.exact) == (task.modes, task.exact)

    @property
    def free_symbols(self) -> set[sp.Symbol]:
        """Symbols without a value."""
        return set().union(*(value.free_symbols for value in (*self.a, *self.b)))


def orthonormal(stream: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Draw a matrix of orthonormal columns."""
    q, r = np.linalg.qr(stream.standard_normal((rows, columns)))
    return q * np.sign(np.diag(r))


def chain_roots(
    chain: list[Linear], modes: Sequence[sp.Expr]
) -> tuple[tuple[sp.Expr, ...], tuple[sp.Expr, ...]]:
    """Return the amplitudes of the modes in all layers but the last, and in the last one."""
    depth = len(chain)
    scale = sp.Mul(*(node.parameter.scale for node in chain))
    if depth == 1:
        return (sp.S.One,), tuple(u / scale for u in modes)
    sign = {u: -1 if u.is_negative else 1 for u in modes}
    for u in modes:
        if not u.is_negative and not u.is_nonnegative:
            raise InvalidArgument(
                f"Argument 'u' must be of a known sign, not {u}; make its symbols nonnegative."
            )
    a = tuple((sign[u] * u / scale) ** sp.Rational(1, depth) for u in modes)
    return a, tuple(sign[u] * root for u, root in zip(modes, a, strict=True))


def alignment(
    task: Task, sides: Amplitudes, n_hidden: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return output and input directions as columns, and the amplitudes of either side."""
    named = tuple(zip((sides.a, sides.b), sides.named, strict=True))
    if task.modes is None:
        basis = singular_basis(task)
        k = min(n_hidden, basis.rank_bound)
        a, b = (_fill(side, (k,), name) for side, name in named)
        return basis.U[:, :k], basis.V[:, :k], a, b
    # The modes themselves are the axes, in the order in which they were given: sorted by
    # strength, amplitudes would come to other modes than in the same task with symbols.
    counts = [int(mode.multiplicity) for mode in task.modes]
    strength = np.repeat([float(mode.s) for mode in task.modes], counts)
    kept = np.argsort(-strength, kind="stable")[:n_hidden]
    lengths = len(counts), len(strength)
    a, b = (_fill(side, lengths, name, counts)[kept] for side, name in named)
    frame = np.eye(len(strength))[:, kept]
    return frame, frame, a, b


def _fill(
    side: tuple[sp.Expr, ...], lengths: tuple[int, ...], name: str, counts: Sequence[int] = ()
) -> np.ndarray:
    """Return one amplitude for each mode; repeated modes share theirs if there is one for all."""
    numbers = np.array([float(value) for value in side])
    if len(numbers) not in (1, *lengths):
        raise ShapeMismatch(
            f"Argument '{name}' must hold one amplitude or one for each of "
            f"{' or '.join(map(str, dict.fromkeys(lengths)))} modes, not {len(numbers)}."
        )
    if len(numbers) == len(counts):
        return np.repeat(numbers, counts)
    return np.broadcast_to(numbers, lengths[-1:])
