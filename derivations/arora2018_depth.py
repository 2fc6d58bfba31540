r"""What depth does to learning: Arora, Cohen & Hazan (2018), and the mode law at every depth.

Source
    S. Arora, N. Cohen, E. Hazan, "On the Optimization of Deep Networks: Implicit Acceleration by
    Overparameterization", International Conference on Machine Learning (2018), arXiv:1802.06509.
    Authors, title, venue and abstract were checked; its theorem was not opened and is stated here
    from memory, then derived and checked. The equation of one mode at any depth is that of
    A. M. Saxe, J. L. McClelland, S. Ganguli, arXiv:1312.6120 (2014).

What it claims
    If neighbouring layers of a linear network are balanced, $W_{l+1}^T W_{l+1} = W_l W_l^T$, the
    end-to-end map W of D layers learns by itself, by a gradient flow with a preconditioner that
    depth alone sets:

    $$\dot W = -\sum_{j=1}^{D} (W W^T)^{\frac{j-1}{D}}\,\nabla L(W)\,(W^T W)^{\frac{D-j}{D}} .$$

    It speeds up directions that are large already. For a mode of a task this is

    $$\dot u = D\,u^{2-2/D}\,(s - u).$$

What is ours
    `sk.derive` produces the equation of the mode from network, task and loss, and solves it: the
    flow time is an explicit function of the mode at every depth, on every branch. The limit of
    infinite depth, $\dot u = u^2(s - u)$ in the time $T = D t$, is solved by Wright's omega,

    $$u = \frac{s}{1 + \omega(z_0 + \ln z_0 - s^2 T)}, \qquad z_0 = \frac{s}{u_0} - 1 .$$

    These solutions were derived here; they may well exist in the literature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure


t = sp.Symbol("t", nonnegative=True)
s, u0, u = sp.symbols("s u_start u", positive=True)
D, j = sp.Symbol("D", positive=True), sp.Symbol("j", integer=True)

DEPTHS = (1, 2, 3, 4, 8)
START = 0.01
SEED = 1000


def problem(depth: int = 4) -> tuple[Any, Any, Any]:
    """Return one mode of strength s that starts at u0, in a chain of layers."""
    net = sk.Network.mlp([1] * (depth + 1), "linear")
    task = sk.Task.from_modes(s)
    return net, task, sk.weights.aligned(net, task, u=u0)


def derive(depth: int = 4) -> sk.Derivation:
    """Return the law of a depth."""
    return sk.derive(*problem(depth), law="deep_modes")


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def _power(gram: np.ndarray, exponent: float) -> np.ndarray:
    """Return a power of a positive semi-definite matrix; what is 0 stays 0."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-12 * values.max()
    powers = np.where(kept, np.abs(values) ** exponent, 0.0)
    return (vectors * (powers if exponent else 1.0)) @ vectors.T


def preconditioned(W: np.ndarray, gradient: np.ndarray, depth: int) -> np.ndarray:
    """Return the rate of the end-to-end map as the source has it."""
    left, right = W @ W.T, W.T @ W
    return -sum(
        _power(left, (k - 1) / depth) @ gradient @ _power(right, (depth - k) / depth)
        for k in range(1, depth + 1)
    )


