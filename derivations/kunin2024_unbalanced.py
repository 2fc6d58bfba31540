r"""One hidden unit, any imbalance of its two layers: Kunin et al. (2024).

Source
    D. Kunin, A. Raventós, C. Dominé, F. Chen, D. Klindt, A. Saxe, S. Ganguli, "Get rich quick:
    exact solutions reveal how unbalanced initializations promote rapid feature learning",
    arXiv:2406.06158 (2024).

What it claims
    A minimal model, one linear unit $f = a\,w\cdot x$ with learning rates $\eta_a, \eta_w$ of its
    two layers on whitened inputs, is solved exactly. What decides between lazy and rich learning is
    a conserved quantity, which variances and rates of both layers enter together. In linear
    networks feature learning is rapid from balanced weights only. (The abstract was read; the
    printed solution was not compared line by line.)

What is derived here
    The same model by `sk.derive`, for any number of outputs and any sequence of tasks. With
    $\delta = \eta_w a^2 - \eta_a |w|^2$, in units in which both rates are 1 (then
    $\lambda = a^2 - |w|^2$, $h = \lambda/2$, $\omega = \sqrt{s^2 + h^2}$), the sides of the unit
    obey a linear equation up to a common factor, and therefore the angle $\theta$ between $w$ and
    the target closes exactly as

    $$\tan\theta = \frac{e^{-ht} \tan\theta_0}{\cosh\omega t + (s\,a_0/w_{0\parallel} - h)
      \sinh(\omega t)/\omega}, \qquad \text{at last at the rate } \omega + h .$$

    Downstream ($\lambda \gg 0$, a large read-out) it closes at the rate $\lambda$, as fast as the
    output is learned: $w$ goes straight to where it has to be, and the kernel stays what it was,
    lazy. Upstream ($\lambda \ll 0$, large input weights) the read-out first fits what the unit
    sees, $\cos^2\theta$ of the target, lazily and fast; the features then turn at the rate
    $\omega - |h| = s^2/(\omega + |h|)$, slower the larger the imbalance. Between them, at
    $\lambda = 0$, the angle closes at the rate $s$.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TARGET = np.array([2.0, 0.0])
STRENGTH = 2.0
ANGLE = np.pi / 3
# The conserved quantity, from upstream to downstream.
IMBALANCES = (-8.0, -2.0, 0.0, 2.0, 8.0)
# Product a |w| at the start, the same for all.
START = 0.1
RATES = (3.0, 0.5)


def problem(imbalance: float, rates: tuple[float, float] = (1.0, 1.0)) -> tuple[Any, Any, Any]:
    r"""Return the unit for $\eta_w a^2 - \eta_a |w|^2$ = `imbalance`; rates of w and of a."""
    task = sk.Task.from_moments(np.eye(2), TARGET[None, :], [[STRENGTH**2]])
    net = sk.Network.two_layer(inputs=2, hidden=1, outputs=1, rates=rates)
    root = np.hypot(imbalance, 2 * START * np.sqrt(rates[0] * rates[1]))
    a, length = (
        np.sqrt((root + imbalance) / 2 / rates[0]),
        np.sqrt((root - imbalance) / 2 / rates[1]),
    )
    w = length * np.array([np.cos(ANGLE), np.sin(ANGLE)])
    return net, task, sk.weights.from_arrays(net, [w[None, :], [[a]]])


def derive(imbalance: float = -2.0, rates: tuple[float, float] = RATES) -> sk.Derivation:
    """Return the law of one unit, bound to the problem."""
    return sk.derive(*problem(imbalance, rates), law="single_unit")


def tangent(weights: Any) -> np.ndarray:
    """Return the tangent of the angle between input weights and target."""
    w = weights["W1"][:, 0]
    return w[:, 1] / w[:, 0]


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def conserved_quantity(sign: int = -1) -> tuple[bool, str]:
    r"""$\eta_w a^2 - \eta_a |w|^2$ is the conserved $\lambda$ of the law, up to the unit."""
    fast, slow = sp.symbols("eta_w eta_a", positive=True)
    s = sp.Symbol("s", positive=True)
    net, task = sk.Network.two_layer(1, 1, 1, rates=[fast, slow]), sk.Task.from_modes(s)
    law = sk.derive(net, task, sk.weights.aligned(net, task, a=1, b=1), law="single_unit")
    (_, kept), *_ = law.formulas[0].where
    symbols = {q.name: q for q in kept.free_symbols}
    a, rest_a, w, rest_w = (symbols[name] for name in ("b0", "n0", "a0", "m0"))
    claim = fast * (a**2 + rest_a**2) + sign * slow * (w**2 + rest_w**2)
    gap = sp.expand(slow * kept - claim)
    steps = all(step.check().passed for step in law.steps)
    return gap == 0 and steps, f"eta_a lambda - (eta_w a^2 - eta_a |w|^2) = {gap}"


def closing_rate(claim: Any = lambda h, s: np.sqrt(s**2 + h**2) + h) -> tuple[bool, str]:
    """The angle closes at last at the rate omega + h, for any imbalance and any rates."""
    worst = 0.0
    for rates in ((1.0, 1.0), RATES):
        unit = np.sqrt(rates[0] * rates[1])
        for imbalance in IMBALANCES:
            law = derive(imbalance, rates).compile()
            # lambda in the units where both rates are 1, and time with it.
            h = imbalance / 2
            rate = claim(h, unit * STRENGTH)
            late = 12.0 / max(np.hypot(unit * STRENGTH, h), 1.0)
            times = np.array([late, 2 * late])
            closing = np.log(np.abs(tangent(law(times).weights)))
            worst = max(worst, abs((closing[0] - closing[1]) / late / rate - 1))
    return bool(worst < 1e-6), f"largest relative difference {worst:.1e}"


def angle(sign: int = -1) -> tuple[bool, str]:
    """The tangent of the angle at all times, as stated above."""
    worst = 0.0
    times = np.linspace(0.0, 5.0, 11)
    for imbalance in IMBALANCES:
        law = derive(imbalance, (1.0, 1.0)).compile()(times)
        W1, a = law.weights["W1"][0, 0], law.weights["W2"][0, 0, 0]
        h = imbalance / 2
        omega = np.hypot(STRENGTH, h)
        grows = (STRENGTH * a / W1[0] + sign * h) * np.sinh(omega * times) / omega
        stated = np.exp(sign * h * times) * np.tan(ANGLE) / (np.cosh(omega * times) + grows)
        worst = max(worst, float(np.abs(tangent(law.weights) / stated - 1).max()))
    return worst < 1e-10, f"largest relative difference {worst:.1e}"


def first_stage() -> tuple[bool, str]:
    """Upstream the loss waits at sin^2 of the angle, after the read-out has fitted the rest."""
    gaps = []
    for imbalance in (-30.0, -300.0):
        law = derive(imbalance, (1.0, 1.0)).compile()
        waiting = law([20.0 / -imbalance]).loss[0]
        gaps.append(abs(waiting / (0.5 * STRENGTH**2 * np.sin(ANGLE) ** 2) - 1))
    shrinks = gaps[0] / gaps[1]
    return (
        bool(gaps[1] < 0.01 and 30 < shrinks < 300),
        f"loss off sin^2 by {gaps[0]:.1e} and {gaps[1]:.1e} for 10 times the imbalance",
    )


def lazy_limit(speed: float = 1.0) -> tuple[bool, str]:
    r"""Downstream the output is learned as by a fixed kernel, $s(1 - e^{-\lambda t})$."""
    gaps = []
    for imbalance in (1e2, 1e3, 1e4):
        law = derive(imbalance, (1.0, 1.0)).compile()
        times = np.linspace(0.0, 4.0, 9) / imbalance
        found = law(times)
        start = found.modes[0, 0]
        lazy = STRENGTH + (start - STRENGTH) * np.exp(-speed * imbalance * times)
        gaps.append(np.abs(found.modes[:, 0] - lazy).max())
    slope = float(np.polyfit([2.0, 3.0, 4.0], np.log10(gaps), 1)[0])
    return bool(gaps[-1] < 1e-3 and slope < -0.9), f"error {gaps[-1]:.1e}, slope {slope:.2f}"


def kernel_movement() -> tuple[bool, str]:
    """In the end the kernel has turned the further, the further upstream the start was."""
    moved = [_turned(imbalance) for imbalance in IMBALANCES]
    words = ", ".join(f"{value:.2g}" for value in moved)
    passed = bool(np.all(np.diff(moved) < 0)) and moved[-1] < 0.01
    return passed, f"1 - cosine of the kernels before and after, from upstream: {words}"


def _turned(imbalance: float) -> float:
    first, last = (
        a**2 * np.eye(2) + np.outer(w, w) for w, a in zip(*_ends(imbalance), strict=True)
    )
    return 1 - float((first * last).sum() / np.linalg.norm(first) / np.linalg.norm(last))


def _ends(imbalance: float) -> tuple[np.ndarray, np.ndarray]:
    found = derive(imbalance, (1.0, 1.0)).compile()([0.0, 1e3]).weights
    return found["W1"][:, 0], found["W2"][:, 0, 0]


def gradient_descent() -> tuple[bool, str]:
    """All weights with unequal rates, against gradient descent at two learning rates."""
    record = np.linspace(0.0, 3.0, 13)
    errors = []
    for rate in (0.005, 0.0025):
        worst = 0.0
        for imbalance in IMBALANCES:
            run = sk.simulate(*problem(imbalance, RATES), learning_rate=rate, record=record)
            exact = derive(imbalance).compile()(record).weights
            worst = max(worst, *(float(np.abs(run.weights[n] - exact[n]).max()) for n in exact))
        errors.append(worst)
    ratio = errors[0] / errors[1]
    return (
        bool(1.9 < ratio < 2.1),
        f"largest error of a weight {errors[0]:.1e}, {errors[1]:.1e} at half the rate",
    )


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("conserved quantity of variances and rates", *conserved_quantity()),
        ("angle to the target", *angle()),
        ("closing of the angle at last", *closing_rate()),
        ("upstream: what the unit sees is fitted first", *first_stage()),
        ("downstream: lazy", *lazy_limit()),
        ("movement of the kernel", *kernel_movement()),
        ("weights against gradient descent", *gradient_descent()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


@cache
def _runs(imbalance: float) -> tuple[Any, Any]:
    """Return theory and simulation at the times of the figure."""
    record = np.linspace(0.0, 6.0, 241)
    theory = derive(imbalance, (1.0, 1.0)).compile()(record)
    run = sk.simulate(*problem(imbalance), learning_rate=0.0025, record=record)
    return theory, run


def figure() -> Figure:
    """Draw loss and angle over time, from upstream to downstream."""
    from symkernel.report.panels import panels

    page, (losses, angles) = panels()
    for imbalance in IMBALANCES:
        theory, run = _runs(imbalance)
        for ax, curves in (
            (losses, [one.loss for one in (theory, run)]),
            (angles, [np.degrees(np.arctan(tangent(one.weights))) for one in (theory, run)]),
        ):
            (line,) = ax.plot(theory.times, curves[0], label=rf"$\lambda$ = {imbalance:g}")
            ax.plot(run.times[::12], curves[1][::12], "o", color=line.get_color(), ms=3)
    losses.set(xlabel="flow time t", ylabel="loss", title="lines: law, dots: gradient descent")
    angles.set(xlabel="flow time t", ylabel="angle to the target, degrees")
    angles.set_title("upstream turns last")
    angles.legend(frameon=False, fontsize="small")
    return page
