r"""Modes that do not overlap, any imbalance: weights, wide networks, a change of task.

Source
    None: derived here (it may well exist in the literature). The aligned special case is that of
    A. M. Saxe, J. L. McClelland, S. Ganguli, arXiv:1312.6120 (2014). Exact laws for other classes
    of unbalanced weights are in D. Kunin et al., "Get rich quick: exact solutions reveal how
    unbalanced initializations promote rapid feature learning", arXiv:2406.06158 (2024), and in
    C. C. J. Dominé et al., "From lazy to rich: exact learning dynamics in deep linear networks",
    arXiv:2409.14623 (2024).

What is claimed
    Let $p_i = W_1 v_i$ and $q_i = W_2^T u_i$ be the two sides of mode i in the hidden layer. If
    sides of different modes are orthogonal, then all weights are known at all times, for any
    lengths and angles of $p_i$ and $q_i$ and through any sequence of tasks that share their
    singular vectors:

    $$p_i(t) = p_i\cosh\varphi_i + q_i\sinh\varphi_i,\qquad
      q_i(t) = q_i\cosh\varphi_i + p_i\sinh\varphi_i .$$

    A wide network that starts at the zero map is of this class: $p_i \perp q_i$. On whitened
    inputs, with $m = (|p|^2 + |q|^2)/2$ and $K = \sqrt{s^2 + m^2}$,

    $$u = m\sinh 2\varphi, \qquad \tanh\varphi = \frac{s\tanh Kt}{K + m\tanh Kt},$$

    so that only the sum of the two variances matters for the output, not the imbalance. As
    $m \to \infty$ this is lazy learning, $u = s(1 - e^{-2mt})$.

    Independent Gaussian weights of variances a/H and b/H are outside the class and approach it
    with the width H, as the root of 1/H: measured below are their distance from the class and the
    error of the formula at m = (a + b)/2 (slopes -0.51 and -0.44 from H = 50 to 5000, 10 seeds).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk
from symkernel.errors import NoClosedForm

if TYPE_CHECKING:
    from matplotlib.figure import Figure


t = sp.Symbol("t", nonnegative=True)
s, m, K = sp.symbols("s m K", positive=True)
# tanh(K t), and with it the claim for a wide network that starts at the zero map.
clock = sp.Symbol("T", nonnegative=True)
TANH_PHI = s * clock / (K + m * clock)

INPUTS, OUTPUTS, WIDTH, SAMPLES = 4, 3, 12, 8
STRENGTHS = ((3.0, 2.0, 1.0), (1.0, -1.5, 2.5))
SWITCH = 2.0
# Lengths of the sides, unbalanced in either direction; the fourth input direction drives nothing.
INPUT_SIDES, OUTPUT_SIDES = (0.3, 0.1, 0.2, 0.4), (0.05, 0.5, 0.2)
# Widths and seeds of the comparison with Gaussian weights, fixed before the first run.
WIDTHS, SEEDS = (50, 500, 5000), tuple(range(1000, 1010))
VARIANCES = (0.6, 0.2)


def _frame(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0]


def _bases() -> tuple[np.ndarray, np.ndarray]:
    """Return output and input directions of the modes, the same for both tasks."""
    return _frame(OUTPUTS, OUTPUTS, 1), _frame(INPUTS, INPUTS, 2)[:, :OUTPUTS]


def tasks() -> tuple[sk.Task, sk.Task]:
    """Return two tasks on the same whitened inputs that share their singular vectors."""
    U, V = _bases()
    X = np.sqrt(SAMPLES) * _frame(SAMPLES, INPUTS, 3)
    first, second = (sk.Task(X, X @ (V * strengths) @ U.T) for strengths in STRENGTHS)
    return first, second


def problem() -> tuple[Any, Any, Any]:
    """Return a network at the zero map, with any imbalance, and a change of task."""
    first, second = tasks()
    net = sk.Network.two_layer(inputs=INPUTS, hidden=WIDTH, outputs=OUTPUTS)
    U, _ = _bases()
    V = _frame(INPUTS, INPUTS, 2)
    hidden = _frame(WIDTH, INPUTS + OUTPUTS, 4)
    W1 = (hidden[:, :INPUTS] * INPUT_SIDES) @ V.T
    W2 = (U * OUTPUT_SIDES) @ hidden[:, INPUTS:].T
    course = sk.Curriculum([sk.Phase(first, duration=SWITCH), sk.Phase(second)])
    return net, course, sk.weights.from_arrays(net, [W1, W2])


def end_to_end(trajectory: Any) -> np.ndarray:
    """Return the map W2 W1 in the bases of the modes, (n_times, n_modes, n_modes)."""
    U, V = _bases()
    W1, W2 = trajectory.weights["W1"], trajectory.weights["W2"]
    return np.einsum("ok,toh,thi,ij->tkj", U, W2, W1, V)


def derive() -> sk.Derivation:
    """Return the law of the class, bound to the change of task."""
    return sk.derive(*problem(), law="gram_diagonal")


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def _wide_output(tanh_phi: sp.Expr) -> sp.Expr:
    """Return u = m sinh(2 phi), rational in tanh(phi)."""
    return 2 * m * tanh_phi / (1 - tanh_phi**2)


def wide_network(tanh_phi: sp.Expr = TANH_PHI) -> tuple[bool, str]:
    """At the zero map the law is the stated one, exactly; the imbalance drops out."""
    law = derive().formulas[0]
    (R, radicand), (hyperbolic, _), (z, growth) = law.where
    symbols = {q.name: q for e in (law.expression, radicand, growth) for q in e.free_symbols}
    imbalance = sp.Symbol("imbalance", real=True)
    start = {
        symbols["alpha"]: m + imbalance, symbols["beta"]: m - imbalance, symbols["w"]: 0,
        symbols["d"]: 1, symbols["s"]: s, R: 2 * K, hyperbolic: clock,
    }  # fmt: skip
    rate = sp.expand((radicand**2).subs(start) - 4 * (s**2 + m**2))
    output = law.expression.subs(z, growth).subs(start)
    difference = sp.cancel(sp.together(output - _wide_output(tanh_phi)))
    difference = sp.rem(sp.fraction(difference)[0], K**2 - s**2 - m**2, K)
    return (
        rate == 0 and sp.expand(difference) == 0,
        f"rate R - 2K: {rate}; difference {sp.expand(difference)}",
    )


def fifty_digits() -> tuple[bool, str]:
    """The same with numbers, from the law's own result written out in time."""
    result = derive().result.output
    symbols = {q.name: q for q in result.free_symbols}
    claim = _in_time(_wide_output(TANH_PHI))
    gaps = []
    for strength, mean, time in ((1, 2, 3), (3, "1/100", "2/3"), ("1/7", 5, 1), (20, "1e-9", 1)):
        S, M, now = map(sp.Rational, (strength, mean, time))
        ours = result.subs({
            symbols["s"]: S, symbols["d"]: 1, symbols["w"]: 0, symbols["alpha"]: M / 3,
            symbols["beta"]: 5 * M / 3, symbols["t"]: now,
        })  # fmt: skip
        theirs = claim.subs({s: S, m: M, t: now})
        gaps.append(abs(sp.N(ours - theirs, 60) / sp.N(theirs, 60)))
    passed = all(gap < sp.Float("1e-50") for gap in gaps)
    return passed, f"relative difference below 1e-50 at {len(gaps)} points: {passed}"


