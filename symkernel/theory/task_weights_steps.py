r"""From the pseudo-kernel to the movement of task weights: symbols, formulas, steps.

Everything is about one hidden unit. Its stimulus weights are $a_{iv}$, its read-out $w_{jv}$; a
tilde takes the mean over features v away. What the prompts of task (i, j) ask of output (j', v),
$\rho_{j'v}(s)$, is the residual times the output's slope, summed up over training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sympy as sp

from symkernel import notation
from symkernel.formula import Step
from symkernel.problem.network import Network
from symkernel.problem.nodes import Linear
from symkernel.theory import task_weights_checks as checks
from symkernel.theory.jacobian import PRIME
from symkernel.theory.pseudo_kernel import KernelFormula, pseudo_kernel

__all__ = ["correlation_of", "lazy_signal", "movement_of", "steps_of", "task_kernel"]


def _symbol(identifier: str, latex: str, meaning: str) -> sp.Symbol:
    return notation.symbol(identifier, latex, meaning, real=True)


C1 = _symbol("task_slope_1", r"\phi'_b", "slope of the activation at the bias")
C2 = _symbol("task_slope_2", r"\phi''_b", "curvature of the activation at the bias")
MOVED = _symbol(
    "task_movement", r"\Delta W_{t,(i,j)}", "movement of the unit's weight of task (i, j)"
)
LEVEL = _symbol(
    "task_level", r"\bar z_{ij}", "activation of the unit around its bias, mean over stimuli"
)
# The unit's read-out: summed over features, of all response groups and of group j.
READ_ALL = _symbol("task_readout_all", r"\bar w", "read-out of the unit, summed over all outputs")
READ_J = _symbol("task_readout_j", r"\bar w_j", "read-out of the unit, summed over group j")
# Products over features, of what is left when means over features are taken away.
ALIGNED_IJ = _symbol(
    "task_aligned_ij",
    r"(\tilde w_j \cdot \tilde a_i)",
    "alignment of the read-out to response group j with the weights from stimulus group i",
)
ALIGNED_I = _symbol(
    "task_aligned_i",
    r"({\textstyle\sum_{j'}} \tilde w_{j'} \cdot \tilde a_i)",
    "alignment of all read-outs together with the weights from stimulus group i",
)
ALIGNED_J = _symbol(
    "task_aligned_j",
    r"(\tilde w_j \cdot {\textstyle\sum_{i'}} \tilde a_{i'})",
    "alignment of the read-out to response group j with all stimulus weights together",
)
ALIGNED = _symbol(
    "task_aligned",
    r"({\textstyle\sum_{j'}} \tilde w_{j'} \cdot {\textstyle\sum_{i'}} \tilde a_{i'})",
    "alignment of all read-outs together with all stimulus weights together",
)
UNIT = (C1, C2, LEVEL, READ_ALL, READ_J, ALIGNED_IJ, ALIGNED_I, ALIGNED_J, ALIGNED)

# What the prompts ask for, as a polynomial in these three.
SIGNAL = _symbol("task_signal", r"\rho_{j'v}(s)", "what task (i, j) asks of output (j', v)")
SAME = _symbol("task_same_group", r"\delta_{jj'}", "1 for the task's own response group, else 0")
FEATURE = _symbol(
    "task_feature", "e_{iv}", "1 - 1/M if the feature of stimulus group i is v, else -1/M"
)
FEATURES = _symbol(
    "task_features", r"{\textstyle\sum_{i'}} e_{i'v}", "sum of e over stimulus groups"
)
TERMS = (SAME, FEATURE, FEATURES)
_COEFFICIENTS = {
    "alpha_0": 1, "alpha_1": SAME, "beta_0": FEATURE, "beta_1": SAME * FEATURE,
    "epsilon_0": FEATURES, "epsilon_1": SAME * FEATURES,
}  # fmt: skip
_SPACES = {
    "0m": "mean over tasks, of what does not depend on the stimulus",
    "0c": "contrast between tasks, of what does not depend on the stimulus",
    "1m": "mean over tasks, of what is linear in the features",
    "1c": "contrast between tasks, of what is linear in the features",
}
LAZY_FACTORS: Mapping[str, sp.Symbol] = {
    space: _symbol(
        f"lazy_{space}", rf"\gamma_{{{space}}}", f"learned share over eigenvalue: {what}"
    )
    for space, what in _SPACES.items()
}
ALIGNMENT = _symbol(
    "task_readout_alignment", r"\rho_w", "correlation of a unit's read-outs of two response groups"
)
POOLED = _symbol("task_pooled", r"\nu", "share of the features of all groups in what is asked for")
CORRELATIONS = (
    _symbol("task_r_in", r"r_{\mathrm{in}}", "correlation of tasks from one stimulus group"),
    _symbol("task_r_out", r"r_{\mathrm{out}}", "correlation of tasks to one response group"),
    _symbol("task_r_diff", r"r_{\mathrm{diff}}", "correlation of tasks that share neither"),
)


def general_signal() -> sp.Expr:
    """Return a signal that treats features, and groups other than the task's, alike."""
    terms = (sp.Symbol(name, real=True) * term for name, term in _COEFFICIENTS.items())
    return sp.Add(*terms)


