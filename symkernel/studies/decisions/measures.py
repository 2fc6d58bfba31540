"""Usable information of all hidden layers, under every noise, about both labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from symkernel.analysis.decoders import Decoder
from symkernel.analysis.usable_information import UsableInformation, usable_information
from symkernel.environments.decision import Decision
from symkernel.errors import InvalidArgument
from symkernel.problem.network import Network
from symkernel.simulation.activity import activity

# Kinds of `symkernel.analysis.Noise`, of level 0.3, by the names that tables have room for.
NOISES = {"n0": "none", "rel.3": "relative", "abs.3": "absolute"}
LABELS = ("relevant", "irrelevant")


def information_in(
    net: Network,
    weights: Mapping[str, np.ndarray],
    layers: Sequence[str],
    decision: Decision,
    ridge: float,
) -> np.ndarray:
    """Return bits that linear decoders find, (n_layers, n_noises, 2): relevant, irrelevant.

    Never below 0, since the constant decoder is one of them: units that only one probe in
    thousands drives can lead a decoder astray by many bits.
    """
    found = np.empty((len(layers), len(NOISES), len(LABELS)))
    for j, layer in enumerate(layers):
        units = activity(net, weights, decision.probe, layer)
        for k, noise in enumerate(NOISES.values()):
            found[j, k] = [one.bits for one in both_labels(units, decision, noise, ridge)]
    return np.maximum(found, 0.0)


def both_labels(
    units: np.ndarray, decision: Decision, noise: str, ridge: float
) -> tuple[UsableInformation, UsableInformation]:
    """Return what decoders find about the relevant and the irrelevant label."""
    decoder = Decoder("linear", ridge)
    given = decision.probe_relevant if decision.conditional else None
    one = usable_information(units, decision.probe_relevant, decoder=decoder, noise=noise)
    other = usable_information(
        units, decision.probe_irrelevant, decoder=decoder, noise=noise, given=given
    )
    assert isinstance(one, UsableInformation)
    assert isinstance(other, UsableInformation)
    return one, other


def refuse_few(decision: Decision, widths: Sequence[int]) -> None:
    """Refuse probes that are too few for layers of these widths, before anything is trained.

    Raises
    ------
    InvalidArgument
        By the decoder, with the number that it needs.
    """
    draws = np.random.default_rng(0).standard_normal((len(decision.probe), max(widths)))
    try:
        both_labels(draws, decision, "none", 1.0)
    except InvalidArgument as error:
        raise InvalidArgument(
            f"The {len(decision.probe)} samples that are kept from training do not do for decoders "
            f"of hidden layers of up to {max(widths)} units; give more samples, or smaller layers. "
            f"{error}"
        ) from error