def end_to_end_dynamics(rate: Any = preconditioned) -> tuple[bool, str]:
    """Balanced layers, not aligned with anything: rate of the product against the preconditioner.

    The rate of the product of the layers is found from steps of gradient descent, and by the
    product rule from the gradients of the layers.
    """
    worst, errors = 0.0, []
    stream = np.random.default_rng(SEED)
    X, Y = stream.standard_normal((12, 4)), stream.standard_normal((12, 3))
    task = sk.Task(X, Y)
    for depth in (2, 3, 5):
        net = sk.Network.mlp([4, *[5] * (depth - 1), 3], "linear")
        w0 = sk.weights.balanced(net, scale=1.0, seed=SEED + depth)
        layers = list(w0.arrays.values())
        W = np.linalg.multi_dot([*layers[::-1], np.eye(4)])
        gradient = W @ task.Sxx - task.Syx
        claimed = rate(W, gradient, depth)
        exact = np.zeros_like(W)
        for k in range(depth):
            after = np.linalg.multi_dot([np.eye(3), *layers[:k:-1], np.eye(len(layers[k]))])
            before = np.linalg.multi_dot([np.eye(layers[k].shape[1]), *layers[:k][::-1], np.eye(4)])
            exact -= after @ after.T @ gradient @ before.T @ before
        size = np.abs(exact).max()
        worst = max(worst, float(np.abs(exact - claimed).max() / size))
        for step in (1e-4, 5e-5) if depth == 3 else ():
            run = sk.simulate(net, task, w0, learning_rate=step, record=[0.0, step])
            moved = np.linalg.multi_dot([*[w[1] for w in run.weights.values()][::-1], np.eye(4)])
            errors.append(float(np.abs((moved - W) / step - claimed).max() / size))
    ratio = errors[0] / errors[1]
    return worst < 1e-10 and 1.9 < ratio < 2.1, (
        f"largest relative difference {worst:.1e} at depths 2, 3, 5; one step of descent at half "
        f"the learning rate differs {ratio:.2f} times less"
    )


def mode_equation(claim: sp.Expr = D * u ** (2 - 2 / D) * (s - u)) -> tuple[bool, str]:
    """The preconditioner on one mode, and the equation that the derived law solves."""
    term = sp.powsimp((u**2) ** ((j - 1) / D) * (u**2) ** ((D - j) / D))
    summed = sp.powsimp(sp.expand(sp.powdenest(term))) * D * (s - u)
    same = sp.powsimp(sp.expand(summed - claim, power_exp=False)) == 0
    wrong = []
    for depth in range(1, 9):
        output = derive(depth).result.output
        # The law's own function of time, or its inverse: both have an exact derivative.
        value = sp.Symbol("value", positive=True)
        if depth > 2:
            found = output.diff(t).subs(output, value)
            gap = sp.expand(found - claim.subs({D: depth, u: value}), power_base=False)
        else:
            gap = sp.cancel(sp.together(output.diff(t) - claim.subs(D, depth).subs(u, output)))
        wrong += [depth] * (gap != 0)
    return bool(
        same and not wrong
    ), f"sum over layers: {same}; depths that differ: {wrong or 'none'}"


def flow_time() -> tuple[bool, str]:
    """The flow time at any depth, a symbol here, solves the equation on every branch."""
    evidence = sk.deep_mode(D).prove()
    return evidence.passed, evidence.figure


def escape_time(claim: sp.Expr = u0 ** (2 / D - 1) / ((D - 2) * s)) -> tuple[bool, str]:
    """From a small start the time is a power of it, not a logarithm as for two layers."""
    found = []
    for depth in (3, 4, 6):
        time = derive(depth).learning_time(sp.Rational(1, 2))
        ratio = (time / claim.subs(D, depth)).subs(s, 1)
        found.append(float(ratio.subs(u0, sp.Rational(1, 10**30)).evalf(40)))
    return all(abs(r - 1) < 1e-3 for r in found), f"time over claim at u0 = 1e-30: {found}"


def acceleration() -> tuple[bool, str]:
    """Depth slows a mode below a threshold and speeds it up above it."""
    threshold = D ** (-D / (2 * D - 2))
    ratio = sp.powsimp((D * u ** (2 - 2 / D)).subs(u, threshold))
    at = [float(threshold.subs(D, k)) for k in (2, 3, 8)]
    even = all(abs(float(ratio.subs(D, k)) - 1) < 1e-12 for k in (2, 3, 5, 8))
    words = ", ".join(f"{v:.2f}" for v in at)
    return even, f"as fast as one layer at u = D^(-D/(2D-2)): {words} at depth 2, 3, 8"


