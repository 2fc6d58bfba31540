r"""Why task representations are shared or separated: pseudo-kernel times read-out.

Source
    R. Pyle, S. Musslick, J. D. Cohen, A. B. Patel, "A Quantitative Approach to Predicting
    Representational Learning and Performance in Neural Networks", arXiv:2307.07575 (2023). Its
    abstract was read; its figures were not compared.

What it claims
    A pseudo-kernel based tool predicts learned representations from initial conditions and
    training curriculum alone.

What is derived here
    `sk.environments.Multitasking`, G = M = 3, trained on single tasks as in
    `pyle2023_multitasking`. By `sk.task_weights`, from the pseudo-kernel: training gives a unit,
    for the task from stimulus group i to response group j, a weight that goes with the alignment
    $\tilde w_j \cdot \tilde a_i$ of its read-out to group j with its weights from group i. Tasks of
    one stimulus group then correlate, the mean over tasks taken away, by

    $$r_{in} = \frac{G^2 \rho_w - \mu}{G^2 - \mu},\quad \mu = 1 + (G - 1) \rho_w
      \qquad\text{to}\qquad r_{in} = \rho_w,$$

    with $\rho_w$ the correlation of the read-outs to two response groups: the first in the lazy
    regime, the second where only the stimulus group is left to be selected. Either is
    -1/(T - 1) or 0 for independent read-outs, T = G^2 tasks, and 1 for one read-out.

What was found
    From small weights the read-out grows alike for all response groups, and task weights follow:
    shared by stimulus group. From large weights read-outs stay independent, and task weights are
    separated.

    What does NOT hold: that lazy task weights are separated at all times. Early in the lazy
    regime, before contrasts between tasks are learned, tasks to one RESPONSE group are alike.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

G, M, WIDTH, BIAS = 3, 3, 100, -2.0
ENVIRONMENT = sk.environments.Multitasking(G, M)
LAW = sk.task_weights(ENVIRONMENT)
SEEDS, RATE, STEPS = tuple(range(1000, 1008)), 20.0, 2000
SCALES = (0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0)
# Standard deviations of weights at which the movement of task weights is judged.
SPREADS = (0.05, 0.2, 0.5, 1.0)
# Kinds of signals: in the lazy regime, and where only the stimulus group is left to be selected.
LAZY, SELECTION = sp.Integer(0), -sp.Rational(1, G)
PAIRS = ("one stimulus group", "one response group", "neither")
# Stimulus and response group of every task.
TASKS = np.transpose(ENVIRONMENT.tasks).tolist()


@cache
def network() -> sk.Network:
    """Return the network."""
    return ENVIRONMENT.network(WIDTH)


def derive() -> Any:
    """Return the law of task weights."""
    return LAW


def started(scale: float, seed: int) -> Any:
    """Return initial weights."""
    return ENVIRONMENT.weights(network(), scale, seed, BIAS)


@cache
def trained(scale: float, steps: int = STEPS) -> list[dict[str, np.ndarray]]:
    """Return the weights, seed by seed, after so many steps on single tasks."""
    members = [started(scale, seed) for seed in SEEDS]
    runs = sk.simulate_ensemble(
        network(), ENVIRONMENT.single.task, members, learning_rate=RATE, record=[RATE * steps]
    )
    return [{name: array[-1] for name, array in run.weights.items()} for run in runs]


def pairs(patterns: np.ndarray) -> np.ndarray:
    """Return mean correlations of two tasks: same stimulus group, same response group, neither."""
    found = sk.analysis.sharing_index(patterns, inputs=TASKS[0], outputs=TASKS[1])
    return np.array([found.same_input, found.same_output, found.neither])[:, 0]


def learned(scale: float, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    r"""Return what task weights learned, alignments, both without mean over tasks, and $\rho_w$."""
    end = trained(scale)[SEEDS.index(seed)]
    found = end["W_t"] - started(scale, seed).arrays["W_t"], LAW.alignment(end)
    moved, aligned = (q - q.mean(1, keepdims=True) for q in found)
    return moved, aligned, LAW.readout_alignment(end)


@cache
def learned_correlations() -> np.ndarray:
    r"""Return $\rho_w$, the correlations of learned task weights, and those unit by unit."""
    rows = []
    for scale in SCALES:
        moved, aligned, rho = zip(*(learned(scale, seed) for seed in SEEDS), strict=True)
        both = zip(moved, aligned, strict=True)
        of_units = np.mean([np.corrcoef(q.ravel(), p.ravel())[0, 1] for q, p in both])
        rows.append([np.mean(rho), *np.mean([pairs(q.T) for q in moved], 0), of_units])
    return np.array(rows)


def predicted(rho: Any, pooled: Any) -> np.ndarray:
    r"""Return the law's correlations at alignments $\rho_w$, for one kind of signal."""
    formulas = [f.expression.subs(LAW.sizes[0], G) for f in LAW.correlations(pooled)]
    return np.array([[float(f.subs(LAW.rho, one)) for one in rho] for f in formulas])


