r"""What training keeps and discards: noise, transients, and what was learned before.

Source
    M. Kleinman, A. Achille, D. Idnani, J. C. Kao, "Usable Information and Evolution of Optimal
    Representations During Training", arXiv:2010.02459 (ICLR 2021). Its abstract was read; its
    settings and figures were not compared.

What it claims
    Usable information is what a learned decoder reads out of a representation. (1) Stochastic
    gradient descent with a high learning rate and small batches leads to minimal sufficient
    representations. (2) Meaningful but irrelevant information is encoded early in training, and
    discarded later. (3) Perturbing the start of training, as by pretraining on something else,
    changes the dynamics and the representation in the end.

What is derived here
    The theory of all three in two linear layers, $h = W_1 x + \sigma\xi$, $A = W_1^T W_1$: what h
    tells of an input that is not needed (input 1, where input 0 is the target) depends on its
    $A_{11}$ alone. A linear-Gaussian decoder uses all of it (`sk.information.v_information`); that
    held-out decoders find it is checked in `information_hump`.

    1. Label noise of covariance $\Sigma_e$ prunes it. To leading order in the learning rate
       $\eta$, after k steps on batches of B samples, from weights that fit the target,
       $$A_{11} = A_{11}(0)\, e^{-X},\qquad X = \eta^2\, \mathrm{tr}\Sigma_e\, s_1 k/B:$$
       at equal $\eta k$ it is $\eta/B$ that counts. The flow itself discards nothing: X is 0.
    2. From equal variances of all weights and correlated inputs, $A_{11}$ rises with the weight of
       input 1 in the map, and returns; see `information_hump` for its peak. With white inputs it
       can only fall: its rate is $-2$ times the square of that weight.
    3. After pretraining on input 1: nothing is left where the hidden similarity is a function of
       the map (`memoryless_gram`, infinite width), and of H Gaussian units a share that falls as
       $H^{-1/2}$. With a read-out of its own it is forgotten as $1/2t$, however long it was
       learned; with one that both tasks share, one unit, as $e^{-2st}$; a read-out that was set to
       a small $b_r$ between the tasks locks in $A_1 - b_r^2$.

What was found
    (1) holds where labels are noisy, and (2) where inputs correlate AND noise is measured in
    units of activity: relative to the layer, irrelevant information falls from the start. (3) is
    exactly false at infinite width, and true for ever after a reset of the read-out.

    Nonlinear networks, on a perceptual decision and on images of digits, are judged by
    `symkernel study information`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOISE, CORRELATION, HIDDEN = 0.05**0.5, 0.8, 5
RELATIVE = sk.analysis.Noise("relative", 0.3)
# Pretraining, and what is late after it; strength of its task, and the read-out that is reset.
SWITCH, LATE, STRENGTH, RESET = 4.0, 400.0, 1.5, 0.1
# Learning rate and batch size of cells with one ratio, and of ever smaller learning rates.
EQUAL = ((0.025, 1), (0.05, 2), (0.1, 4))
RATES, CLOCK, SEEDS = (0.1, 0.05, 0.025, 0.0125), 2.0, tuple(range(1000, 1016))
WIDTHS, DRAWS = (100, 1000, 10_000), tuple(range(1000, 1020))


def task(target: int, correlation: float = 0.0, outputs: int = 1) -> sk.Task:
    """Return the task to copy one of two inputs of variance 1; stronger to an output of its own."""
    root = np.array([[1.0, correlation], [0.0, np.sqrt(1 - correlation**2)]])
    X = np.sqrt(2) * root
    Y = np.zeros((2, outputs))
    Y[:, target % outputs] = STRENGTH * X[:, target] if outputs > 1 else X[:, target]
    return sk.Task(X, Y)


def pretrained(correlation: float = 0.0, outputs: int = 1) -> sk.Curriculum:
    """Return the curriculum: first the input that will not be needed, then the other one."""
    first, then = (task(target, correlation, outputs) for target in (1, 0))
    return sk.Curriculum([sk.Phase(first, SWITCH), sk.Phase(then)])


def network(hidden: int = HIDDEN, outputs: int = 1) -> sk.Network:
    """Return two linear layers."""
    return sk.Network.two_layer(inputs=2, hidden=hidden, outputs=outputs)


def alike(a: float) -> Any:
    """Return weights of equal variances in both layers, as at infinite width."""
    return sk.weights.semi_orthogonal(network(), a=a, b=a, seed=1)


def gaussian(hidden: int, seed: int) -> Any:
    """Return independent Gaussian weights of the same variances."""
    stream = np.random.default_rng(seed)
    W1, W2 = (np.sqrt(0.1 / hidden) * stream.standard_normal((hidden, n)) for n in (2, 1))
    return sk.weights.from_arrays(network(hidden), [W1, W2.T])


def derive() -> sk.Derivation:
    """Return the law of correlated inputs, the irrelevant one learned first."""
    return sk.derive(network(), pretrained(CORRELATION), alike(0.1), law="memoryless_gram")


def irrelevant(law: sk.Derivation, times: Any, noise: Any = NOISE) -> np.ndarray:
    """Return what the hidden layer tells of input 1, the other one known."""
    return law.information(relevant=0, irrelevant=1, noise=noise)(times).irrelevant


def bits(gram: Any) -> Any:
    r"""Return the information of $A_{11}$ about an input of variance 1 that is on its own."""
    own = np.asarray(gram)[..., None, None]
    return sk.information.gaussian(own, [[1.0]], NOISE, of=0)


# Claim 1. Samples and the noise of their labels are drawn in every step.


@cache
def pruned(rate: float, batch: int) -> np.ndarray:
    r"""Return $A_{11}$ and $A_{00}$ at 9 times up to X = 2, means over seeds, from a good fit."""
    found = sk.derive(network(), pretrained(), alike(0.5)).compile().weights([0.0, LATE])
    start = sk.weights.from_arrays(network(), {name: w[-1] for name, w in found.items()})
    steps = round(CLOCK * batch / rate**2)
    noisy = sk.Task.from_teacher(network(), start, noise=1.0)
    runs = sk.simulate_ensemble(
        network(), noisy, [start] * len(SEEDS), learning_rate=rate, batch_size=batch,
        record=np.linspace(0.0, rate * steps, 9), seeds=SEEDS,
    )  # fmt: skip
    squares = [(run.weights["W1"] ** 2).sum(1) for run in runs]
    return np.mean(squares, 0).T[::-1]


def clock() -> np.ndarray:
    """Return X at the times of `pruned`."""
    return np.linspace(0.0, CLOCK, 9)


def noise_prunes(power: float = 1.0) -> tuple[bool, str]:
    """With the learning rate its rate tends to the clock's, and the error to 0."""
    rates, errors = [], []
    for rate in RATES:
        found = pruned(rate, 1)[0]
        errors.append(float(np.abs(bits(found) - bits(found[0] * np.exp(-power * clock()))).max()))
        rates.append(float(-np.log(found / found[0]) @ clock() / (clock() @ clock())))
    passed = abs(rates[-1] / power - 1) < 0.05 and errors[-1] < 0.04 and errors[-1] < errors[0] / 4
    words = f"learning rates {RATES}: error {np.round(errors, 3).tolist()} bits"
    return passed, f"{words}, rate / predicted {np.round(np.array(rates) / power, 3).tolist()}"


