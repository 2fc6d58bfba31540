r"""Any covariance, any weights: an exact equation whose size does not grow with the width.

Source
    None: derived here (it may well exist in the literature). That the products of the weights
    obey closed equations on white inputs, for balanced weights, is in K. Fukumizu, "Effect of
    batch learning in multilayer neural networks", ICONIP 1998, and, for lambda-balanced weights,
    in C. C. J. Dominé et al., arXiv:2409.14623 (2024).

What is claimed
    For two dense linear layers, any input covariance and any initial weights, the products
    $A = W_1^T W_1$, $B = W_2 W_2^T$ and $W = W_2 W_1$ obey

    $$\dot A = W^T E + E^T W, \quad \dot B = E W^T + W E^T, \quad \dot W = B E + E A,
      \qquad E = \Sigma_{yx} - W\Sigma_{xx} .$$

    So a network of as many hidden units as inputs and outputs together, with the same products at
    the start, learns like one of any width, and it is the narrow one that is integrated. No
    solution in elementary functions is known. Two short cuts that look harmless are not: whitening
    the inputs first, and replacing the conserved matrix by its mean.

    Correlated inputs do what white ones cannot: the similarity that an input without any use gets
    can rise far above where it started, and fall again.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INPUTS, OUTPUTS, WIDTH, SAMPLES = 3, 2, 400, 40
CORRELATION = 0.9
TIMES = np.linspace(0.0, 8.0, 81)


def task() -> sk.Task:
    """Return a regression on correlated inputs of very different variances."""
    stream = np.random.default_rng(1)
    mixing = np.diag([2.0, 1.0, 0.5]) @ stream.standard_normal((INPUTS, INPUTS))
    X = stream.standard_normal((SAMPLES, INPUTS)) @ mixing
    X /= np.sqrt(np.linalg.norm(X.T @ X / SAMPLES, 2))
    return sk.Task(X, X @ stream.standard_normal((INPUTS, OUTPUTS)))


def derive() -> sk.Derivation:
    """Return the law, bound to a wide network with Gaussian weights."""
    net = sk.Network.two_layer(inputs=INPUTS, hidden=WIDTH, outputs=OUTPUTS)
    stream = np.random.default_rng(2)
    W1, W2 = (0.02 * stream.standard_normal(n) for n in ((WIDTH, INPUTS), (OUTPUTS, WIDTH)))
    return sk.derive(net, task(), sk.weights.from_arrays(net, [W1, W2]), law="reduced_flow")


# The claims. Some take what is claimed, so that something wrong can be put in its place.


def closed_equation(sign: int = 1) -> tuple[bool, str]:
    """The product rule on explicit matrices, two inputs and one output."""
    first = sp.Matrix(2, 2, sp.symbols("p:4", real=True))
    second = sp.Matrix(1, 2, sp.symbols("q:2", real=True))
    target = sp.Matrix(1, 2, sp.symbols("s:2", real=True))
    c = sp.symbols("c:3", real=True)
    covariance = sp.Matrix([[c[0], c[1]], [c[1], c[2]]])
    A, B, W = first.T * first, second * second.T, second * first
    E = target - W * covariance
    to_first, to_second = second.T * E, E * first.T
    gaps = (
        to_first.T * first + first.T * to_first - (W.T * E + E.T * W),
        to_second * second.T + second * to_second.T - (E * W.T + W * E.T),
        to_second * first + second * to_first - (B * E + sign * E * A),
    )
    entries = [sp.expand(entry) for gap in gaps for entry in gap]
    return not any(entries), f"{sum(e == 0 for e in entries)} of {len(entries)} differences are 0"


def bounded_width(extra: float = 0.0) -> tuple[bool, str]:
    """A network of five hidden units with the same products learns like one of 400.

    `extra` makes its weights larger by that share.
    """
    wide = derive()
    start = wide.problem.weights.arrays
    stacked = np.vstack([start["W1"].T, start["W2"]])
    narrow = np.linalg.cholesky(stacked @ stacked.T)
    net = sk.Network.two_layer(inputs=INPUTS, hidden=INPUTS + OUTPUTS, outputs=OUTPUTS)
    narrow = narrow * (1 + extra)
    w0 = sk.weights.from_arrays(net, [narrow[:INPUTS].T, narrow[INPUTS:]])
    one, two = wide.compile()(TIMES), sk.derive(net, task(), w0).compile()(TIMES)
    gaps = [np.abs(getattr(one, n) - getattr(two, n)).max() for n in ("hidden_gram", "outputs")]
    return bool(max(gaps) < 1e-9), f"largest difference {max(gaps):.1e}"


def gradient_descent() -> tuple[bool, str]:
    """All weights of the wide network, against gradient descent at two learning rates."""
    d = derive()
    theory, errors = d.compile()(TIMES), []
    for rate in (0.02, 0.01):
        run = sk.simulate(
            d.problem.network, task(), d.problem.weights, learning_rate=rate, record=TIMES
        )
        gaps = (np.abs(run.weights[n] - theory.weights[n]).max() for n in theory.weights)
        errors.append(float(max(gaps)))
    passed = 1.8 < errors[0] / errors[1] < 2.2
    return passed, f"largest error of a weight {errors[0]:.1e}, {errors[1]:.1e} at half the rate"


@cache
def whitened() -> tuple[Any, Any]:
    """Return outputs of balanced weights on raw inputs, and by the law of white inputs."""
    raw = task()
    net = sk.Network.two_layer(inputs=INPUTS, hidden=3, outputs=OUTPUTS)
    w0 = sk.weights.balanced(net, scale=0.3, seed=1)
    exact = sk.derive(net, raw, w0, law="reduced_flow").compile()(TIMES)
    naive = sk.derive(net, raw.whitened(), w0, law="lambda_balanced").compile()(TIMES)
    return exact, naive


def whitening_is_another_dynamics() -> tuple[bool, str]:
    """The law of white inputs on whitened data, against the law on the data as they are."""
    exact, naive = whitened()
    gap = float(np.abs(exact.outputs - naive.outputs).max() / np.abs(exact.outputs).max())
    return gap > 0.1, f"outputs differ by {gap:.2f} of the largest"


@cache
def unused_input(correlation: float = CORRELATION) -> np.ndarray:
    """Return the similarity of an input without use, whose correlation to the used one is given."""
    sxx = np.array([[1.0, correlation], [correlation, 1.0]])
    syx = np.array([[1.0, 0.0]]) @ sxx
    net = sk.Network.two_layer(inputs=2, hidden=3, outputs=1)
    w0 = sk.weights.semi_orthogonal(net, a=0.02, b=0.02, seed=1)
    regression = sk.Task.from_moments(sxx, syx, syx[:, :1])
    found = sk.derive(net, regression, w0, law="reduced_flow").compile()
    return found(np.linspace(0.0, 60.0, 301)).input_gram[:, 1, 1]


def rise_and_fall(correlation: float = CORRELATION) -> tuple[bool, str]:
    """An input without use is represented, and forgotten, if it is correlated with a used one."""
    path = unused_input(correlation)
    passed = path.max() > 5 * path[0] and abs(path[-1] / path[0] - 1) < 0.1
    return bool(passed), f"{path[0]:.3f} to {path.max():.3f} to {path[-1]:.3f}"


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("closed equation of the products", *closed_equation()),
        ("bounded width", *bounded_width()),
        ("weights against gradient descent", *gradient_descent()),
        ("whitening first is another dynamics", *whitening_is_another_dynamics()),
        ("rise and fall of an unused input", *rise_and_fall()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw what whitening changes, and the similarity of an unused input."""
    from symkernel.report.panels import panels

    page, (curves, unused) = panels()
    exact, naive = whitened()
    (line,) = curves.plot(TIMES, exact.loss, label="as they are")
    curves.plot(TIMES, naive.loss, "--", label="whitened first")
    d = derive().problem
    net = sk.Network.two_layer(inputs=INPUTS, hidden=3, outputs=OUTPUTS)
    w0 = sk.weights.balanced(net, scale=0.3, seed=1)
    run = sk.simulate(net, d.curriculum, w0, learning_rate=0.01, record=TIMES[::5])
    curves.plot(run.times, run.loss, "o", color=line.get_color(), ms=3)
    curves.set(xlabel="flow time t", ylabel="loss", title="correlated inputs")
    curves.legend(frameon=False, fontsize="small")
    for correlation in (0.0, 0.5, CORRELATION):
        path = unused_input(correlation)
        unused.plot(np.linspace(0.0, 60.0, 301), path, label=f"correlation {correlation:g}")
    unused.set(xlabel="flow time t", ylabel="its self-similarity", title="an input without use")
    unused.legend(frameon=False, fontsize="small")
    return page
