r"""How far a tangent kernel moves: $|\Theta - \Theta_0|/|\Theta_0|$, on some of many samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.theory.tangent_pass import TangentPass

# The movement is looked at on so many outputs of samples at most, drawn with a fixed seed.
LOOKED_AT, _SEED = 256, 1000


@dataclass(frozen=True, eq=False)
class TangentKernel:
    """The tangent kernel of a network on samples, as a function of the weights.

    Attributes
    ----------
    tangent : TangentPass
        The network at the weights that movements count from.
    """

    tangent: TangentPass

    @classmethod
    def on_some(cls, tangent: TangentPass, most: int = LOOKED_AT) -> TangentKernel:
        """Return the kernel on so many outputs of samples at most."""
        few = max(1, most // int(tangent.net.outputs))
        rows = np.sort(np.random.default_rng(_SEED).permutation(len(tangent.X))[:few])
        gates = {name: gate[rows] for name, gate in tangent.gates.items()}
        return cls(TangentPass(tangent.net, tangent.weights, tangent.X[rows], gates))

    @cached_property
    def start(self) -> np.ndarray:
        """The kernel at the weights that movements count from."""
        return self.tangent.kernel()

    def at(self, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the kernel at weights."""
        tangent = self.tangent
        return TangentPass(tangent.net, weights, tangent.X, tangent.gates).kernel()

    def moved(self, weights: Mapping[str, np.ndarray]) -> float:
        """Return the relative change at weights; infinite where a kernel that was 0 moves."""
        size = float(np.linalg.norm(self.start))
        gap = float(np.linalg.norm(self.at(weights) - self.start))
        return gap / size if size else float("inf") if gap else 0.0
