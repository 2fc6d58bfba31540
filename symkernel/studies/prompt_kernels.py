r"""Kernels of all prompts, in the eigenspaces that their symmetry gives them.

A kernel of two prompts depends on the number m of stimulus groups that agree, on the sizes of the
two sets of tasks and on how many tasks are in both. Over the stimuli it is a matrix of the Hamming
scheme, whose eigenspaces are functions of d of the G groups: in each it is one matrix over the
sets of tasks. So G + 1 matrices stand for one over all prompts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from symkernel.environments.multitasking import Multitasking
from symkernel.problem.symmetry import Hamming

# Values of a kernel, (n_sets, n_sets, G + 1): the last axis is the number m of groups that agree.
Values = np.ndarray


@dataclass(frozen=True)
class PromptScheme:
    """Prompts of all sets of tasks with all stimuli; arrays over them are (n_sets, n_stimuli, ...).

    Attributes
    ----------
    environment : Multitasking
    """

    environment: Multitasking

    @cached_property
    def tasks(self) -> np.ndarray:
        """Task inputs of all sets, single tasks first, shape (n_sets, G^2)."""
        env = self.environment
        sets = [one for K in range(1, env.groups + 1) for one in env.task_sets(K)]
        found = np.zeros((len(sets), len(env.tasks)))
        for row, one in zip(found, sets, strict=True):
            row[list(one)] = 1.0
        return found

    @cached_property
    def overlap(self) -> np.ndarray:
        """How many tasks two sets have in common, shape (n_sets, n_sets)."""
        return self.tasks @ self.tasks.T

    @cached_property
    def _degrees(self) -> np.ndarray:
        """Number of groups that each function of the stimuli depends on."""
        places = itertools.product(range(self.environment.features), repeat=self.environment.groups)
        return np.array([sum(map(bool, one)) for one in places])

    @cached_property
    def functions(self) -> np.ndarray:
        """Orthonormal functions of the stimuli, the columns, by degree."""
        M = self.environment.features
        # The first function of the features of a group is constant.
        one = np.linalg.qr(np.column_stack([np.ones(M), np.eye(M)[:, 1:]]))[0]
        whole = reduce(np.kron, [one] * self.environment.groups)
        return whole[:, np.argsort(self._degrees, kind="stable")]

    @cached_property
    def degrees(self) -> list[slice]:
        """Columns of `functions` of each degree."""
        counts = np.bincount(self._degrees)
        ends = np.cumsum(counts)
        return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]

    def sets_of(self, X: np.ndarray) -> np.ndarray:
        """Return the numbers of the sets whose prompts, each with all stimuli, are the inputs."""
        known = {row.tobytes(): k for k, row in enumerate(self.tasks)}
        each = X[:: len(self.functions), self.environment.outputs :]
        return np.array([known[row.tobytes()] for row in each])

    def values(self, kernel: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Values:
        """Return the values of a kernel that depends on products of inputs alone.

        Parameters
        ----------
        kernel : callable
            Of two sets of inputs: (..., n_samples, n_samples2).

        Returns
        -------
        ndarray, shape (..., n_sets, n_sets, G + 1)
        """
        env = self.environment
        G = env.groups
        sizes = self.tasks.sum(axis=1).astype(int)
        firsts = [int(np.argmax(sizes == K)) for K in range(1, G + 1)]
        # Stimuli that agree with the first one in m groups, for every m.
        agreeing = (np.arange(G) >= np.arange(G + 1)[:, None]).astype(int)
        features = np.eye(env.features)[agreeing].reshape(G + 1, -1)
        here = np.hstack([np.tile(features[G], (G, 1)), self.tasks[firsts]])
        there = np.hstack(
            [np.repeat(features, len(sizes), axis=0), np.tile(self.tasks, (G + 1, 1))]
        )
        found = kernel(here, there)
        found = np.moveaxis(found.reshape(*found.shape[:-1], G + 1, len(sizes)), -2, -1)
        common = self.overlap.astype(int)
        # By the size of one set, that of the other, and what they have in common.
        table = np.zeros((*found.shape[:-3], G, G, G + 1, G + 1))
        for K, first in enumerate(firsts):
            table[..., K, sizes - 1, common[first], :] = found[..., K, :, :]
        return table[..., sizes[:, None] - 1, sizes[None, :] - 1, common, :]

    def kernel(self, values: Values) -> PromptKernel:
        """Return a kernel from its values."""
        env = self.environment
        stimuli, every = Hamming(env.groups, env.features), range(env.groups + 1)
        weights = np.array([[float(stimuli.eigenvalue(m, d)) for m in every] for d in every])
        return PromptKernel(self, np.moveaxis(values @ weights.T, -1, 0))


@dataclass(frozen=True, eq=False)
class PromptKernel:
    """A kernel by degree of the stimulus: between some sets of tasks and others.

    Attributes
    ----------
    scheme : PromptScheme
    blocks : ndarray, shape (G + 1, n_sets, n_sets2)
    """

    scheme: PromptScheme
    blocks: np.ndarray

    def between(self, rows: np.ndarray | slice, columns: np.ndarray) -> PromptKernel:
        """Return its part between some sets of tasks and others."""
        return PromptKernel(self.scheme, self.blocks[:, rows][:, :, columns])

    def largest(self, shares: np.ndarray) -> float:
        """Return the largest eigenvalue with samples weighted, the same weights for each set."""
        root = np.sqrt(shares)
        return float(np.linalg.norm(self.blocks * np.outer(root, root), 2, axis=(1, 2)).max())

    def __matmul__(self, values: np.ndarray) -> np.ndarray:
        """Return the product with (n_sets2, n_stimuli, n) numbers, (n_sets, n_stimuli, n)."""
        return self._applied(self.blocks, self.scheme.functions.T @ values)

    def drawn(self, stream: np.random.Generator, count: int) -> np.ndarray:
        """Return draws of Gaussian variables of this covariance, (n_sets, n_stimuli, count)."""
        shape = (self.blocks.shape[1], len(self.scheme.functions), count)
        sizes, along = np.linalg.eigh(self.blocks)
        # Of a covariance, what is negative is rounding.
        roots = along * np.sqrt(np.maximum(sizes, 0.0))[:, None, :]
        return self._applied(roots, stream.standard_normal(shape))

    def _applied(self, blocks: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Multiply amplitudes of the functions of the stimuli by matrices, degree by degree."""
        found = np.empty((blocks.shape[1], *parts.shape[1:]))
        for block, columns in zip(blocks, self.scheme.degrees, strict=True):
            found[:, columns] = np.tensordot(block, parts[:, columns], 1)
        return self.scheme.functions @ found
