"""What was found in one setting: its sweeps, and how to read them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from symkernel.environments.decision import Decision
from symkernel.errors import as_choice
from symkernel.studies.decisions.measures import LABELS, NOISES
from symkernel.studies.decisions.setting import InformationSetting
from symkernel.sweeps.folder import Outcome
from symkernel.sweeps.results import Sweep


@dataclass(frozen=True, eq=False, repr=False)
class Found:
    """A setting's trainings, over seeds.

    Attributes
    ----------
    setting : InformationSetting
    decision : Decision
    trainings : Sweep
        Over (descent, seed), see `cells.Trained`.
    watched : Sweep or None
        Over (descent, seed), see `cells.Watched`.
    pretrainings : Sweep or None
        Over (epochs, readout, seed), see `cells.Pretrained`.
    """

    setting: InformationSetting
    decision: Decision
    trainings: Sweep
    watched: Sweep | None
    pretrainings: Sweep | None

    def __repr__(self) -> str:
        return f"Found({self.setting.name}; {len(self.trainings.grid['seed'])} seeds)"

    @property
    def sweeps(self) -> dict[str, Sweep]:
        """The sweeps that there are, by name."""
        every = {
            "trainings": self.trainings,
            "watched": self.watched,
            "pretrainings": self.pretrainings,
        }
        return {name: one for name, one in every.items() if one is not None}

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """Cells that failed."""
        return tuple(one for sweep in self.sweeps.values() for one in sweep.failures)

    @cached_property
    def entropy(self) -> dict[str, float]:
        """Bits of both labels of the probes, the irrelevant one's beside the relevant if wanted."""
        decision = self.decision
        one, other = decision.probe_relevant, decision.probe_irrelevant
        whole = _entropy(other)
        if decision.conditional:
            whole = _entropy(one * (other.max() + 1) + other) - _entropy(one)
        return {"relevant": _entropy(one), "irrelevant": whole}

    def bits(
        self, sweep: str, label: str = "irrelevant", noise: str = "rel.3", layer: int = -1
    ) -> np.ndarray:
        """Return information over the sweep's grid, then over the records.

        Parameters
        ----------
        sweep : {"trainings", "watched", "pretrainings"}
        label : {"relevant", "irrelevant"}
        noise : {"n0", "rel.3", "abs.3"}
        layer : int
            From 0; -1 is the last hidden one.
        """
        name = as_choice(sweep, "sweep", self.sweeps)
        k = list(NOISES).index(as_choice(noise, "noise", NOISES))
        side = LABELS.index(as_choice(label, "label", LABELS))
        found: np.ndarray = self.sweeps[name]["bits"][..., layer, k, side]
        return found


def _entropy(labels: np.ndarray) -> float:
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())
