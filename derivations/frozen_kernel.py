r"""Any network near its initial weights: outputs and hidden activity by a frozen kernel.

Sources
    A. Jacot, F. Gabriel, C. Hongler, "Neural Tangent Kernel: Convergence and Generalization in
    Neural Networks", NeurIPS 2018, arXiv:1806.07572. J. Lee et al., "Wide Neural Networks of Any
    Depth Evolve as Linear Models Under Gradient Descent", NeurIPS 2019, arXiv:1902.06720.
    L. Chizat, E. Oyallon, F. Bach, "On Lazy Training in Differentiable Programming", NeurIPS 2019,
    arXiv:1812.07956. Their abstracts and introductions were read for what follows, not every line.

What they claim
    In the limit of infinite width the tangent kernel stays constant during training (Jacot), the
    network learns like its first-order Taylor expansion in the parameters (Lee), and what makes it
    do so is a choice of scaling, by which any parametric model whose output starts near 0 becomes
    its own linearisation (Chizat).

What is derived here
    The flow of the linearised network, from the network's expression and the loss: the weighted
    residual decays with the tangent kernel; outputs, and every hidden node, move by the integral g
    of the residual,

    $$f_t = f_0 - 2\kappa\,\Theta C g(t), \qquad h_t(x) = h_0(x) - 2\kappa\,K_h(x) C g(t),
      \qquad g(t) = \int_0^t e^{-M\tau} d\tau\, C (f_0 - y), \quad M = 2\kappa\, C\Theta C,$$

    with the pseudo-kernel $K_h$ and the diagonal $C^2$ of the weights of the mean over samples. It
    holds for singular kernels, curricula and discrete steps. How far it is from true networks is
    measured: the output's error falls as 1/width and 1/scale, that of the change of a hidden unit
    as 1/sqrt(width). The change of the hidden SIMILARITY, of order 1/width, is not given by it at
    any width: the curvature of the activation adds a part of the same order.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument
from symkernel.nodes import Apply, Input, Parameter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTHS, SCALES, SEEDS = (64, 128, 256, 512, 1024), (1, 2, 4, 8, 16, 32), range(1000, 1016)
TIMES, RATE = np.linspace(0.0, 8.0, 9), 0.05
KAPPA = sp.Rational(1, 2)


@cache
def task() -> sk.Task:
    """Return four inputs of one length, labelled by the product of two signs."""
    X = np.random.default_rng(1000).standard_normal((4, 3))
    X *= np.sqrt(3) / np.linalg.norm(X, axis=1, keepdims=True)
    return sk.Task(X, np.sign(X[:, :1] * X[:, 1:2]))


def network(width: int) -> sk.Network:
    """Return a tanh network whose kernel is of order 1 at any width."""
    return sk.Network.mlp([3, width, 1], "tanh", parameterisation="ntk")


def derive(width: int = 256, seed: int = 1000, curriculum: Any = None) -> sk.Derivation:
    """Return the law, bound to a network of a width."""
    net = network(width)
    posed = task() if curriculum is None else curriculum
    return sk.derive(net, posed, sk.weights.gaussian(net, seed=seed), law="frozen_kernel")


# The claims. Some take what is claimed, so that something wrong can be put in its place.


def residual(factor: sp.Expr = KAPPA) -> tuple[bool, str]:
    """The residual decays with the exponential of the kernel, 2 kappa Theta / n."""
    d = derive()
    X, Y = task().X, task().Y
    kernel = sk.ntk(d.problem.network).compile()(X, None, d.problem.weights).reshape(4, 4)
    values, vectors = np.linalg.eigh(2 * float(factor) * kernel / 4)
    theory = d.compile()(TIMES)
    parts = vectors.T @ (theory.outputs[0] - Y)
    wanted = Y + vectors @ (np.exp(-np.multiply.outer(TIMES, values))[..., None] * parts)
    gap = float(np.abs(theory.outputs - wanted).max())
    return gap < 1e-12, f"largest difference {gap:.1e}"


def hidden(of: str = "hidden") -> tuple[bool, str]:
    """Hidden units at inputs never trained on move by the pseudo-kernel."""
    d = derive()
    net, w0, X, Y = d.problem.network, d.problem.weights, task().X, task().Y
    new = np.random.default_rng(1).standard_normal((5, 3))
    theta = sk.ntk(net).compile()(X, None, w0).reshape(4, 4) / 4
    values, vectors = np.linalg.eigh(theta)
    found = d.compile().predict(new, [0.0, 3.0])
    start = d.compile()([0.0]).outputs[0] - Y
    g = vectors @ (-np.expm1(-3.0 * values) / values * (vectors.T @ start[:, 0]))
    K = sk.pseudo_kernel(net, of=of, by="output").compile()(new, X, w0)[..., 0]
    moved = -(K @ g) / 4
    gap = float(np.abs(found.hidden[1] - found.hidden[0] - moved).max() / np.abs(moved).max())
    return gap < 1e-11, f"relative difference {gap:.1e} on 5 new inputs"


def conflict(tie: float = 0.0) -> tuple[bool, str]:
    """One input with two labels ends between them; the rest of the residual is never learned."""
    X = task().X[[0, 0, 1]]
    two = sk.Task(X, np.array([[1.0], [-1.0], [1.0]]))
    found = derive(curriculum=two).compile()([1e9])
    end = found.outputs[0, :, 0]
    passed = np.abs(end - [tie, tie, 1.0]).max() < 1e-9 and abs(found.loss[0] - 1 / 3) < 1e-9
    return bool(passed), f"outputs {end.round(6).tolist()}, loss {found.loss[0]:.6f}"


def steps(limit: float = 2.0) -> tuple[bool, str]:
    """Gradient descent of the linearised network is stable up to 2 / (largest eigenvalue)."""
    d = derive()
    kernel = sk.ntk(d.problem.network).compile()(task().X, None, d.problem.weights)
    largest = float(np.linalg.eigvalsh(kernel.reshape(4, 4) / 4)[-1])
    times = [0.0, 40 * limit / largest]
    rates = [share * limit / largest for share in (0.99, 1.01)]
    fell = []
    for rate in rates:
        try:
            found = d.compile()(times, learning_rate=rate).loss
        except InvalidArgument as error:
            return bool(fell and all(fell) and rate == rates[1]), str(error).split(", 2 /")[0]
        fell.append(found[1] < found[0])
    return False, f"a step of {rates[1]:.3g} is accepted"


@cache
def at_width(width: int) -> tuple[float, float, float, float]:
    """Return relative errors of output, hidden change and change of the similarity; and its size.

    Root mean squares over seeds, against gradient descent with the same steps.
    """
    rows = []
    for seed in SEEDS:
        d = derive(width, seed)
        theory = d.compile()(TIMES, learning_rate=RATE)
        sim = sk.simulate(
            d.problem.network, task(), d.problem.weights, learning_rate=RATE, record=TIMES
        )
        output = np.linalg.norm(theory.outputs - sim.outputs) / np.linalg.norm(sim.outputs)
        change = sim.hidden - sim.hidden[0]
        unit = np.linalg.norm(theory.hidden - sim.hidden) / np.linalg.norm(change)
        gram = (sim.hidden_gram - sim.hidden_gram[0]) / width
        own = (theory.hidden_gram - theory.hidden_gram[0]) / width
        rows.append([output, unit, np.linalg.norm(own - gram) / np.linalg.norm(gram),
                     np.linalg.norm(gram)])  # fmt: skip
    found = np.sqrt(np.mean(np.square(rows), axis=0))
    return float(found[0]), float(found[1]), float(found[2]), float(found[3])


def slope(sizes: Any, errors: Any) -> float:
    """Return the slope of errors in sizes, by regression of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def width_of_output(wanted: float = -1.0) -> tuple[bool, str]:
    """The relative error of the output falls as 1/width."""
    found = slope(WIDTHS, [at_width(width)[0] for width in WIDTHS])
    return abs(found - wanted) < 0.15, f"slope {found:.2f}"


