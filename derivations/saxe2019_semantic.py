r"""Broad distinctions before fine ones: Saxe, McClelland & Ganguli (2019).

Source
    A. M. Saxe, J. L. McClelland, S. Ganguli, "A mathematical theory of semantic development in
    deep neural networks", Proceedings of the National Academy of Sciences 116(23), 11537-11546
    (2019), doi:10.1073/pnas.1820226116, arXiv:1810.10531.

What it claims
    A deep linear network that learns the features of items in a hierarchy (canary and salmon are
    animals, pine and oak are plants) does so by progressive differentiation: the singular values
    of the items' features fall from the broadest distinction to the finest, each is learned in
    its own rapid transition, in a time of order 1/(singular value), and the hidden representation
    splits first into broad, then into fine groups.

What is ours
    The source draws features by branching diffusion on a tree; here items inherit the features of
    all their ancestors (`sk.environments.semantic_hierarchy`), which has closed forms in the
    branching $B$ and the depth $L$. These, the learning time of a level as a formula in
    $B, L, u_0$, the proof of the order and its limit were derived here: with one-hot inputs and
    $\lambda_\ell = (B^{L-\ell+1} - 1)/(B - 1)$,

    $$s_\ell = B^{-L}\sqrt{\lambda_\ell}, \qquad
      t_\ell = \frac{B^L}{2\sqrt{\lambda_\ell}}
               \ln\left[\frac{q}{1-q}\left(\frac{\sqrt{\lambda_\ell}}{u_0} - 1\right)\right].$$

    The order is not unconditional: a mode may start so close to its final value that it has
    little left to learn. For $q = 1/2$ the levels are half learned strictly in order, whatever
    B and L, if $u_0 \le w/(1+w) \approx 0.218$, $w e^w = 1/e$; at $u_0 = 0.4$ they are not.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure


B, L = sp.symbols("B L", integer=True, positive=True)
H = sp.Symbol("H", integer=True, positive=True)
s, d, u0, q, c = sp.symbols("s d u0 q c", positive=True)
TREE = sk.environments.semantic_hierarchy(B, L)
LEVEL = TREE.level
ROOT = sp.sqrt(TREE.eigenvalue())
STAGED_TIME = B**L / (2 * ROOT) * sp.log(q / (1 - q) * (ROOT / u0 - 1))

# The tree of the figure and of the simulations, fixed before the first run.
BRANCHING, DEPTH, HIDDEN = 2, 3, 16
START = 0.01
RATE = 0.05
RECORD = np.linspace(0, 45, 451)
RANDOM_SCALE = 0.05
SEEDS = (1000, 1001, 1002, 1003, 1004)


def problem() -> tuple[Any, Any, Any]:
    """Return the distinctions of one level, with symbols for tree, level, width and start."""
    task = TREE.level_task()
    net = sk.Network.two_layer(inputs=task.inputs, hidden=H, outputs=task.outputs)
    return net, task, sk.weights.aligned(net, task, a=sp.sqrt(u0), b=sp.sqrt(u0))


def derive() -> sk.Derivation:
    """Return the law of a level; the whole tree decouples into its levels."""
    return sk.derive(*problem())


def tree(seed: int = SEEDS[0]) -> tuple[Any, Any, Any]:
    """Return the whole tree with numbers, its weights aligned and at `START`."""
    task = sk.environments.semantic_hierarchy(BRANCHING, DEPTH)
    net = sk.Network.two_layer(inputs=int(task.inputs), hidden=HIDDEN, outputs=int(task.outputs))
    amplitude = float(np.sqrt(START))
    return net, task, sk.weights.aligned(net, task, a=amplitude, b=amplitude, seed=seed)


def mode() -> sk.Derivation:
    """Return the law of a mode of any strength s and input variance d."""
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    task = sk.Task.from_modes(s, input_variance=d)
    return sk.derive(net, task, sk.weights.aligned(net, task, a=sp.sqrt(u0), b=sp.sqrt(u0)))


def level_time(fraction: sp.Expr = q) -> sp.Expr:
    """Return the flow time at which a level has learned a fraction of its distinctions."""
    level = {s: TREE.singular_value(), d: TREE.input_variance}
    return mode().learning_time(fraction).subs(level, simultaneous=True)


def by_level(modes: np.ndarray) -> np.ndarray:
    """Average the modes of each level; a task's modes come by falling strength."""
    counts = [int(_number(TREE.multiplicity(level))) for level in range(DEPTH + 1)]
    levels = np.split(modes, np.cumsum(counts)[:-1], axis=1)
    return np.stack([level.mean(1) for level in levels], axis=1)


