r"""From $G = QQ^T$, $Q = [w_1^T; w_2]$, to what is observed; at matrix level."""

from __future__ import annotations

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Formula, Result, Step
from symkernel.theory.two_layer import TwoLayer

DOT = notation.symbol("x_dot_x", r"x^T x'", "similarity of two inputs")


def stacked(form: TwoLayer) -> dict[str, sp.MatrixSymbol]:
    """Return Q, its initial value, F and G as matrix symbols."""
    n_in, n_out, n_hidden = sizes(form)
    n = n_in + n_out
    shapes = {"Q": (n, n_hidden), "Q_0": (n, n_hidden), "F": (n, n), "G": (n, n)}
    return {name: sp.MatrixSymbol(name, *shape) for name, shape in shapes.items()}


def sizes(form: TwoLayer) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """Return the numbers of inputs, outputs and hidden units."""
    n_hidden, n_in = form.shapes["w_1"]
    return n_in, form.shapes["w_2"][0], n_hidden


def selectors(form: TwoLayer) -> tuple[sp.MatrixExpr, sp.MatrixExpr]:
    """Return the matrices that pick the input rows and the output rows of Q."""
    n_in, n_out, _ = sizes(form)
    inputs = sp.BlockMatrix([[sp.Identity(n_in), sp.ZeroMatrix(n_in, n_out)]])
    outputs = sp.BlockMatrix([[sp.ZeroMatrix(n_out, n_in), sp.Identity(n_out)]])
    return inputs, outputs


def layer_factors(form: TwoLayer) -> tuple[tuple[sp.Expr, sp.Expr], tuple[sp.Expr, sp.Expr]]:
    """Return scale and rate of the first and of the second layer."""
    found = {p.name: (p.scale, p.rate) for p in form.system.network.parameters}
    return found[form.first], found[form.second]


def observables(form: TwoLayer, G: sp.MatrixExpr) -> dict[str, sp.MatrixExpr]:
    r"""Return what G determines: end-to-end map, products of the weights in their own units."""
    inputs, outputs = selectors(form)
    units = {"input_gram": form.rho1**2, "readout_gram": form.rho2**2}
    return {
        "output": form.scale * form.rho1 * form.rho2 * outputs * G * inputs.T,
        "input_gram": units["input_gram"] * inputs * G * inputs.T,
        "readout_gram": units["readout_gram"] * outputs * G * outputs.T,
    }


def gram_result(form: TwoLayer, gram: sp.MatrixExpr) -> Result:
    """Return G and what follows from it as SymPy matrix expressions."""
    n_in, n_out, _ = sizes(form)
    x, y = sp.MatrixSymbol("x", n_in, 1), sp.MatrixSymbol("x'", n_in, 1)
    (inner, first), (outer, second) = layer_factors(form)
    seen = observables(form, gram)
    inputs, _ = selectors(form)
    # Numbers stand outside: SymPy's Kronecker product takes none.
    shared, unit = x.T * inputs * gram * inputs.T * y, (inner * form.rho1) ** 2
    similar = unit * shared
    kernel = first * (inner * outer) ** 2 * DOT * seen["readout_gram"]
    kernel += second * outer**2 * unit * sp.KroneckerProduct(shared, sp.Identity(n_out))
    moments = {n: sp.MatrixSymbol(n, *form.system.shapes[n]) for n in ("Sxx", "Syx", "Syy")}
    W = seen["output"]
    errors = moments["Syy"] - 2 * W * moments["Syx"].T + W * moments["Sxx"] * W.T
    loss = form.system.loss.factor * sp.Trace(errors)
    decay = form.system.loss.weight_decay
    if decay != 0:
        squares = sp.Trace(seen["input_gram"]) + sp.Trace(seen["readout_gram"])
        loss += decay / 2 * squares
    found = {"gram": gram, **seen, "hidden_gram": similar, "ntk": kernel, "loss": loss}
    return Result(found)


def block_symbols(form: TwoLayer) -> tuple[sp.MatrixSymbol, sp.MatrixSymbol, sp.MatrixSymbol]:
    """Return the blocks A, W and B of G as matrix symbols."""
    n_in, n_out, _ = sizes(form)
    shapes = {"A": (n_in, n_in), "W": (n_out, n_in), "B": (n_out, n_out)}
    A, W, B = (sp.MatrixSymbol(name, *shape) for name, shape in shapes.items())
    return A, W, B