def ratio_counts(cells: Any = EQUAL) -> tuple[bool, str]:
    """At equal learning rate x steps, cells with one learning rate per batch size agree."""
    found = [pruned(rate, batch) for rate, batch in cells]
    ends = np.array([CLOCK * batch / rate for rate, batch in cells])
    places = np.rint(8 * ends.min() / ends).astype(int)
    late = [float(bits(A[0][place])) for A, place in zip(found, places, strict=True)]
    kept = min(float(A[1][-1] / A[1][0]) for A in found)
    words = f"(rate, batch) {cells}: {np.round(late, 3).tolist()} bits from {bits(0.5):.3f}"
    return bool(np.ptp(late) < 0.1 and kept > 1), f"{words}; A_00 grows by {kept - 1:.0%} or more"


# Claim 2.


def hump(correlation: float) -> sk.Derivation:
    """Return the law from equal variances while input 0 is learned."""
    return sk.derive(network(), task(0, correlation), alike(0.1), law="memoryless_gram")


def rises_and_falls(correlation: float = CORRELATION) -> tuple[bool, str]:
    """Correlated inputs, absolute noise: above the start by a quarter, then back to it."""
    start, *found, end = irrelevant(hump(correlation), np.append(np.linspace(0, 20, 81), LATE))
    words = f"{start:.3f} bits, at most {max(found):.3f}, in the end {end:.3f}"
    return bool(max(found) > 1.25 * start and abs(end - start) < 1e-8), words