def half_times(trajectory: Any) -> np.ndarray:
    """Return when each level first reaches half of its final value, between records."""
    found = []
    curves = by_level(trajectory.modes)
    for level, curve in enumerate(curves.T):
        half = float(sp.sqrt(_number(TREE.eigenvalue(level)))) / 2
        k = int(np.argmax(curve >= half))
        times, values = trajectory.times[k - 1 : k + 1], curve[k - 1 : k + 1]
        found.append(float(np.interp(half, values, times)))
    return np.array(found)


def predicted_half_times() -> np.ndarray:
    """Return the formula's half times for the tree of the figure."""
    formula = level_time(sp.Rational(1, 2)).subs(u0, START)
    return np.array([float(_number(formula.subs(LEVEL, level))) for level in range(DEPTH + 1)])


def _number(expression: sp.Expr) -> sp.Expr:
    return expression.subs({B: BRANCHING, L: DEPTH})


# The claims.


def singular_values() -> tuple[bool, str]:
    """The singular values in closed form, each step of their derivation with its check."""
    evidence = [step.check() for step in TREE.steps]
    law = TREE.singular_value() - B**-L * ROOT
    return all(e.passed for e in evidence) and law == 0, f"{len(evidence)} steps proven"


def staged_times(claim: sp.Expr = STAGED_TIME) -> tuple[bool, str]:
    """The learning time of a level as a formula in B, L, the level and u0."""
    root = sp.Symbol("root", positive=True)
    items = sp.Symbol("items", positive=True)
    found, stated = (
        sp.exp(2 * root / items * x.subs(ROOT, root).subs(B**L, items))
        for x in (level_time(), claim)
    )
    same = sp.cancel(found - stated) == 0
    # `derive` is given the level itself; its formula is arranged in another way.
    own, worst = derive().learning_time(q) - claim, sp.Float(0)
    for b, deep in ((2, 3), (3, 2), (5, 1)):
        for level in range(deep + 1):
            values = {B: b, L: deep, LEVEL: level, u0: sp.Rational(1, 100), q: sp.Rational(2, 3)}
            worst = max(worst, abs(sp.N(own.subs(values), 30, maxn=200)))
    return bool(same and worst < 1e-25), f"equal exactly; derived at B, L: {float(worst):.0e} apart"


def falling_with_strength() -> tuple[bool, str]:
    r"""A stronger mode is faster, if it has far enough to go.

    With $y = s/(d u_0) - 1$ and the odds $c = q/(1-q)$,
    $2 s^2\, \partial_s t = 1 + 1/y - \ln(c y)$, which falls in y and vanishes where
    $y = 1/w$, $w e^w = c/e$.
    """
    y, w = sp.symbols("y w", positive=True)
    slope = 2 * s**2 * sp.diff(mode().learning_time(q), s)
    slope = slope.subs({q: c / (1 + c), s: d * u0 * (1 + y)})
    slope = sp.expand(slope.replace(sp.log, lambda x: sp.log(sp.factor(sp.cancel(x)))))
    margin = sp.expand(sp.cancel(slope + sp.log(c * y)) - sp.log(c * y))
    as_stated = sp.expand(margin - (1 + 1 / y - sp.log(c * y))) == 0
    falls = sp.factor(sp.diff(margin, y)).is_negative
    vanishes = sp.expand(margin.subs({c: w * sp.exp(1 + w), y: 1 / w})) == 0
    threshold = float(1 / sp.LambertW(sp.exp(-1)))
    return (
        bool(as_stated and falls and vanishes),
        f"faster for s/(d u0) > {1 + threshold:.3f} at q = 1/2: sign of the slope proven",
    )


def broad_before_fine() -> tuple[bool, str]:
    """Strengths fall with the level, and every level has far enough to go: the order follows."""
    drop = TREE.eigenvalue(LEVEL) - TREE.eigenvalue(LEVEL + 1)
    positive = sp.powsimp(sp.expand(sp.cancel(drop) - B ** (L - LEVEL))) == 0
    final = sp.cancel(TREE.singular_value(L) / TREE.input_variance)
    w = sp.LambertW(sp.exp(-1))
    late = level_time(sp.Rational(1, 2)).subs({B: 2, L: 3, u0: sp.Rational(2, 5)})
    reversed_ = bool(late.subs(LEVEL, 2) > late.subs(LEVEL, 3))
    return (
        bool(positive and final == 1 and reversed_),
        f"lambda_l - lambda_(l+1) = B^(L-l) > 0; finest level ends at 1, so any "
        f"u0 <= {float(w / (1 + w)):.4f} does; at u0 = 0.4, B = 2, L = 3 the order is reversed",
    )


