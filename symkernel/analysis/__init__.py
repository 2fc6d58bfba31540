"""Readers of trajectories: similarity, sharing, alignment, dimensionality, embedding."""

from symkernel.analysis.alignment import centred_kernel_alignment, participation_ratio
from symkernel.analysis.embedding import Embedding, multidimensional_scaling
from symkernel.analysis.representation import Representation
from symkernel.analysis.sharing import Sharing, same_minus_different, sharing_index
from symkernel.analysis.similarity import Similarity, similarity

__all__ = [
    "Embedding",
    "Representation",
    "Sharing",
    "Similarity",
    "centred_kernel_alignment",
    "multidimensional_scaling",
    "participation_ratio",
    "same_minus_different",
    "sharing_index",
    "similarity",
]
