r"""From lazy to rich by the imbalance of the layers: Dominé et al. (2025).

Source
    C. C. J. Dominé, N. Anguita, A. M. Proca, L. Braun, D. Kunin, P. A. M. Mediano, A. M. Saxe,
    "From Lazy to Rich: Exact Learning Dynamics in Deep Linear Networks", International Conference
    on Learning Representations (2025), arXiv:2409.14623. Its balanced case is that of L. Braun
    et al., "Exact learning dynamics of deep linear networks with prior knowledge", NeurIPS 35
    (2022), after K. Fukumizu (1998).

What it claims
    Two-layer linear networks on whitened inputs whose weights obey
    $W_2^T W_2 - W_1 W_1^T = \lambda 1$ learn by an exact matrix solution, for output, hidden
    similarity and NTK; and the one number $\lambda$ leads from rich learning, where the kernel and
    the representation take on the structure of the task ($\lambda \to 0$), to lazy learning, where
    they hardly move ($|\lambda| \to \infty$).

What is ours
    The solution is derived here by `sk.derive` in a form that inverts neither F nor any block of
    the weights, so that dimensions may differ, tasks may be singular, and hidden layers may be
    narrow; the source's formulas were not compared with it symbol by symbol. The kernel's movement
    is a consequence that we state and measure: the similarity of hidden activities is a function
    of the present map, $A^2 + \lambda A = W^T W$ with $A = W_1^T W_1$, and the NTK's relative
    movement falls as $\lambda^{-2}$.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure


INPUTS, HIDDEN, OUTPUTS, SAMPLES = 4, 3, 3, 12
STRENGTHS = (3.0, 1.5, 0.75)
SCALES = (1.0, 0.1)
# Imbalances of the figure, and those of the regression.
LAMBDAS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FAR = (20.0, 40.0, 80.0, 160.0)
SEED = 1000


def _frame(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0]


@cache
def task() -> sk.Task:
    """Return a task of three modes on white samples."""
    X = np.sqrt(SAMPLES) * _frame(SAMPLES, INPUTS, 1)
    V, U = _frame(INPUTS, OUTPUTS, 2), _frame(OUTPUTS, OUTPUTS, 3)
    return sk.Task(X, X @ (V * STRENGTHS) @ U.T)


def network() -> sk.Network:
    """Return the network: as many hidden units as outputs, so that lambda may be positive."""
    return sk.Network.two_layer(inputs=INPUTS, hidden=HIDDEN, outputs=OUTPUTS)


@cache
def law(lam: float, scale: float = SCALES[0]) -> sk.Derivation:
    """Return the law for one imbalance."""
    w0 = sk.weights.lambda_balanced(network(), lam, scale=scale, seed=SEED)
    return sk.derive(network(), task(), w0, law="lambda_balanced")


def derive() -> sk.Derivation:
    """Return the law at lambda = 1."""
    return law(1.0)


def movement(lam: float, scale: float) -> float:
    """Return the relative movement of the NTK from the start to the end of learning."""
    kernel = law(lam, scale).compile()([0.0, 200.0]).ntk
    return float(np.linalg.norm(kernel[1] - kernel[0]) / np.linalg.norm(kernel[0]))


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def similarity(sign: int = 1) -> tuple[bool, str]:
    r"""$A^2 + \lambda A = W^T W$ at all times: proven on words, measured along the law."""
    # A A + lambda A = w1'(w1 w1' + lambda) w1 = w1' w2' w2 w1 with the conserved matrix put in.
    lam = sp.Symbol("lambda", real=True)
    W1 = sp.Matrix(2, 2, sp.symbols("p:4", real=True))
    inner = W1 * W1.T + sign * lam * sp.eye(2)
    A = W1.T * W1
    proof = (W1.T * inner * W1 - A * A - lam * A).expand() == sp.zeros(2)
    worst = 0.0
    for value in (0.0, 1.0, 10.0):
        found = law(value).compile()(np.linspace(0.0, 4.0, 9))
        grams, maps = found.input_gram, found.end_to_end
        gap = grams @ grams + sign * value * grams - maps.transpose(0, 2, 1) @ maps
        worst = max(worst, float(np.abs(gap).max() / np.abs(maps).max() ** 2))
    return proof and worst <= 1e-12, f"identity {'exact' if proof else 'NOT so'}, {worst:.1e} along"


def end_of_learning(power: float = 0.5) -> tuple[bool, str]:
    r"""After learning $A = -\lambda/2 + \sqrt{\lambda^2/4 + S^T S}$: rich at 0, small at infinity.

    At $\lambda = 0$ the hidden similarity is the root of that of the task.
    """
    worst = 0.0
    _, s, Vt = np.linalg.svd(task().Syx, full_matrices=False)
    for value in (0.0, 1.0, 10.0):
        found = law(value).compile()([400.0]).input_gram[0]
        wanted = (value**2 / 4 + s**2) ** power - value / 2
        worst = max(worst, float(np.abs(found - (Vt.T * wanted) @ Vt).max()))
    return worst <= 1e-10, f"largest difference {worst:.1e}"


def lazy_limit(exponent: float = -2.0) -> tuple[bool, str]:
    r"""The NTK's relative movement falls as $\lambda^{-2}$, by regression."""
    moved = [movement(value, SCALES[0]) for value in FAR]
    slope = float(np.polyfit(np.log(FAR), np.log(moved), 1)[0])
    figure = f"slope {slope:.3f}; movement {moved[0]:.1e} to {moved[-1]:.1e}"
    return abs(slope - exponent) <= 0.05, figure


