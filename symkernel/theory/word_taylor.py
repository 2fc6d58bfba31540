r"""Flows of words by Taylor steps in 60 digits, against which integrators are judged.

Numbers are integers in units of $2^{-b}$, so that NumPy multiplies matrices exactly. Coefficients
are kept multiplied by powers of the step: they stay small, and their sum is the next state. A
step is as short as its last terms need to fall below 1e-36.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from symkernel.theory.word_flow import WordFlow
from symkernel.theory.words import Words

BITS = 200
_ORDER = 40
# What the last terms of a step must fall below: 1e-36.
_SMALL = 1 << (BITS - 120)


def fixed(value: Any) -> np.ndarray:
    """Return floats as integers in units of 2^-BITS."""
    array = np.asarray(value, dtype=float)
    flat = [round(Fraction(entry) * (1 << BITS)) for entry in array.ravel().tolist()]
    return np.array(flat, dtype=object).reshape(array.shape)


def floating(value: np.ndarray) -> np.ndarray:
    """Return the integers as floats."""
    flat = [float(Fraction(int(entry), 1 << BITS)) for entry in value.ravel()]
    return np.array(flat).reshape(value.shape)


def taylor_flow(
    flow: WordFlow,
    start: Mapping[str, np.ndarray],
    values: Mapping[str, Any],
    times: np.ndarray,
    pace: float,
) -> list[dict[str, np.ndarray]]:
    """Return the moving matrices at increasing times.

    Parameters
    ----------
    flow : WordFlow
        With abbreviations such that every word has two factors at most.
    start : mapping of str to ndarray
        Moving matrices at time 0.
    values : mapping of str to ndarray or float
        Constant matrices and scalars.
    pace : float
        About the fastest rate: the first step that is tried is a fraction of 1/pace.
    """
    state = {name: fixed(matrix) for name, matrix in start.items()}
    known = {name: fixed(value) for name, value in values.items()}
    found, now = [], 0
    for target in fixed(times):
        step = int(fixed(0.25 / pace))
        while now < target:
            step = min(step, int(target) - now)
            series = _series(flow, state, known, step)
            # Of two terms, because a series may hold even or odd powers alone.
            last = max(int(np.abs(m).max()) for name in state for m in series[name][-2:])
            if last > _SMALL:
                step //= 2
                continue
            state = {name: np.sum(series[name], axis=0) for name in state}
            now += step
        found.append({name: floating(matrix) for name, matrix in state.items()})
    return found


def _series(
    flow: WordFlow, state: Mapping[str, np.ndarray], known: Mapping[str, np.ndarray], step: int
) -> dict[str, list[np.ndarray]]:
    """Return the coefficients of all matrices, times powers of the step."""
    series: dict[str, list[np.ndarray]] = {name: [matrix] for name, matrix in state.items()}
    for order in range(_ORDER):
        for name, words in flow.given.items():
            series.setdefault(name, []).append(_coefficient(words, series, known, order))
        rates = {n: _coefficient(w, series, known, order) for n, w in flow.rates.items()}
        for name, rate in rates.items():
            series[name].append(((step * rate) >> BITS) // (order + 1))
    return series


def _coefficient(
    words: Words,
    series: Mapping[str, list[np.ndarray]],
    known: Mapping[str, np.ndarray],
    order: int,
) -> np.ndarray:
    total: Any = 0
    for word, scalar in words.terms.items():
        one, *rest = [
            [m.T if flipped else m for m in (series[n] if n in series else [known[n]])]
            for n, flipped in word
        ]
        if rest:
            two = rest[0]
            first, last = max(order + 1 - len(two), 0), min(order + 1, len(one))
            # Side by side and one above the other, all terms of the sum are one product.
            beside = np.hstack([one[j] for j in range(first, last)])
            above = np.vstack([two[order - j] for j in range(first, last)])
            term: Any = (beside @ above) >> BITS
        else:
            term = one[order] if order < len(one) else 0
        symbols = {q: int(known[q.name]) for q in scalar.free_symbols}
        if symbols:
            (symbol,) = symbols
            term = (int(scalar / symbol) * symbols[symbol] * term) >> BITS
        else:
            term = int(scalar) * term
        total = total + term
    return total