def small_start() -> tuple[bool, str]:
    """From small weights the times are as the reciprocal singular values."""
    limit = sp.limit(2 * s * mode().learning_time(q) / sp.log(1 / u0), u0, 0, "+")
    return limit == 1, "t_l -> ln(1/u0)/(2 s_l), so t_(l+1)/t_l -> s_l/s_(l+1) > 1"


def gradient_descent() -> tuple[bool, str]:
    """Half times of gradient descent from aligned weights, against the formula."""
    expected = predicted_half_times()
    errors = []
    for rate in (RATE, RATE / 2):
        run = sk.simulate(*tree(), learning_rate=rate, record=RECORD)
        errors.append(float(np.abs(half_times(run) / expected - 1).max()))
    figure = f"relative error {errors[0]:.1e} at rate {RATE}, {errors[1]:.1e} at half of it"
    return errors[0] < 0.02 and errors[1] < errors[0], figure


@cache
def random_starts() -> tuple[Any, ...]:
    """Return gradient descent from small random weights, one run for each seed."""
    net, task, _ = tree()
    starts = [sk.weights.gaussian(net, scale=RANDOM_SCALE, seed=seed) for seed in SEEDS]
    return sk.simulate_ensemble(net, task, starts, learning_rate=RATE, record=RECORD)


def random_order() -> tuple[bool, str]:
    """From small random weights, which no law covers exactly, the order is measured."""
    times = np.array([half_times(run) for run in random_starts()])
    ordered = int((np.diff(times, axis=1) > 0).all(axis=1).sum())
    mean = ", ".join(f"{value:.1f}" for value in times.mean(0))
    return ordered == len(SEEDS), f"{ordered} of {len(SEEDS)} seeds in order; mean times {mean}"


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("singular values in closed form", *singular_values()),
        ("learning time of a level", *staged_times()),
        ("stronger modes are faster", *falling_with_strength()),
        ("broad before fine", *broad_before_fine()),
        ("small weights: times as 1/s", *small_start()),
        ("half times of gradient descent", *gradient_descent()),
        ("order from random weights (measured)", *random_order()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law of the whole tree of the figure."""
    return sk.check(sk.derive(*tree()), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw the levels' curves, and the hidden similarity of the items through time."""
    from matplotlib.figure import Figure

    from symkernel.report.figures import COLOURS

    theory = sk.derive(*tree()).compile()(RECORD)
    run = sk.simulate(*tree(), learning_rate=RATE, record=RECORD)
    half = predicted_half_times()
    page = Figure(figsize=(7.2, 5.2), layout="constrained")
    top, bottom = page.subfigures(2, 1, height_ratios=(1.4, 1.0), squeeze=False)[:, 0]
    exact, random = top.subplots(1, 2, sharey=True)
    finals = by_level(theory.modes)[-1]
    descents = [by_level(member.modes) for member in random_starts()]
    for level, curve in enumerate(by_level(theory.modes).T):
        color = COLOURS[level]
        exact.plot(RECORD, curve / finals[level], color=color, label=f"level {level}")
        found = by_level(run.modes)[::15, level] / finals[level]
        exact.plot(RECORD[::15], found, "o", color=color, ms=3)
        exact.plot(half[level], 0.5, "x", color="k", ms=7, zorder=3)
        for member in descents:
            random.plot(RECORD, member[:, level] / finals[level], color=color, lw=0.8)
    exact.set(
        xlabel="flow time t", ylabel="share learned", title="aligned: lines law, dots descent"
    )
    exact.plot([], [], "xk", label=r"formula $t_\ell$, $q = 1/2$")
    exact.legend(frameon=False, fontsize="small")
    random.set(xlabel="flow time t", title=f"small random weights, {len(SEEDS)} seeds")
    moments = [*np.searchsorted(RECORD, half[:-1]), len(RECORD) - 1]
    for ax, k in zip(bottom.subplots(1, len(moments)), moments, strict=True):
        gram = theory.hidden_gram[k]
        image = ax.imshow(gram / gram.max(), vmin=0.0, vmax=1.0, cmap="viridis")
        ax.set(title=f"t = {RECORD[k]:.1f}", xticks=[], yticks=[])
    bottom.suptitle(
        "similarity of the items in the hidden layer over its largest entry, by the law",
        fontsize="medium",
    )
    bottom.colorbar(image, ax=bottom.axes, shrink=0.8)
    return page
