r"""What follows from the sides of the modes: hidden layer, kernels, pseudo-kernel, loss."""

from __future__ import annotations

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.theory.mode_flow import ModeFlow
from symkernel.theory.words import Words

_PRODUCT = notation.symbol("x_dot_x", r"x^T x'", "similarity of two inputs")
_GRAM = notation.symbol("h_dot_h", r"h^T h'", "similarity of two hidden activities")


def observables(
    modes: ModeFlow, output: sp.Expr, a: sp.Expr, b: sp.Expr, a0: sp.Expr
) -> dict[str, sp.Expr]:
    r"""Return the mode entries of all observables of aligned modes.

    Parameters
    ----------
    output : sympy.Expr
        The mode of the end-to-end map.
    a, b : sympy.Expr
        The amplitudes of the two sides.
    a0 : sympy.Expr
        Initial amplitude of the input side.

    Returns
    -------
    dict
        "input_side", "output_side"; "hidden" (activity along the mode's hidden direction, for the
        input $v_i$), "hidden_gram" (its square), "ntk" ($u_i^T K(v_i, v_i) u_i$), "pseudo_kernel"
        (entry of $K_h(v_i, v_i)$), "path_integral" ($\int_0^t$ of pseudo-kernel times the mode's
        residual: the movement of the hidden activity), "loss" (the mode's part of it).
    """
    inner, outer = layer_scales(modes)
    first, second = layer_rates(modes)
    wanted = modes.sigma / modes.delta * modes.scale
    kappa = modes.system.loss.factor
    return {
        "input_side": a,
        "output_side": b,
        "hidden": inner * a,
        "hidden_gram": inner**2 * a**2,
        "ntk": inner**2 * outer**2 * (second * a**2 + first * b**2),
        "pseudo_kernel": first * inner**2 * outer * b,
        "path_integral": inner * (a - a0),
        "loss": kappa * notation.d * (wanted - output) ** 2,
    }


def layer_scales(modes: ModeFlow) -> tuple[sp.Expr, sp.Expr]:
    """Return the parameterisation's factors of the first and the second layer."""
    scales = {p.name: p.scale for p in modes.system.network.parameters}
    return scales[modes.first], scales[modes.second]


def layer_rates(modes: ModeFlow) -> tuple[sp.Expr, sp.Expr]:
    """Return the factors on the learning rate of the first and the second layer."""
    rates = {p.name: p.rate for p in modes.system.network.parameters}
    return rates[modes.first], rates[modes.second]


def observable_step(modes: ModeFlow, *, aligned: bool = True) -> Step:
    """State the observables at matrix level, in the singular basis."""
    inner, outer = layer_scales(modes)
    fast, slow = layer_rates(modes)
    i, o, r, h = sp.symbols("I O r H", integer=True, positive=True)
    x, y = sp.MatrixSymbol("x", i, 1), sp.MatrixSymbol("x'", i, 1)
    V, U = sp.MatrixSymbol("V", i, r), sp.MatrixSymbol("U", o, r)
    f, hid = sp.MatrixSymbol("f", o, 1), sp.MatrixSymbol("h", h, 1)
    K, Kh = sp.MatrixSymbol("K_f", o, o), sp.MatrixSymbol("K_h", h, o)
    meanings: tuple[tuple[sp.MatrixSymbol, str], ...]
    if aligned:
        M = sp.MatrixSymbol("M", h, r)
        A, B = sp.MatrixSymbol("A", r, r), sp.MatrixSymbol("B", r, r)
        first, second, overlap, gram, readout = M * A, M * B, A * B, A**2, B**2
        words = "A and B are the diagonal matrices of a and b, M holds the hidden directions"
        meanings = (
            (A, "diagonal matrix of the amplitudes a"),
            (B, "diagonal matrix of the amplitudes b"),
            (M, "hidden directions of the modes, as columns"),
        )
    else:
        first, side = sp.MatrixSymbol("P", h, r), sp.MatrixSymbol("Q", h, r)
        second = side / modes.ratio
        overlap, gram = side.T * first / modes.ratio, first.T * first
        readout = side.T * side / modes.ratio**2
        words = "P and Q hold the two sides of the modes as columns; their products are diagonal"
        meanings = ()
    shared = x.T * V * gram * V.T * y
    kernel = fast * inner**2 * outer**2 * _PRODUCT * U * readout * U.T
    kernel += slow * outer**2 * _GRAM * sp.Identity(o)
    eqs = (
        sp.Eq(f, inner * outer * U * overlap * V.T * x, evaluate=False),
        sp.Eq(hid, inner * first * V.T * x, evaluate=False),
        sp.Eq(_GRAM, inner**2 * shared, evaluate=False),
        sp.Eq(K, kernel, evaluate=False),
        sp.Eq(Kh, fast * inner**2 * outer * _PRODUCT * second * U.T, evaluate=False),
    )
    return Step(
        "Observables",
        f"{words}; the pseudo-kernel K_h = J_h J_f^T says how training on x' moves the hidden "
        f"activity at x",
        eqs,
        lambda: check_observables(modes),
        meanings,
    )