@cache
def lazy(spread: float) -> tuple[np.ndarray, Any]:
    """Return kernel and law of wide networks whose weights have one standard deviation."""
    # The bias is within the activation.
    phi = 1 / (1 + sp.exp(-sp.Symbol("z") - BIAS))
    net = sk.Network.mlp([ENVIRONMENT.inputs, WIDTH, 1], phi)
    variances = [spread**2 * ENVIRONMENT.inputs, spread**2 * WIDTH]
    kernel = sk.infinite_width(net, variances).ntk
    law = sk.lazy_multitasking(ENVIRONMENT, kernel, tolerance=1e-10)
    return kernel.compile()(ENVIRONMENT.single.X), law.compile()


def integrated(spread: float, late: float = 50.0) -> tuple[dict[str, float], np.ndarray]:
    r"""Return factors and integrated residual at $\lambda_{1c} t/N$."""
    kernel, law = lazy(spread)
    time = late / law.eigenvalues["1c"]
    factors = {name: -np.expm1(-rate * time) / rate for name, rate in law.eigenvalues.items()}
    values, vectors = np.linalg.eigh(kernel)
    shrunk = -np.expm1(-values * time) / values
    return factors, vectors @ (shrunk[:, None] * (vectors.T @ ENVIRONMENT.single.Y))


def lazy_weights(spread: float, seed: int, aligned: bool = False) -> dict[str, np.ndarray]:
    """Return weights that all have one standard deviation, of independent or equal read-outs."""
    stream = np.random.default_rng(seed)
    readout = spread * stream.standard_normal((G, M, WIDTH))
    readout = readout[[0] * G] if aligned else readout
    inner = spread * stream.standard_normal((WIDTH, G * M + G * G))
    weights = {"W_s": inner[:, : G * M], "W_t": inner[:, G * M :], "b": np.full(WIDTH, BIAS)}
    return weights | {"W_2": readout.reshape(G * M, WIDTH)}


def summed(weights: dict[str, np.ndarray], residual: np.ndarray) -> np.ndarray:
    """Return what the pseudo-kernel makes of a residual, summed over all prompts: no expansion."""
    tasks = np.hstack([np.zeros((G * G, G * M)), np.eye(G * G)])
    # It takes direct path and output bias too, which do not matter.
    arrays = {**started(1.0, 0).arrays, **weights}
    kernel = LAW.kernel.compile()(tasks, ENVIRONMENT.single.X, arrays)
    return np.einsum("khno,no->hk", kernel, residual)


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def derived() -> tuple[bool, str]:
    """Every step from the pseudo-kernel to the correlations is proven, G and M symbols."""
    report = LAW.check()
    return report.passed, "; ".join(f"{rung.title}: {rung.figure}" for rung in report.rungs)


def first_order_in_the_weights(factor: float = 1.0) -> tuple[bool, str]:
    """The formula against the pseudo-kernel summed over all prompts: what the expansion costs."""
    found = []
    for spread in SPREADS:
        factors, residual = integrated(spread)
        given = {**factors, "1c": factor * factors["1c"]}
        drawn = [lazy_weights(spread, seed) for seed in SEEDS]
        whole = np.array([summed(weights, residual) for weights in drawn])
        gap = [LAW.predict(weights, given) for weights in drawn] - whole
        found.append(float(np.linalg.norm(gap) / np.linalg.norm(whole)))
    slope = float(np.polyfit(np.log(SPREADS), np.log(found), 1)[0])
    passed = found[0] < 0.05 and found[1] < 0.2 and abs(slope - 1) < 0.25
    words = ", ".join(f"{e:.3f} at {s}" for s, e in zip(SPREADS, found, strict=True))
    return bool(passed), f"relative error {words}; slope {slope:.2f} in the standard deviation"


def lazy_correlations(groups: int = G) -> tuple[bool, str]:
    """Lazy: -1/(T - 1) for all pairs; from equal read-outs 1, and -1/(G - 1)."""
    spread, rows = SPREADS[0], []
    residual = integrated(spread)[1]
    for equal in (False, True):
        drawn = [summed(lazy_weights(spread, seed, equal), residual) for seed in range(20)]
        moved = np.concatenate(drawn)
        rows.append(pairs((moved - moved.mean(1, keepdims=True)).T))
    wanted = np.array([[-1 / (groups**2 - 1)] * 3, [1, *[-1 / (groups - 1)] * 2]])
    passed = bool(np.abs(np.array(rows) - wanted).max() < 0.06)
    return passed, f"{np.round(rows, 3).tolist()}, theory {wanted.round(3).tolist()}"


