r"""The neural race: Saxe, Sodhani & Lewallen (2022).

Source
    A. Saxe, S. Sodhani, S. J. Lewallen, "The Neural Race Reduction: Dynamics of Abstraction in
    Gated Networks", Proceedings of the 39th International Conference on Machine Learning, PMLR
    162:19287-19309 (2022), arXiv:2207.10430.

What it claims
    Gates open and close parts of an otherwise linear network from sample to sample, so that it
    computes nonlinear functions of its input. Its learning reduces exactly to that of pathways,
    which race for the same target; pathways that are shared between contexts learn faster and win,
    an implicit bias towards shared representations. (Its abstract and bibliographic record were
    read, its formulas were not compared.)

What is ours
    All formulas, derived by `sk.derive` from a gated network, for K equally frequent contexts with
    targets $U_k\,\mathrm{diag}(s)\,V^T$ on whitened inputs, weights aligned and balanced:

    $$\dot u = D\,K^{-(D-D_s)/D}\,u^{2-2/D}(s-u)$$

    for a pathway of D layers, $D_s$ of them shared by all contexts: $K^{D_s/D}$ times as fast as
    separate ones. Two layers whose first one serves p contexts:
    $\dot u = \frac{2\sqrt p}{K}u(s-u)$. A shared and a separate pathway of two layers in
    parallel keep $u_{sep} = u_{sep,0}\,(u_{sh}/u_{sh,0})^{1/\sqrt K}$ and stop where
    $u_{sh} + u_{sep} = s$.

The source presents each context by itself; here the loss is the mean over contexts. Presenting all
K contexts in every step multiplies every rate by K, and leaves all ratios and the race as they are.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

K, D, shared, p = sp.symbols("K D D_s p", positive=True)
s, u0 = sp.symbols("s u0", positive=True)

# What is claimed; each check takes it, so that something wrong can be put in its place.
RATE = D * K ** (-(D - shared) / D)
SPEED_UP = K ** (shared / D)
PARTIAL = 2 * sp.sqrt(p) / K
EXPONENT = 1 / sp.sqrt(K)

# Contexts, and how many of them each layer serves, from the input on.
DEEP = (
    (2, (2, 2, 1)),
    (2, (2, 1, 1)),
    (3, (1, 3, 1)),
    (4, (4, 4, 1, 1)),
    (2, (1, 1, 1)),
)


@cache
def law(contexts: int, sharing: Any, u: float = 0.01) -> sk.Derivation:
    """Return the law of a gated network with two modes."""
    task = sk.environments.contexts(contexts, (2.0, 1.0), inputs=3, outputs=2, seed=1000)
    net = sk.pathways.network(3, 4, 2, contexts=contexts, sharing=sharing)
    # One pathway of two layers has an explicit law; deeper ones and races have one in a clock.
    explicit = len(sharing) == 2 and sharing[-1] in range(1, contexts + 1)
    name = "gated_modes" if explicit else "neural_race"
    return sk.derive(net, task, sk.pathways.aligned(net, task, u=u, seed=1000), law=name)


def derive() -> sk.Derivation:
    """Return the law of the race between a shared and a separate pathway, K = 4."""
    return law(4, ((4, 1), (1, 1)))


def rate_of(contexts: int, sharing: tuple[int, ...]) -> sp.Expr:
    """Return the factor of u^(2-2/D) (s - u) in the derived law of one pathway."""
    result = law(contexts, sharing).result
    if len(sharing) > 2:
        return result.rate0
    # Two layers: the sigmoid's exponent is 2 s t times half the factor.
    (exponent,) = result.output.atoms(sp.exp)
    symbols = {q.name: q for q in exponent.free_symbols}
    return sp.expand(-exponent.args[0] / (symbols["s"] * symbols["t"]))


def depth_and_sharing(claim: sp.Expr = RATE) -> tuple[bool, str]:
    """The rate of pathways of 2 to 4 layers, the shared ones anywhere among them."""
    cases = (*DEEP, (2, (2, 1)), (4, (4, 1)), (3, (1, 1)))
    wrong = []
    for contexts, sharing in cases:
        count = sum(serves == contexts for serves in sharing)
        wanted = claim.subs({K: contexts, D: len(sharing), shared: count})
        if sp.expand(rate_of(contexts, sharing) - wanted) != 0:
            wrong.append((contexts, sharing))
    return not wrong, f"{len(cases)} networks, difference exactly 0" if not wrong else f"{wrong}"


def speed_up(claim: sp.Expr = SPEED_UP) -> tuple[bool, str]:
    """Shared against separate pathways of the same depth."""
    wrong = []
    for contexts, sharing in ((2, (2, 1)), (4, (4, 1)), *DEEP[:4]):
        ratio = rate_of(contexts, sharing) / rate_of(contexts, (1,) * len(sharing))
        count = sum(serves == contexts for serves in sharing)
        wanted = claim.subs({K: contexts, D: len(sharing), shared: count})
        if sp.expand(ratio - wanted) != 0:
            wrong.append((contexts, sharing))
    return not wrong, "ratio of the rates exactly K^(D_s/D)" if not wrong else f"{wrong}"


def partial_sharing(claim: sp.Expr = PARTIAL) -> tuple[bool, str]:
    """A first layer for every p of K contexts."""
    cases = ((4, 1), (4, 2), (4, 4), (6, 3))
    gaps = [
        sp.expand(rate_of(contexts, (group, 1)) - claim.subs({K: contexts, p: group}))
        for contexts, group in cases
    ]
    return not any(gaps), f"differences {gaps} at (K, p) = {cases}"


def sigmoid() -> tuple[bool, str]:
    """Two layers, the first shared: the explicit sigmoid at 1/sqrt(K) of the plain speed."""
    found = law(4, (4, 1)).result.output
    symbols = {q.name: q for q in found.free_symbols}
    S, u, t = symbols["s"], symbols["u0"], symbols["t"]
    wanted = S / (1 + (S / u - 1) * sp.exp(-2 * S * t / sp.sqrt(4)))
    gap = sp.cancel(sp.together(found.subs(symbols["d"], 1) - wanted))
    return gap == 0, f"difference {gap}"


def balance() -> tuple[bool, str]:
    """Every mode keeps |shared|^2 = K |private|^2, in the weights of the law."""
    found = law(4, (4, 1)).compile()(np.linspace(0.0, 12.0, 7)).weights
    above = found["W2_0"].transpose(0, 2, 1) @ found["W2_0"]
    gap = float(np.abs(found["W1"] @ found["W1"].transpose(0, 2, 1) - 4 * above).max())
    return gap < 1e-12, f"largest entry of W1 W1^T - 4 W2_k^T W2_k is {gap:.1e}"


def mode_of(path: tuple[str, str], weights: Any, task: Any) -> np.ndarray:
    """Return the modes of a product of weights, (n_times, n_modes), from the weights themselves."""
    here = task.gates["context0"][:, 0] == 1
    U, _, Vt = np.linalg.svd(task.Y[here].T @ task.X[here], full_matrices=False)
    below, above = (weights[name] for name in path)
    return np.diagonal(U.T @ above @ below @ Vt.T, axis1=1, axis2=2)


RACING = (("W1", "W2_0"), ("Wb1_0", "Wb2_0"))


def invariant(claim: sp.Expr = EXPONENT) -> tuple[bool, str]:
    """What the race conserves, in the derived law for several K and in its weights for K = 4."""
    wrong = []
    for contexts in (2, 3, 4):
        beside = law(contexts, ((contexts, 1), (1, 1))).result.invariant1
        symbols = {q.name: q for q in beside.free_symbols}
        ratio = symbols["u1"] / symbols["u1_0"]
        wanted = symbols["u2_0"] * ratio ** claim.subs(K, contexts)
        if sp.expand(sp.powsimp(beside / wanted)) != 1:
            wrong.append(contexts)
    d = derive()
    times = np.linspace(0.0, 40.0, 41)
    weights, task = d.compile()(times).weights, d.problem.curriculum.phases[0].task
    u = np.stack([mode_of(path, weights, task) for path in RACING])
    kept = u[1] / u[0] ** float(claim.subs(K, 4))
    gap = float(np.abs(kept / kept[0] - 1).max())
    return not wrong and gap < 1e-12, f"exponent 1/sqrt(K); in the weights it moves by {gap:.1e}"


def end_of_the_race() -> tuple[bool, str]:
    """The root of u_sh + u_sep = s on the invariant, by bisection, against the law's end."""
    worst = 0.0
    for contexts, starts in ((2, (0.01, 0.3)), (4, (0.02, 0.02)), (3, (0.3, 0.01))):
        task = sk.environments.contexts(contexts, (2.0, 1.0), seed=1000)
        net = sk.pathways.network(2, 2, 2, contexts=contexts, sharing=((contexts, 1), (1, 1)))
        w0 = sk.pathways.aligned(net, task, u=starts)
        end = sk.derive(net, task, w0).compile()([0.0, 400.0])
        u = np.stack([mode_of(path, end.weights, task)[1] for path in RACING])
        for mode, strength in enumerate((2.0, 1.0)):
            low, high = 0.0, strength
            for _ in range(200):
                middle = (low + high) / 2
                beside = starts[1] * (middle / starts[0]) ** contexts**-0.5
                low, high = (middle, high) if middle + beside < strength else (low, middle)
            worst = max(worst, abs(u[0, mode] - low), abs(u[:, mode].sum() - strength))
    return bool(worst < 1e-12), f"largest difference {worst:.1e}"


