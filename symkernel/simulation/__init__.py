"""Gradient descent: the independent judge of every law."""

from symkernel.simulation.descent import simulate
from symkernel.simulation.ensemble import simulate_ensemble

__all__ = ["simulate", "simulate_ensemble"]
