r"""The hidden similarity as a function of the end-to-end map alone: no memory of the curriculum.

Source
    None: derived here (it may well exist in the literature). For squared error on white inputs the
    equation of the end-to-end map is used, as an approximation for Gaussian weights, by Z. Tu,
    S. Aranguri, A. Jacot, arXiv:2405.17580 (2024).

What is claimed
    Let two dense linear layers start from semi-orthogonal weights, $W_1^T W_1 = a$,
    $W_2 W_2^T = b$, $W_2 W_1 = 0$. Then for ANY input covariance, ANY loss of the output and ANY
    schedule of data, with $\lambda = b - a$, $c^2 = ab$ and $W = W_2 W_1$,

    $$W_1^T W_1 = -\tfrac\lambda2 + \sqrt{\tfrac{\lambda^2}4 + c^2 + W^T W}, \qquad
      W_2 W_2^T = \tfrac\lambda2 + \sqrt{\tfrac{\lambda^2}4 + c^2 + W W^T} .$$

    Two networks that compute the same map represent their inputs alike, whatever they went
    through. The reason is a Lax pair: with $G = QQ^T$, $Q = [W_1^T; W_2]$,
    $J = \mathrm{diag}(1, -1)$ and any drive $E = -\partial L/\partial W$,

    $$\frac{d}{dt}(GJ) = [\Gamma, GJ], \qquad \Gamma = [[0, E^T], [E, 0]],$$

    so that a polynomial identity of GJ, here $(GJ)^2 + \lambda GJ = c^2$, is never lost.

    Independent Gaussian weights of variances a/H and b/H have this property at infinite width
    only. How much of a first task is left in the hidden similarity after a second one was learned
    to the end falls as the root of 1/H: measured below.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp
from scipy.integrate import solve_ivp

import symkernel as sk

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

INPUTS, OUTPUTS, WIDTH, SAMPLES = 3, 2, 7, 16
A, B = 0.1, 0.3
SWITCH, END = 3.0, 9.0
# Widths and seeds of the comparison with Gaussian weights, fixed before the first run.
WIDTHS, SEEDS = (4, 30, 300, 3000), tuple(range(1000, 1010))
LONG = 400.0


def inputs(seed: int) -> np.ndarray:
    """Return correlated samples."""
    stream = np.random.default_rng(seed)
    mixing = np.eye(INPUTS) + 0.4 * stream.standard_normal((INPUTS, INPUTS))
    return stream.standard_normal((SAMPLES, INPUTS)) @ mixing


def tasks() -> tuple[sk.Task, sk.Task]:
    """Return two regressions; the second one does not use the last input, the first one does."""
    stream = np.random.default_rng(5)
    first, second = stream.standard_normal((2, OUTPUTS, INPUTS))
    second[:, -1] = 0.0
    X, Z = inputs(6), inputs(7)
    return sk.Task(X, X @ first.T), sk.Task(Z, Z @ second.T)


def network(width: int = WIDTH) -> sk.Network:
    """Return two linear layers."""
    return sk.Network.two_layer(inputs=INPUTS, hidden=width, outputs=OUTPUTS)


def semi_orthogonal() -> Any:
    """Return the weights that the claim is about."""
    return sk.weights.semi_orthogonal(network(), a=A, b=B, seed=1)


def gaussian(width: int, seed: int) -> Any:
    """Return independent Gaussian weights of the same variances."""
    stream = np.random.default_rng(seed)
    W1 = np.sqrt(A / width) * stream.standard_normal((width, INPUTS))
    W2 = np.sqrt(B / width) * stream.standard_normal((OUTPUTS, width))
    return sk.weights.from_arrays(network(width), [W1, W2])


def derive() -> sk.Derivation:
    """Return the law, bound to the two regressions in turn."""
    first, second = tasks()
    course = sk.Curriculum([sk.Phase(first, duration=SWITCH), sk.Phase(second)])
    return sk.derive(network(), course, semi_orthogonal(), law="memoryless_gram")


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def lax_pair(sign: int = 1) -> tuple[bool, str]:
    """The product rule on explicit matrices, one output and two inputs, any drive."""
    n_in, n_hidden, n_out = 2, 2, 1
    first = sp.Matrix(n_hidden, n_in, sp.symbols("p:4", real=True))
    second = sp.Matrix(n_out, n_hidden, sp.symbols("q:2", real=True))
    drive = sp.Matrix(n_out, n_in, sp.symbols("e:2", real=True))
    Q = sp.Matrix.vstack(first.T, second)
    rate = sp.Matrix.vstack((second.T * drive).T, drive * first.T)
    J = sp.diag(*[1] * n_in, *[-1] * n_out)
    Gamma = sp.zeros(n_in + n_out)
    Gamma[n_in:, :n_in], Gamma[:n_in, n_in:] = drive, drive.T
    M, moved = Q * Q.T * J, (rate * Q.T + Q * rate.T) * J
    gap = (moved - sign * (Gamma * M - M * Gamma)).expand()
    return gap == sp.zeros(*gap.shape), f"{len(gap)} entries of the difference: {set(gap)}"


def claimed(maps: np.ndarray, lam: float = B - A) -> tuple[np.ndarray, np.ndarray]:
    """Return what is claimed of both products, written out here with eigenvectors."""
    found = []
    for squares, shift in (
        (maps.transpose(0, 2, 1) @ maps, -lam / 2),
        (maps @ maps.transpose(0, 2, 1), lam / 2),
    ):
        values, vectors = np.linalg.eigh(squares)
        roots = np.sqrt(lam**2 / 4 + A * B + np.maximum(values, 0)) + shift
        found.append((vectors * roots[:, None, :]) @ vectors.transpose(0, 2, 1))
    return found[0], found[1]


def integrate(drive: Callable[[float, np.ndarray], np.ndarray], breaks: list[float]) -> Any:
    """Return both weights at many times along the flow of any loss: E = -dL/dW(t, W)."""
    start = semi_orthogonal().arrays
    cut = WIDTH * INPUTS

    def rate(t: float, flat: np.ndarray) -> np.ndarray:
        W1, W2 = flat[:cut].reshape(WIDTH, INPUTS), flat[cut:].reshape(OUTPUTS, WIDTH)
        E = drive(t, W2 @ W1)
        return np.concatenate([(W2.T @ E).ravel(), (E @ W1.T).ravel()])

    state, rows = np.concatenate([start["W1"].ravel(), start["W2"].ravel()]), []
    # The drive may jump at a break: no step goes across.
    for begin, end in zip([0.0, *breaks], [*breaks, END], strict=True):
        middle = np.nextafter(begin, end), np.nextafter(end, begin)
        found = solve_ivp(
            lambda t, y, lo=middle[0], hi=middle[1]: rate(min(max(t, lo), hi), y),
            (begin, end), state, "DOP853", t_eval=[end], rtol=1e-12, atol=1e-14,
        )  # fmt: skip
        state = found.y[:, -1]
        rows.append(state)
    flat = np.array(rows)
    return flat[:, :cut].reshape(-1, WIDTH, INPUTS), flat[:, cut:].reshape(-1, OUTPUTS, WIDTH)


def _judged(weights: Any, lam: float) -> tuple[bool, str]:
    """Compare the products of integrated weights with the claim and with the library's function."""
    W1, W2 = weights
    maps = W2 @ W1
    true = W1.transpose(0, 2, 1) @ W1, W2 @ W2.transpose(0, 2, 1)
    ours = sk.memoryless_gram(network(), semi_orthogonal())
    said = claimed(maps, lam), (ours.input_gram(maps), ours.readout_gram(maps))
    errors = [float(np.abs(x - y).max()) for pair in said for x, y in zip(pair, true, strict=True)]
    moved = float(np.abs(true[0] - A * np.eye(INPUTS)).max())
    return max(
        errors
    ) < 1e-9, f"error {max(errors):.1e}; the similarity itself moved by {moved:.2f}"


