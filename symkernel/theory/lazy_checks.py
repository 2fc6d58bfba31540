"""Machine checks of the lazy law: each step of its derivation, and what it says as a whole."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import sympy as sp

from symkernel.check_report import CheckReport, Rung
from symkernel.environments.multitasking import Prompts
from symkernel.environments.symbolic_multitasking import (
    ADDRESSED,
    AT_ONCE,
    POOLED,
    READ,
    SymbolicMultitasking,
)
from symkernel.formula import Evidence
from symkernel.notation import t
from symkernel.problem.symmetry import Hamming
from symkernel.theory import lazy_formulas as names
from symkernel.theory.lazy_explicit import parts_of
from symkernel.theory.lazy_instances import BOUND, SIZES, sizes_of

if TYPE_CHECKING:
    from symkernel.theory.lazy_multitasking import LazyMultitasking

_X = sp.Symbol("x", real=True)


def check_relation(law: LazyMultitasking) -> Evidence:
    """Count agreeing groups and shared tasks of all pairs of explicit prompts."""
    tried, passed = [], True
    for one in law.instances:
        environment = one.explicit.environment
        scheme, split = one.environment.scheme, environment.outputs
        train = environment.single
        for K in one.at_once():
            X = one.prompts(K).X
            agree, same = (X[:, p] @ train.X[:, p].T for p in (slice(split), slice(split, None)))
            shown = one.prompts(K).stimuli[:, None] == train.stimuli[None]
            passed &= bool((agree == shown.sum(-1)).all() and set(np.unique(same)) <= {0, 1})
            passed &= bool((same.sum(1) == K * len(train.X) / environment.groups**2).all())
            if K == 1:
                counts = {r: int(((agree[0] == r[0]) & (same[0] == r[1])).sum())
                          for r in scheme.relations}  # fmt: skip
                passed &= all(scheme.valency(r) == count for r, count in counts.items())
        tried.append(one.name)
    return Evidence.of(
        passed, f"overlaps and counts of all pairs of prompts, (G, M) = {', '.join(tried)}"
    )


def check_algebra(law: LazyMultitasking) -> Evidence:
    """Expand the product over groups, and compare the scheme with explicit matrices."""
    left = 0
    for G, M in SIZES:
        scheme = Hamming(G, M)
        for d in range(G + 1):
            product = (M - 1 + _X) ** (G - d) * (_X - 1) ** d
            powers = sp.Add(*(scheme.eigenvalue(m, d) * _X**m for m in range(G + 1)))
            left += sp.expand(product - powers) != 0
    explicit = law.environment.scheme.check()
    return Evidence(
        left == 0 and explicit.passed, f"powers of x that differ: {left}; {explicit.figure}"
    )


def check_spectrum(law: LazyMultitasking) -> Evidence:
    """Compare the binomial formula with sums over all relations, for any values."""
    k = sp.Function("k")
    left = 0
    for G, M in SIZES:
        scheme = Hamming(G, M)
        for d in range(G + 1):
            plain = sp.Add(*(k(m) * scheme.eigenvalue(m, d) for m in range(G + 1)))
            left += sp.expand(scheme.spectrum(k, d) - plain) != 0
    symbolic = law.environment.stimuli
    cubic = [
        symbolic.spectrum(lambda m: m**3 + 2 * m, d).subs(dict.fromkeys(symbolic.free_symbols, 3))
        - symbolic.with_values(dict.fromkeys(symbolic.free_symbols, 3)).spectrum(
            lambda m: m**3 + 2 * m, d
        )
        for d in (0, 1)
    ]
    return Evidence(
        left == 0 and cubic == [0, 0],
        f"any k against sums over all relations, (G, M) = {SIZES}: {left} differ; a cubic k "
        f"in closed form, residuals {cubic}",
    )


def check_learning(law: LazyMultitasking) -> Evidence:
    """Derive the flow of outputs from the loss of two samples, and put the solution into it."""
    factor = law.loss.factor
    features, w = sp.Matrix(2, 2, sp.symbols("p:4")), sp.Matrix(sp.symbols("w:2"))
    y = sp.Matrix(sp.symbols("y:2"))
    residual = features * w - y
    loss = factor * (residual.T * residual)[0] / 2
    flow = features * sp.Matrix([-loss.diff(q) for q in w])
    claimed = -2 * factor / 2 * features * features.T * residual
    derived = sp.expand(flow - claimed).is_zero_matrix
    shares = [law.parts.learned(x, t) for x in names.MODES]
    left = [
        sp.expand(share.diff(t) - law.parts.rate(x) * (1 - share))
        for x, share in zip(names.MODES, shares, strict=True)
    ]
    start = [share.subs(t, 0) for share in shares]
    return Evidence(
        bool(derived) and not any(left) and not any(start),
        f"flow of the loss of two samples is that of the kernel: {bool(derived)}; residuals of the "
        f"four solutions {left}, starts {start}",
    )


def check_sums(law: LazyMultitasking) -> Evidence:
    """Sum explicit arrays over tasks, for all prompts and all units."""
    worst, tried = 0.0, []
    for one in law.instances:
        environment = one.explicit.environment
        T, single = len(environment.tasks), environment.single
        shape = (T, -1, environment.groups, environment.features)
        parts = [np.ones(single.Y.shape), *parts_of(single)]
        parts = [part.reshape(shape) for part in parts]
        for K in one.at_once():
            prompts = one.prompts(K)
            sums = (names.over_all_tasks(one.environment), names.over_own_tasks(sp.Integer(K)))
            for at, chosen in enumerate(prompts.sets):
                rows = prompts.set_of == at
                here = [np.ones(shape[2:]), *(p[rows] for p in parts_of(prompts))]
                for expected, tasks in zip(sums, (range(T), chosen), strict=True):
                    for part, found in zip(names.PARTS, parts, strict=True):
                        share = names.coefficients(expected[part])
                        claimed = sum(
                            float(share[p]) * h for p, h in zip(names.PARTS, here, strict=True)
                        )
                        total = found[list(tasks)].sum(0)
                        worst = max(worst, float(np.abs(total - claimed).max()))
            tried.append(f"({environment.groups}, {environment.features}, {K})")
    return Evidence.of(
        worst < BOUND,
        f"all prompts and units, (G, M, K) = {', '.join(tried)}: largest difference {worst:.1e}",
    )


def check_time(law: LazyMultitasking) -> Evidence:
    """Put the share into the margin, and the time into the share."""
    if law.parts.never("1c"):
        rest = law.eigenvalues["1c"]
        return Evidence.of(rest == 0, f"eigenvalue {rest}: tasks are never selected")
    K, formulas = AT_ONCE, law.parts
    response, enough = formulas.response(K), formulas.threshold(K)
    lam = names.LAM
    at = {names.GAIN["1m"]: 1 / lam["1m"], names.GAIN["1c"]: enough / lam["1c"]}
    lead = response[READ] - (law.environment.groups - 2) * response[POOLED]
    left = sp.cancel(sp.together(lead.subs(at)))
    time = law.time(K).expression
    back = sp.expand(formulas.learned("1c", time) - names.THRESHOLD)
    return Evidence.of(
        left == 0 and back == 0,
        f"margin at that share {left}; share at that time, less theta: {back}",
    )


def allowed(law: LazyMultitasking) -> float:
    """Return the largest error that is allowed: that of the judge's own rounding, 1e-12 at least.

    The judge's eigenvalues have errors relative to the largest: small ones, of modes that are
    learned late, are known the less well.
    """
    return max(one.bound for one in law.instances)


def compared(law: LazyMultitasking, most: int | None = None) -> Evidence:
    """Compare outputs at all prompts, of up to `most` tasks, with the explicit algebra."""
    worst, settings = 0.0, 0
    for one in law.instances:
        for K, time in itertools.product(one.at_once(most), one.times):
            truth = one.explicit.outputs(one.prompts(K), time)
            error = np.abs(one.outputs(K, time) - truth).max() / max(1.0, np.abs(truth).max())
            worst = max(worst, float(error))
            settings += 1
    bound = allowed(law)
    return Evidence.of(
        worst < bound,
        f"outputs at all prompts, {settings} settings (G, M, K, t): worst error {worst:.1e}, "
        f"bound {bound:.0e}",
    )


def check_eigenvalues(law: LazyMultitasking) -> Evidence:
    """Apply explicit Gram matrices to the four modes, entry by entry."""
    worst, sizes = 0.0, []
    for one in law.instances:
        prompts = one.prompts(1)
        gram = one.explicit.gram(prompts)
        for x, mode in modes_of(prompts, one.environment).items():
            error = np.abs(gram @ mode - one.eigenvalues[x] * mode).max()
            worst = max(worst, float(error / (np.abs(gram).sum(1).max() * np.abs(mode).max())))
        sizes.append(one.name)
    return Evidence.of(
        worst < BOUND,
        f"Gram matrices times modes, sizes {', '.join(sizes)}: relative error {worst:.1e}",
    )


def modes_of(prompts: Prompts, environment: SymbolicMultitasking) -> dict[str, np.ndarray]:
    """Return the environment's modes at prompts, shape (n_prompts, G M)."""
    arrays = dict(zip((ADDRESSED, READ, POOLED), parts_of(prompts), strict=True))
    shape = len(prompts.X), -1
    found = {}
    for x, mode in environment.modes.items():
        share = names.coefficients(mode)
        total = float(share[sp.S.One]) + np.zeros_like(arrays[READ])
        for part, array in arrays.items():
            total = total + float(share[part]) * array
        found[x] = total.reshape(shape)
    return found


