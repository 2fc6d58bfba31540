r"""Which representations of tasks a network learns, and can it do several at once?

Source
    R. Pyle, S. Musslick, J. D. Cohen, A. B. Patel, "A Quantitative Approach to Predicting
    Representational Learning and Performance in Neural Networks", arXiv:2307.07575 (2023). Its
    abstract was read; its figures were not compared.

What it claims
    A pseudo-kernel based tool predicts learned representations from initial conditions and
    training curriculum alone: how the scale of the initial weights and the curriculum decide about
    representations, and about concurrent multitasking later on.

What is derived here
    `sk.environments.Multitasking`: T = G^2 tasks from G stimulus to G response groups of M features
    each. Two prompts are related by how many features agree and by whether they share the task: the
    kernel of a wide network, and with it all that a network of constant kernel learns, lies in the
    algebra of an association scheme. `sk.lazy_multitasking` makes closed forms of it for symbols G,
    M and K tasks at once. With the first orders of a small variance,

    $$k = \alpha + \beta (m + \delta) + \gamma (m + \delta)^2:\qquad
      \text{least lead after training} = 1 - \frac{(K - 1)(1 - \rho)}{G},\quad
      \rho = \lambda_{1c} / \lambda_{1m} \le 1,$$

    m features and task ($\delta$) agreeing: the lazy network does all K <= G tasks at once.

What was found
    100 sigmoid units with bias -2, sigmoid outputs, a direct path from the task to the output, G =
    M = 3, eight seeds. From small weights, trained on single tasks: shared by stimulus group, and
    K tasks at once are done right only where their features agree, M^-(K-1). From large weights:
    separated, and concurrent tasks are done. Trained on concurrent tasks: separated at every scale.
    What comes first leaves its mark: single tasks before concurrent ones keep more sharing than the
    other order; interleaved, it is between the two.

    What does NOT hold: the frozen kernel of small initial weights does not predict the sharing,
    nor that single tasks are learned in time; the symmetries of the task do. Without the direct
    path, or with a linear output, small weights do not lead to sharing. Why task weights are shared
    or separated is derived in `pyle2023_task_weights`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

G, M, WIDTH, BIAS = 3, 3, 100, -2.0
ENVIRONMENT = sk.environments.Multitasking(G, M)
SEEDS = tuple(range(1000, 1008))
RATE, SINGLE, CONCURRENT = 20.0, 1000, 600
SCALES = (0.1, 0.3, 1.0, 2.0)
CURRICULA = ("single", "concurrent", "single, concurrent", "concurrent, single", "interleaved")
# Steps on single tasks with a linear output, at a tenth of the rate.
LINEAR = 4000
# Standard deviation of the weights of a wide network.
SPREAD = 0.05
# Stimulus and response group of every prompt of a single task.
GROUPS = np.array(ENVIRONMENT.tasks)[ENVIRONMENT.single.set_of].T.tolist()


def derive() -> Any:
    """Return the law of a network whose kernel stays as it is, G, M and K symbols."""
    environment = sk.environments.Multitasking(*sp.symbols("G M", integer=True, positive=True))
    alpha, beta, gamma = sp.symbols("alpha beta gamma", positive=True)
    agreeing = environment.matched + environment.same
    return sk.lazy_multitasking(environment, alpha + beta * agreeing + gamma * agreeing**2)


@cache
def network(direct: bool = True, output: str = "sigmoid") -> sk.Network:
    """Return the network, its direct path or its output activation another one if so wanted."""
    return ENVIRONMENT.network(WIDTH, output_activation=output, direct=direct)


def started(scale: float, seed: int, direct: bool = True, out: str = "sigmoid") -> Any:
    """Return initial weights; of a linear output its bias is 0."""
    bias = BIAS if out == "sigmoid" else 0.0
    return ENVIRONMENT.weights(network(direct, out), scale, seed, BIAS, output_bias=bias)


@cache
def trained(
    scale: float,
    on: str = "single",
    steps: int = SINGLE,
    direct: bool = True,
    out: str = "sigmoid",
) -> list[dict[str, np.ndarray]]:
    """Return the weights at the end of a curriculum, seed by seed; `steps` on single tasks."""
    rate = RATE if out == "sigmoid" else RATE / 10
    course = ENVIRONMENT.curriculum(on, rate, steps, CONCURRENT)
    members = [started(scale, seed, direct, out) for seed in SEEDS]
    runs = sk.simulate_ensemble(
        network(direct, out), course, members, learning_rate=rate, record=[course.end]
    )
    return [{name: array[-1] for name, array in run.weights.items()} for run in runs]


def measured(weights: dict[str, np.ndarray], net: sk.Network) -> np.ndarray:
    """Return correlations and sharing index of hidden patterns, and accuracy at 1, 2, 3 tasks."""
    hidden = sk.activity(net, weights, ENVIRONMENT.single.X, "hidden")
    shared = sk.analysis.sharing_index(hidden, inputs=GROUPS[0], outputs=GROUPS[1])
    found = (shared.same_input, shared.same_output, shared.neither, shared.index)
    tested = [ENVIRONMENT.prompts(ENVIRONMENT.task_sets(K)) for K in range(1, G + 1)]
    right = [prompts.accuracy(sk.activity(net, weights, prompts.X)) for prompts in tested]
    return np.array([*np.array(found)[:, 0], *right])


@cache
def results(
    scale: float,
    on: str = "single",
    steps: int = SINGLE,
    direct: bool = True,
    out: str = "sigmoid",
) -> np.ndarray:
    """Return means over seeds of what is `measured` in trained networks."""
    ends = trained(scale, on, steps, direct, out)
    return np.mean([measured(end, network(direct, out)) for end in ends], 0)


def told(found: np.ndarray) -> str:
    """Return sharing index and accuracies in words."""
    return f"S {found[3]:.2f}, accuracy {', '.join(f'{right:.2f}' for right in found[4:])}"


@cache
def wide() -> Any:
    """Return the lazy law of networks that are wide, their weights of one standard deviation."""
    # The bias is within the activation.
    phi = 1 / (1 + sp.exp(-sp.Symbol("z") - BIAS))
    net = sk.Network.mlp([ENVIRONMENT.inputs, WIDTH, 1], phi)
    kernel = sk.infinite_width(net, [SPREAD**2 * ENVIRONMENT.inputs, SPREAD**2 * WIDTH]).ntk
    return sk.lazy_multitasking(ENVIRONMENT, kernel, tolerance=1e-10).compile()


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def derived() -> tuple[bool, str]:
    """Every step from the relation of two prompts to the lead is proven, G, M and K symbols."""
    report = derive().check()
    return report.passed, "; ".join(f"{rung.title}: {rung.figure}" for rung in report.rungs)


def lead_of_wide_networks(power: int = 1) -> tuple[bool, str]:
    r"""Wide networks have the lead of the quadratic kernel, the less their weights vary.

    Then $\rho$ is small: the lead of K tasks is all but 1 - (K - 1)/G.
    """
    leads = np.array([float(wide().margin([1e12], K)[0]) for K in range(1, G + 1)])
    wanted = (1 - np.arange(G) / G) ** power
    passed = leads.min() > 0 and np.abs(leads - wanted).max() < 0.02
    return bool(passed), f"lead of 1, 2, 3 tasks {leads.round(3)}, theory {wanted.round(3)}"


def shared_from_small_weights(power: int = 1) -> tuple[bool, str]:
    r"""Small weights, single tasks: one pattern for each stimulus group, and M^-(K-1) right.

    All groups that are to respond show the same feature: right where all features agree.
    """
    found, accuracy = results(0.1), sk.small_weights(ENVIRONMENT).concurrent_accuracy
    wanted = np.array([float(accuracy(K).plain) for K in range(1, G + 1)]) ** power
    right = (np.abs(found[4:] - wanted) < 0.1 * wanted + 0.02).all()
    return bool(right and found[3] > 0.8), f"scale 0.1: {told(found)}; 1, 1/M, 1/M^2"


def separated_from_large_weights(most: float = 0.3) -> tuple[bool, str]:
    """Large weights, single tasks: separated, and tasks at once are done, as in the lazy limit."""
    found = results(2.0)
    separated = found[3] < most and found[5] > 0.97 and found[6] > 0.7
    return bool(separated), f"scale 2: {told(found)}"


def separated_by_concurrent_tasks(most: float = 0.15) -> tuple[bool, str]:
    """Training on concurrent tasks separates at every scale."""
    found = {scale: results(scale, "concurrent") for scale in SCALES}
    passed = all(one[3] < most and one[4:].min() == 1.0 for one in found.values())
    return passed, "; ".join(f"scale {scale:g}: {told(one)}" for scale, one in found.items())


def order_of_curricula(reverse: bool = False) -> tuple[bool, str]:
    """Single tasks first: more sharing is left at the end than with concurrent tasks first.

    Either order does all tasks at once.
    """
    words, passed = [], True
    for scale in SCALES:
        first, last = results(scale, "single, concurrent"), results(scale, "concurrent, single")
        gap = (last[3] - first[3]) if reverse else (first[3] - last[3])
        passed &= bool(gap > 0.1 and min(first[4:].min(), last[4:].min()) > 0.99)
        words.append(f"scale {scale:g}: S {first[3]:.2f} and {last[3]:.2f}")
    return passed, f"single first, concurrent first: {'; '.join(words)}"


def interleaved(below: str = "single, concurrent") -> tuple[bool, str]:
    """A step on each in turn: from small weights between concurrent tasks and single ones first.

    All tasks at once are done, from large weights too.
    """
    found = [results(scale, "interleaved") for scale in (SCALES[0], SCALES[-1])]
    low, high = results(0.1, "concurrent")[3], results(0.1, below)[3]
    passed = low + 0.05 < found[0][3] < high - 0.05 and min(f[4:].min() for f in found) == 1.0
    return bool(passed), f"scale 0.1: S {low:.2f} < {found[0][3]:.2f} < {high:.2f}"


def passes_a_stage_where_all_are_alike(steps: int = 150) -> tuple[bool, str]:
    """From small weights all tasks are alike on the way: measure them when they are learned.

    First the features grow that all tasks have in common.
    """
    found = results(0.1, "single", steps)
    passed = found[:3].min() > 0.9 and found[3] < 0.1 and found[4] < 0.9
    return bool(passed), (
        f"after {steps} steps: correlations {found[:3].round(3).tolist()}, {told(found)}"
    )


def frozen_kernel_fails(least: float = 0.3) -> tuple[bool, str]:
    """The frozen kernel does not foresee the sharing from small weights, nor the learning."""
    problem = network(), ENVIRONMENT.single.task, started(0.1, SEEDS[0])
    frozen = sk.derive(*problem, law="frozen_kernel").compile()
    end = frozen([RATE * SINGLE], learning_rate=RATE)
    shared = sk.analysis.sharing_index(end.hidden[-1], inputs=GROUPS[0], outputs=GROUPS[1])
    sharing, right = float(shared.index[0]), float(ENVIRONMENT.single.accuracy(end.outputs[-1]))
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
    """Without the direct path, or with a linear output, small weights do not lead to sharing."""
    without, linear = results(0.1, direct=False), results(0.1, steps=LINEAR, out="linear")
    passed = without[3] < least and linear[3] < least and without[1] > without[0]
    return bool(passed), (
        f"scale 0.1: without direct path {told(without)}, correlation {without[1]:.2f} to one "
        f"response group, {without[0]:.2f} from one stimulus group; linear output {told(linear)}"
    )


def claims() -> Iterator[tuple[str, bool, str]]:
    """Yield every claim when it is judged: what, whether it holds, what was found."""
    yield ("from the relation of two prompts to the least lead", *derived())
    yield ("lazy: all tasks at once are done, by 1 - (K - 1)/G", *lead_of_wide_networks())
    yield ("small weights, single tasks: shared by stimulus group", *shared_from_small_weights())
    yield ("large weights, single tasks: separated", *separated_from_large_weights())
    yield ("concurrent tasks: separated", *separated_by_concurrent_tasks())
    yield ("single tasks first leave more sharing", *order_of_curricula())
    yield ("interleaved: between concurrent and single first", *interleaved())
    yield ("a stage where all tasks are alike", *passes_a_stage_where_all_are_alike())
    yield ("the frozen kernel does not foresee sharing from small weights", *frozen_kernel_fails())
    yield ("the symmetry of the tasks foresees it", *symmetry_predicts())
    yield ("sharing takes direct path and sigmoid output", *needs_direct_path_and_output())


def check() -> Any:
    """Check every step of the law, and the law as a whole against explicit Gram matrices."""
    return derive().check()


def figure() -> Figure:
    """Draw sharing and accuracy over the scale, and when a lazy network does tasks at once."""
    from matplotlib.figure import Figure

    from symkernel.report.figures import COLOURS

    page = Figure(figsize=(13.0, 4.2), layout="constrained")
    sharing, accuracy, lazy = page.subplots(1, 3)
    for name, colour in zip(CURRICULA, COLOURS, strict=False):
        index = [results(scale, name)[3] for scale in SCALES]
        sharing.plot(SCALES, index, "o-", ms=4, color=colour, label=name)
    sharing.set(title="what is shared, by curriculum", ylabel="sharing index S", ylim=(-0.3, 1.95))
    many = np.array([results(scale)[4:] for scale in SCALES])
    law, rate = wide(), wide().eigenvalues["1c"]
    times = np.geomspace(1e-3, 10.0, 200)
    for K, colour in zip(range(1, G + 1), COLOURS, strict=False):
        accuracy.plot(SCALES, many[:, K - 1], "o-", ms=4, color=colour, label=f"K = {K}")
        accuracy.axhline(M ** (1.0 - K), ls=":", color=colour)
        lead = law.margin(times * len(ENVIRONMENT.single.X) / rate, K)
        lazy.plot(times, lead, color=colour, label=f"K = {K}")
        lazy.axhline(1 - (K - 1) / G, ls=":", color=colour)
    accuracy.set(
        title="trained on single tasks; dotted: $M^{-(K-1)}$", ylabel="accuracy", ylim=(0.0, 1.3)
    )
    lazy.axhline(0.0, color="0.7", lw=0.8)
    lazy.set(
        title="lazy law; dotted: $1 - (K-1)/G$", ylabel="least lead of the right unit",
        xlabel=r"flow time, in $N/\lambda_{1c}$", xscale="log", ylim=(-0.6, 1.35),
    )  # fmt: skip
    for ax in (sharing, accuracy):
        ax.set(xscale="log", xlabel="scale of the initial weights")
    for ax, columns in ((sharing, 2), (accuracy, 3), (lazy, 3)):
        ax.legend(frameon=False, fontsize="small", loc="upper center", ncols=columns)
    return page
