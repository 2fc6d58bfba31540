r"""Reversal learning: how long a mode takes to be unlearned, and why one may never cross zero.

Source
    None for the formulas: derived here (they may well exist in the literature). That a linear
    network's prior knowledge decides how reversal learning goes is discussed by L. Braun,
    C. C. J. Dominé, J. E. Fitzgerald, A. M. Saxe, "Exact learning dynamics of deep linear networks
    with prior knowledge", NeurIPS 35 (2022), of which the abstract was read.

What is claimed
    A mode of strength s on whitened inputs has been learned, $u = ab = s$; then all targets change
    their sign, $s \to -s$. The imbalance $c = |a^2 - b^2|$ is conserved; let $R = \sqrt{4s^2+c^2}$.

    - A balanced mode, $c = 0$, is unlearned and never relearned:
      $u(t) = s/(2e^{2st} - 1)$ falls to the saddle at 0, where half of the way, three quarters of
      the loss, is behind it: $L$ falls from $2s^2$ to $s^2/2$.
    - Any other mode is unlearned, $u = 0$, after exactly
      $$T_0 = \frac1R\ln\Big(1 + \frac Rc\Big),$$
      crosses zero at the speed $|\dot u| = sc$, and from there learns $-s$ in the time in which it
      would learn s from the amplitudes $(\sqrt c, 0)$.
    - For small c the time to reach the fraction q of $-s$ is
      $\frac{1}{2s}\ln\frac{2s}{c} + \frac{1}{2s}\ln\frac{4qs}{(1-q)c}$: unlearning takes as long as
      learning, so that a reversal takes twice as long as learning s from $(\sqrt c, 0)$ did.
    - As c is conserved and nothing else counts, every later reversal takes as long as the first:
      a linear network does not learn to reverse.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk
from symkernel.errors import OutsideValidity

if TYPE_CHECKING:
    from matplotlib.figure import Figure


t = sp.Symbol("t", nonnegative=True)
s, a, b, c, q, R, D = sp.symbols("s a b c q R D", positive=True)

UNLEARNING_TIME = sp.log(1 + R / c) / R
STUCK = s / (2 * sp.exp(2 * s * t) - 1)
SPEED = s * c


def course(task: sk.Task, duration: Any, reversals: int = 1) -> sk.Curriculum:
    """Return a task and its reverse in turn, the last phase without end."""
    tasks = [task.reversed() if k % 2 else task for k in range(reversals + 1)]
    phases = [sk.Phase(one, duration) for one in tasks[:-1]]
    return sk.Curriculum([*phases, sk.Phase(tasks[-1])])


def law(first: Any, second: Any, reversals: int = 1) -> sk.Derivation:
    """Return the law of one mode of strength s that starts at amplitudes (first, second)."""
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    task = sk.Task.from_modes(s)
    w0 = sk.weights.aligned(net, task, a=first, b=second)
    return sk.derive(net, course(task, D, reversals), w0)


@cache
def derive() -> sk.Derivation:
    """Return the law of one mode with any amplitudes through one reversal."""
    return law(a, b)


def reversal_time(fraction: Any) -> sp.Expr:
    """Return the time from s = ab to a fraction of -s, in the amplitudes a > b."""
    time = derive().learning_time(fraction, mode=0, phase=1).subs(D, 0).subs(s, a * b)
    root = sp.sqrt(4 * a**2 * b**2 + (a - b) ** 2 * (a + b) ** 2)
    return time.subs(root, a**2 + b**2)


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def balanced_mode(claim: sp.Expr = STUCK) -> tuple[bool, str]:
    """A balanced mode falls to the saddle, and says that it is never relearned."""
    learned = law(sp.sqrt(s), sp.sqrt(s))
    output = learned.mode(0, phase=1).output.subs(t, t + D)
    residual = sp.cancel(sp.together(output - claim))
    losses = [learned.task_loss(1, phase=1).subs(t, D), learned.task_loss(1, phase=1)]
    losses[1] = sp.limit(losses[1].subs(D, 0), t, sp.oo)
    try:
        learned.learning_time(q, mode=0, phase=1)
        never = False
    except OutsideValidity:
        never = True
    same = residual == 0 and sp.expand(losses[0] - 2 * s**2) == 0 and losses[1] == s**2 / 2
    return bool(same and never), f"difference {residual}; loss from {losses[0]} to {losses[1]}"


def unlearning_time(claim: sp.Expr = UNLEARNING_TIME) -> tuple[bool, str]:
    """Time to u = 0, in the amplitudes of the learned mode: s = ab, R = a^2 + b^2."""
    found = reversal_time(q).subs(q, 0).subs(sp.Abs(a - b), a - b)
    clock = found.atoms(sp.atanh).pop().args[0]
    amplitudes = {R: a**2 + b**2, c: a**2 - b**2}
    ours, theirs = (1 + clock) / (1 - clock), sp.exp((R * claim).subs(amplitudes))
    residual = sp.cancel(sp.together(ours - theirs))
    return residual == 0, f"exp(R T) differs by {residual}"


def crossing_speed(claim: sp.Expr = SPEED) -> tuple[bool, str]:
    """The rate of the mode where it is 0, at exact numbers and 50 digits."""
    rate = derive().mode(0, phase=1).output.subs(D, 0).diff(t)
    gaps = []
    for one, two in ((3, 1), (2, 1), (sp.Rational(11, 10), 1), (5, sp.Rational(1, 3))):
        entry = {a: one, b: two}
        number = {s: one * two, c: one**2 - two**2, R: one**2 + two**2}
        moment = UNLEARNING_TIME.subs(number)
        found = rate.subs({**entry, s: one * two}).subs(t, moment).evalf(50)
        gaps.append(abs(found / claim.subs(number) + 1))
    return bool(max(gaps) < sp.Float("1e-45")), f"relative difference {float(max(gaps)):.0e}"


def as_from_zero() -> tuple[bool, str]:
    """What follows the crossing is learning s from the amplitudes (sqrt(c), 0)."""
    fresh = law(sp.sqrt(c), 0).learning_time(q, mode=0, phase=0)
    gaps = []
    for one, two, share in ((3, 1, "1/2"), (2, 1, "9/10"), ("11/10", 1, "1/100")):
        one, two, share = map(sp.Rational, (one, two, share))
        number = {s: one * two, c: one**2 - two**2, R: one**2 + two**2, q: share}
        whole = reversal_time(q).subs({a: one, b: two, q: share})
        rest = whole - UNLEARNING_TIME.subs(number)
        gaps.append(abs((rest / fresh.subs(number)).evalf(50) - 1))
    return bool(max(gaps) < sp.Float("1e-45")), f"relative difference {float(max(gaps)):.0e}"


def small_imbalance() -> tuple[bool, str]:
    """The leading terms for small c, and the factor 2."""
    unlearning = sp.limit(
        2 * s * UNLEARNING_TIME.subs(R, sp.sqrt(4 * s**2 + c**2)) + sp.log(c), c, 0
    )
    fresh = law(sp.sqrt(c), 0).learning_time(q, mode=0, phase=0, small_scale=True)
    first = sp.exp(2 * s * fresh) - 4 * q * s / ((1 - q) * c)
    same = unlearning == sp.expand_log(sp.log(2 * s)) and sp.cancel(first) == 0
    factor = sp.limit((sp.log(2 * s / c) + 2 * s * fresh) / (2 * s * fresh), c, 0)
    return bool(
        same and factor == 2
    ), f"2 s T_0 + ln c -> {unlearning}; reversal / learning -> {factor}"


def serial_reversals() -> tuple[bool, str]:
    """Every reversal takes as long as the first one, if the phases are long."""
    net, task = sk.Network.two_layer(inputs=1, hidden=1, outputs=1), sk.Task.from_modes(2.0)
    w0 = sk.weights.aligned(net, task, a=0.1, b=0.05)
    serial = sk.derive(net, course(task, 40.0, reversals=4), w0)
    first, *times = (float(serial.learning_time(0.5, 0, k)) for k in range(5))
    spread = max(times) / min(times) - 1
    words = f"first learning {first:.4f}, reversals {', '.join(f'{x:.4f}' for x in times)}"
    return bool(spread < 1e-9), f"{words}; they differ by {spread:.0e}"


STRENGTH, IMBALANCES = 1.0, (1.0, 0.1, 0.01)


def learned_weights(imbalance: float) -> tuple[Any, sk.Task, Any]:
    """Return a network that has learned a mode, with this imbalance between its sides."""
    rate = np.hypot(2 * STRENGTH, imbalance)
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    task = sk.Task.from_modes(STRENGTH)
    first, second = np.sqrt((rate + imbalance) / 2), np.sqrt((rate - imbalance) / 2)
    return net, task, sk.weights.aligned(net, task, a=first, b=second)


def descent(imbalance: float, learning_rate: float, times: np.ndarray) -> np.ndarray:
    """Return the mode under gradient descent on the reversed task."""
    net, task, w0 = learned_weights(imbalance)
    W1, W2 = (np.array(w0.arrays[name]) for name in ("W1", "W2"))
    start = sk.weights.from_arrays(net, [W1, -W2])
    # The reversed task and the opposite sign of W2: the mode -u learns to reach s.
    run = sk.simulate(net, task, start, learning_rate, record=times)
    return -run.modes[:, 0]


def gradient_descent() -> tuple[bool, str]:
    """The time of the crossing under gradient descent, at two learning rates."""
    errors = []
    for rate in (2e-3, 1e-3):
        gaps = []
        for imbalance in IMBALANCES:
            times = np.arange(0.0, 8.0, rate)
            modes = descent(imbalance, rate, times)
            after = int(np.flatnonzero(modes < 0)[0])
            share = modes[after - 1] / (modes[after - 1] - modes[after])
            found = times[after - 1] + share * rate
            span = np.hypot(2 * STRENGTH, imbalance)
            gaps.append(abs(found - np.log1p(span / imbalance) / span))
        errors.append(max(gaps))
    ratio = errors[0] / errors[1]
    return bool(1.8 < ratio < 2.2), f"error {errors[0]:.1e}, {errors[1]:.1e} at half the rate"


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("a balanced mode is stuck at zero", *balanced_mode()),
        ("time to unlearn", *unlearning_time()),
        ("speed at zero", *crossing_speed()),
        ("then as from the zero map", *as_from_zero()),
        ("small imbalance: twice as long", *small_imbalance()),
        ("serial reversals all alike", *serial_reversals()),
        ("gradient descent crosses in time", *gradient_descent()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw reversals at several imbalances, and their times against the imbalance."""
    from symkernel.report.panels import panels

    page, (curves, duration) = panels(height=3.1)
    times = np.linspace(0.0, 8.0, 161)
    for imbalance in (*IMBALANCES, 0.0):
        net, task, w0 = learned_weights(imbalance)
        # What has been learned does not move in a phase of the same task.
        exact = sk.derive(net, course(task, 1.0), w0).compile()(times + 1.0).modes[:, 0]
        (line,) = curves.plot(times, exact, label=f"c = {imbalance:g}")
        if imbalance:
            modes = descent(imbalance, 1e-3, times)
            curves.plot(times[::8], modes[::8], "o", color=line.get_color(), ms=3)
    curves.axhline(0.0, color="0.7", lw=0.8, zorder=0)
    curves.set(xlabel="flow time since the reversal", ylabel="u / s", title="targets change sign")
    curves.legend(frameon=False)
    span = np.geomspace(1e-4, 10.0, 60)
    rate = np.hypot(2 * STRENGTH, span)
    formula = sp.lambdify((a, b), reversal_time(sp.S.Half), "numpy")
    whole = formula(np.sqrt((rate + span) / 2), np.sqrt((rate - span) / 2))
    duration.semilogx(span, np.log1p(rate / span) / rate, label="unlearned, u = 0")
    duration.semilogx(span, whole, label="half relearned, u = -s/2")
    duration.semilogx(span, np.log(8 / span**2) / 2, "--", color="0.5", label="small c")
    fine = np.arange(0.0, 8.0, 1e-3)
    found = [fine[np.argmax(descent(x, 1e-3, fine) < -STRENGTH / 2)] for x in IMBALANCES]
    duration.semilogx(IMBALANCES, found, "ko", ms=4, label="gradient descent")
    duration.set(
        xlabel=r"imbalance $c = |a^2 - b^2|$", title="time of a reversal, s = 1", ylim=(0, 12)
    )
    duration.legend(frameon=False, fontsize="small")
    return page
