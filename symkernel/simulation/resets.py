"""Parameters that get new values between phases, a new read-out for a new task, say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from symkernel.errors import InvalidArgument, ShapeMismatch, as_real_array, did_you_mean
from symkernel.problem.network import Network

# New values of some parameters, (n_members, *shape), by name.
Reset = Mapping[str, np.ndarray]


def as_resets(value: object, net: Network, phases: int, members: int) -> tuple[Reset, ...]:
    """Return what is reset at the start of each phase, for each member."""
    if value is None:
        return ({},) * phases
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise InvalidArgument(
            f"Argument 'reset' must be a list with an entry for each phase, None or new values of "
            f"parameters by name, as [None, {{'W2': array}}], not {value!r}."
        )
    if len(value) != phases:
        raise ShapeMismatch(
            f"Argument 'reset' must hold one entry for each of the {phases} phases, not "
            f"{len(value)}."
        )
    first = value[0]
    if not (first is None or (isinstance(first, Mapping) and not first)):
        raise InvalidArgument(
            "Argument 'reset' must be None for the first phase, which starts from the initial "
            "weights; give these as 'w0'."
        )
    return tuple(_as_reset(entry, net, phase, members) for phase, entry in enumerate(value))


def _as_reset(entry: object, net: Network, phase: int, members: int) -> Reset:
    if entry is None:
        return {}
    if not isinstance(entry, Mapping):
        raise InvalidArgument(
            f"Argument 'reset[{phase}]' must be None or a mapping of names of parameters to "
            f"arrays, not {entry!r}."
        )
    known = {p.name: tuple(int(n) for n in p.shape) for p in net.parameters}
    found = {}
    for name, given in entry.items():
        if name not in known:
            raise InvalidArgument(
                f"Argument 'reset[{phase}]' must name parameters of the network, "
                f"{', '.join(known)}, not {name!r}{did_you_mean(name, known)}"
            )
        shape, where = known[name], f"reset[{phase}][{name!r}]"
        own = members > 1 and np.ndim(given) == len(shape) + 1
        array = as_real_array(given, where, len(shape) + own)
        wanted = (members, *shape) if own else shape
        if array.shape != wanted:
            raise ShapeMismatch(f"Argument '{where}' must be of shape {wanted}, not {array.shape}.")
        found[name] = np.broadcast_to(array, (members, *shape))
    return found