def infinite_depth() -> tuple[bool, str]:
    """In the time D t the laws of finite depth tend to Wright's omega, as 1/D."""
    limit = sk.deep_mode(sp.oo)
    clock = np.linspace(0.0, 20.0, 41)
    depths = np.array([16, 32, 64, 128, 256])
    exact = limit(clock, strength=1.0, start=0.1)
    errors = [
        np.abs(sk.deep_mode(int(k))(clock / k, strength=1.0, start=0.1) - exact).max()
        for k in depths
    ]
    slope = float(np.polyfit(np.log(depths), np.log(errors), 1)[0])
    proven = limit.prove()
    return (
        bool(proven.passed and abs(slope + 1) < 0.1),
        f"{proven.figure}; error of depth D falls with slope {slope:.2f}",
    )


def _half_time(depth: Any) -> tuple[float, float]:
    """Return the time to half of the mode, and the time from a tenth to nine tenths over it."""
    mode = sk.deep_mode(depth)
    strength = {"s": 1, "d": 1, "u0": START}
    time = mode.time.plain
    names = {q.name: q for q in time.free_symbols}
    time = time.subs({names[n]: v for n, v in strength.items() if n in names})
    tenth, half, most = (float(time.subs(names["u"], v).evalf()) for v in (0.1, 0.5, 0.9))
    return half, (most - tenth) / half


def sharpening() -> tuple[bool, str]:
    """Seen in units of the time to half of the mode the transition sharpens with depth."""
    widths = [_half_time(k)[1] for k in (*DEPTHS, sp.oo)]
    falling = bool((np.diff(widths) < 0).all())
    return falling, "transition over time to half: " + ", ".join(f"{w:.2f}" for w in widths)


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("end-to-end dynamics of balanced layers", *end_to_end_dynamics()),
        ("equation of one mode", *mode_equation()),
        ("flow time at any depth", *flow_time()),
        ("escape from a small start", *escape_time()),
        ("acceleration and its threshold", *acceleration()),
        ("infinite depth", *infinite_depth()),
        ("transitions sharpen with depth", *sharpening()),
    )


def check(draws: int = 3, precision_draws: int = 10) -> Any:
    """Climb the ladder with the law of four layers."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw one mode at six depths, and how the law of depth D tends to its limit."""
    from symkernel.report.panels import panels

    page, (curves, limit) = panels()
    task = sk.Task.from_modes(1.0)
    for depth in DEPTHS:
        half, _ = _half_time(depth)
        times = np.linspace(0.0, 2 * half, 201)
        net = sk.Network.mlp([1] * (depth + 1), "linear")
        w0 = sk.weights.aligned(net, task, u=START)
        law = sk.derive(net, task, w0, law="deep_modes").compile()(times)
        step = half / 4000
        run = sk.simulate(net, task, w0, learning_rate=step, record=times[::10])
        product = np.prod([w[:, 0, 0] for w in run.weights.values()], axis=0)
        (line,) = curves.plot(times / half, law.modes[:, 0], label=f"D = {depth}")
        curves.plot(times[::10] / half, product, "o", color=line.get_color(), ms=3)
    half, _ = _half_time(sp.oo)
    clock = np.linspace(0.0, 2 * half, 401)
    curves.plot(clock / half, sk.deep_mode(sp.oo)(clock, 1.0, START), "k--", label=r"$D\to\infty$")
    curves.set(
        xlabel="flow time over time to half", ylabel="u / s",
        title="lines: law, dots: gradient descent",
    )  # fmt: skip
    curves.legend(frameon=False, fontsize="small")
    clock = np.linspace(0.0, 20.0, 201)
    for depth in (4, 8, 32):
        limit.plot(clock, sk.deep_mode(depth)(clock / depth, 1.0, 0.1), label=f"D = {depth}")
    limit.plot(clock, sk.deep_mode(sp.oo)(clock, 1.0, 0.1), "k--", label="Wright's omega")
    limit.set(xlabel="D t", ylabel="u / s", title="infinite depth, $u_0$ = 0.1")
    limit.legend(frameon=False, fontsize="small")
    return page
