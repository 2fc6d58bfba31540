"""Building blocks of `Network.build`: parameters, nodes and activations."""

from symkernel.problem.activation import Activation
from symkernel.problem.nodes import (
    Apply,
    Bias,
    Gate,
    Input,
    Linear,
    Node,
    Parameter,
    Slice,
    Sum,
)

__all__ = [
    "Activation",
    "Apply",
    "Bias",
    "Gate",
    "Input",
    "Linear",
    "Node",
    "Parameter",
    "Slice",
    "Sum",
]