def squared_error(lam: float = B - A) -> tuple[bool, str]:
    """Two regressions with correlated inputs, one after the other."""
    first, second = tasks()

    def drive(t: float, W: np.ndarray) -> np.ndarray:
        task = first if t < SWITCH else second
        return task.Syx - W @ task.Sxx

    return _judged(integrate(drive, [1.0, SWITCH, 5.0]), lam)


def logistic_loss(lam: float = B - A) -> tuple[bool, str]:
    """Two classifications with the logistic loss, one after the other."""
    stream = np.random.default_rng(8)
    samples = inputs(9), inputs(10)
    labels = [np.sign(stream.standard_normal((SAMPLES, OUTPUTS))) for _ in samples]

    def drive(t: float, W: np.ndarray) -> np.ndarray:
        X, y = (pair[0] if t < SWITCH else pair[1] for pair in (samples, labels))
        return (y / (1 + np.exp(y * (X @ W.T)))).T @ X / SAMPLES

    return _judged(integrate(drive, [1.0, SWITCH, 5.0]), lam)


def arbitrary_drive(lam: float = B - A) -> tuple[bool, str]:
    """A drive of no loss at all, which turns with time and jumps."""
    one, two, three = np.random.default_rng(11).standard_normal((3, OUTPUTS, INPUTS))

    def drive(t: float, W: np.ndarray) -> np.ndarray:
        return 0.5 * (one * np.cos(t) + two * np.sin(3 * t) if t < SWITCH else three - W)

    return _judged(integrate(drive, [1.0, SWITCH, 5.0]), lam)


