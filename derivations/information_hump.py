r"""Information about what is not needed: it rises, falls, and may be locked in.

Source
    None: derived here. The questions are those of M. Kleinman, A. Achille, D. Idnani, J. C. Kao,
    "Usable information and evolution of optimal representations during training",
    arXiv:2010.02459 (2021): is irrelevant information encoded early and discarded later, and does
    training on something else first change what is kept?

What is claimed
    Two linear layers, $h = W_1 x + \sigma\xi$ with $A = W_1^T W_1$, and inputs $x_1$ (relevant) and
    $x_2$ (irrelevant, correlation r). The hidden layer's information about $x_2$, $x_1$ known, is
    $\tfrac12\log_2(1 + A_{22}(1 - r^2)/\sigma^2)$ for Gaussian inputs and
    $J(\sqrt{A_{22}}/\sigma)$ for inputs $\pm 1$, which a logistic decoder uses all of.

    It rises and falls while $y = x_1$ is learned. One layer from 0 peaks at
    $t^* = \ln\frac{1+r}{1-r} / 2r$. Two layers from $W_1^T W_1 = a$, $W_2 W_2^T = b$,
    $W_2 W_1 = 0$ return EXACTLY to where they were, whatever was learned before: no trace of
    pretraining is left. What starts otherwise remembers: aligned and balanced weights forget as
    $1/2t$, however long they were pretrained, and with a read-out that was reset to $b_r$
    $a_1^2 - b_r^2$ stays for ever.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CORRELATION, NOISE = 0.8, 0.05**0.5
A, B = 0.1, 0.1
SWITCH, LATE = 3.0, 400.0
STRENGTH, RESET = 1.5, 0.1
PEAK, HEIGHT = 1.373, 0.4324


def task(target: int) -> sk.Task:
    """Return the task to copy one of two correlated inputs."""
    root = np.array([[1.0, CORRELATION], [0.0, np.sqrt(1 - CORRELATION**2)]])
    X = np.sqrt(2) * root
    return sk.Task(X, X[:, [target]])


def network() -> sk.Network:
    """Return two linear layers."""
    return sk.Network.two_layer(inputs=2, hidden=5, outputs=1)


def derive(pretrained: bool = False) -> sk.Derivation:
    """Return the law while the first input is learned, after the second one or at once."""
    before = [sk.Phase(task(1), duration=SWITCH)] if pretrained else []
    course = sk.Curriculum([*before, sk.Phase(task(0))])
    w0 = sk.weights.semi_orthogonal(network(), a=A, b=B, seed=1)
    return sk.derive(network(), course, w0, law="memoryless_gram")


def curve(law: sk.Derivation, **options: Any) -> Any:
    """Return the information about both inputs as a function of time."""
    return law.information(relevant=0, irrelevant=1, noise=NOISE, **options)


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def formulas() -> tuple[bool, str]:
    """Every step of the closed forms."""
    made = (
        sk.information.gaussian_formula(),
        sk.information.one_layer_hump(),
        sk.information.two_layer_hump(),
        sk.information.pretraining_memory(),
    )
    found = [step.check().passed for formula in made for step in formula.steps]
    return all(found), f"{sum(found)} of {len(found)} steps proven"


def one_layer_peak(time: float = PEAK, height: float = HEIGHT) -> tuple[bool, str]:
    """The printed curve of one layer, differentiated where it should be highest."""
    hump = sk.information.one_layer_hump()
    names = {str(symbol): symbol for symbol in hump.plain.free_symbols}
    numbers = {names["r_inputs"]: CORRELATION, names["sigma_noise"]: NOISE}
    bits = hump.plain.subs(numbers)
    found = float(sp.nsolve(sp.diff(bits, names["t"]), names["t"], 1.0))
    top = float(bits.subs(names["t"], found))
    passed = abs(found - time) < 5e-4 and abs(top - height) < 5e-5
    return passed, f"{top:.4f} bits at t = {found:.3f}"


def rises_and_returns(least: float = 0.2) -> tuple[bool, str]:
    """Two layers: the peak is that much above the start, and the end is at the start."""
    bits = curve(derive())
    start, end = bits([0.0, LATE]).irrelevant
    time, top = bits.peak(20.0)
    words = f"{start:.4f} bits, {top:.4f} at t = {time:.2f}, then {end:.4f}"
    return bool(top - start > least and abs(end - start) < 1e-8), words


def no_trace_of_pretraining(share: float = 0.0) -> tuple[bool, str]:
    """What pretraining on the irrelevant input leaves, as a share of what it taught."""
    bits = curve(derive(pretrained=True))([0.0, SWITCH, SWITCH + LATE]).irrelevant
    taught, left = bits[1] - bits[0], bits[2] - bits[0]
    words = f"pretraining taught {taught:.3f} bits, {left:.1e} are left"
    return bool(taught > 0.5 and abs(left / taught - share) < 1e-8), words


def aligned_memory(learned: float, times: Any, reset: bool = False) -> np.ndarray:
    """Return the information about an input that is needed for some time, and then no longer."""
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    before, after = sk.Task.from_modes([STRENGTH, 1.0]), sk.Task.from_modes([0.0, 1.0])
    first = sk.derive(net, before, sk.weights.aligned(net, before, a=0.1, b=0.1))
    reached = first.compile().weights([0.0, learned])
    W1, W2 = reached["W1"][-1], reached["W2"][-1]
    if reset:
        W2 = RESET * W2 / np.linalg.norm(W2, axis=1, keepdims=True)
    law = sk.derive(net, after, sk.weights.from_arrays(net, [W1, W2]))
    return law.information(relevant=1, irrelevant=0, noise=NOISE)(times).irrelevant


def forgotten_slowly(factor: float = 2.0) -> tuple[bool, str]:
    """Balanced weights: at late times the memory is that of 1 / (2 t), for any pretraining."""
    late = 3000.0
    found = [aligned_memory(learned, [0.0, late])[1] for learned in (2.0, 4.0, 8.0)]
    expected = float(sk.information.gaussian([[1 / (factor * late)]], [[1.0]], NOISE, of=0))
    worst = max(abs(bits / expected - 1) for bits in found)
    return bool(worst < 2e-3), f"after 2, 4 and 8: {', '.join(f'{x:.6f}' for x in found)} bits"


def locked_in(least: float = 0.99) -> tuple[bool, str]:
    """With a read-out that was reset a share of the bits stays for ever."""
    start, end = aligned_memory(8.0, [0.0, LATE], reset=True)
    return bool(end / start > least), f"{start:.4f} bits, at last {end:.4f}"


@cache
def decoded(times: tuple[float, ...], noise: float = NOISE) -> np.ndarray:
    """Return what a logistic decoder finds about the irrelevant one of two inputs 1 and -1."""
    law = binary_law()
    stream = np.random.default_rng(1000)
    bits = stream.integers(0, 2, (20_000, 2))
    found = []
    for W1 in law.compile().weights(times)["W1"]:
        h = (2 * bits - 1) @ W1.T + noise * stream.standard_normal((len(bits), len(W1)))
        found.append(sk.usable_information(h, bits[:, 1], given=bits[:, 0]).bits)
    return np.array(found)


def binary_law() -> sk.Derivation:
    """Return the law for independent inputs 1 and -1, the second one learned first."""
    X = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    course = sk.Curriculum(
        [sk.Phase(sk.Task(X, X[:, [1]]), SWITCH), sk.Phase(sk.Task(X, X[:, [0]]))]
    )
    w0 = sk.weights.semi_orthogonal(network(), a=0.02, b=0.02, seed=1)
    return sk.derive(network(), course, w0, law="memoryless_gram")


TIMES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)


def a_decoder_finds_it(noise: float = 0.5) -> tuple[bool, str]:
    """The closed curve against logistic regression on held-out samples."""
    exact = binary_law().information(relevant=0, irrelevant=1, noise=noise, inputs="binary")
    errors = np.abs(exact(TIMES).irrelevant - decoded(TIMES, 0.5))
    return bool(errors.max() < 0.02), f"largest difference {errors.max():.4f} bits, 10 times"


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("the closed forms", *formulas()),
        ("peak of one layer", *one_layer_peak()),
        ("two layers: rises, and returns", *rises_and_returns()),
        ("no trace of pretraining", *no_trace_of_pretraining()),
        ("aligned weights: forgotten as 1/2t", *forgotten_slowly()),
        ("read-out reset: locked in", *locked_in()),
        ("a decoder finds what the formula says", *a_decoder_finds_it()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw the hump, a curriculum beside decoders, and what is kept."""
    from matplotlib.figure import Figure

    from symkernel.report.figures import COLOURS

    page = Figure(figsize=(9.6, 3.2), layout="constrained")
    hump, course, memory = page.subplots(1, 3)
    for ax in (hump, course, memory):
        ax.set_prop_cycle(color=COLOURS)
    record = np.linspace(0.0, 15.0, 151)
    for label, law, start in (("at once", derive(), 0.0), ("pretrained", derive(True), SWITCH)):
        bits = curve(law)(record + start).irrelevant
        hump.plot(record, bits, label=label)
    hump.axhline(bits_at_start(), color="0.5", lw=0.8, ls=":")
    hump.set(xlabel="flow time t", ylabel="bits", title="not needed, correlated inputs")
    hump.legend(frameon=False, fontsize="small")
    record = np.linspace(0.0, 12.0, 121)
    exact = binary_law().information(relevant=0, irrelevant=1, noise=0.5, inputs="binary")(record)
    course.plot(record, exact.irrelevant, label="learned first")
    course.plot(record, exact.relevant, label="learned then")
    course.plot(TIMES, decoded(TIMES, 0.5), "ko", ms=3, label="decoder")
    course.set(xlabel="flow time t", ylabel="bits", title="inputs 1 and -1", ylim=(-0.05, 1.55))
    course.legend(frameon=False, fontsize="small", loc="upper right")
    times = np.concatenate([[0.0], np.geomspace(0.05, 500.0, 60)])
    for learned in (0.5, 2.0, 8.0):
        memory.semilogx(times[1:], aligned_memory(learned, times)[1:], label=f"{learned:g}")
    memory.semilogx(times[1:], aligned_memory(8.0, times, reset=True)[1:], label="8, reset")
    memory.set(xlabel="flow time since", title="needed before, for a time", ylim=(0, 3.4))
    memory.legend(frameon=False, fontsize="small", ncols=2, loc="upper right")
    return page


def bits_at_start() -> float:
    """Return the information about the second input at the start."""
    return float(curve(derive())([0.0]).irrelevant[0])
