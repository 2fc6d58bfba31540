"""The lazy law's judge: prompts written out, Gram matrices of all of them, linear algebra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.environments.multitasking import Multitasking, Prompts

__all__ = ["Explicit", "parts_of"]


def parts_of(prompts: Prompts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what outputs are made of: whether groups are written, features read, features shown.

    Returns
    -------
    addressed, read, pooled : ndarray, shape (n_prompts, G, M)
    """
    G, M = prompts.environment.groups, prompts.environment.features
    target = prompts.Y.reshape(-1, G, M)
    addressed = np.repeat(target.any(-1, keepdims=True), M, -1).astype(float)
    shown = prompts.X[:, : G * M].reshape(-1, G, M)
    pooled = np.repeat((shown - 1 / M).sum(1)[:, None], G, 1)
    return addressed, addressed * (target - 1 / M), pooled


@dataclass(frozen=True)
class Explicit:
    """Kernel regression on all prompts of single tasks, without any symmetry.

    Attributes
    ----------
    environment : Multitasking
    entry : callable
        Numbers m, delta, K -> value of the kernel.
    pace : float
        Twice the factor of the loss.
    """

    environment: Multitasking
    entry: Callable[[int, int, int], float]
    pace: float

    def gram(self, prompts: Prompts) -> np.ndarray:
        """Return the kernel of prompts, all of as many tasks, with the training prompts."""
        split = self.environment.outputs
        K, highest = len(prompts.sets[0]), self.environment.groups
        table = np.array([[self.entry(m, d, K) for d in (0, 1)] for m in range(highest + 1)])
        X, train = prompts.X, self.environment.single.X
        agree = (X[:, :split] @ train[:, :split].T).astype(int)
        same = (X[:, split:] @ train[:, split:].T).astype(int)
        return table[agree, same]

    @cached_property
    def _modes(self) -> tuple[np.ndarray, np.ndarray]:
        return np.linalg.eigh(self.gram(self.environment.single))

    def outputs(self, prompts: Prompts, time: float) -> np.ndarray:
        """Return the outputs at a flow time, shape (n_prompts, G M), from initial outputs 0."""
        values, vectors = self._modes
        reach = self.pace * time / len(values)
        # (1 - exp(-x)) / x, 1 at x = 0.
        x = values * reach
        share = np.where(np.abs(x) < 1e-12, 1.0, -np.expm1(-x) / np.where(x == 0, 1.0, x))
        weights = vectors @ ((share * reach)[:, None] * (vectors.T @ self.environment.single.Y))
        return self.gram(prompts) @ weights

    def descended(self, prompts: Prompts, steps: int, rate: float) -> np.ndarray:
        """Return the same after steps of full-batch gradient descent."""
        K = self.gram(self.environment.single)
        Y = self.environment.single.Y
        weights = np.zeros_like(Y)
        for _ in range(steps):
            weights = weights + rate * self.pace / len(K) * (Y - K @ weights)
        return self.gram(prompts) @ weights