def lazy_signal(G: sp.Expr, M: sp.Expr) -> sp.Expr:
    r"""Return the residual summed up over training with a kernel that does not move.

    The target is $(\delta_{jj'}) (1/M + e_{iv})$; each of its four parts, in an eigenspace of its
    own, comes with the factor of its eigenvalue.
    """
    mean_0, contrast_0, mean_1, contrast_1 = LAZY_FACTORS.values()
    constant = mean_0 / (G * M) + (SAME - 1 / G) * contrast_0 / M
    pooled = FEATURES / G**2
    return constant + mean_1 * pooled + contrast_1 * (SAME * FEATURE - pooled)


def movement_of(signal: sp.Expr, G: sp.Expr, M: sp.Expr) -> sp.Expr:
    r"""Return $\sum_s (c_1 + c_2 z(s)) \sum_{j'v} w_{j'v}\, \rho_{j'v}(s)$ of a signal.

    Parameters
    ----------
    signal : SymPy expression
        A polynomial in `SAME`, `FEATURE` and `FEATURES`.
    G, M : SymPy expressions
    """
    # What each term of the signal becomes: its mean over stimuli, or its covariance with z.
    means = {1: READ_ALL, SAME: READ_J}
    covariances = {
        FEATURE: ALIGNED_I, SAME * FEATURE: ALIGNED_IJ,
        FEATURES: ALIGNED, SAME * FEATURES: ALIGNED_J,
    }  # fmt: skip
    terms = sp.Poly(signal, *TERMS).as_dict()
    sums = {1: sp.S.Zero, 0: sp.S.Zero}
    for powers, coefficient in terms.items():
        term = sp.Mul(*(q**n for q, n in zip(TERMS, powers, strict=True)))
        constant = term in means
        sums[constant] += coefficient * (means if constant else covariances)[term]
    level, covariance = (_collected(sums[k]) for k in (1, 0))
    return M**G * (C1 + C2 * LEVEL) * level + M ** (G - 1) * C2 * covariance


def _collected(expression: sp.Expr) -> sp.Expr:
    unit = [q for q in UNIT if q in expression.free_symbols]
    return sp.collect(sp.expand(expression), unit, sp.factor)


def correlation_of(
    G: sp.Expr, pooled: sp.Expr = POOLED, alignment: sp.Expr = ALIGNMENT
) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    r"""Return the correlations of tasks that share stimulus group, response group, or neither.

    Of what the signal $\delta_{jj'} (e_{iv} + \nu \sum_{i'} e_{i'v})$ leaves: over independent
    units the covariance of tasks (i, j) and (k, l) goes with $(\delta_{ik} + \eta) R_{jl}$,
    $\eta = 2\nu + G\nu^2$, with R = 1 for one response group and $\rho_w$ for two. Without the
    mean over tasks each entry loses $(1/G + \eta)(1 + (G - 1)\rho_w)/G$.
    """
    eta = sp.expand(2 * pooled + G * pooled**2)
    lost = sp.factor((1 + G * eta) * (1 + (G - 1) * alignment))
    own = sp.expand(G**2 * (1 + eta))
    pairs = (own * alignment, G**2 * eta, G**2 * eta * alignment)
    return tuple((pair - lost) / (own - lost) for pair in pairs)


def task_kernel(net: Network) -> KernelFormula:
    """Return how a gradient step for the output moves what the task adds to a pre-activation."""
    (node,) = (n for n in net.order if isinstance(n, Linear) and n.parameter.name == "W_t")
    named = Network.build(net.output, {"u": node}, net.parameterisation)
    return pseudo_kernel(named, of="u", by="output")


def steps_of(kernel: KernelFormula, G: sp.Expr, M: sp.Expr) -> tuple[Step, ...]:
    """Return the derivation, from the kernel that was derived from a network."""
    return (
        _kernel_step(kernel),
        _features_step(M),
        _product_step(G, M),
        _signal_step(G, M),
        _movement_step(G, M),
        _correlation_step(G),
        _lazy_step(G),
        _selection_step(G),
    )


def _told(*symbols: sp.Symbol) -> tuple[tuple[sp.Symbol, str], ...]:
    return tuple((q, notation.entry(q.name).meaning) for q in symbols)  # type: ignore[union-attr]


def _kernel_step(kernel: KernelFormula) -> Step:
    rows = ((kernel.symbol, kernel.expression), *kernel.where)
    plain = [sp.Eq(a, b, evaluate=False) for a, b in rows if isinstance(a, sp.MatrixSymbol)]
    for label, latex in kernel.names.items():
        if label.startswith("phi") and label.endswith(PRIME):
            notation.symbol(label, latex, "slope of an activation")
    return Step(
        "What moves the weights of a task",
        "the part of the pseudo-kernel that is due to W_t, read off the network: only prompts of "
        "the same task meet. Inputs are numbered from 0, features first; for symbols they are "
        "those of 2 groups of 2 features",
        tuple(plain),
        lambda: checks.kernel_evidence(task_kernel),
    )