def check_modes(environment: SymbolicMultitasking) -> Evidence:
    """Apply the explicit relations of all pairs of prompts to the modes."""
    worst, tried = 0.0, []
    for values in sizes_of(environment):
        explicit = environment.with_values(values)
        exact = explicit.symbolic
        prompts, split, scheme = explicit.single, explicit.outputs, exact.scheme
        agree = prompts.X[:, :split] @ prompts.X[:, :split].T
        same = prompts.X[:, split:] @ prompts.X[:, split:].T
        modes = modes_of(prompts, exact)
        worst = max(worst, float(np.abs(sum(modes.values()) - prompts.Y).max()))
        for m, d in scheme.relations:
            relation = ((agree == m) & (same == d)).astype(float)
            for x, mode in modes.items():
                value = float(scheme.eigenvalue((m, d), (int(x[0]), int(x[1] == "c"))))
                worst = max(worst, float(np.abs(relation @ mode - value * mode).max()))
        tried.append(f"({exact.groups}, {exact.features})")
    return Evidence.of(
        worst < 1e-11,
        f"modes add up to the targets, relations times modes: sizes {', '.join(tried)}, largest "
        f"difference {worst:.1e}",
    )


def check_margin(law: LazyMultitasking) -> Evidence:
    """Compare the margin, and its sign, with the leads at all explicit prompts."""
    worst, settings, agree = 0.0, 0, 0
    for one in law.instances:
        for K, time in itertools.product(one.at_once(), one.times):
            prompts = one.prompts(K)
            truth = one.explicit.outputs(prompts, time)
            margin = one.margin(K, time)
            scale = max(1.0, float(np.abs(truth).max()))
            worst = max(worst, abs(margin - least_lead(prompts, truth)) / scale)
            settings += 1
            agree += bool((margin > 0) == (prompts.accuracy(truth) == 1))
    bound = allowed(law)
    return Evidence.of(
        worst < bound and agree == settings,
        f"margin against all explicit prompts, worst error {worst:.1e}, bound {bound:.0e}; "
        f"positive where all prompts are answered right, and only there: {agree} of {settings}",
    )


