"""Kernel regression on all prompts of single tasks: prompts listed here, no symmetry used."""

from __future__ import annotations

import itertools

import numpy as np


def prompts(G, M, K):
    """Inputs and targets of all prompts of K tasks, and (read group, written group) of each."""
    X, Y, tasks = [], [], []
    for read in itertools.combinations(range(G), K):
        for written in itertools.permutations(range(G), K):
            for stimulus in itertools.product(range(M), repeat=G):
                x, y = np.zeros(G * M + G * G), np.zeros(G * M)
                for i, v in enumerate(stimulus):
                    x[i * M + v] = 1
                for i, j in zip(read, written, strict=True):
                    x[G * M + i * G + j] = 1
                    y[j * M + stimulus[i]] = 1
                X.append(x)
                Y.append(y)
                tasks.append(list(zip(read, written, strict=True)))
    return np.array(X), np.array(Y), tasks


def flow(kernel, G, M, K, times, pace=1.0):
    """Outputs at prompts of K tasks, kernel(X, X') being the Gram matrix of inputs."""
    X, Y, _ = prompts(G, M, 1)
    P, _, _ = prompts(G, M, K)
    values, vectors = np.linalg.eigh(kernel(X, X))
    values = np.where(np.abs(values) < 1e-12 * np.abs(values).max(), 0.0, values)
    modes, response = vectors.T @ Y, kernel(P, X) @ vectors
    out = []
    for time in times:
        t = pace * time / len(X)
        safe = np.where(values == 0, 1.0, values)
        share = np.where(values == 0, t, -np.expm1(-values * t) / safe)
        out.append(response @ (share[:, None] * modes))
    return np.array(out)


def descent(kernel, G, M, K, steps, rate):
    """The same after steps of gradient descent that are taken one by one."""
    X, Y, _ = prompts(G, M, 1)
    P, _, _ = prompts(G, M, K)
    gram, weights = kernel(X, X), np.zeros_like(Y)
    for _ in range(steps):
        weights = weights + rate / len(X) * (Y - gram @ weights)
    return kernel(P, X) @ weights


def accuracy(outputs, G, M, K):
    """Share of prompts all of whose written groups have their largest output in the right place."""
    _, Y, tasks = prompts(G, M, K)
    right = 0
    for f, y, pairs in zip(outputs.reshape(-1, G, M), Y.reshape(-1, G, M), tasks, strict=True):
        right += all(f[j].argmax() == y[j].argmax() for _, j in pairs)
    return right / len(Y)


def least_lead(outputs, G, M, K):
    """Smallest difference of a right unit and another one of its group."""
    _, Y, tasks = prompts(G, M, K)
    leads = []
    for f, y, pairs in zip(outputs.reshape(-1, G, M), Y.reshape(-1, G, M), tasks, strict=True):
        for _, j in pairs:
            v = y[j].argmax()
            leads.append(f[j][v] - np.delete(f[j], v).max())
    return min(leads)


def of_relation(table, G, M):
    """The kernel whose entries are table(m, same, K) as a function of two sets of inputs."""
    split = G * M

    def kernel(P, X):
        agree = (P[:, :split] @ X[:, :split].T).astype(int)
        same = (P[:, split:] @ X[:, split:].T).astype(int)
        at_once = P[:, split:].sum(1).astype(int)
        values = np.array(
            [[[table(m, d, K) for d in (0, 1)] for m in range(G + 1)] for K in range(G + 1)]
        )
        return values[at_once[:, None], agree, same]

    return kernel


def erf_tangent(stimulus, task, G, M):
    """Tangent kernel of a wide network of erf(z / sqrt 2), in closed form, from inputs."""
    split = G * M

    def overlap(P, X):
        return stimulus * P[:, :split] @ X[:, :split].T + task * P[:, split:] @ X[:, split:].T

    def kernel(P, X):
        c = overlap(P, X)
        v, w = (np.array([overlap(one[None], one[None])[0, 0] for one in rows]) for rows in (P, X))
        both = np.sqrt((1 + v)[:, None] * (1 + w)[None])
        value = 2 / np.pi * np.arcsin(c / both)
        slope = 2 / np.pi / np.sqrt((1 + v)[:, None] * (1 + w)[None] - c**2)
        return value + slope * c

    return kernel