def check_observables(modes: ModeFlow) -> Evidence:
    """Compare the kernels with explicit Jacobians, and the path integral with its rate."""
    inner, outer = layer_scales(modes)
    fast, slow = layer_rates(modes)
    n_in, n_hidden, n_out = 2, 3, 2
    W1 = sp.Matrix(n_hidden, n_in, sp.symbols(f"W1_:{n_hidden * n_in}", real=True))
    W2 = sp.Matrix(n_out, n_hidden, sp.symbols(f"W2_:{n_out * n_hidden}", real=True))
    x, y = (sp.Matrix(sp.symbols(f"{q}_:{n_in}", real=True)) for q in ("x", "y"))

    def network(v: sp.Matrix) -> tuple[sp.Matrix, sp.Matrix]:
        hidden = inner * W1 * v
        return hidden, outer * W2 * hidden

    parameters = [*W1, *W2]
    (hx, fx), (_, fy) = network(x), network(y)
    Jh, Jfx, Jfy = hx.jacobian(parameters), fx.jacobian(parameters), fy.jacobian(parameters)
    rates = sp.diag(*[fast] * len(W1), *[slow] * len(W2))
    dot, shared = (x.T * y)[0], (x.T * W1.T * W1 * y)[0]
    kernel = inner**2 * outer**2 * (fast * dot * W2 * W2.T + slow * shared * sp.eye(n_out))
    pseudo = fast * inner**2 * outer * dot * W2.T
    if (Jfx * rates * Jfy.T - kernel).expand() != sp.zeros(n_out):
        return Evidence(False, "the NTK differs from the product of Jacobians")
    if (Jh * rates * Jfy.T - pseudo).expand() != sp.zeros(n_hidden, n_out):
        return Evidence(False, "the pseudo-kernel differs from the product of Jacobians")
    basis = {modes.first: Words.of("R", "A", "V'"), modes.second: Words.of("U", "B", "R'")}
    one = Words({(): sp.S.One})
    rules = {(("R", True), ("R", False)): one, (("A", True),): one}
    readout = (Words.of(modes.second) @ Words.of(modes.second + "'")).substituted(basis)
    if readout.reduced(rules) != Words.of("U", "B", "B'", "U'"):
        return Evidence(False, "W2 W2^T is not U B^2 U^T in the singular basis")
    wrong = _wrong_entry(modes)
    if wrong:
        return Evidence(False, f"the mode entry '{wrong}' differs from the explicit network")
    a, b = notation.a, notation.b
    scale, factor = inner * outer, modes.system.loss.factor
    residual = 2 * factor * (notation.s - notation.d * scale * a * b)
    side = modes.ratio * b
    moved = inner * side * (modes.sigma - modes.delta * a * side)
    if sp.expand(fast * inner**2 * outer * b * residual - moved) != 0:
        return Evidence(False, "the pseudo-kernel times the residual does not move the activity")
    return Evidence(
        True,
        "kernels equal products of explicit Jacobians, all mode entries equal those of an explicit "
        "network, pseudo-kernel times residual equals the rate of the hidden activity: exactly",
    )


def _wrong_entry(modes: ModeFlow) -> str:
    """Evaluate all mode entries at exact numbers, and on a network that has this one mode."""
    third, fifth = sp.Rational(1, 3), sp.Rational(1, 5)
    a, b, start, s, d = 2 * third, 4 * fifth, third, sp.Rational(7, 2), 3 * fifth
    claimed = observables(modes, modes.scale * a * modes.ratio * b, a, b, start)
    inner, outer = layer_scales(modes)
    fast, slow = layer_rates(modes)
    v, u = sp.Matrix([3, 4]) / 5, sp.Matrix([5, 12]) / 13
    r = sp.Matrix([2, 2, 1]) / 3
    W1, W2 = r * a * v.T, u * b * r.T
    scale = inner * outer
    Sxx, Syx, Syy = d * v * v.T, s * u * v.T, s**2 / d * u * u.T
    A = scale * W2 * W1
    residual = (Syy - 2 * A * Syx.T + A * Sxx * A.T).trace()
    found = {
        "input_side": (r.T * W1 * v)[0],
        "output_side": (u.T * W2 * r)[0],
        "hidden": (r.T * inner * W1 * v)[0],
        "hidden_gram": (inner**2 * v.T * W1.T * W1 * v)[0],
        "ntk": (scale**2 * u.T * (fast * W2 * W2.T + slow * (W1 * v).norm() ** 2 * sp.eye(2)) * u)[
            0
        ],
        "pseudo_kernel": (fast * inner**2 * outer * r.T * W2.T * u)[0],
        "path_integral": (r.T * inner * (W1 - r * start * v.T) * v)[0],
        "loss": modes.system.loss.factor * residual,
    }
    entry = {notation.s: s, notation.d: d}
    wrong = (n for n, value in claimed.items() if sp.expand(value.subs(entry) - found[n]) != 0)
    return next(wrong, "")
