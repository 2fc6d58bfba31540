r"""Which representations of tasks a network learns, and why: shared, or separated.

Source
    R. Pyle, S. Musslick, J. D. Cohen, A. B. Patel, "A Quantitative Approach to Predicting
    Representational Learning and Performance in Neural Networks", arXiv:2307.07575 (2023). Its
    abstract was read; its figures were not compared.

What it claims
    A pseudo-kernel based tool predicts learned representations from initial conditions and
    training curriculum alone: how the scale of the initial weights and the curriculum decide about
    representations, and about concurrent multitasking later on.

What is derived here
    `sk.environments.Multitasking`, G = M = 3: 9 tasks from stimulus to response groups, 100 sigmoid
    units with bias -2, sigmoid outputs, a direct path from the task to the output. By
    `sk.task_weights`, from the pseudo-kernel: training on single tasks gives a unit, for the task
    from stimulus group i to response group j, a weight that goes with the alignment
    $\tilde w_j \cdot \tilde a_i$ of its read-out to group j with its weights from group i. Tasks of
    one stimulus group then correlate, the mean over tasks taken away, by

    $$r_{in} = \frac{G^2 \rho_w - \mu}{G^2 - \mu},\quad \mu = 1 + (G - 1) \rho_w
      \qquad\text{to}\qquad r_{in} = \rho_w,$$

    with $\rho_w$ the correlation of the read-outs to two response groups: the first in the lazy
    regime, the second where only the stimulus group is left to be selected. Either is
    -1/(T - 1) or 0 for independent read-outs, T = G^2 tasks, and 1 for one read-out.

What was found
    From small weights, trained on single tasks: shared by stimulus group. The read-out grows
    alike for all response groups, and task weights follow. K tasks at once are then done right
    only where their features agree, M^-(K-1). From large weights, where read-outs stay
    independent: separated, and concurrent tasks are done. Trained on concurrent tasks: separated
    at every scale.

    What does NOT hold: the frozen kernel of small initial weights does not predict the sharing,
    nor that single tasks are learned in time; the symmetries of the task do. Without the direct
    path, or with a linear output, small weights do not lead to sharing. Early in the lazy regime,
    before contrasts between tasks are learned, tasks to one RESPONSE group are alike.
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
SEEDS, RATE, SINGLE, CONCURRENT = (1000, 1001, 1002), 20.0, 2000, 600
SCALES = (0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0)
# Steps on single tasks with a linear output, at a tenth of the rate.
LINEAR = 4000
# Standard deviations of weights at which the movement of task weights is judged.
SPREADS = (0.05, 0.2, 0.5, 1.0)
# Kinds of signals: in the lazy regime, and where only the stimulus group is left to be selected.
LAZY, SELECTION = sp.Integer(0), -sp.Rational(1, G)
PAIRS = ("one stimulus group", "one response group", "neither")
# Stimulus and response group of every task, and of every prompt of a single task.
TASKS = np.transpose(ENVIRONMENT.tasks).tolist()
GROUPS = np.array(ENVIRONMENT.tasks)[ENVIRONMENT.single.set_of].T.tolist()


@cache
def network(direct: bool = True, output: str = "sigmoid") -> sk.Network:
    """Return the network, its direct path or its output activation another one if so wanted."""
    return ENVIRONMENT.network(WIDTH, output_activation=output, direct=direct)


def derive(scale: float = 8.0, seed: int = 1000) -> sk.Derivation:
    """Return the frozen law of the smallest environment, from large weights."""
    env = sk.environments.Multitasking(2, 2)
    net = env.network(WIDTH)
    return sk.derive(net, env.single.task, env.weights(net, scale, seed), law="frozen_kernel")


def started(scale: float, seed: int, direct: bool = True, out: str = "sigmoid") -> Any:
    """Return initial weights; of a linear output its bias is 0."""
    bias = BIAS if out == "sigmoid" else 0.0
    return ENVIRONMENT.weights(network(direct, out), scale, seed, BIAS, output_bias=bias)


@cache
def trained(
    scale: float, on: str = "single", steps: int = SINGLE, direct: bool = True, out: str = "sigmoid"
) -> list[dict[str, np.ndarray]]:
    """Return the weights, seed by seed, after so many steps on single or on concurrent tasks."""
    task, net = getattr(ENVIRONMENT, on).task, network(direct, out)
    rate = RATE if out == "sigmoid" else RATE / 10
    members = [started(scale, seed, direct, out) for seed in SEEDS]
    runs = sk.simulate_ensemble(net, task, members, learning_rate=rate, record=[rate * steps])
    return [{name: array[-1] for name, array in run.weights.items()} for run in runs]


def pairs(patterns: np.ndarray, inputs: Any = TASKS[0], outputs: Any = TASKS[1]) -> np.ndarray:
    """Return mean correlations: same stimulus group, same response group, neither; and S."""
    found = sk.analysis.sharing_index(patterns, inputs=inputs, outputs=outputs)
    return np.array([found.same_input, found.same_output, found.neither, found.index])[:, 0]


def measured(weights: dict[str, np.ndarray], net: sk.Network) -> np.ndarray:
    """Return correlations and sharing index of hidden patterns, and accuracy at 1, 2, 3 tasks."""
    hidden = sk.activity(net, weights, ENVIRONMENT.single.X, "hidden")
    tested = [ENVIRONMENT.prompts(ENVIRONMENT.task_sets(K)) for K in range(1, G + 1)]
    right = [prompts.accuracy(sk.activity(net, weights, prompts.X)) for prompts in tested]
    return np.array([*pairs(hidden, *GROUPS), *right])


@cache
def results(
    scale: float, on: str = "single", steps: int = SINGLE, direct: bool = True, out: str = "sigmoid"
) -> np.ndarray:
    """Return means over seeds of what is `measured` in trained networks."""
    ends = trained(scale, on, steps, direct, out)
    return np.mean([measured(end, network(direct, out)) for end in ends], 0)


def told(found: np.ndarray) -> str:
    """Return sharing index and accuracies in words."""
    return f"S {found[3]:.2f}, accuracy {', '.join(f'{right:.2f}' for right in found[4:])}"


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
        rows.append([np.mean(rho), *np.mean([pairs(q.T)[:3] for q in moved], 0), of_units])
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


def shared_from_small_weights(power: int = 1) -> tuple[bool, str]:
    r"""Small weights, single tasks: one pattern for each stimulus group, and M^-(K-1) right.

    All groups that are to respond show the same feature: right where all features agree.
    """
    found, accuracy = results(0.1), sk.small_weights(ENVIRONMENT).concurrent_accuracy
    wanted = np.array([float(accuracy(K).plain) for K in range(1, G + 1)]) ** power
    right = (np.abs(found[4:] - wanted) < 0.1 * wanted + 0.02).all()
    return bool(right and found[3] > 0.8), f"scale 0.1: {told(found)}; 1, 1/M, 1/M^2"


def separated_from_large_weights(most: float = 0.3) -> tuple[bool, str]:
    """Large weights, single tasks: separated, and tasks at once are done, all in the lazy limit."""
    found = results(2.0)
    leads = [float(lazy(SPREADS[0])[1].margin([1e12], K)[0]) for K in range(1, G + 1)]
    separated = found[3] < most and found[5] > 0.97 and found[6] > 0.7 and min(leads) > 0
    return bool(separated), f"scale 2: {told(found)}; lazy limit: lead {np.round(leads, 3)}"


def separated_by_concurrent_tasks(most: float = 0.15) -> tuple[bool, str]:
    """Training on concurrent tasks separates at every scale."""
    small, large = (results(scale, "concurrent", CONCURRENT) for scale in (0.1, 2.0))
    passed = all(found[3] < most and found[4:].min() == 1.0 for found in (small, large))
    return passed, f"scale 0.1: {told(small)}; scale 2: {told(large)}"


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
        rows.append(pairs((moved - moved.mean(1, keepdims=True)).T)[:3])
    wanted = np.array([[-1 / (groups**2 - 1)] * 3, [1, *[-1 / (groups - 1)] * 2]])
    passed = bool(np.abs(np.array(rows) - wanted).max() < 0.06)
    return passed, f"{np.round(rows, 3).tolist()}, theory {wanted.round(3).tolist()}"


def unit_by_unit(transposed: bool = False) -> tuple[bool, str]:
    """What a unit learned about a task goes with its alignment, unit by unit."""
    found = learned_correlations()[:, 4]
    if transposed:
        moved, aligned, _ = learned(1.0, SEEDS[0])
        swapped = aligned.reshape(-1, G, G).swapaxes(1, 2).reshape(aligned.shape)
        found = np.array([np.corrcoef(moved.ravel(), swapped.ravel())[0, 1]])
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


def passes_a_stage_where_all_are_alike(steps: int = 150) -> tuple[bool, str]:
    """From small weights all tasks are alike on the way; it is then that read-outs align.

    First the features grow that all tasks have in common: measure tasks when they are learned.
    """
    found = results(0.1, "single", steps)
    rho = [LAW.readout_alignment(end) for end in trained(0.1, "single", steps)]
    passed = found[:3].min() > 0.9 and found[3] < 0.1 and found[4] < 0.9 and min(rho) > 0.9
    words = f"after {steps} steps: correlations {found[:3].round(3).tolist()}, {told(found)}"
    return bool(passed), f"{words}, rho_w {min(rho):.2f} or more"


def frozen_kernel_fails(least: float = 0.3) -> tuple[bool, str]:
    """The frozen kernel does NOT predict the sharing from small weights."""
    problem = network(), ENVIRONMENT.single.task, started(0.1, SEEDS[0])
    frozen = sk.derive(*problem, law="frozen_kernel").compile()
    end = frozen([RATE * SINGLE], learning_rate=RATE)
    sharing = pairs(end.hidden[-1], *GROUPS)[3]
    right = float(ENVIRONMENT.single.accuracy(end.outputs[-1]))
    words = f"frozen: S {sharing:.2f}, accuracy {right:.2f}; in truth {told(results(0.1))}"
    return bool(abs(sharing) < least and right < 0.8), words


def symmetry_predicts(fixed: str = "W_s") -> tuple[bool, str]:
    """What does: the part of the initial weights that the task's symmetries leave alone."""
    quotient = sk.quotient(network(), ENVIRONMENT.single.task, fixing=fixed)
    w0, end = started(0.1, SEEDS[0]), [RATE * SINGLE]
    run = sk.simulate_quotient(quotient, w0, RATE, record=end, first_order=False)
    arrays = (run.weights_at(-1, order=0).arrays, trained(0.1)[0])
    found, truth = (measured(weights, network()) for weights in arrays)
    words = f"one network: predicted {told(found)}; in truth {told(truth)}"
    return bool(np.abs(found - truth)[3:].max() < 0.1), words