def starts_at_its_highest(correlation: float = 0.0, scale: bool = True) -> tuple[bool, str]:
    """White inputs, or noise that is relative: never above the start."""
    times, law = np.linspace(0.0, 20.0, 81), hump(CORRELATION)
    white = irrelevant(hump(correlation), times)
    share = irrelevant(law, times, RELATIVE if scale else NOISE)
    rises = [float((found[1:] - found[0]).max()) for found in (white, share)]
    least = share.min() / share[0]
    words = f"above the start by {max(rises):.1e} bits; relative noise: down to {least:.0%} of it"
    return max(rises) < 1e-8, words


# Claim 3.


def own_readout(reset: bool = False) -> tuple[sk.Derivation, float]:
    """Return the law, and when the second task begins: aligned weights, one output per input."""
    net, course = network(2, 2), pretrained(outputs=2)
    w0 = sk.weights.from_arrays(net, [0.1 * np.eye(2), 0.1 * np.eye(2)])
    law = sk.derive(net, course, w0)
    if not reset:
        return law, SWITCH
    reached = law.compile().weights([0.0, SWITCH])
    w0 = sk.weights.from_arrays(net, [reached["W1"][-1], RESET * np.eye(2)])
    return sk.derive(net, course.phases[1].task, w0), 0.0


def shared_readout() -> tuple[sk.Derivation, float]:
    """Return the same for one unit, balanced, whose output both tasks share."""
    w = np.array([[0.1, 0.1]])
    w0 = sk.weights.from_arrays(network(1), [w, [[np.linalg.norm(w)]]])
    return sk.derive(network(1), pretrained(), w0), SWITCH


def nothing_is_left(share: float = 0.0) -> tuple[bool, str]:
    """Equal variances: what pretraining leaves, as a share of what it taught."""
    start, taught, end = irrelevant(derive(), [0.0, SWITCH, SWITCH + LATE])
    words = f"{start:.3f} bits, {taught:.3f} after pretraining, in the end {end:.3f}"
    return bool(taught > 2 * start and abs((end - start) / (taught - start) - share) < 1e-8), words


@cache
def left_at_width(hidden: int) -> float:
    r"""Return by how much $A_{11}$ differs with pretraining and without, relative to the start."""
    found = []
    for seed in DRAWS:
        w0 = gaussian(hidden, seed)
        laws = [sk.derive(network(hidden), c, w0) for c in (pretrained(), task(0))]
        ends = [law.compile()([0.0, SWITCH + LATE]).input_gram[:, 1, 1] for law in laws]
        found.append((ends[0][1] - ends[1][1]) / ends[0][0])
    return float(np.sqrt(np.mean(np.square(found))))


def less_with_width(power: float = -0.5) -> tuple[bool, str]:
    """Gaussian weights: what is left falls as a power of the width."""
    left = [left_at_width(hidden) for hidden in WIDTHS]
    slope = float(np.polyfit(np.log(WIDTHS), np.log(left), 1)[0])
    words = f"widths {WIDTHS}: {np.round(left, 3).tolist()}, slope {slope:.2f}"
    return abs(slope - power) < 0.15, words


