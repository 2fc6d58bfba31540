r"""The steps from averages over prompts to plateaus and rates, each with its check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sympy as sp

from symkernel import notation
from symkernel.formula import Evidence, Step
from symkernel.problem.activation import ARGUMENT
from symkernel.theory.feature_averages import indicator
from symkernel.theory.small_weights import (
    ACCURACY,
    CURVE,
    ESCAPE,
    GAIN,
    GATING,
    PLATEAUS,
    READOUT,
    SLOPE,
    G,
    K,
    M,
)
from symkernel.theory.small_weights_checks import (
    at,
    counts_of,
    environment,
    escapes_at,
    gates_at,
    loss_of_best,
    loss_of_best_sum,
    on_all_sizes,
    tasks_of,
)

if TYPE_CHECKING:
    from symkernel.theory.small_weights import SmallWeights

_MEAN = notation.symbol("mean_e", r"\langle e_{iv} \rangle", "share of stimuli that show a feature")
_SAME = notation.symbol(
    "cov_same", r"\operatorname{cov}(e_{iv}, e_{iv})", "variance of an indicator"
)
_OTHER = notation.symbol(
    "cov_other",
    r"\operatorname{cov}(e_{iv}, e_{iv'})",
    "covariance of different features of a group",
)
_APART = notation.symbol(
    "cov_apart",
    r"\operatorname{cov}(e_{iv}, e_{i'v'})",
    "covariance of features of different groups",
)
_COUNT = notation.symbol(
    "var_n", r"\operatorname{var}(n_v)", "variance of the number of groups that show v"
)
_DRIVE = notation.symbol(
    "drive_1", r"\kappa_1", "drive of pooled contrasts of features at plateau 0"
)
_GATE = notation.symbol(
    "drive_2", r"\kappa_2", "drive by one task of contrasts of its group at plateau 1"
)
_TOLERANCE = 1e-12


def steps(theory: SmallWeights) -> tuple[Step, ...]:
    """Return the derivation for sigmoid or linear outputs."""
    found = (_averages(theory), _task_alone(theory), _slope(theory), _escape(theory))
    second = _pooled(theory)
    return (*found, second, *((_gating(theory), _coincidence(theory)) if theory.is_shared else ()))


def _averages(theory: SmallWeights) -> Step:
    mean = theory.averages.mean(indicator(0, 0))
    pairs = ((0, 0), (0, 0)), ((0, 0), (0, 1)), ((0, 1), (0, 0))
    same, other, apart = (theory.covariance(groups, features) for groups, features in pairs)

    def holds(g: int, m: int) -> bool:
        env = environment(g, m)
        shown = env.single.X[:, : env.outputs].astype(int)
        n = len(shown)
        sums, products = shown.sum(0), shown.T @ shown
        entries = {same: (0, 0), other: (0, 1), apart: (0, m)}
        covariances = all(
            at(value, (G, M), g, m) * n * n == int(n * products[k, l] - sums[k] * sums[l])
            for value, (k, l) in entries.items()
        )
        return covariances and at(mean, (G, M), g, m) * n == int(sums[0])

    return Step(
        "Averages over stimuli",
        "features of different groups are independent, each shows equally often, and a group shows "
        "one of them; e is 1 where group i shows feature v, otherwise 0",
        (
            sp.Eq(_MEAN, mean),
            sp.Eq(_SAME, same),
            sp.Eq(_OTHER, other),
            sp.Eq(_APART, apart, evaluate=False),
        ),
        lambda: on_all_sizes(holds, "counted over all prompts, exactly"),
        ((G, "number of groups"), (M, "features of a group"), (K, "tasks at once")),
    )


def _task_alone(theory: SmallWeights) -> Step:
    loss = theory.losses[0]

    def holds(g: int, m: int) -> bool:
        env = environment(g, m)
        return loss_of_best(env, tasks_of(env).tolist()) == at(loss, (G, M), g, m)

    return Step(
        "The first plateau: the task alone",
        "while the hidden layer is silent, the direct path answers the mean over stimuli: 1/M in "
        "the addressed group and 0 elsewhere; what is left is the variance of M indicators",
        (sp.Eq(PLATEAUS[0], M * _SAME / 2), sp.Eq(PLATEAUS[0], loss)),
        lambda: on_all_sizes(holds, "the best answers that know the task leave just that, exactly"),
    )


def _slope(theory: SmallWeights) -> Step:
    phi, place = theory.output_activation, theory.output_argument
    reached = phi.expression.subs(ARGUMENT, place)
    reason = "the output is the identity, and its slope 1 everywhere"
    if theory.is_gated:
        reason = (
            "the slope of a sigmoid is f (1 - f): that of the addressed group, which answers 1/M; "
            "outputs that answer 0 have slope 0 and drive nothing"
        )

    def check() -> Evidence:
        answers = sp.cancel(sp.together(reached - theory.averages.mean(indicator(0, 0)))) == 0
        moved = [
            theory.gain.subs(M, m) - _difference(phi.expression, place.subs(M, m))
            for m in (2, 3, 5)
        ]
        return Evidence.of(
            answers and max(map(abs, moved)) < _TOLERANCE,
            "the output answers 1/M there, and differences of it have this slope (60 digits)",
        )

    return Step("The slope of the output", reason, (sp.Eq(GAIN, theory.gain),), check)


def _difference(expression: sp.Expr, place: sp.Expr) -> sp.Expr:
    step = sp.Rational(1, 10**10)
    up, down = (sp.N(expression.subs(ARGUMENT, place + side * step), 60) for side in (1, -1))
    return (up - down) / (2 * step)


def _escape(theory: SmallWeights) -> Step:
    drive = theory.drive
    return Step(
        "The escape: features, whatever the group",
        "each of G groups is read equally often, and addressed equally often, and residual and "
        "feature are correlated within the group that is read alone: sums over all groups of "
        "feature contrasts of read-out and input weights drive each other with this number times "
        "both slopes; all else in these weights stays, to leading order",
        (
            sp.Eq(_DRIVE, (_SAME - _OTHER) / G),
            sp.Eq(_DRIVE, drive),
            sp.Eq(ESCAPE, SLOPE * GAIN * _DRIVE),
        ),
        lambda: on_all_sizes(
            lambda g, m: escapes_at(environment(g, m), at(drive, (G, M), g, m)),
            "the mean of residual times feature, counted over all prompts, maps pooled contrasts "
            "to this multiple of themselves, contrasts of groups to 0, and has no other direction",
        ),
    )


def _pooled(theory: SmallWeights) -> Step:
    loss, variance = theory.losses[1], theory.count_variance
    if theory.is_gated:
        told, reason = (
            M * _COUNT / G**2,
            (
                "given how many groups show feature v, n_v, the one that is read shows it with "
                "probability n_v/G, which the addressed group answers"
            ),
        )
    else:
        told, reason = (
            M * _COUNT / G**3,
            (
                "a sum of something known of the task and something known of the stimulus answers "
                "the same in all response groups beside what the task alone says: the mean over "
                "tasks of what that leaves"
            ),
        )

    def holds(g: int, m: int) -> bool:
        env, wanted = environment(g, m), at(loss, (G, M), g, m)
        if not theory.is_gated:
            return abs(loss_of_best_sum(env) - float(wanted)) < _TOLERANCE
        known = zip(tasks_of(env).tolist(), map(tuple, counts_of(env).tolist()), strict=True)
        return loss_of_best(env, list(known)) == wanted

    how = "exactly" if theory.is_gated else "by least squares to 1e-12"
    return Step(
        "The second plateau: task and pooled features",
        reason,
        (
            sp.Eq(_COUNT, variance),
            sp.Eq(PLATEAUS[1], PLATEAUS[0] - told / 2),
            sp.Eq(PLATEAUS[1], loss),
        ),
        lambda: on_all_sizes(holds, f"the best such answers leave just that, {how}"),
    )


def _gating(theory: SmallWeights) -> Step:
    drive = theory.gate_drive

    def check() -> Evidence:
        counted = on_all_sizes(
            lambda g, m: gates_at(environment(g, m), at(drive, (G, M), g, m)),
            "the mean of residual times feature on the prompts of a task, counted, is this number "
            "times the contrast of its stimulus group to the others, and of features",
        )
        matrix = sp.Matrix([[0, _DRIVE * READOUT], [G * _DRIVE * READOUT, 0]])
        found = {sp.powsimp(value**2) for value in matrix.eigenvals()}
        grows = found == {sp.powsimp(G * _DRIVE**2 * READOUT**2)}
        return Evidence.of(grows, counted.figure) if counted.passed else counted

    return Step(
        "Gating, approximately",
        "at the second plateau a task drives its own input weight along the contrast of the group "
        "that it reads, through the curvature of the unit, and its weight drives that contrast, "
        "once for each of G response groups; contrasts of response groups are not driven, so the "
        "hidden layer stays blind to them. Averages of products are taken as products of averages",
        (
            sp.Eq(_GATE, drive),
            sp.Eq(GATING, sp.sqrt(G) * _GATE * sp.Abs(CURVE) * GAIN * READOUT),
        ),
        check,
    )


def _coincidence(theory: SmallWeights) -> Step:
    share = theory.concurrent_accuracy(K).expression

    def holds(g: int, m: int) -> bool:
        env = environment(g, m)
        prompts = [env.prompts(env.task_sets(k)) for k in range(1, g + 1)]
        found = [(int(one.congruent.sum()), len(one.X)) for one in prompts]
        return all(
            hits == sp.Rational(share.subs({M: m, K: k})) * count
            for k, (hits, count) in enumerate(found, 1)
        )

    return Step(
        "Several tasks at once, approximately",
        "a hidden layer that is blind to response groups, with a direct path that does not see the "
        "stimulus, answers one feature in all addressed groups: right where the K features that "
        "are asked for coincide, M of the M^K possibilities. Biases of features are left out",
        (sp.Eq(ACCURACY, share),),
        lambda: on_all_sizes(holds, "prompts whose features coincide, counted, K from 1 to G"),
        ((K, "number of tasks at once"),),
    )