def _features_step(M: sp.Expr) -> Step:
    same = _symbol("task_feature_square", r"\langle e_{iv}^2 \rangle", "mean over stimuli")
    other = _symbol("task_feature_product", r"\langle e_{iu} e_{iv} \rangle", "mean, u not v")
    first = _symbol("task_feature_mean", r"\langle e_{iv} \rangle", "mean over stimuli")
    values = (sp.S.Zero, (1 - 1 / M) / M, -1 / M**2)
    return Step(
        "Features",
        "one of M features is on in each group, independently: so two weighted sums of features, "
        "weights less their means, have the scalar product of the weights over M for covariance, "
        "and groups do not mix",
        _equations((first, same, other), values),
        lambda: checks.features_evidence(values, M),
        _told(FEATURE),
    )


def _product_step(G: sp.Expr, M: sp.Expr) -> Step:
    signal = general_signal()
    found = movement_of(signal, G, M)
    return Step(
        "Sum over all stimuli",
        "the slope of the activation is taken to first order in the distance from the bias, which "
        "is linear in the features: only the mean of the signal and its part linear in the "
        "features count, whatever is of higher degree drops out",
        _equations((SIGNAL, MOVED), (signal, found)),
        lambda: checks.product_evidence(signal, TERMS, found, UNIT, (G, M)),
        _told(*UNIT, MOVED, SIGNAL, SAME, FEATURES),
    )


def _signal_step(G: sp.Expr, M: sp.Expr) -> Step:
    signal = lazy_signal(G, M)
    return Step(
        "What the prompts ask for in the lazy regime",
        "linear output, from outputs 0, a kernel that depends on how many features and whether "
        "the task agree: targets have four parts, each in one eigenspace",
        _equations([SIGNAL], [signal]),
        lambda: checks.signal_evidence(signal, TERMS, LAZY_FACTORS, (G, M)),
        _told(*LAZY_FACTORS.values()),
    )


def _movement_step(G: sp.Expr, M: sp.Expr) -> Step:
    signal = lazy_signal(G, M)
    found = movement_of(signal, G, M)
    return Step(
        "Movement of a task weight",
        "the lazy signal put in: the read-out to the response group of a task meets the weights "
        "from its stimulus group, at the rate at which contrasts between tasks are learned",
        _equations([MOVED], [found]),
        lambda: checks.product_evidence(signal, TERMS, found, UNIT, (G, M)),
    )


def _correlation_step(G: sp.Expr) -> Step:
    found = correlation_of(G)
    signal = SAME * (FEATURE + POOLED * FEATURES)
    return Step(
        "Correlation of the learned weights of two tasks",
        "of what such a signal leaves, over many units with independent stimulus weights, the mean "
        "over tasks taken away",
        _equations((SIGNAL, *CORRELATIONS), (signal, *found)),
        lambda: checks.correlation_evidence(found, ALIGNMENT, POOLED, G),
        _told(ALIGNMENT, POOLED, *CORRELATIONS),
    )


def _lazy_step(G: sp.Expr) -> Step:
    values = (sp.S.Zero, sp.S.One)
    separated, shared = (
        [sp.cancel(e) for e in correlation_of(G, sp.S.Zero, value)] for value in values
    )
    marked = [_at(q, r"\rho_w", value) for value in values for q in CORRELATIONS]
    return Step(
        "Lazy regime: separated, or shared by stimulus group",
        "an independent read-out makes all T = G^2 tasks exchangeable: -1/(T - 1) for every pair; "
        "one read-out for all response groups makes tasks of one stimulus group the same, and "
        "these groups exchangeable: -1/(G - 1)",
        _equations(marked, (*separated, *shared)),
        lambda: checks.lazy_evidence(separated, shared, G),
    )


def _selection_step(G: sp.Expr) -> Step:
    found = [sp.cancel(e) for e in correlation_of(G, -1 / G)]
    return Step(
        "Selection of the stimulus group",
        "where the right response group shows the features of all stimulus groups alike, nu = "
        "-1/G: tasks of one stimulus group correlate as the read-outs do",
        _equations(CORRELATIONS, found),
        lambda: checks.selection_evidence(found, ALIGNMENT, G),
    )


def _equations(left: Iterable[sp.Expr], right: Iterable[sp.Expr]) -> tuple[sp.Eq, ...]:
    return tuple(sp.Eq(a, b, evaluate=False) for a, b in zip(left, right, strict=True))


def _at(symbol: sp.Symbol, variable: str, value: sp.Expr) -> sp.Symbol:
    """Return the symbol of a quantity at one value of what it depends on."""
    known = notation.entry(symbol.name)
    latex = f"{known.latex}({variable} = {value})"  # type: ignore[union-attr]
    return _symbol(f"{symbol.name}_{value}", latex, "the same at one value")