def width_of_hidden(wanted: float = -0.5) -> tuple[bool, str]:
    """The relative error of the change of hidden units falls as 1/sqrt(width)."""
    found = slope(WIDTHS, [at_width(width)[1] for width in WIDTHS])
    return abs(found - wanted) < 0.15, f"slope {found:.2f}"


@cache
def at_scale(scale: int, refreshes: int = 0) -> float:
    r"""Return the relative error of $\alpha (f - f_0)$ trained on the loss over $\alpha^2$.

    What the network gives at the start is taken off by an untrained copy of it. With refreshes the
    law is re-linearised so often.
    """
    x, width = Input(3), 16
    inner = {n: Parameter(n, (width, 3), trained=n == "W1", scale=1 / sp.sqrt(3))
             for n in ("W1", "V1")}  # fmt: skip
    outer = {n: Parameter(n, (1, width), trained=n == "W2", scale=s * scale / sp.sqrt(width))
             for n, s in (("W2", 1), ("V2", -1))}  # fmt: skip
    layers = [Apply("tanh", parameter @ x) for parameter in inner.values()]
    net = sk.Network.build(outer["W2"] @ layers[0] + outer["V2"] @ layers[1])
    loss = sk.SquaredError(sp.Rational(1, 2 * scale**2))
    errors = []
    for seed in SEEDS[:4]:
        stream = np.random.default_rng(seed)
        first, second = stream.standard_normal((width, 3)), stream.standard_normal((1, width))
        values = {"W1": first, "V1": first, "W2": second, "V2": second}
        w0 = sk.weights.from_arrays(net, values)
        rate = RATE if not refreshes else RATE / 40
        sim = sk.simulate(net, task(), w0, learning_rate=rate, record=TIMES, loss=loss)
        name = "relinearised" if refreshes else "frozen_kernel"
        law = sk.derive(net, task(), w0, law=name, loss=loss).compile()
        kept = {"refreshes": refreshes} if refreshes else {"learning_rate": rate}
        gap = np.linalg.norm(law(TIMES, **kept).outputs - sim.outputs)
        errors.append(gap / np.linalg.norm(sim.outputs))
    return float(np.sqrt(np.mean(np.square(errors))))