def least_lead(prompts: Prompts, outputs: np.ndarray) -> float:
    """Return the least lead of right units over the others of their group."""
    G, M = prompts.environment.groups, prompts.environment.features
    target = prompts.Y.reshape(-1, G, M).astype(bool)
    found = outputs.reshape(-1, G, M)
    written = target.any(-1)
    right = np.where(target, found, -np.inf).max(-1)
    wrong = np.where(target, -np.inf, found).max(-1)
    return float((right - wrong)[written].min())


def check_settled(law: LazyMultitasking) -> Evidence:
    """Compare the margin after training with explicit prompts."""
    worst, settings = 0.0, 0
    for one in law.instances:
        for K in one.at_once():
            prompts = one.prompts(K)
            truth = least_lead(prompts, one.explicit.outputs(prompts, one.times[-1]))
            worst = max(worst, abs(one.margin(K, None) - truth))
            settings += 1
    bound = allowed(law)
    return Evidence.of(
        worst < bound,
        f"{settings} settings (G, M, K) after training, worst error {worst:.1e}, bound {bound:.0e}",
    )


def check_descent(law: LazyMultitasking) -> Evidence:
    """Compare the compiled law of discrete steps with steps that are taken."""
    worst, bound = 0.0, allowed(law)
    for one in law.instances:
        routine = one.numeric.compile()
        rate = 0.7 * one.times[0]
        for K in one.at_once():
            found = routine([7 * rate], one.prompts(K), learning_rate=rate)[0]
            truth = one.explicit.descended(one.prompts(K), 7, rate)
            worst = max(worst, float(np.abs(found - truth).max()))
    return Evidence.of(
        worst < bound, f"seven steps, largest difference {worst:.1e}, bound {bound:.0e}"
    )


