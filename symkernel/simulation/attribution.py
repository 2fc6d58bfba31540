r"""Path attribution: which training samples moved the representation, exactly.

In one step of gradient descent the weights move by a sum over training samples, and so does
every activity, if slopes are taken along the secant between its values before and after the step:

$$h_{k+1}(x) - h_k(x) = D_k(x) \circ \Delta a_k(x), \qquad
\Delta a_k(x) = -\eta \sum_i w_i\,\big(v(x)\cdot v(x_i)\big)\, g_{i,k}, \qquad
D_k = \frac{\phi(a_{k+1}) - \phi(a_k)}{a_{k+1} - a_k} ,$$

with $g_{i,k}$ the gradient of sample i's loss at the argument a, and w_i its weight. Through deeper
layers $\Delta(W v) = \Delta W\,v_{k+1} + W_k\,\Delta v$. With tangent slopes $\phi'(a_k)$ this is
the pseudo-kernel summed along the path, which misses the movement by an amount of order $\eta$;
with secant slopes the contributions sum up to the movement, up to rounding.

All this holds as well where k counts chords of the path, of several steps each (the argument
"stride" of `simulate`): what moves the weights along a chord is the sum over its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from symkernel.errors import InvalidArgument, OutsideValidity, as_names, as_real
from symkernel.simulation.attribution_request import Request, refuse_own
from symkernel.simulation.schedule import Schedule
from symkernel.trajectory import nearest


@dataclass(frozen=True, eq=False)
class Attribution:
    r"""What each group of training samples contributed to the movement of one node.

    Attributes
    ----------
    node : str
        Name of the node.
    by : str
        What a group is: "sample", "task", "phase" or "group" (labels of your own, given before or
        after the run).
    labels : tuple of str
        Names of the groups; last, where there are any, resets between phases, "reset", and weight
        decay, "decay".
    probe_labels : tuple of str
        For each sample of the probe the group that it belongs to itself.
    times : ndarray, shape (n_times,)
        Flow times.
    contributions : ndarray, shape (n_times, n_probe, n_units, n_groups)
        Summed from step 0 on.
    initial : ndarray, shape (n_probe, n_units)
        Activity at step 0.
    activity : ndarray, shape (n_times, n_probe, n_units)

    Examples
    --------
    >>> import numpy as np, symkernel as sk
    >>> net = sk.Network.two_layer(inputs=4, hidden=6, outputs=2, activation="tanh")
    >>> task = sk.Task(np.eye(4), np.eye(4)[:, :2])
    >>> w0 = sk.weights.gaussian(net, seed=1)
    >>> sim = sk.simulate(net, task, w0, 0.1, steps=500, attribute="sample")
    >>> found = sim.attribution()
    >>> moved = sim.hidden[-1] - sim.hidden[0]
    >>> assert np.allclose(found.contributions[-1].sum(-1), moved, rtol=0, atol=1e-12)
    >>> assert np.allclose(found.matrix().sum(1), 1)
    """

    node: str
    by: str
    labels: tuple[str, ...]
    probe_labels: tuple[str, ...]
    times: np.ndarray
    contributions: np.ndarray
    initial: np.ndarray
    activity: np.ndarray

    def __post_init__(self) -> None:
        for name in ("times", "contributions", "initial", "activity"):
            getattr(self, name).setflags(write=False)

    def __repr__(self) -> str:
        samples, units = self.initial.shape
        return (
            f"Attribution({self.node} by {self.by}: {len(self.times)} times, {samples} samples, "
            f"{units} units, {self._groups})"
        )

    @property
    def _groups(self) -> str:
        if len(self.labels) > 1:
            return f"{len(self.labels)} groups"
        return f"1 group, {self.labels[0]!r}, which does all: give samples labels in sk.Task"

    @property
    def movement(self) -> np.ndarray:
        """Activity minus that at step 0, shape (n_times, n_probe, n_units)."""
        return self.activity - self.initial

    @property
    def residual(self) -> float:
        """Largest violation of the sum rule, relative to the largest activity or contribution.

        Activities are computed anew from the recorded weights, by other code than the one that
        summed the contributions.
        """
        off = abs(self.contributions.sum(-1) - self.movement).max()
        sizes = (abs(a).max() for a in (self.activity, self.initial, self.contributions))
        return float(off / max(*sizes, np.finfo(float).tiny))

    @property
    def test_labels(self) -> tuple[str, ...]:
        """Groups of the probe in order of appearance: the rows of `matrix`."""
        return tuple(dict.fromkeys(self.probe_labels))

    def matrix(self, time: float | None = None, test: object = None) -> np.ndarray:
        r"""Return the contribution matrix, shape (n_test_groups, n_groups).

        $$C_{T,g} = \frac{\sum_{x \in T} c_g(x) \cdot \Delta h(x)}
        {\sum_{x \in T} |\Delta h(x)|^2}, \qquad \sum_g C_{T,g} = 1,$$

        with $c_g$ the contribution of training group g and $\Delta h = \sum_g c_g$ the movement.

        Parameters
        ----------
        time : float, optional
            Flow time, up to that of the last record; the nearest record is taken, the last one if
            not given.
        test : array_like, shape (n_probe,), optional
            Labels, text or integers, that group the probe's samples into rows; by default
            `probe_labels`.

        Raises
        ------
        InvalidArgument
            If the time is negative or later than the last record, or for labels that do not fit.
        OutsideValidity
            If a test group has not moved at that time, as at step 0.

        Notes
        -----
        A group of test samples that is moved by training on another group shares its
        representation. Read this off the raw movement, as here: on movements whose mean over
        groups is taken away every group is moved by its own training almost alone, whatever is
        shared, because what is shared is in the mean.
        """
        k = -1 if time is None else nearest(self.times, as_real(time, "time"), "time")[0]
        given = test is not None
        names = as_names(test, "test", len(self.probe_labels)) if given else self.probe_labels
        rows = {name: place for place, name in enumerate(dict.fromkeys(names))}
        member = np.zeros((len(rows), len(names)))
        member[[rows[name] for name in names], range(len(names))] = 1.0
        parts = self.contributions[k]
        movement = parts.sum(-1)
        along = member @ np.einsum("pug,pu->pg", parts, movement)
        squares = member @ (movement**2).sum(1)
        still = [name for name, square in zip(rows, squares, strict=True) if not square > 0]
        if still:
            raise OutsideValidity(
                f"The node '{self.node}' has not moved for '{still[0]}' at flow time "
                f"{self.times[k]:g}, so that there is nothing to share out; take a later time."
            )
        return along / squares[:, None]


@dataclass(frozen=True, eq=False)
class PathRecord:
    """All that a run has attributed.

    Attributes
    ----------
    request : Request
        What was asked for.
    schedule : Schedule
        Records and ends of phases.
    contributions : mapping of str to ndarray
        Of each node by its name, (n_times, n_probe, n_units, n_groups).
    at_ends : mapping of str to ndarray
        The same at the end of each phase.
    activity : callable
        Gives the activity (n_times, n_probe, n_units) of a node by its name.
    initial : callable
        The same at step 0, (n_probe, n_units).
    """

    request: Request
    schedule: Schedule
    contributions: Mapping[str, np.ndarray]
    at_ends: Mapping[str, np.ndarray]
    activity: Callable[[str], np.ndarray]
    initial: Callable[[str], np.ndarray]

    def attribution(self, by: object, node: str | None) -> Attribution:
        """Return what `Trajectory.attribution` asks for."""
        groups, known = self.request.groups, self.contributions
        if node is None:
            node = "hidden" if "hidden" in known else "output"
        if not isinstance(node, str) or node not in known:
            raise InvalidArgument(
                f"Argument 'node' must be one of {', '.join(map(repr, known))}, not {node!r}."
            )
        by = groups.by if by is None else by
        names = list(self.request.labels)
        if not isinstance(by, str):
            return self._relabelled(node, by)
        if by == groups.by:
            return self._made(node, by, names, known[node])
        if by == "phase":
            return self._by_phase(node)
        if by == "task" and groups.by == "sample":
            owners = [*(groups.tasks or ()), *names[len(groups.labels) :]]
            return self._made(node, by, *_merged(owners, known[node]))
        able = dict.fromkeys((groups.by, *(("task",) if groups.by == "sample" else ()), "phase"))
        raise InvalidArgument(
            f"Argument 'by' must be one of {', '.join(map(repr, able))} for this run, not {by!r}: "
            f"it was attributed by {groups.by}. Ask for others before the run, as in "
            f"simulate(..., attribute='task'), or give a label for each of the "
            f"{len(groups.labels)} groups."
        )

    def _relabelled(self, node: str, by: object) -> Attribution:
        """Return the contributions under other labels, those of one label together."""
        groups, names = self.request.groups, self.request.labels
        chosen = as_names(by, "by", len(groups.labels), "groups attributed to")
        refuse_own(chosen, "by")
        labels, found = _merged([*chosen, *names[len(chosen) :]], self.contributions[node])
        renamed = dict(zip(groups.labels, chosen, strict=True))
        rows = tuple(renamed.get(name, name) for name in self.request.probe_labels[groups.by])
        return self._made(node, "group", labels, found, rows)

    def _by_phase(self, node: str) -> Attribution:
        """Return the contributions of all groups together, phase by phase."""
        here, ends, count = self.contributions[node], self.at_ends[node], len(self.schedule.ends)
        plain = len(self.request.groups.labels)
        start = np.zeros_like(ends[:1, ..., :plain].sum(-1))
        bounds = np.concatenate([start, ends[..., :plain].sum(-1)])
        now = here[..., :plain].sum(-1)
        parts = []
        for phase in range(count):
            past, running = self.schedule.phases > phase, self.schedule.phases == phase
            part = np.zeros_like(now)
            part[past] = bounds[phase + 1] - bounds[phase]
            part[running] = now[running] - bounds[phase]
            parts.append(part)
        names = [f"phase {k}" for k in range(count)]
        rest = here[..., plain:]
        found = np.concatenate([np.stack(parts, axis=-1), rest], axis=-1)
        return self._made(node, "phase", [*names, *self.request.labels[plain:]], found)

    def _made(
        self,
        node: str,
        by: str,
        labels: Sequence[str],
        found: np.ndarray,
        rows: tuple[str, ...] | None = None,
    ) -> Attribution:
        rows = self.request.probe_labels[by] if rows is None else rows
        return Attribution(
            node, by, tuple(labels), rows, self.schedule.times, found,
            self.initial(node), self.activity(node),
        )  # fmt: skip


def _merged(names: Sequence[str], parts: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the names, each once, and the sums of what stands under one name."""
    index = {name: k for k, name in enumerate(dict.fromkeys(names))}
    member = np.zeros((len(names), len(index)))
    member[range(len(names)), [index[name] for name in names]] = 1.0
    return list(index), parts @ member