def _in_time(expression: sp.Expr) -> sp.Expr:
    """Return an expression in K and tanh(K t) as one in time."""
    return expression.subs(clock, sp.tanh(K * t)).subs(K, sp.sqrt(s**2 + m**2))


def lazy_limit() -> tuple[bool, str]:
    """From large weights the mode is learned exponentially, at the rate of a fixed kernel."""
    eps, tau = sp.symbols("epsilon tau", positive=True)
    # m = 1/eps, t = tau eps: K t -> tau and m / K -> 1.
    output = _wide_output(TANH_PHI).subs({m: 1 / eps, K: sp.sqrt(1 + s**2 * eps**2) / eps})
    limit = sp.limit(output, eps, 0).subs(clock, sp.tanh(tau)).rewrite(sp.exp)
    residual = sp.cancel(limit - s * (1 - sp.exp(-2 * tau)))
    return residual == 0, f"u -> s (1 - exp(-2 m t)), difference {residual}"


def gradient_descent() -> tuple[bool, str]:
    """The weights through the change of task, against gradient descent at two learning rates."""
    record = np.linspace(0.0, 6.0, 25)
    theory = derive().compile()(record)
    errors = []
    for rate in (0.004, 0.002):
        run = sk.simulate(*problem(), learning_rate=rate, record=record)
        gaps = (np.abs(run.weights[n] - theory.weights[n]).max() for n in theory.weights)
        errors.append(float(max(gaps)))
    ratio = errors[0] / errors[1]
    return (
        bool(1.9 < ratio < 2.1),
        f"largest error of a weight {errors[0]:.1e}, {errors[1]:.1e} at half the rate",
    )