def gram_formulas(form: TwoLayer) -> tuple[Formula, ...]:
    """Return output, hidden Gram matrix and NTK in blocks of G."""
    n_in, n_out, _ = sizes(form)
    x, y = sp.MatrixSymbol("x", n_in, 1), sp.MatrixSymbol("x'", n_in, 1)
    A, W, B = block_symbols(form)
    (inner, first), (outer, second) = layer_factors(form)
    f, K = sp.MatrixSymbol("f", n_out, 1), sp.MatrixSymbol("K_f", n_out, n_out)
    gram = sp.MatrixSymbol("k_h", 1, 1)
    kernel = first * (inner * outer * form.rho2) ** 2 * DOT * B
    kernel += second * outer**2 * sp.KroneckerProduct(gram, sp.Identity(n_out))
    return (
        Formula("output", f, form.scale * form.rho1 * form.rho2 * W * x),
        Formula("hidden Gram matrix", gram, (inner * form.rho1) ** 2 * x.T * A * y),
        Formula("NTK", K, kernel),
    )


def gram_step(form: TwoLayer) -> Step:
    """State what is observed in terms of G."""
    G, (A, W, B) = stacked(form)["G"], block_symbols(form)
    return Step(
        "Observables",
        "output, hidden Gram matrix k_h(x, x') and NTK do not change when the hidden layer is "
        "turned, and are blocks of G in the units of the weights",
        (
            sp.Eq(G, sp.BlockMatrix([[A, W.T], [W, B]]), evaluate=False),
            *(sp.Eq(f.symbol, f.expression, evaluate=False) for f in gram_formulas(form)),
        ),
        lambda: check_observables(form),
        gram_meanings(form),
    )


def gram_meanings(form: TwoLayer) -> tuple[tuple[sp.MatrixSymbol, str], ...]:
    """Return what the matrices of the products stand for."""
    m, (A, W, B) = stacked(form), block_symbols(form)
    start = sp.MatrixSymbol("G_0", *m["G"].shape)
    return (
        (A, "products w_1^T w_1 on the inputs"),
        (W, "end-to-end map w_2 w_1"),
        (B, "products w_2 w_2^T on the outputs"),
        (m["G"], "products Q Q^T of the stacked weights, in blocks A, W and B"),
        (m["Q"], "weights w_1^T above w_2"),
        (m["Q_0"], "the stacked weights Q at t = 0"),
        (start, "G at t = 0"),
        (sp.MatrixSymbol("k_h", 1, 1), "similarity h(x)^T h(x') of the hidden activities"),
    )


def check_observables(form: TwoLayer) -> Evidence:
    """Compare with the Jacobians of an explicit network."""
    n_in, n_hidden, n_out = 2, 3, 2
    (inner, first), (outer, second) = layer_factors(form)
    W1 = sp.Matrix(n_hidden, n_in, sp.symbols(f"W1_:{n_hidden * n_in}", real=True))
    W2 = sp.Matrix(n_out, n_hidden, sp.symbols(f"W2_:{n_out * n_hidden}", real=True))
    x, y = (sp.Matrix(sp.symbols(f"{q}_:{n_in}", real=True)) for q in ("x", "y"))
    w1, w2 = W1 / form.rho1, W2 / form.rho2
    Q = sp.Matrix.vstack(w1.T, w2)
    G = Q * Q.T
    output = form.scale * form.rho1 * form.rho2 * G[n_in:, :n_in] * x
    gram = inner**2 * form.rho1**2 * (x.T * G[:n_in, :n_in] * y)[0]
    kernel = first * inner**2 * outer**2 * x.dot(y) * form.rho2**2 * G[n_in:, n_in:]
    kernel += second * outer**2 * gram * sp.eye(n_out)

    def network(v: sp.Matrix) -> tuple[sp.Matrix, sp.Matrix]:
        hidden = inner * W1 * v
        return hidden, outer * W2 * hidden

    (hx, fx), (hy, fy) = network(x), network(y)
    true = sp.zeros(n_out)
    for parameters, rate in ((list(W1), first), (list(W2), second)):
        true += rate * fx.jacobian(parameters) * fy.jacobian(parameters).T
    gaps = [*(output - fx), gram - hx.dot(hy), *(kernel - true)]
    same = all(sp.expand(gap) == 0 for gap in gaps)
    return Evidence.of(
        same,
        "output, hidden inner product and NTK of an explicit network, from products of Jacobians: "
        "difference exactly 0",
    )
