r"""One input, one output, any width and any weights: Xu & Ziyin (2024).

Source
    Y. Xu, L. Ziyin, "Three mechanisms of feature learning in a linear network", International
    Conference on Learning Representations (2025), arXiv:2401.07085 (2024; its first versions are
    called "When does feature learning happen?").

What it claims
    A linear network with one hidden layer of any width, on one-dimensional data, is solved exactly
    from any initial weights; its limits in width, layer-wise learning rates, scales of output and
    of initial weights show a kernel phase and a feature learning phase, in which it learns by
    alignment, by disalignment, or by rescaling. (The abstract was read; the printed solution was
    not compared line by line.)

What is derived here
    Nothing new is needed: with one input and one output there is one mode, its two sides are the
    vectors $w$ and $u$ of the hidden layer, and the law `gram_diagonal` holds for all weights.
    For $f = \gamma \sum_i u_i w_i x$, rates $\eta_w$ and $\eta_u$, let $q = \rho\,u$ with
    $\rho = \sqrt{\eta_w/\eta_u}$, $\eta = \sqrt{\eta_w\eta_u}$, $P_0 = |w + q|^2$,
    $Q_0 = |w - q|^2$. Then $w + q \propto \sqrt z$, $w - q \propto 1/\sqrt z$ and

    $$z = \frac{R + (B + 2C)T}{R + (2A - B)T}, \quad T = \tanh(Rt/2), \quad R^2 = B^2 + 4AC,$$

    with $B = 2\eta\gamma s$, $A = \eta^2\gamma^2 d P_0/(2\eta_w)$, $C$ the same of $Q_0$, strength
    $s = \langle yx\rangle$ and variance $d = \langle x^2\rangle$. The cosine of $w$ and $u$ goes to
    1 from small weights (alignment) and falls where the network starts beyond its target
    (disalignment). The tangent kernel, a sum of the two squared lengths
    $(P_0 z + Q_0/z)/4 \pm (|w|^2 - |q|^2)/2$, moves as $z$ does: with unit weights and
    $\gamma = H^{-1/2}$ its relative change falls as $1/H$ with the width (kernel phase), with
    $\gamma = 1/H$ it does not fall.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk
from symkernel.nodes import Input, Parameter

if TYPE_CHECKING:
    from matplotlib.figure import Figure


s, d, gamma, eta_w, eta_u = sp.symbols("S D Gamma eta_w eta_u", positive=True)
P0, Q0, T, R = sp.symbols("P_0 Q_0 T R", positive=True)
ETA = sp.sqrt(eta_w * eta_u)
# The coefficients of z' = -A z^2 + B z + C as stated.
A, B, C = (
    ETA**2 * gamma**2 * d * P0 / (2 * eta_w),
    2 * ETA * gamma * s,
    ETA**2 * gamma**2 * d * Q0 / (2 * eta_w),
)

STRENGTH, VARIANCE, WIDTH = 2.0, 1.5, 7
RATES, OUTPUT_SCALE = (2.0, 0.5), 0.6
SIZES = (0.05, 0.3, 1.0)
# Widths and seeds of the comparison of output scales, fixed before the first run.
WIDTHS, SEEDS = (10, 100, 1000, 10000), tuple(range(1000, 1010))


def network(width: Any, scale: Any, rates: Any) -> sk.Network:
    """Return the network with its output scale and the rates of w and u."""
    first = Parameter("W1", (width, 1), rate=rates[0])
    second = Parameter("W2", (1, width), scale=scale, rate=rates[1])
    hidden = first @ Input(1)
    return sk.Network.build(second @ hidden, names={"hidden": hidden})


def problem(
    width: int = WIDTH, size: float = 0.3, scale: float = OUTPUT_SCALE, seed: int = 1000
) -> tuple[Any, Any, Any]:
    """Return a task of one input and one output, and weights of no special kind."""
    X = np.sqrt(VARIANCE) * np.array([[1.0], [-1.0], [1.0], [-1.0]])
    task = sk.Task(X, STRENGTH / VARIANCE * X + np.array([[0.1], [0.1], [-0.1], [-0.1]]))
    net = network(width, scale, RATES)
    stream = np.random.default_rng(seed)
    w, u = (size * stream.standard_normal(shape) for shape in ((width, 1), (1, width)))
    return net, task, sk.weights.from_arrays(net, [w, u])


def derive() -> sk.Derivation:
    """Return the law of one mode."""
    _, task, w0 = problem()
    net = sk.Network.two_layer(1, WIDTH, 1, rates=RATES)
    return sk.derive(net, task, w0, law="gram_diagonal")


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def any_weights() -> tuple[bool, str]:
    """The law holds for Gaussian weights of any width, at any rates."""
    worst = 0.0
    for width in (1, 2, 10, 300):
        found = sk.derive(*problem(width), law="gram_diagonal").assumptions
        worst = max(worst, *(verdict.distance for verdict in found))
    return worst < 1e-12, f"largest distance from an assumption {worst:.1e}, widths 1 to 300"


def riccati(coefficients: tuple[sp.Expr, ...] = (A, B, C)) -> tuple[bool, str]:
    """The derived growth z is the stated ratio, for symbolic rates and output scale."""
    net, task = network(1, gamma, (eta_w, eta_u)), sk.Task.from_modes(s, input_variance=d)
    law = sk.derive(net, task, sk.weights.aligned(net, task, a=1, b=1), law="gram_diagonal")
    (rate, radicand), (clock, _), (_, growth) = law.formulas[0].where
    names = {q.name: q for e in (growth, radicand) for q in e.free_symbols}
    ratio, half = sp.sqrt(eta_w / eta_u), sp.Rational(1, 2)
    # alpha = |w|^2 and beta = |u|^2, the overlap w.u from P0 and Q0.
    overlap = (P0 - Q0) / (4 * ratio)
    start = {
        names["alpha"]: (P0 + Q0) * half - ratio**2 * names["beta"], names["w"]: overlap,
        names["s"]: s, names["d"]: d, rate: R, clock: T,
    }  # fmt: skip
    a, b, c = coefficients
    stated = (R + (b + 2 * c) * T) / (R + (2 * a - b) * T)
    gap = sp.cancel(sp.together(_expanded(growth.subs(start, simultaneous=True)) - stated))
    root = sp.expand(radicand.subs(start, simultaneous=True) ** 2 - b**2 - 4 * a * c)
    return gap == 0 and root == 0, f"difference {gap}; R^2 differs by {root}"


def _expanded(ratio: sp.Expr) -> sp.Expr:
    top, bottom = sp.fraction(sp.together(ratio))
    return sp.expand(top) / sp.expand(bottom)


def weights_of_any_width() -> tuple[bool, str]:
    """All weights, at unequal rates and another output scale, against gradient descent."""
    record = np.linspace(0.0, 3.0, 13)
    theory = sk.derive(*problem()).compile()(record)
    errors = []
    for rate in (0.005, 0.0025):
        run = sk.simulate(*problem(), learning_rate=rate, record=record)
        gaps = (np.abs(run.weights[n] - theory.weights[n]).max() for n in theory.weights)
        errors.append(float(max(gaps)))
    ratio = errors[0] / errors[1]
    return (
        bool(1.9 < ratio < 2.1),
        f"largest error of a weight {errors[0]:.1e}, {errors[1]:.1e} at half the rate",
    )


def cosine(trajectory: Any) -> np.ndarray:
    """Return the cosine of w and u at all times."""
    w, u = trajectory.weights["W1"][:, :, 0], trajectory.weights["W2"][:, 0]
    return (w * u).sum(1) / np.linalg.norm(w, axis=1) / np.linalg.norm(u, axis=1)


def mechanisms() -> tuple[bool, str]:
    """Alignment from small weights, disalignment from beyond the target."""
    small = sk.derive(*problem(size=1e-3)).compile()([0.0, 1e3])
    net, task, w0 = problem(size=1.0)
    w, u = w0.arrays["W1"], w0.arrays["W2"]
    beyond = sk.weights.from_arrays(net, [3 * w, 3 * w.T + u / 2])
    past = sk.derive(net, task, beyond).compile()([0.0, 1e3])
    (a0, a1), (b0, b1) = cosine(small), cosine(past)
    words = f"cosine {a0:.2f} to {a1:.4f}, and {b0:.2f} to {b1:.2f}"
    return bool(a1 > 0.999 and b1 < b0 - 0.1), words


def kernel_change(width: int, power: float, seed: int) -> float:
    """Return by what share the kernel changes until the end, for output scale H^-power."""
    law = sk.derive(*problem(width, 1.0, width**-power, seed)).compile()
    kernel = law([0.0, 1e6]).ntk[:, 0, 0, 0, 0]
    return abs(float(kernel[1] / kernel[0]) - 1)


@cache
def width_study() -> np.ndarray:
    """Return mean changes of the kernel, (n_powers, n_widths), for powers 1/2 and 1."""
    return np.array([
        [np.mean([kernel_change(h, power, seed) for seed in SEEDS]) for h in WIDTHS]
        for power in (0.5, 1.0)
    ])  # fmt: skip


def kernel_phase() -> tuple[bool, str]:
    """At one output scale the change of the kernel falls as 1/H, at the other it does not."""
    slopes = [float(np.polyfit(np.log(WIDTHS), np.log(row), 1)[0]) for row in width_study()]
    return (
        abs(slopes[0] + 1) < 0.15 and abs(slopes[1]) < 0.15,
        f"slopes {slopes[0]:.2f} and {slopes[1]:.2f}, widths {WIDTHS[0]} to {WIDTHS[-1]}, "
        f"{len(SEEDS)} seeds",
    )


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("one mode, whatever the weights", *any_weights()),
        ("the growth z, with rates and output scale", *riccati()),
        ("weights at width 7 against gradient descent", *weights_of_any_width()),
        ("alignment and disalignment", *mechanisms()),
        ("kernel phase", *kernel_phase()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw output and alignment over time, and how far the kernel moves, over the initial scale."""
    from symkernel.report.panels import panels

    page, (curves, kernels) = panels()
    record = np.linspace(0.0, 4.0, 161)
    for size in SIZES:
        theory = sk.derive(*problem(size=size)).compile()(record)
        run = sk.simulate(*problem(size=size), learning_rate=0.0025, record=record)
        (line,) = curves.plot(record, cosine(theory), label=f"weights of scale {size:g}")
        curves.plot(record[::8], cosine(run)[::8], "o", color=line.get_color(), ms=3)
    curves.set(xlabel="flow time t", ylabel="cosine of the two layers")
    curves.set_title("lines: law, dots: gradient descent")
    curves.legend(frameon=False, fontsize="small")
    for row, label in zip(width_study(), (r"$H^{-1/2}$", r"$H^{-1}$"), strict=True):
        kernels.loglog(WIDTHS, row, "o-", label=f"output scale {label}")
    guide = width_study()[0, 0] * WIDTHS[0] / np.array(WIDTHS)
    kernels.loglog(WIDTHS, guide, "--", color="0.5", label="1/H")
    kernels.set(xlabel="hidden units H", ylabel="relative change of the kernel")
    kernels.set_title(f"law, mean of {len(SEEDS)} seeds")
    kernels.legend(frameon=False, fontsize="small")
    return page