def needs_direct_path_and_output(least: float = 0.4) -> tuple[bool, str]:
    """Without the direct path, or with a linear output, sharing does NOT come about."""
    without, linear = results(0.1, direct=False), results(0.1, steps=LINEAR, out="linear")
    passed = without[3] < least and linear[3] < least and without[1] > without[0]
    return bool(passed), (
        f"scale 0.1: without direct path {told(without)}, correlation {without[1]:.2f} to one "
        f"response group, {without[0]:.2f} from one stimulus group; linear output {told(linear)}"
    )


def response_groups_come_first(late: float = 0.1) -> tuple[bool, str]:
    r"""Early in the lazy regime tasks to one RESPONSE group are alike, not separated."""
    residual = integrated(0.5, late)[1]
    moved = np.concatenate([summed(lazy_weights(0.5, seed), residual) for seed in range(10)])
    found = pairs((moved - moved.mean(1, keepdims=True)).T)[:3]
    words = f"weights 0.5, contrasts learned to {-np.expm1(-late):.0%}: {found.round(2).tolist()}"
    return bool(found[1] > 0.4 and found[0] < 0), words


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("small weights, single tasks: shared by stimulus group", *shared_from_small_weights()),
        ("large weights, single tasks: separated", *separated_from_large_weights()),
        ("concurrent tasks: separated", *separated_by_concurrent_tasks()),
        ("from pseudo-kernel to correlation", *derived()),
        ("movement of task weights: first order in the weights", *first_order_in_the_weights()),
        ("lazy task weights: separated, or shared if read-outs are", *lazy_correlations()),
        ("task weights are alignments, unit by unit", *unit_by_unit()),
        ("task weights are shared as far as read-outs are", *follows_the_readout()),
        ("a stage where all tasks are alike", *passes_a_stage_where_all_are_alike()),
        ("NOT so: the frozen kernel from small weights", *frozen_kernel_fails()),
        ("but the symmetry of the tasks does", *symmetry_predicts()),
        ("NOT so without direct path, or with linear output", *needs_direct_path_and_output()),
        ("NOT so early in the lazy regime: separated", *response_groups_come_first()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the frozen law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw what is learned over the scale, how far task weights are shared, and why."""
    from matplotlib.figure import Figure

    from symkernel.report.figures import COLOURS

    page = Figure(figsize=(13.0, 4.0), layout="constrained")
    behaviour, shared, units = page.subplots(1, 3)
    found, rows = np.array([results(scale) for scale in SCALES]), learned_correlations()
    names = ("sharing index S", "accuracy, two tasks", "accuracy, three tasks")
    for place, name, colour in zip((3, 5, 6), names, COLOURS, strict=False):
        behaviour.plot(SCALES, found[:, place], "o-", ms=4, color=colour, label=name)
    for K in (2, 3):
        behaviour.axhline(M ** (1.0 - K), ls=":", color=COLOURS[K - 1])
    behaviour.set(title="trained on single tasks; dotted: $M^{-(K-1)}$", ylim=(-0.1, 1.5))
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
    for ax in (behaviour, shared):
        ax.set(xscale="log", xlabel="scale of the initial weights")
        ax.legend(frameon=False, fontsize="small", loc="upper center", ncols=2)
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