def rich_limit(factor: float = 1.0) -> tuple[bool, str]:
    """At lambda = 0 the kernel moves the more the smaller the weights are, as 1/scale."""
    moved = [movement(0.0, scale) for scale in (1e-2, 1e-3)]
    ratio = moved[1] / moved[0] / 10
    return abs(
        ratio - factor
    ) <= 0.02, f"movement {moved[0]:.3g} at scale .01, {moved[1]:.3g} at .001"


def speeds(order: int = 1) -> tuple[bool, str]:
    r"""Rates are $\sqrt{s^2 + \lambda^2/4}$: staged by strength when rich, all alike when lazy."""
    spread = []
    for value, scale in ((0.0, 1e-2), (40.0, 1.0)):
        compiled = law(value, scale).compile()
        times = np.geomspace(1e-4, 60.0, 4000)
        U, s, Vt = np.linalg.svd(task().Syx, full_matrices=False)
        modes = np.einsum("or,toi,ri->tr", U, compiled(times).end_to_end, Vt)
        start, end = modes[0], s
        half = [
            times[np.argmax(m >= (a + e) / 2)] for m, a, e in zip(modes.T, start, end, strict=True)
        ]
        spread.append(half[-1] / half[0])
    held = order * (spread[0] - spread[1]) > 0 and spread[0] > 2.5 and spread[1] < 1.6
    words = f"weakest over strongest mode, time to half: {spread[0]:.2f} rich, {spread[1]:.2f} lazy"
    return bool(held), words


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("hidden similarity is a function of the present map", *similarity()),
        ("representation after learning", *end_of_learning()),
        ("lazy limit: movement of the NTK", *lazy_limit()),
        ("rich limit: movement of the NTK", *rich_limit()),
        ("stages when rich, one speed when lazy", *speeds()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw learning curves at three imbalances, and the movement of the NTK over all of them."""
    from matplotlib.figure import Figure

    from symkernel.report.figures import COLOURS

    page = Figure(figsize=(9.6, 3.2), layout="constrained")
    *curves, regimes = page.subplots(1, 4)
    U, s, Vt = np.linalg.svd(task().Syx, full_matrices=False)
    for ax, (lam, scale, end) in zip(
        curves, ((0.0, 0.1, 4.0), (1.0, 0.1, 4.0), (10.0, 0.1, 0.8)), strict=True
    ):
        d = law(lam, scale)
        times = np.linspace(0.0, end, 121)
        rate = end / 4800
        run = sk.simulate(network(), task(), d.problem.weights, learning_rate=rate, record=times)
        shown = d.compile()(times)
        for k in range(OUTPUTS):
            along = [
                np.einsum("o,toi,i->t", U[:, k], m, Vt[k])
                for m in (shown.end_to_end, run.end_to_end)
            ]
            ax.plot(times, along[0] / s[k], color=COLOURS[k], label=f"s = {s[k]:.3g}")
            ax.plot(times[::10], along[1][::10] / s[k], "o", color=COLOURS[k], ms=3)
        ax.set(xlabel="flow time t", title=rf"$\lambda$ = {lam:g}")
    curves[0].set_ylabel("mode / strength\n(dots: gradient descent)")
    curves[0].legend(frameon=False, fontsize="small")
    for colour, scale in zip(COLOURS, SCALES, strict=False):
        positive = [value for value in LAMBDAS if value > 0]
        regimes.loglog(
            positive,
            [movement(v, scale) for v in positive],
            "o-",
            color=colour,
            ms=3,
            label=f"scale {scale:g}",
        )
        regimes.axhline(movement(0.0, scale), color=colour, ls=":", lw=1)
    regimes.set(xlabel=r"imbalance $\lambda$", ylabel="relative change of the NTK")
    regimes.set_title(r"dotted: $\lambda$ = 0")
    regimes.legend(frameon=False, fontsize="small")
    return page
