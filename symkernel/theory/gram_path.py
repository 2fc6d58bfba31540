r"""What the products of the weights determine: $W = W_2 W_1$, $A = W_1^T W_1$, $B = W_2 W_2^T$.

Every observable that does not change when the hidden layer is turned is a function of these:
output, hidden Gram matrix, NTK, loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symkernel.theory.two_layer_path import TwoLayerPath
from symkernel.trajectory import Field, Undetermined

UP_TO_A_ROTATION = Undetermined(
    "the law gives the hidden layer up to a rotation, because the products of the weights obey a "
    "closed equation and the weights do not; output, hidden_gram, ntk and loss do not depend on "
    "the rotation, and compiled.weights(times) integrates the linear equation that it obeys"
)


@dataclass(frozen=True, eq=False)
class GramPath(TwoLayerPath):
    """The products of the weights along a law that leaves the hidden layer open to a rotation.

    Attributes
    ----------
    maps : ndarray, shape (n_times, n_outputs, n_inputs)
        The map from inputs to outputs.
    first : ndarray, shape (n_times, n_inputs, n_inputs)
        Products of the first weight's columns.
    second : ndarray, shape (n_times, n_outputs, n_outputs)
        Products of the last weight's rows.
    """

    maps: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def end_to_end(self) -> np.ndarray:
        """Return the map from inputs to outputs."""
        return self.maps

    def input_gram(self) -> np.ndarray:
        """Return W1^T W1."""
        return self.first

    def readout_gram(self) -> np.ndarray:
        """Return W2 W2^T."""
        return self.second

    @property
    def hidden_field(self) -> Field:
        """Why the hidden activity is not known."""
        return UP_TO_A_ROTATION

    def own_fields(self) -> dict[str, Field]:
        """Return why the weights are not known."""
        return {"weights": UP_TO_A_ROTATION}