def remembered(factor: float = 2.0, strength: float = 1.0) -> tuple[bool, str]:
    r"""Own read-out: $A_{11} = 1/2t$; shared one: a rate of $2s$; reset one: $A_1 - b_r^2$."""
    (own, begin), (shared, _), (reset, _) = own_readout(), shared_readout(), own_readout(True)
    slow = own.compile()([0.0, begin + LATE]).input_gram[1, 1, 1] * factor * LATE
    fast = shared.compile()([SWITCH + 7.0, SWITCH + 8.0]).input_gram[:, 1, 1]
    rate = float(np.log(fast[0] / fast[1])) / (2 * strength)
    kept = reset.compile()([0.0, LATE]).input_gram[:, 1, 1]
    passed = abs(slow - 1) < 5e-3 and abs(rate - 1) < 1e-3
    passed = passed and abs(kept[1] - kept[0] + RESET**2) < 1e-9
    words = f"A 2t {slow:.4f}; rate / 2s {rate:.5f}; after a reset {kept[0]:.4f} to {kept[1]:.4f}"
    return bool(passed), words


def formulas() -> tuple[bool, str]:
    """Every step of the closed forms, those of restricted decoders among them."""
    info = sk.information
    made = [info.two_layer_hump(), info.pretraining_memory(), info.shared_readout_memory()]
    made += [info.v_information_formula(family) for family in info.FAMILIES]
    found = [step.check().passed for formula in made for step in formula.steps]
    return all(found), f"{sum(found)} of {len(found)} steps proven"


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("the closed forms", *formulas()),
        ("1: noise prunes what is not needed", *noise_prunes()),
        ("1: learning rate / batch size counts", *ratio_counts()),
        ("2: rises, and falls", *rises_and_falls()),
        ("2 fails for white inputs, and under relative noise", *starts_at_its_highest()),
        ("3 fails at infinite width: nothing is left", *nothing_is_left()),
        ("3: what is left falls with the width", *less_with_width()),
        ("3: power law, exponential, or locked in", *remembered()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw what noise prunes, what rises and falls, and what is left of pretraining."""
    from matplotlib.figure import Figure

    from symkernel.report.figures import COLOURS

    page = Figure(figsize=(11.4, 3.6), layout="constrained")
    noisy, transient, memory = page.subplots(1, 3)
    for ax in (noisy, transient, memory):
        ax.set_prop_cycle(color=COLOURS)
    fine = np.linspace(0.0, CLOCK, 101)
    noisy.plot(fine, bits(0.5 * np.exp(-fine)), "k", label=r"$A_{11}(0)\, e^{-X}$")
    for (rate, batch), mark in zip((*EQUAL, (RATES[0], 1)), "os^x", strict=True):
        label = rf"$\eta$ {rate:g}, B {batch}"
        noisy.plot(clock(), bits(pruned(rate, batch)[0]), mark, ms=4, label=label)
    noisy.set(title="1. label noise prunes", xlabel=r"clock X", ylabel="irrelevant, bits")
    times = np.linspace(0.0, 15.0, 151)
    law = hump(CORRELATION)
    found = law.information(relevant=0, irrelevant=1, noise=NOISE)(times)
    transient.plot(times, found.relevant, label="relevant")
    transient.plot(times, found.irrelevant, label="irrelevant")
    share = irrelevant(law, times, RELATIVE)
    transient.plot(times, share, "--", label="irrelevant, relative noise")
    transient.set(title="2. encoded early, discarded later", xlabel="flow time t", ylim=(0, 2.6))
    since = np.geomspace(0.1, 300.0, 60)
    width = sk.derive(network(10), pretrained(), gaussian(10, DRAWS[0]))
    infinite = sk.derive(network(), pretrained(), alike(0.1))
    for label, (one, begin) in {
        "own read-out": own_readout(),
        "own, reset": own_readout(True),
        "shared, one unit": shared_readout(),
        "shared, 10 Gaussian": (width, SWITCH),
        "shared, infinite width": (infinite, SWITCH),
    }.items():
        memory.semilogx(since, irrelevant(one, np.append(0.0, begin + since))[1:], label=label)
    memory.set(title="3. left of pretraining", xlabel="flow time since", ylim=(0, 3.9))
    for ax, place in ((noisy, "upper right"), (transient, "upper right"), (memory, "upper right")):
        ax.legend(frameon=False, fontsize="small", loc=place, ncols=2 if ax is memory else 1)
    return page