def gaussian(width: int, seed: int) -> tuple[Any, Any, Any]:
    """Return the first task for weights drawn independently, of variances a/H and b/H."""
    task = tasks()[0]
    net = sk.Network.two_layer(inputs=INPUTS, hidden=width, outputs=OUTPUTS)
    stream = np.random.default_rng(seed)
    spread = np.sqrt(np.array(VARIANCES) / width)
    W1 = spread[0] * stream.standard_normal((width, INPUTS))
    W2 = spread[1] * stream.standard_normal((OUTPUTS, width))
    return net, task, sk.weights.from_arrays(net, [W1, W2])


def distance(width: int, seed: int) -> float:
    """Return how far Gaussian weights are from the class: the largest cosine between modes."""
    try:
        sk.derive(*gaussian(width, seed), law="gram_diagonal")
    except NoClosedForm as refusal:
        return max(v.distance for v in refusal.verdicts if not v.holds)
    return 0.0


def error(width: int, seed: int) -> float:
    """Return the error of the formula at m = (a + b)/2, over the largest strength."""
    net, task, w0 = gaussian(width, seed)
    run = sk.simulate(net, task, w0, learning_rate=0.001, record=np.linspace(0.0, 3.0, 31))
    formula = sp.lambdify((t, s, m), _in_time(_wide_output(TANH_PHI)), "numpy")
    strengths = np.array(STRENGTHS[0])
    modes = formula(run.times[:, None], strengths[None, :], sum(VARIANCES) / 2)
    expected = modes[:, :, None] * np.eye(OUTPUTS)
    return float(np.abs(end_to_end(run) - expected).max() / strengths.max())


@cache
def width_study() -> tuple[np.ndarray, np.ndarray]:
    """Return distances and errors, each of shape (n_widths, n_seeds)."""
    found = [[(distance(h, seed), error(h, seed)) for seed in SEEDS] for h in WIDTHS]
    distances, errors = np.moveaxis(np.array(found), -1, 0)
    return distances, errors


def width_law() -> tuple[bool, str]:
    """Distance from the class and error of the formula fall with the root of the width."""
    slopes = []
    for values in width_study():
        mean = np.log(values).mean(1)
        slopes.append((float(np.polyfit(np.log(WIDTHS), mean, 1)[0]), np.exp(mean)))
    words = "; ".join(
        f"{name} {', '.join(f'{v:.2g}' for v in mean)}, slope {slope:.2f}"
        for name, (slope, mean) in zip(("distance", "error"), slopes, strict=True)
    )
    widths = ", ".join(map(str, WIDTHS))
    return (
        all(abs(slope + 0.5) < 0.15 for slope, _ in slopes),
        f"widths {widths}, {len(SEEDS)} seeds: {words}",
    )


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("wide network from the zero map", *wide_network()),
        ("the same at 50 digits", *fifty_digits()),
        ("lazy limit", *lazy_limit()),
        ("weights through a change of task", *gradient_descent()),
        ("Gaussian weights approach the class", *width_law()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw the change of task, and how Gaussian weights approach the class."""
    from symkernel.report.panels import panels

    record = np.linspace(0.0, 6.0, 301)
    theory = derive().compile()(record)
    run = sk.simulate(*problem(), learning_rate=0.002, record=record)
    distances, errors = width_study()
    page, (curves, approach) = panels()
    exact, descent = end_to_end(theory), end_to_end(run)
    for k in range(OUTPUTS):
        (line,) = curves.plot(record, exact[:, k, k], label=f"mode {k}")
        curves.plot(record[::10], descent[::10, k, k], "o", color=line.get_color(), ms=3)
    curves.axvline(SWITCH, color="0.5", lw=0.8, ls=":")
    curves.set(xlabel="flow time t", ylabel="u", title="lines: law, dots: gradient descent")
    curves.legend(frameon=False, fontsize="small")
    for values, marker, label in (
        (distances, "s", "distance from the class"),
        (errors, "o", "error of the formula"),
    ):
        approach.loglog(WIDTHS, np.exp(np.log(values).mean(1)), marker + "-", label=label)
        approach.loglog(WIDTHS, values, marker, color="0.6", ms=3, zorder=1)
    guide = errors.mean() * (np.array(WIDTHS) / WIDTHS[1]) ** -0.5
    approach.loglog(WIDTHS, guide, "--", color="0.5", label="width to the power -1/2")
    approach.set(xlabel="hidden units", title=f"Gaussian weights, {len(SEEDS)} seeds")
    approach.set_ylim(bottom=1e-3)
    approach.legend(frameon=False, fontsize="small")
    return page