def check(law: LazyMultitasking) -> CheckReport:
    """Climb what can be climbed: steps, limits, explicit algebra, margins, descent."""
    outcomes = [(step.title, step.check()) for step in law.steps]
    failed = [title for title, evidence in outcomes if not evidence.passed]
    words = f"{len(outcomes) - len(failed)} of {len(outcomes)} steps proven"
    rungs = [Rung(1, "derivation: every step", not failed, "; ".join([words, *failed]), "exact")]
    bound = f"{allowed(law):.0e}"
    judged = (
        ("limits: start and end of training", check_limits(law), "exact"),
        ("explicit Gram matrices: outputs", compared(law), bound),
        ("explicit prompts: margin and accuracy", check_margin(law), bound),
        ("gradient descent: discrete steps", check_descent(law), bound),
    )
    for place, (title, evidence, bound) in enumerate(judged, 2):
        rungs.append(Rung(place, title, evidence.passed, evidence.figure, bound))
    return CheckReport(f"the lazy law of multitasking, {law.kernel.words}", tuple(rungs), law)


def check_limits(law: LazyMultitasking) -> Evidence:
    """Start at 0, end at the targets, and K = 1 as the training prompts."""
    start = dict.fromkeys(names.GAIN.values(), 0)
    response = law.parts.response(sp.S.One)
    begun = all(e.subs(start) == 0 for e in response.values())
    one = law.parts.alike
    single = sp.Add(*(part * e.subs(one) for part, e in response.items()))
    shares = {names.GAIN[x]: names.LEARNED[x] / names.LAM[x] for x in names.MODES}
    residual = sp.expand(single.subs(shares) - law.parts.training)
    ends = {names.LEARNED[x]: law.parts.learned(x, sp.oo) for x in names.MODES}
    done = law.parts.training.subs(ends)
    modes = law.environment.modes
    target = sp.Add(*(mode for x, mode in modes.items() if not law.parts.never(x)))
    left = sp.expand(done - target)
    return Evidence.of(
        begun and residual == 0 and left == 0,
        f"response 0 at t = 0; at the end the targets, but for modes of eigenvalue 0, residual "
        f"{left}; one task as in training, residual {residual}",
    )