def law_against_descent() -> tuple[bool, str]:
    """The law through both regressions, against gradient descent at two learning rates."""
    record = np.linspace(0.0, END, 19)
    theory = derive().compile()(record)
    first, second = tasks()
    course = sk.Curriculum([sk.Phase(first, duration=SWITCH), sk.Phase(second)])
    errors = []
    for rate in (0.002, 0.001):
        run = sk.simulate(network(), course, semi_orthogonal(), learning_rate=rate, record=record)
        errors.append(float(np.abs(run.hidden_gram - theory.hidden_gram).max()))
    passed = 1.8 < errors[0] / errors[1] < 2.2
    return passed, f"error of the similarity {errors[0]:.1e}, {errors[1]:.1e} at half the rate"


def similarities(weights: Any, width: int, record: Any, *, detour: bool) -> np.ndarray:
    """Return W1^T W1 while the second task is learned, after the first one or at once."""
    first, second = tasks()
    before = [sk.Phase(first, duration=SWITCH)] if detour else []
    course = sk.Curriculum([*before, sk.Phase(second)])
    return sk.derive(network(width), course, weights).compile()(record).input_gram


def path_dependence(width: int, seed: int) -> float:
    """Return what the first task leaves in the similarity, relative to its initial size."""
    weights = gaussian(width, seed)
    ends = [similarities(weights, width, [LONG], detour=detour)[0] for detour in (False, True)]
    return float(np.abs(ends[0] - ends[1]).max() / A)


@cache
def width_study() -> np.ndarray:
    """Return the path dependence, shape (n_widths, n_seeds)."""
    return np.array([[path_dependence(width, seed) for seed in SEEDS] for width in WIDTHS])


def width_law() -> tuple[bool, str]:
    """The path dependence of Gaussian weights falls with the root of the width."""
    mean = np.log(width_study()).mean(1)
    slope = float(np.polyfit(np.log(WIDTHS), mean, 1)[0])
    shown = ", ".join(f"{value:.2g}" for value in np.exp(mean))
    found = f"at {', '.join(map(str, WIDTHS))} hidden units {shown}, slope {slope:.2f}"
    return abs(slope + 0.5) < 0.1, f"{found}; {len(SEEDS)} seeds"


def no_memory() -> tuple[bool, str]:
    """Semi-orthogonal weights keep nothing of the first task, at seven hidden units."""
    ends = [
        similarities(semi_orthogonal(), WIDTH, [LONG], detour=detour)[0]
        for detour in (False, True)
    ]  # fmt: skip
    left = float(np.abs(ends[0] - ends[1]).max() / A)
    return left < 1e-9, f"left of the first task, relative: {left:.1e}"


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("Lax pair", *lax_pair()),
        ("squared error, correlated inputs, two tasks", *squared_error()),
        ("logistic loss, two data sets", *logistic_loss()),
        ("any drive, with a jump", *arbitrary_drive()),
        ("the law against gradient descent", *law_against_descent()),
        ("no memory of the curriculum", *no_memory()),
        ("Gaussian weights: root of the width", *width_law()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw the similarity of an unused input through two curricula, and the effect of width."""
    from matplotlib.figure import Figure

    from symkernel.report.figures import COLOURS

    record = np.linspace(0.0, 40.0, 401)
    page = Figure(figsize=(9.6, 3.2), layout="constrained")
    panels = page.subplots(1, 3)
    for ax, (name, weights, width) in zip(
        panels,
        (
            ("semi-orthogonal", semi_orthogonal(), WIDTH),
            (f"Gaussian, {WIDTHS[0]} hidden units", gaussian(WIDTHS[0], SEEDS[0]), WIDTHS[0]),
        ),
        strict=False,
    ):
        ax.set_prop_cycle(color=COLOURS)
        for detour, label in ((False, "second task alone"), (True, "after the first task")):
            path = similarities(weights, width, record, detour=detour)
            ax.plot(record, path[:, -1, -1], label=label)
        ax.axhline(float(weights.arrays["W1"][:, -1] @ weights.arrays["W1"][:, -1]),
                   color="0.5", lw=0.8, ls=":")  # fmt: skip
        ax.set(xlabel="flow time t", ylabel="self-similarity of the unused input", title=name)
    panels[0].legend(frameon=False, fontsize="small")
    values, ax = width_study(), panels[2]
    mean = np.exp(np.log(values).mean(1))
    ax.set_prop_cycle(color=COLOURS)
    ax.loglog(WIDTHS, mean, "o-", label="left of the first task")
    ax.loglog(WIDTHS, values, "o", color="0.6", ms=3, zorder=1)
    guide = mean[1] * (np.array(WIDTHS) / WIDTHS[1]) ** -0.5
    ax.loglog(WIDTHS, guide, "--", color="0.5", label="width to the power -1/2")
    ax.set(xlabel="hidden units", title=f"Gaussian weights, {len(SEEDS)} seeds")
    ax.legend(frameon=False, fontsize="small")
    return page