def scale_of_output(wanted: float = -1.0) -> tuple[bool, str]:
    """The relative error falls as 1/scale, at one width."""
    sizes = SCALES[2:]
    found = slope(sizes, [at_scale(scale) for scale in sizes])
    return abs(found - wanted) < 0.1, f"slope {found:.2f}"


def similarity_is_not_given(least: float = 0.3) -> tuple[bool, str]:
    """The error of the change of the hidden similarity does not fall with the width."""
    found = [at_width(width)[2] for width in WIDTHS]
    passed = min(found) > least and abs(slope(WIDTHS, found)) < 0.15
    return passed, f"relative error {found[0]:.2f} at width {WIDTHS[0]}, {found[-1]:.2f} at 1024"


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("residual decays with the tangent kernel", *residual()),
        ("hidden units move by the pseudo-kernel", *hidden()),
        ("conflicting labels", *conflict()),
        ("stable steps", *steps()),
        ("error of the output in the width", *width_of_output()),
        ("error of the hidden change in the width", *width_of_hidden()),
        ("error of the output in the scale", *scale_of_output()),
        ("change of the hidden similarity is not given", *similarity_is_not_given()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw errors against the width, and against the scale with the re-linearised law beside."""
    from symkernel.report.panels import panels

    page, (width, scale) = panels()
    found = np.array([at_width(w) for w in WIDTHS])
    names = ("output", "hidden units, change", "hidden similarity, change")
    for column, name in enumerate(names):
        width.loglog(WIDTHS, found[:, column], "o-", ms=3, label=name)
    for power in (-1.0, -0.5):
        guide = found[0, int(power == -0.5)] * (np.array(WIDTHS) / WIDTHS[0]) ** power
        width.loglog(WIDTHS, guide, ":", color="0.5", lw=1)
    width.set(xlabel="hidden units", ylabel="relative error", ylim=(None, 200.0))
    width.set_title("width; dotted: slopes -1/2 and -1")
    width.legend(frameon=False, fontsize="small")
    scale.loglog(SCALES, [at_scale(a) for a in SCALES], "o-", ms=3, label="frozen")
    for refreshes in (4, 16):
        errors = [at_scale(a, refreshes) for a in SCALES]
        scale.loglog(SCALES, errors, "o-", ms=3, label=f"{refreshes} refreshes")
    scale.set(xlabel="scale of the output", ylabel="relative error", title="16 hidden units: scale")
    scale.legend(frameon=False, fontsize="small")
    return page
