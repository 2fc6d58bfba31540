r"""The sigmoid of one mode: Saxe, McClelland & Ganguli (2014).

Source
    A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks", International Conference on Learning
    Representations (2014), arXiv:1312.6120.

What it claims
    A two-layer linear network on whitened inputs, started from small weights aligned with the
    singular vectors of the input-output correlations, learns each singular mode by itself. With
    equal amplitudes on both sides the mode $u = ab$ obeys $\dot u = 2u(s - u)$, hence

    $$u(t) = \frac{s\,e^{2st}}{e^{2st} - 1 + s/u_0}, \qquad
      t = \frac{1}{2s}\ln\frac{u_f(s - u_0)}{u_0(s - u_f)},$$

    a plateau and a rapid transition, with a time of order $1/s$: strong modes are learned first.
    Unequal amplitudes are treated by hyperbolic coordinates in its supplement.

What is ours
    Both formulas are not typed in here but derived by `sk.derive` from network, task and loss, and
    then compared. The input variance $d$ ($s \to s/d$ as the final value), the factor of the loss,
    the parameterisation and the explicit solution for unequal amplitudes were derived here. The
    hyperbolic form below is our own integral of the mode equation in those coordinates; its
    wording in the supplement was not compared.

The source's time is in units of a time constant and its loss is a sum over samples; here flow time
is learning rate times steps and the loss is half the mean squared error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure


t = sp.Symbol("t", nonnegative=True)
s, d, u0, q = sp.symbols("s d u0 q", positive=True)
a0, b0 = sp.symbols("a0 b0", positive=True)

# What the source states, in the house's time, with its whitened inputs (d = 1).
SIGMOID = s * sp.exp(2 * s * t) / (sp.exp(2 * s * t) - 1 + s / u0)
u_final = sp.Symbol("u_f", positive=True)
LEARNING_TIME = sp.log(u_final * (s - u0) / (u0 * (s - u_final))) / (2 * s)


def problem() -> tuple[Any, Any, Any]:
    """Return one mode with symbols: strength s, input variance d, equal amplitudes sqrt(u0)."""
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    task = sk.Task.from_modes(s, input_variance=d)
    return net, task, sk.weights.aligned(net, task, a=sp.sqrt(u0), b=sp.sqrt(u0))


def derive() -> sk.Derivation:
    """Return the law of the balanced mode."""
    return sk.derive(*problem())


def unbalanced() -> sk.Derivation:
    """Return the law of a mode with unequal amplitudes a0, b0 on whitened inputs."""
    net, _, _ = problem()
    task = sk.Task.from_modes(s)
    return sk.derive(net, task, sk.weights.aligned(net, task, a=a0, b=b0))


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def balanced_mode(claim: sp.Expr = SIGMOID) -> tuple[bool, str]:
    """Compare the derived law with the sigmoid of the source."""
    residual = sp.cancel(sp.together(derive().result.output.subs(d, 1) - claim))
    return residual == 0, f"difference {residual}"


def input_variance() -> tuple[bool, str]:
    """Inputs of variance d: the law for strength s/d in time d t."""
    law = derive().result.output
    scaled = SIGMOID.subs({s: s / d, t: d * t}, simultaneous=True)
    residual = sp.cancel(sp.together(law - scaled))
    return residual == 0, f"difference {residual}"


def learning_time(claim: sp.Expr = LEARNING_TIME) -> tuple[bool, str]:
    """Compare the time to a fraction q of the final value, and how it scales with s."""
    found = derive().learning_time(q).subs(d, 1)
    odds = [sp.cancel(sp.exp(2 * s * time)) for time in (found, claim.subs(u_final, q * s))]
    leading = sp.limit(2 * s * found / sp.log(1 / u0), u0, 0, "+")
    same = sp.cancel(odds[0] - odds[1]) == 0
    return same and leading == 1, f"difference {odds[0] - odds[1]}; t -> ln(1/u0)/(2s) as u0 -> 0"


def hyperbolic_form(sign: int = 1) -> tuple[bool, str]:
    r"""Unequal amplitudes: the explicit law inverts the hyperbolic integral.

    With $c_0 = a_0^2 - b_0^2$ and $a, b = \sqrt{c_0}\,(\cosh, \sinh)(\theta/2)$ the mode equation
    is $\dot\theta = 2s - c_0\sinh\theta$. In $T = \tanh(\theta/2) = b/a$ its integral is
    $t = \frac1R \ln\frac{R + c_0 + 2sT}{R - c_0 - 2sT}\Big|_{T_0}^{T}$, $R^2 = 4s^2 + c_0^2$.
    """
    law = {formula.name: formula for formula in unbalanced().formulas}
    first, second = law["input side"], law["output side"]
    (R, _), (clock, _), (z, growth) = first.where
    root = sp.Symbol("root", positive=True)
    T = sp.cancel((second.expression / first.expression).subs(z, root**2)).subs(root**2, z)
    ours = {symbol.name: symbol for symbol in T.free_symbols | growth.free_symbols}
    A, B, S = ours["a0"], ours["b0"], ours["s"]
    c0 = sign * (A**2 - B**2)

    def integral(x: sp.Expr) -> sp.Expr:
        return (R + c0 + 2 * S * x) / (R - c0 - 2 * S * x)

    # exp(R t) in the law's clock tanh(R t / 2).
    exponential = (1 + clock) / (1 - clock)
    difference = integral(T.subs(z, growth)) - integral(B / A) * exponential
    numerator = sp.fraction(sp.together(difference.subs(ours["d"], 1)))[0]
    rest = sp.rem(sp.expand(numerator), R**2 - 4 * S**2 - c0**2, R)
    return rest == 0, "substituted: exactly 0" if rest == 0 else "substituted: NOT 0"


def explicit_form(speed: sp.Expr = sp.S.One) -> tuple[bool, str]:
    r"""Unequal amplitudes: $P = (a+b)^2$ is a logistic between two roots; judged as a claim.

    $u = (P - c_0^2/P)/4$, $P_\pm = 2s \pm R$. With $s = 2$, $a_0 = 7/4$, $b_0 = 1/4$ all numbers
    are rational: $c_0 = 3$, $R = 5$.
    """
    strength, a, b = sp.Integer(2), sp.Rational(7, 4), sp.Rational(1, 4)
    c0 = a**2 - b**2
    R = sp.sqrt(4 * strength**2 + c0**2)
    up, down, start = 2 * strength + R, 2 * strength - R, (a + b) ** 2
    decay = sp.exp(-speed * R * t)
    P = (up * (start - down) - down * (start - up) * decay) / (
        (start - down) - (start - up) * decay
    )
    net, _, _ = problem()
    task = sk.Task.from_modes(strength)
    w0 = sk.weights.aligned(net, task, a=a, b=b)
    report = sk.check_claim((P - c0**2 / P) / 4, ("mode", 0), (net, task, w0))
    return report.passed, "; ".join(rung.figure for rung in report.rungs)


def loss_and_parameterisation() -> tuple[bool, str]:
    """Another factor of the loss, or another parameterisation, gives another law by itself."""
    net, task, w0 = problem()
    kappa = sp.Symbol("kappa", positive=True)
    law = derive().result.output
    scaled = sk.derive(net, task, w0, loss=sk.SquaredError(kappa)).result.output
    faster = sp.cancel(scaled - law.subs(t, 2 * kappa * t)) == 0
    hidden = sp.Symbol("H", integer=True, positive=True)
    ntk = sk.Network.two_layer(inputs=1, hidden=hidden, outputs=1, parameterisation="ntk")
    slower = sk.derive(ntk, task, w0).result.output
    root = sp.sqrt(hidden)
    expected = law.subs({u0: u0 / root, t: t / root}, simultaneous=True)
    return (
        bool(faster and scaled != law and sp.cancel(sp.together(slower - expected)) == 0),
        "factor kappa: t -> 2 kappa t; NTK parameterisation: u0 -> u0/sqrt(H), t -> t/sqrt(H)",
    )


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("balanced mode: the sigmoid", *balanced_mode()),
        ("inputs of variance d", *input_variance()),
        ("learning time, of order 1/s", *learning_time()),
        ("unequal amplitudes: hyperbolic form", *hyperbolic_form()),
        ("unequal amplitudes: explicit form", *explicit_form()),
        ("loss factor and parameterisation", *loss_and_parameterisation()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


STRENGTHS = (4.0, 2.0, 1.0)
START = 0.01


def figure() -> Figure:
    """Draw the staged sigmoids, and the time to learn half of a mode against its strength."""
    from symkernel.report.panels import panels

    net = sk.Network.two_layer(inputs=3, hidden=8, outputs=3)
    task = sk.Task.from_modes(STRENGTHS)
    w0 = sk.weights.aligned(net, task, a=float(np.sqrt(START)), b=float(np.sqrt(START)))
    times = np.linspace(0.0, 5.0, 251)
    theory = sk.derive(net, task, w0).compile()(times)
    run = sk.simulate(net, task, w0, learning_rate=0.002, record=times)
    page, (curves, staged) = panels(height=3.0)
    for k, strength in enumerate(STRENGTHS):
        (line,) = curves.plot(times, theory.modes[:, k] / strength, label=f"s = {strength:g}")
        curves.plot(times[::12], run.modes[::12, k] / strength, "o", color=line.get_color(), ms=3)
    curves.set(xlabel="flow time t", ylabel="u / s", title="lines: law, dots: gradient descent")
    curves.legend(frameon=False)
    span = np.geomspace(0.5, 8.0, 50)
    half = sp.lambdify(s, derive().learning_time(sp.Rational(1, 2)).subs({d: 1, u0: START}))
    staged.loglog(span, half(span), label="law")
    staged.loglog(span, np.log(1 / START) / (2 * span), "--", label=r"$\ln(1/u_0)\,/\,2s$")
    reached = [np.interp(x / 2, run.modes[:, k], times) for k, x in enumerate(STRENGTHS)]
    staged.loglog(STRENGTHS, reached, "o", label="gradient descent")
    staged.set(xlabel="strength s", ylabel="time to u = s/2", title=f"$u_0$ = {START:g}")
    staged.set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"], minor=False)
    staged.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"], minor=False)
    staged.minorticks_off()
    staged.legend(frameon=False)
    return page