def unit_by_unit(transposed: bool = False) -> tuple[bool, str]:
    """What a unit learned about a task goes with its alignment, unit by unit."""
    if transposed:
        moved, aligned, _ = learned(1.0, SEEDS[0])
        swapped = aligned.reshape(-1, G, G).swapaxes(1, 2).reshape(aligned.shape)
        found = np.array([np.corrcoef(moved.ravel(), swapped.ravel())[0, 1]])
    else:
        found = learned_correlations()[:, 4]
    words = f"correlation over units and tasks {found.round(2).tolist()}, by scale"
    return bool(found.min() > 0.75), words


def follows_the_readout(power: float = 1.0) -> tuple[bool, str]:
    r"""Learned task weights correlate as the alignment $\rho_w$ of the learned read-out says.

    All three correlations lie between the laws of both kinds of signals, or near by.
    """
    rho, found = learned_correlations()[:, 0] ** power, learned_correlations()[:, 1:4].T
    laws = [predicted(rho, pooled) for pooled in (LAZY, SELECTION)]
    beyond = np.maximum(np.min(laws, 0) - found, found - np.max(laws, 0)).max(1)
    words = f"rho_w {rho.round(2).tolist()}, one stimulus group {found[0].round(2).tolist()}; "
    words += f"beyond both laws by at most {beyond.round(2).tolist()} ({', '.join(PAIRS)})"
    return bool(beyond.max() < 0.15), words


def readouts_align_before_tasks_are_learned(steps: int = 150) -> tuple[bool, str]:
    r"""From small weights it is while all tasks are still alike that read-outs align."""
    rho = [LAW.readout_alignment(end) for end in trained(0.1, steps)]
    return bool(min(rho) > 0.9), f"after {steps} steps: rho_w at least {min(rho):.4f}"


def response_groups_come_first(late: float = 0.1) -> tuple[bool, str]:
    r"""Early in the lazy regime tasks to one RESPONSE group are alike, not separated."""
    residual = integrated(0.5, late)[1]
    moved = np.concatenate([summed(lazy_weights(0.5, seed), residual) for seed in range(10)])
    found = pairs((moved - moved.mean(1, keepdims=True)).T)
    words = f"weights 0.5, contrasts learned to {-np.expm1(-late):.0%}: {found.round(2).tolist()}"
    return bool(found[1] > 0.4 and found[0] < 0), words


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("from pseudo-kernel to correlation", *derived()),
        ("movement of task weights: first order in the weights", *first_order_in_the_weights()),
        ("lazy task weights: separated, or shared if read-outs are", *lazy_correlations()),
        ("task weights are alignments, unit by unit", *unit_by_unit()),
        ("task weights are shared as far as read-outs are", *follows_the_readout()),
        ("read-outs align before tasks are learned", *readouts_align_before_tasks_are_learned()),
        ("early in the lazy regime: alike by response group", *response_groups_come_first()),
    )


def check() -> Any:
    """Check every step of the law."""
    return LAW.check()


def figure() -> Figure:
    """Draw how far learned task weights are shared over the scale, and why."""
    from matplotlib.figure import Figure

    from symkernel.report.figures import COLOURS

    page = Figure(figsize=(9.0, 4.2), layout="constrained")
    shared, units = page.subplots(1, 2)
    rows = learned_correlations()
    lazily, selected = (predicted(rows[:, 0], pooled) for pooled in (LAZY, SELECTION))
    shared.plot(SCALES, lazily[0], color=COLOURS[0], label="lazy law of the alignment")
    shared.plot(SCALES, selected[0], "--", color=COLOURS[0], label=r"the alignment $\rho_w$")
    for k, (name, mark) in enumerate(zip(PAIRS, "os^", strict=True)):
        shared.fill_between(SCALES, lazily[k], selected[k], color=COLOURS[k], alpha=0.2, lw=0)
        shared.plot(SCALES, rows[:, k + 1], mark, ms=5, color=COLOURS[k], label=name)
    for level, name in ((1.0, "1"), (-1 / (G * G - 1), "-1/(T - 1)"), (-1 / (G - 1), "-1/(G - 1)")):
        shared.axhline(level, color="0.6", lw=0.8, ls=":")
        shared.annotate(name, (SCALES[0], level), (4, 3), textcoords="offset points", fontsize=8)
    shared.set(title="correlation of learned task weights, and laws", ylim=(-0.6, 1.9))
    shared.set(xscale="log", xlabel="scale of the initial weights")
    shared.legend(frameon=False, fontsize="small", loc="upper center", ncols=2)
    for scale, colour in ((2.0, COLOURS[1]), (0.1, COLOURS[0])):
        moved, aligned = (q.ravel() / q.std() for q in learned(scale, SEEDS[0])[:2])
        units.plot(aligned, moved, "o", ms=2, color=colour, label=f"scale {scale:g}")
    units.set(
        title="unit by unit, in standard deviations",
        xlabel=r"alignment $\tilde w_j \cdot \tilde a_i$ when learned",
        ylabel="learned task weight",
    )
    units.legend(frameon=False, markerscale=3)
    return page
