"""Readers of trajectories: similarity, sharing, alignment, embedding, usable information."""

from symkernel.analysis.alignment import centred_kernel_alignment, participation_ratio
from symkernel.analysis.decoders import Decoder, Noise
from symkernel.analysis.embedding import Embedding, multidimensional_scaling
from symkernel.analysis.representation import Representation
from symkernel.analysis.sharing import Sharing, same_minus_different, sharing_index
from symkernel.analysis.similarity import Similarity, similarity
from symkernel.analysis.usable_information import (
    UsableInformation,
    UsableInformationCurve,
    usable_information,
)

__all__ = [
    "Decoder",
    "Embedding",
    "Noise",
    "Representation",
    "Sharing",
    "Similarity",
    "UsableInformation",
    "UsableInformationCurve",
    "centred_kernel_alignment",
    "multidimensional_scaling",
    "participation_ratio",
    "same_minus_different",
    "sharing_index",
    "similarity",
    "usable_information",
]
