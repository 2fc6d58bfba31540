"""Building blocks of `Network.build`: parameters and nodes."""

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

__all__ = ["Apply", "Bias", "Gate", "Input", "Linear", "Node", "Parameter", "Slice", "Sum"]
