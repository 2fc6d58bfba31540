r"""The laws of $\dot G = FG + GF - G^2 + c^2$ in numbers: a factor of G through the phases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from symkernel.codegen.algorithms import compile_algorithm
from symkernel.formula import Derived, Evidence, Formula, Limits, Result, Step
from symkernel.theory import riccati
from symkernel.theory.compact_weights import spanning_frame
from symkernel.theory.gram_numbers import white_numbers
from symkernel.theory.gram_state import GramState
from symkernel.theory.phases import require_digits
from symkernel.theory.riccati import RiccatiFlow
from symkernel.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class RiccatiPath:
    r"""A problem on white inputs whose G follows the equation in every phase.

    A factor is carried, not G: the square would lose what is small beside what was learned.

    Attributes
    ----------
    state : GramState
    lam : float
        $\lambda$ in F.
    source : float
        c.
    advice : str
        What to start with where rounding decides a later phase.
    """

    state: GramState
    lam: float
    source: float
    advice: str

    @cached_property
    def frames(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Inputs and outputs that a task or the map uses, as orthonormal columns; None: all.

        With a source the others have constant products and are left out. Without one they are
        equal eigenvalues of F, of which the flow takes care.
        """
        if not self.source:
            return None
        n, factor = self.state.n_inputs, self.state.compact
        used = [*self.state.targets, factor[n:] @ factor[:n].T]
        return spanning_frame(np.vstack(used).T), spanning_frame(np.hstack(used))

    @cached_property
    def spectra(self) -> list[tuple[np.ndarray, np.ndarray, int]]:
        """The eigenvalues and eigenvectors of F in every phase."""
        targets = self.state.targets
        if self.frames is not None:
            inputs, outputs = self.frames
            targets = [outputs.T @ S @ inputs for S in targets]
        return [riccati.eigenbasis(S, self.lam, self.state.decay) for S in targets]

    @property
    def start(self) -> tuple[np.ndarray, float]:
        """The factor at the start, on the frames, and how far it is off: not at all."""
        factor = self.state.compact
        if self.frames is None:
            return factor, 0.0
        n, (inputs, outputs) = self.state.n_inputs, self.frames
        within = np.vstack([inputs.T @ factor[:n], outputs.T @ factor[n:]])
        return riccati.lower_factor(within), 0.0

    def _widened(self, grams: np.ndarray) -> np.ndarray:
        """Return G on all inputs and outputs."""
        if self.frames is None:
            return grams
        (n, i), (m, _) = (frame.shape for frame in self.frames)
        inputs, outputs = self.frames
        root = float(np.hypot(self.lam / 2, self.source))
        small = self.source * (self.source / (root + abs(self.lam) / 2))
        levels = (small, root + self.lam / 2) if self.lam > 0 else (root - self.lam / 2, small)
        wide = np.empty((len(grams), n + m, n + m))
        wide[:, :n, :n] = _within(grams[:, :i, :i], levels[0], inputs)
        wide[:, n:, n:] = _within(grams[:, i:, i:], levels[1], outputs)
        wide[:, n:, :n] = outputs @ grams[:, i:, :i] @ inputs.T
        wide[:, :n, n:] = wide[:, n:, :n].transpose(0, 2, 1)
        return wide

    def advance(
        self, k: int, state: tuple[np.ndarray, float], times: np.ndarray
    ) -> tuple[np.ndarray, tuple[np.ndarray, float]]:
        """Return G at times within a phase, and its factor at the last one with its error.

        Raises
        ------
        OutsideValidity
            If rounding decides what is learned in a later phase.
        """
        factor, error = state
        if k:
            # What a phase leaves wrong grows in the next one, however little is left there.
            late, size = float(times[-1]), max(float(np.linalg.norm(factor, 2)), 1.0)
            error = riccati.rounding(self.spectra[k], factor, late, self.source, error)
            require_digits(k, error / size, self.advice)
        grams, ended = riccati.advance(self.spectra[k], factor, times, self.source)
        return self._widened(grams), (ended, error)

    def trajectory(self, times: Any) -> Trajectory:
        """Return everything that G determines."""
        return self.state.observables(times, self.start, self.advance)

    def weights(self, times: Any, rtol: float) -> dict[str, np.ndarray]:
        """Integrate the linear equation of the weights along the law."""
        return self.state.weights(times, self.start, self.advance, rtol)


def _within(part: np.ndarray, level: float, frame: np.ndarray) -> np.ndarray:
    """Return products of the weights that are a level outside a frame, and given inside."""
    rows, columns = frame.shape
    if rows == columns:
        return part
    found = frame @ (part - level * np.eye(columns)) @ frame.T
    found[:, range(rows), range(rows)] += level
    return found


class Derivation(Protocol):
    """What a law states and proves."""

    def steps(self) -> tuple[Step, ...]:
        """Return the steps, each with its check."""

    def formulas(self) -> tuple[Formula, ...]:
        """Return G with abbreviations, and what is observed."""

    def result(self) -> Result:
        """Return G and what follows from it."""


def riccati_derived(
    derivation: Derivation,
    limits: Limits,
    precision: Callable[[Any, int], Evidence],
) -> Derived:
    """Return what the derivation of a law of the equation produces."""
    return Derived(
        steps=derivation.steps,
        result=derivation.result,
        formulas=derivation.formulas,
        routine=lambda: compile_algorithm(RiccatiFlow),
        limits=limits,
        precision=precision,
        numbers=white_numbers,
    )
