r"""What a small network comes to represent, and which theory predicts it: over the initial scale.

Source
    R. Pyle, S. Musslick, J. D. Cohen, A. B. Patel, "A Quantitative Approach to Predicting
    Representational Learning and Performance in Neural Networks", arXiv:2307.07575 (2023). Its
    abstract and the opening of its introduction were read; its figures were not compared.

What it claims
    A pseudo-kernel based tool predicts learned representations from the initial conditions of the
    network and the training curriculum alone. It is validated "on a simple test case", and used to
    predict what the scale of the initial weights does to representations.

What is derived here
    A test case of our own. Four items A1, A2, B1, B2: those of one letter are alike in the input
    (cosine 0.7) and opposite in the target, those of one digit alike in the target (cosine 0.47)
    and unlike in the input (0.05). H tanh units; both layers start at the scale $\sigma$, from one
    random orthogonal frame, so that the linear network of the same weights is solved exactly by
    `gram_diagonal`. The pseudo-kernel, from `sk.pseudo_kernel(network(), of="hidden")`, is

    $$K_{h,f}(x, x') = (x \cdot x') / (I \sqrt{H})\;\phi'(a)\, \phi'(a')\, W_2^T .$$

    Inputs and targets share their four modes, with eigenvalues $\lambda_x$ and $\lambda_y$ of their
    similarities. Learned to the end, the LINEAR network has, in each mode,

    $$\lambda_h = \sqrt{(H \sigma^2 \lambda_x / I)^2 + (H / I)\,\lambda_x \lambda_y}\,:$$

    the similarity of the inputs from large weights, the geometric mean of inputs and targets from
    small ones; modes without a target are left as they were. What sample j contributed to the
    movement of sample i is, at any scale and time,

    $$C_{ij} = \frac{(x_i \cdot x_j)\, D_{ij}}{\sum_k (x_i \cdot x_k)\, D_{ik}}, \qquad
      D = \sum_m |\Delta h_m|^2 / \lambda_{x,m}\; \chi_m \chi_m^T ,$$

    with $\chi_m$ the signs of mode m: always overlap of inputs TIMES alignment of targets.

What was found
    From large weights the frozen pseudo-kernel gives outputs and hidden similarity to 2 per cent,
    but the latter hardly changes there; of the change of the units it misses a quarter. From small
    weights it FAILS: it learns too late and moves the hidden layer too far, both by known factors.
    There the exact law of the LINEAR network holds: learned activity is shared by many units and
    stays small, so that its error falls as 1/sqrt(H). Re-linearised, the pseudo-kernel holds
    everywhere; from small weights with so many refreshes that it is an integrator, no prediction.

    That attribution turns from inputs to targets as the scale falls is NOT so. Items alike in the
    target hardly move each other at any scale. From large weights, where units saturate, an item
    is moved by its own training almost alone; from small ones also, the other way, by that of its
    partner in the input. What turns is the DIRECTION of movement: within the modes of the target
    from small weights, spread over all modes from large ones.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Signs of the modes at the four items: all alike, the letter, the digit, both.
SIGNS = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
# Eigenvalues of the similarities of inputs and of targets, divided by the number of items.
LAMBDA_X, LAMBDA_Y = np.array([1.7, 1.7, 0.4, 0.2]), np.array([0.0, 0.0, 1.0, 0.36])
INPUTS, WIDTH, WIDTHS = 4, 100, (400, 800, 1600, 3200)
SCALES, SEEDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2), (1000, 1001, 1002)
END, RATE = 400.0, 0.01
TIMES = np.concatenate([[0.0], np.geomspace(0.1, END, 40)])
LAWS = ("frozen", "4 refreshes", "16 refreshes", "linear network", "nothing changes")
MEASURES = ("outputs", "hidden change", "hidden similarity")


@cache
def task() -> sk.Task:
    """Return the four items; columns of inputs and targets are their modes."""
    X, Y = SIGNS * np.sqrt(LAMBDA_X), (SIGNS * np.sqrt(LAMBDA_Y))[:, 2:]
    return sk.Task(X, Y, labels={"samples": ("A1", "A2", "B1", "B2")})


@cache
def network(activation: str = "tanh", width: int = WIDTH) -> sk.Network:
    """Return the network, or the linear one of the same sizes."""
    return sk.Network.mlp([INPUTS, width, 2], activation, parameterisation="ntk")


def weights(net: sk.Network, scale: float, seed: int, width: int = WIDTH) -> Any:
    """Return weights from an orthogonal frame, whose entries have the standard deviation scale."""
    draw = np.random.default_rng(seed).standard_normal((width, INPUTS + 2))
    frame = scale * np.sqrt(width) * np.linalg.qr(draw)[0]
    return sk.weights.from_arrays(net, [frame[:, :INPUTS], frame[:, INPUTS:].T])


def derive(
    scale: float = 0.8, seed: int = 1000, law: str = "frozen_kernel", width: int = WIDTH
) -> sk.Derivation:
    """Return a law of the network, or `gram_diagonal` of the linear one."""
    net = network("linear" if law == "gram_diagonal" else "tanh", width)
    return sk.derive(net, task(), weights(net, scale, seed, width), law=law)


@cache
def simulated(scale: float, seed: int) -> Any:
    """Return gradient descent."""
    w0 = weights(network(), scale, seed)
    return sk.simulate(network(), task(), w0, learning_rate=RATE, record=TIMES)


@cache
def predicted(name: str, scale: float, seed: int) -> Any:
    """Return what one of the laws predicts."""
    if name == "linear network":
        return derive(scale, seed, "gram_diagonal").compile()(TIMES)
    if name == "frozen":
        return derive(scale, seed).compile()(TIMES, learning_rate=RATE)
    return derive(scale, seed, "relinearised").compile()(TIMES, refreshes=int(name.split()[0]))


@cache
def attributed(scale: float, activation: str) -> Any:
    """Return whose training moved the hidden layer, sample by sample, by the end."""
    net = network(activation)
    w0 = weights(net, scale, SEEDS[0])
    return sk.simulate(net, task(), w0, 4 * RATE, record=[END], attribute="sample").attribution()


def similarity(hidden: np.ndarray) -> np.ndarray:
    """Return the cosines of the hidden activity of all pairs of items."""
    unit = hidden / np.linalg.norm(hidden, axis=-1, keepdims=True)
    return unit @ unit.swapaxes(-1, -2)


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the relative error, over all records."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def measured(outputs: np.ndarray, hidden: np.ndarray, sim: Any) -> list[float]:
    """Return the relative errors of outputs, hidden change and hidden similarity."""
    return [
        relative(outputs, sim.outputs),
        relative(hidden - hidden[0], sim.hidden - sim.hidden[0]),
        relative(similarity(hidden), similarity(sim.hidden)),
    ]


@cache
def errors() -> np.ndarray:
    """Return root mean squares over seeds, shape (n_scales, n_laws, n_measures)."""
    found = np.zeros((len(SEEDS), len(SCALES), len(LAWS), len(MEASURES)))
    for i, seed in enumerate(SEEDS):
        for j, scale in enumerate(SCALES):
            sim = simulated(scale, seed)
            for k, name in enumerate(LAWS[:-1]):
                law = predicted(name, scale, seed)
                found[i, j, k] = measured(law.outputs, law.hidden, sim)
            found[i, j, -1] = measured(sim.outputs[:1], sim.hidden[:1], sim)
    return np.sqrt(np.mean(found**2, axis=0))


def table() -> str:
    """Return the table of errors."""
    lines = []
    for k, measure in enumerate(MEASURES):
        lines.append(f"{measure + ', scale':26}" + "".join(f"{scale:8g}" for scale in SCALES))
        for j, name in enumerate(LAWS):
            lines.append(f"  {name:24}" + "".join(f"{e:8.3f}" for e in errors()[:, j, k]))
    return "\n".join(lines)


def in_modes(hidden: np.ndarray) -> np.ndarray:
    """Return the squared length of activity (..., items, units) in each mode of the items."""
    return np.square(np.einsum("im,...ih->...mh", SIGNS / 4, hidden)).sum(-1)


def target_share(activation: str) -> np.ndarray:
    """Return the share of the movement that lies in the modes of the target, at each scale."""
    sizes = np.array([in_modes(attributed(scale, activation).movement[-1]) for scale in SCALES])
    return sizes[:, 2:].sum(1) / sizes.sum(1)


def learned_spectrum(scale: float) -> np.ndarray:
    r"""Return $\lambda_h$ of the linear network when all is learned."""
    initial = WIDTH * scale**2 * LAMBDA_X / INPUTS
    return np.sqrt(initial**2 + WIDTH / INPUTS * LAMBDA_X * LAMBDA_Y)


def contributions(moved: np.ndarray, sign: int = 1) -> np.ndarray:
    """Return the contribution matrix that the movement in each mode goes with, if linear."""
    aligned = (SIGNS * moved / LAMBDA_X) @ SIGNS.T
    parts = (task().X @ task().X.T) * (aligned if sign > 0 else np.abs(aligned))
    return parts / parts.sum(1, keepdims=True)


def shares(activation: str) -> np.ndarray:
    """Return mean contributions of the item itself, its letter, its digit and neither, by scale."""
    found = np.array([attributed(scale, activation).matrix() for scale in SCALES])
    return np.array([found[:, range(4), np.arange(4) ^ k].mean(1) for k in range(4)]).T


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def hidden_spectrum(cross: int = 1) -> tuple[bool, str]:
    r"""From orthogonal sides of one length m the law gives $|p|^4 = m^2 + HI u^2$, exactly."""
    output, side = derive(law="gram_diagonal").formulas[:2]
    names = {q.name: q for q in (output.expression + side.expression).free_symbols}
    p, q = (side.expression.coeff(names[name]) for name in ("p0", "q0"))
    m = sp.Symbol("m", positive=True)
    u = output.expression.subs({names["alpha"]: m, names["beta"]: m, names["w"]: 0})
    gap = sp.cancel(sp.expand(m**2 * (p**2 + q**2) ** 2 - m**2 - cross * INPUTS * WIDTH * u**2))
    worst = 0.0
    for scale in SCALES:
        late = derive(scale, law="gram_diagonal").compile()([1e7])
        worst = max(worst, relative(in_modes(late.hidden[0]), learned_spectrum(scale)))
    return gap == 0 and worst < 1e-9, f"difference {gap}; learned to the end in numbers {worst:.0e}"


def frozen_error(slack: float = 1.0) -> tuple[bool, str]:
    r"""The frozen law misses at most $\int \|\Theta_s - \Theta_0\| \|r_s\| ds / n$ of an output.

    By variation of constants: both obey linear equations, and the frozen kernel contracts.
    """
    words, kept, size = [], True, np.linalg.norm(task().Y)
    for scale in SCALES:
        law, sim = predicted("frozen", scale, SEEDS[0]), simulated(scale, SEEDS[0])
        kernel = sim.ntk.reshape(len(TIMES), 8, 8)
        residual = np.linalg.norm(sim.outputs - task().Y, axis=(1, 2)) / len(SIGNS)
        rate = np.linalg.norm(kernel - kernel[0], 2, axis=(1, 2)) * residual
        bound = np.concatenate([[0.0], np.cumsum(np.diff(TIMES) * (rate[1:] + rate[:-1]) / 2)])
        error = np.linalg.norm(law.outputs - sim.outputs, axis=(1, 2))
        kept &= bool((error <= slack * bound + 1e-12).all())
        words.append(f"{error.max() / size:.3f} <= {bound.max() / size:.2f}")
    return kept, f"of the targets, scale by scale: {', '.join(words)}"


def frozen_fails(power: int = 1) -> tuple[bool, str]:
    r"""From small weights it learns at the rate of the first kernel, and moves too far.

    If linear, at $2 \sigma^2 \lambda_x / I$ in a mode; in the end, with $U = \sqrt{HI} u$ and
    $m = H \sigma^2$, $|\Delta p|^2$ is $U^2 / 4m$, and m (1 + cosh 2 phi - 2 cosh phi) with
    sinh 2 phi = U / m in truth. The rest is of the order of the cubic term of tanh.
    """
    scale = SCALES[0]
    late, sim = derive(scale).compile()([0.0, END, 1e8]), simulated(scale, SEEDS[0])
    reached = [f[:, 0] @ SIGNS[:, 2] / 4 for f in (late.outputs[1], sim.outputs[-1])]
    wanted = 1 - np.exp(-2 * scale ** (2 * power) * LAMBDA_X[2] / INPUTS * END)
    m, U = WIDTH * scale**2, np.sqrt(WIDTH * INPUTS * LAMBDA_Y / LAMBDA_X)
    double = np.sqrt(1 + (U / m) ** 2)
    moved = m * (1 + double - np.sqrt(2 * (1 + double)))
    too_far = np.sqrt((LAMBDA_X * U**2 / (4 * m)).sum() / (LAMBDA_X * moved).sum())
    law, run = (np.linalg.norm(r.hidden[-1] - r.hidden[0]) for r in (late, sim))
    passed = abs(reached[0] / wanted - 1) < 0.02 and reached[1] > 0.99
    passed &= abs(law / run / too_far - 1) < 0.1
    return bool(passed), (
        f"digit learned to {reached[0]:.3f} (theory {wanted:.3f}) where the network has "
        f"{reached[1]:.3f}; in the end moved {law / run:.2f} times too far (theory {too_far:.2f})"
    )


def refreshes(share: float = 1.0) -> tuple[bool, str]:
    """Re-linearised, the law errs by no more than a share of what it estimates itself."""
    gaps, ratios = [], []
    for scale in SCALES:
        law, sim = predicted("16 refreshes", scale, SEEDS[0]), simulated(scale, SEEDS[0])
        gaps.append(float(np.abs(law.outputs - sim.outputs).max() / np.abs(sim.outputs).max()))
        ratios.append(float(law.error_estimate.max() / gaps[-1]))
    passed = all(share * ratio >= 1 for ratio in ratios)
    words = (f"{ratio:.2f} of {gap:.3f}" for ratio, gap in zip(ratios, gaps, strict=True))
    return passed, f"estimated (of outputs, hidden layer and weights) {', '.join(words)} of outputs"


def linear_width(wanted: float = -0.5) -> tuple[bool, str]:
    r"""The error of the linear law from small weights falls as 1/sqrt(H).

    With $\sigma^2 \propto 1/\sqrt{H}$ the linear law is the same at every width, in times that grow
    as sqrt(H). Squared activity falls as 1/sqrt(H), and so does what tanh takes off (below
    400 units more slowly: higher terms of tanh count).
    """
    rows = []
    for width in WIDTHS:
        scale, slower = SCALES[0] * (WIDTH / width) ** 0.25, np.sqrt(width / WIDTH)
        net = network("tanh", width)
        w0 = weights(net, scale, SEEDS[0], width)
        sim = sk.simulate(net, task(), w0, 5 * RATE * slower, record=TIMES * slower)
        law = derive(scale, law="gram_diagonal", width=width).compile()(sim.times)
        rows.append(measured(law.outputs, law.hidden, sim))
    found = [float(np.polyfit(np.log(WIDTHS), np.log(e), 1)[0]) for e in np.transpose(rows)[:2]]
    passed = all(abs(slope - wanted) < 0.15 for slope in found)
    return passed, f"slopes {found[0]:.2f} of the outputs, {found[1]:.2f} of the hidden change"


def exchange(power: float = 0.25) -> tuple[bool, str]:
    r"""In the outputs frozen and linear law exchange ranks where the digit has m = U.

    There learned and initial weights are equal; in the hidden change they do so earlier.
    """
    equal = (INPUTS / WIDTH) ** power * (LAMBDA_Y[2] / LAMBDA_X[2]) ** 0.25
    frozen, linear = errors()[:, 0, 0].round(3), errors()[:, 3, 0].round(3)
    passed = ((np.array(SCALES) > equal) == (frozen < linear)).all()
    return bool(passed), f"at {equal:.2f}: frozen {frozen.tolist()}, linear {linear.tolist()}"


def linear_contributions(sign: int = 1) -> tuple[bool, str]:
    """They sum up to the movement; in the linear network they are the stated product, always."""
    worst, residual = 0.0, max(attributed(scale, "tanh").residual for scale in SCALES)
    for scale in SCALES:
        found = attributed(scale, "linear")
        gap = found.matrix() - contributions(in_modes(found.movement[-1]), sign)
        worst = max(worst, float(np.abs(gap).max()))
    passed = worst < 1e-9 and residual < 1e-12
    return passed, f"largest difference of an entry {worst:.0e}; sum rule, tanh, {residual:.0e}"


def no_turn_to_the_target(least: float = 0.0) -> tuple[bool, str]:
    """Items alike in the target do not move each other more as the scale falls.

    |D_ij| <= D_ii: items of one digit contribute at most what their inputs overlap by. In the
    linear network the modes' shares of D can only go from u^2 to u as the scale falls.
    """
    tanh, linear = (shares(activation) for activation in ("tanh", "linear"))
    u = np.sqrt(LAMBDA_Y / LAMBDA_X)
    limits = [contributions(LAMBDA_X * u**power)[0, 0] for power in (1, 2)]
    overlap = similarity(task().X)[0, 2]
    passed = all(least <= abs(c[2] / c[0]) <= overlap for c in (*tanh, *linear))
    passed &= all(limits[1] - 1e-3 < c[0] < limits[0] + 1e-3 for c in linear)
    return bool(passed), (
        f"own, letter, digit: {tanh[0, :3].round(3).tolist()} at scale {SCALES[0]}, "
        f"{tanh[-1, :3].round(3).tolist()} at {SCALES[-1]}; linear network, own: "
        f"{linear[0, 0]:.3f} to {linear[-1, 0]:.3f}, limits {limits[0]:.3f} to {limits[1]:.3f}"
    )


def direction(wanted: float = 2.0) -> tuple[bool, str]:
    r"""Movement leaves the modes of the target as $\sigma^2$.

    Cubes of two modes stay in their span; products with initial activity, of order sigma, do not.
    """
    left, none = 1 - target_share("tanh"), 1 - target_share("linear")
    slope = float(np.polyfit(np.log(SCALES[:3]), np.log(left[:3]), 1)[0])
    passed = bool(abs(slope - wanted) < 0.2 and none.max() < 1e-12)
    return passed, f"outside {left.round(3).tolist()}, slope {slope:.2f}; linear {none.max():.0e}"


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("hidden similarity of the linear network", *hidden_spectrum()),
        ("error of the frozen law is bounded by the kernel's movement", *frozen_error()),
        ("the frozen law fails from small weights, as predicted", *frozen_fails()),
        ("re-linearised: estimate of the error", *refreshes()),
        ("error of the linear law from small weights in the width", *linear_width()),
        ("frozen and linear law exchange ranks where the theory says", *exchange()),
        ("contributions: sum rule, and the linear network", *linear_contributions()),
        ("contributions do NOT turn to items of one target", *no_turn_to_the_target()),
        ("direction of the movement does", *direction()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the frozen law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw where each law holds, what is represented, and what the attribution says."""
    from matplotlib.figure import Figure

    from symkernel.report.figures import COLOURS

    page = Figure(figsize=(11.0, 6.0), layout="constrained")
    panels = page.subplots(2, 3)
    for k, (ax, title) in enumerate(zip(panels[0], MEASURES, strict=True)):
        for name, column, colour in zip(LAWS, errors()[:, :, k].T, COLOURS, strict=False):
            ax.loglog(SCALES, column, "o-", ms=3, color=colour, label=name)
        ax.set(title=title, ylabel="relative error")
    pairs, moved, inside = panels[1]
    fine = np.geomspace(SCALES[0], SCALES[-1], 80)
    grams = np.array([(SIGNS * learned_spectrum(s)) @ SIGNS.T for s in fine])
    ends = np.array([[similarity(simulated(s, k).hidden[-1]) for k in SEEDS] for s in SCALES])
    for k, name in ((1, "A1, A2"), (2, "A1, B1")):
        pairs.plot(fine, grams[:, 0, k] / grams[:, 0, 0], color=COLOURS[k], label=name)
        pairs.plot(SCALES, ends.mean(1)[:, 0, k], "o", color=COLOURS[k], ms=4)
    pairs.set(title="learned (line: linear law)", ylabel="cosine")
    for place, name in enumerate(("itself", "the same letter", "the same digit")):
        moved.plot(SCALES, shares("linear")[:, place], color=COLOURS[place], label=name)
        moved.plot(SCALES, shares("tanh")[:, place], "o", color=COLOURS[place], ms=4)
    moved.set(title="moved by (line: linear network)", ylabel="contribution")
    inside.plot(SCALES, target_share("linear"), color="0.5", label="linear")
    inside.plot(SCALES, target_share("tanh"), "o-", ms=4, label="tanh")
    inside.set(title="movement in the target's modes", ylabel="share", ylim=(0.0, 1.05))
    for ax in panels.flat:
        ax.set(xscale="log", xlabel="scale of the initial weights")
    panels[0, 1].set_ylim(bottom=3e-3)
    for ax in (panels[0, 1], *panels[1]):
        ax.legend(frameon=False, fontsize="x-small", loc=(0.03, 0.6) if ax is moved else "best")
    return page