def who_wins() -> tuple[bool, str]:
    r"""From equal small starts the shared pathway; a separate one needs a head start.

    On the invariant a tie, $u_{sh} = u_{sep} = s/2$, needs
    $u_{sep,0} = (s/2)^{1 - 1/\sqrt K}\,u_{sh,0}^{1/\sqrt K}$: of the order $\sqrt{u_{sh,0}}$ for
    K = 4, much more than $u_{sh,0}$ itself. From equal starts $u_0$ the separate pathway ends at a
    share of the target that goes to 0 as $u_0^{1 - 1/\sqrt K}$.
    """
    beside = derive().result.invariant1
    symbols = {q.name: q for q in beside.free_symbols}
    a, a0, b0 = symbols["u1"], symbols["u1_0"], symbols["u2_0"]
    tie = (s / 2) ** (1 - EXPONENT) * u0**EXPONENT
    at_tie = beside.subs({a: s / 2, a0: u0, b0: tie.subs(K, 4)}, simultaneous=True)
    fair = sp.powsimp(sp.expand_power_base(at_tie / (s / 2))) == 1
    share = beside.subs({a: s, a0: u0, b0: u0}, simultaneous=True) / s
    slope = sp.limit(sp.log(share) / sp.log(u0), u0, 0, "+")
    ends = []
    for start in (0.9, 1.1):
        task = sk.environments.contexts(4, (1.0,), seed=1000)
        net = sk.pathways.network(1, 1, 1, contexts=4, sharing=((4, 1), (1, 1)))
        head = start * float(tie.subs({K: 4, s: 1, u0: 0.01}))
        w0 = sk.pathways.aligned(net, task, u=(0.01, head))
        end = sk.derive(net, task, w0).compile()([0.0, 400.0]).weights
        shared_part, separate = (mode_of(path, end, task)[1, 0] for path in RACING)
        ends.append(float(separate - shared_part))
    return (
        bool(fair and slope == sp.Rational(1, 2) and ends[0] < 0 < ends[1]),
        f"tie at {tie}; share of the separate pathway ~ u0^{slope} for K = 4",
    )


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("rate D K^(-(D - D_s)/D)", *depth_and_sharing()),
        ("sharing speeds up by K^(D_s/D)", *speed_up()),
        ("sharing among p of K contexts", *partial_sharing()),
        ("shared input layer: the sigmoid", *sigmoid()),
        ("balance of shared and private layers", *balance()),
        ("invariant of the race", *invariant()),
        ("end of the race", *end_of_the_race()),
        ("who wins", *who_wins()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law of the race."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw shared against separate pathways for several K, and the race's phase portrait."""
    from matplotlib.figure import Figure

    from symkernel.report.figures import COLOURS

    page = Figure(figsize=(7.2, 3.2), layout="constrained")
    curves, portrait = page.subplots(1, 2)
    times, dots = np.linspace(0.0, 40.0, 201), np.linspace(0.0, 20.0, 21)
    for colour, contexts in zip(COLOURS, (2, 5, 12), strict=False):
        for sharing, style in (((contexts, 1), "-"), ((1, 1), "--")):
            d = law(contexts, sharing)
            label = f"K = {contexts}" if style == "-" else None
            u = d.compile()(times).modes[:, 0]
            curves.plot(times, u / 2, style, color=colour, label=label)
            if contexts == 2:
                task, path = d.problem.curriculum.phases[0].task, d.problem.network.parameters
                run = sk.simulate(
                    d.problem.network, task, d.problem.weights, learning_rate=0.02, record=dots
                )
                u = mode_of((path[0].name, path[1].name), run.weights, task)[:, 0]
                curves.plot(dots, u / 2, "o", color=colour, ms=3)
    curves.set(xlabel="flow time t", ylabel="u / s", title="solid: shared, dashed: separate")
    curves.legend(frameon=False)
    _portrait(portrait, COLOURS)
    return page


def _portrait(ax: Any, colours: Any) -> None:
    """Draw races of one mode, s = 1, along the invariant, with gradient descent as dots."""
    task = sk.environments.contexts(4, (1.0,), seed=1000)
    net = sk.pathways.network(1, 1, 1, contexts=4, sharing=((4, 1), (1, 1)))
    along, record = np.geomspace(1e-3, 1.0, 400), np.linspace(0.0, 30.0, 21)
    starts = ((0.01, 0.01), (0.01, 0.05), (0.01, 0.2), (0.1, 0.02))
    for colour, start in zip(colours, starts, strict=False):
        beside = start[1] * np.sqrt(along / start[0])
        inside = (along >= start[0]) & (along + beside <= 1)
        ax.plot(along[inside], beside[inside], color=colour)
        w0 = sk.pathways.aligned(net, task, u=start)
        run = sk.simulate(net, task, w0, learning_rate=0.02, record=record)
        u = [mode_of(path, run.weights, task)[:, 0] for path in RACING]
        ax.plot(*u, "o", color=colour, ms=3)
    ax.plot([0, 1], [1, 0], color="0.6", label=r"$u_{sh} + u_{sep} = s$")
    ax.plot([0, 1], [0, 1], ":", color="0.6", label="tie")
    limits = {"xlim": (0, 1), "ylim": (0, 1)}
    ax.set(
        xlabel="shared pathway",
        ylabel="separate pathway",
        title="lines: invariant, dots: descent",
        **limits,
    )
    ax.legend(frameon=False)
