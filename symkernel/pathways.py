"""Gated deep linear networks by what their pathways share, and weights aligned with contexts."""

from symkernel.problem.pathways import aligned, network

__all__ = ["aligned", "network"]
