r"""Prior knowledge as a matrix Riccati law: Fukumizu (1998), Braun et al. (2022).

Sources
    K. Fukumizu, "Effect of batch learning in multilayer neural networks" (1998). L. Braun,
    C. C. J. Dominé, J. E. Fitzgerald, A. M. Saxe, "Exact learning dynamics of deep linear networks
    with prior knowledge", Advances in Neural Information Processing Systems 35 (2022), and Journal
    of Statistical Mechanics (2023) 114004. Of both the abstracts could be read, not the bodies.

What they claim
    A two-layer linear network on whitened inputs that starts from balanced weights, of any size
    and in any basis (prior knowledge), has an exact law: with $Q = (W_1, W_2^T)^T$ the matrix
    $G = QQ^T$, which holds output, hidden similarity and tangent kernel, obeys a matrix Riccati
    equation that can be solved. The second source generalises the solution of the first one, and
    draws consequences for continual and reversal learning.

What is derived here
    For weights with $W_2^T W_2 - W_1 W_1^T = \lambda I$ (balanced: $\lambda = 0$)
    $$\dot G = FG + GF - G^2,\qquad
      F = \begin{pmatrix} -\frac\lambda2 I & S^T\\ S & \frac\lambda2 I\end{pmatrix},\qquad
      G(t) = e^{Ft} Q_0\big[I + Q_0^T\Phi(t) Q_0\big]^{-1} Q_0^T e^{Ft},$$
    $\Phi = \int_0^t e^{2F\tau}d\tau$: an entire function of F. Programs for these laws divide by F
    where $\Phi = (e^{2Ft} - I)(2F)^{-1}$, which needs equal numbers of inputs and outputs, all of
    whose modes the task uses; in this form no dimension and no rank is excluded.

    What has learned a task from balanced weights cannot reverse it: these weights span what the
    reversed task's flow contracts, $F Q = -QS'$ with positive $S'$, so that they fall to 0. With
    one mode the law is that of unequal amplitudes, $\lambda = b^2 - a^2$; so every mode of a task
    that was learned from $\lambda \ne 0$ is reversed as in `reversal`, with $c = |\lambda|$. Random
    balanced weights have a rest that did not learn the task and shrank meanwhile; after a time T
    of learning it takes the strongest mode $(1 + s_{\min}/s_{\max})\,T$ to be reversed by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

import symkernel as sk

if TYPE_CHECKING:
    from matplotlib.figure import Figure


t = sp.Symbol("t", nonnegative=True)
s, a, b = sp.symbols("s a b", positive=True)

_TURN = sp.Matrix([[sp.Rational(3, 5), sp.Rational(-4, 5)], [sp.Rational(4, 5), sp.Rational(3, 5)]])
_ORDER = 7


def balanced_point(lam: sp.Expr, hidden: int) -> tuple[sp.Matrix, sp.Matrix]:
    r"""Return exact W1 (hidden, 2) and W2 (3, hidden) with $W_2^T W_2 - W_1 W_1^T = \lambda I$.

    The squared singular values of the two differ by $\lambda$: $q^2 - p^2 = (q-p)(q+p)$.
    """
    shares = [sp.Rational(1, 2), sp.Rational(3, 2)][:hidden]
    first = sp.diag(*(abs(lam / k - k) / 2 for k in shares))
    second = sp.diag(*((lam / k + k) / 2 for k in shares))
    turn = _TURN if hidden == 2 else sp.eye(1)
    out = sp.Matrix([[2, 1], [-2, 2], [1, 2]])[:, :hidden] / 3
    return turn * first * _TURN[:hidden, :], out * second * turn.T


# Three outputs and two inputs; full rank and rank 1; as many hidden units as inputs, and fewer.
POINTS = tuple(
    (lam, S, balanced_point(lam, hidden))
    for lam, hidden, S in (
        (sp.S.Zero, 2, sp.Matrix([[1, 2], [0, 1], [3, 1]])),
        (sp.S.Zero, 1, sp.Matrix([[1, 2], [2, 4], [-1, -2]])),
        (sp.Rational(2), 2, sp.Matrix([[1, 2], [2, 4], [-1, -2]])),
        (sp.Rational(3, 4), 1, sp.Matrix([[1, 0], [0, 2], [1, 1]])),
    )
)


def blocks(S: sp.Matrix, lam: sp.Expr) -> sp.Matrix:
    """Return F."""
    outputs, inputs = S.shape
    top = (-lam / 2 * sp.eye(inputs)).row_join(S.T)
    return top.col_join(S.row_join(lam / 2 * sp.eye(outputs)))


# The claims. Each takes what is claimed, so that something wrong can be put in its place.


def riccati_equation(sign: int = 1) -> tuple[bool, str]:
    """The flow of G is Riccati's, from the loss itself, differentiated entry by entry."""
    for lam, S, (W1, W2) in POINTS:
        symbols = [
            sp.Matrix(*M.shape, sp.symbols(f"w{k}_:{len(M)}")) for k, M in enumerate((W1, W2))
        ]
        off = S - symbols[1] * symbols[0]
        loss = (off * off.T).trace() / 2
        entry = dict(zip([*symbols[0], *symbols[1]], [*W1, *W2], strict=True))
        V1, V2 = (-sp.Matrix(*M.shape, [loss.diff(w) for w in M]).subs(entry) for M in symbols)
        Q, V, F = W1.T.col_join(W2), V1.T.col_join(V2), blocks(S, sign * lam)
        G = Q * Q.T
        if V * Q.T + Q * V.T != F * G + G * F - G * G:
            return False, f"not at lambda = {lam}, {W1.rows} hidden units"
    return True, f"exactly, at {len(POINTS)} rational points"


def solution() -> tuple[bool, str]:
    """The solution solves the equation, whatever the dimensions: letters that do not commute."""
    E, F, Q, QT, N = sp.symbols("E F Q Q^T N", commutative=False)
    G = E * Q * N * QT * E
    # d/dt: E' = F E = E F for E = exp(F t), and N' = -N Q^T E^2 Q N for N = (I + Q^T Phi Q)^-1.
    moved = F * G + G * F - E * Q * N * QT * E * E * Q * N * QT * E
    residual = sp.expand(moved - (F * G + G * F - G * G))
    return residual == 0, f"residual {residual}"


def power_series(extra: sp.Expr = sp.S.One) -> tuple[bool, str]:
    """The same in powers of t on exact numbers, also where F has no inverse."""
    singular = [S.rank() for lam, S, _ in POINTS if blocks(S, lam).det() == 0]
    for lam, S, (W1, W2) in POINTS:
        F, Q = blocks(S, lam), W1.T.col_join(W2)
        n, h = Q.shape
        grow = [F**k / sp.factorial(k) for k in range(_ORDER)]
        inner = [sp.eye(h)]
        inner += [extra * Q.T * (2 * F) ** (k - 1) * Q / sp.factorial(k) for k in range(1, _ORDER)]
        inverse = [sp.eye(h)]
        for k in range(1, _ORDER):
            inverse.append(-sum((inner[j] * inverse[k - j] for j in range(1, k + 1)), sp.zeros(h)))
        left = [_product(grow, [Q * x for x in inverse], k) for k in range(_ORDER)]
        ours = [_product(left, [Q.T * x for x in grow], k) for k in range(_ORDER)]
        G = [Q * Q.T]
        for k in range(_ORDER - 1):
            square = sum((G[j] * G[k - j] for j in range(k + 1)), sp.zeros(n))
            G.append((F * G[k] + G[k] * F - square) / (k + 1))
        if ours != G:
            return False, f"differs at lambda = {lam}"
    words = f"{_ORDER} orders exactly, at {len(POINTS)} points, {len(singular)} with det F = 0"
    return len(singular) > 1, words


def _product(left: list[sp.Matrix], right: list[sp.Matrix], order: int) -> sp.Matrix:
    terms = [left[k] * right[order - k] for k in range(order + 1)]
    return sum(terms[1:], terms[0])


def one_mode(flip: int = 1) -> tuple[bool, str]:
    """With one mode the matrix law is the law of unequal amplitudes, lambda = b^2 - a^2."""
    net, task = sk.Network.two_layer(inputs=1, hidden=1, outputs=1), sk.Task.from_modes(s)
    law = sk.derive(net, task, sk.weights.aligned(net, task, a=a, b=b)).result.output
    gaps = []
    for strength, one, two, time in ((2, 1, "1/3", 1), (1, "1/10", "1/7", 5), ("1/2", 2, 3, "1/5")):
        S, A, B, now = map(sp.Rational, (strength, one, two, time))
        lam, Q = flip * (B**2 - A**2), sp.Matrix([A, B])
        F = blocks(sp.Matrix([[S]]), lam)
        # F^2 = f^2 I: functions of F are linear in it.
        f = sp.sqrt(S**2 + lam**2 / 4)
        flow = sp.cosh(f * now) * sp.eye(2) + sp.sinh(f * now) / f * F
        phi = sp.sinh(2 * f * now) / (2 * f) * sp.eye(2) + sp.sinh(f * now) ** 2 / f**2 * F
        G = flow * Q * Q.T * flow / (1 + (Q.T * phi * Q)[0])
        ours = law.subs({s: S, a: A, b: B, t: now})
        gaps.append(abs((G[1, 0] - ours).evalf(50)))
    return bool(max(gaps) < sp.Float("1e-45")), f"largest difference {float(max(gaps)):.0e}"


def reversal() -> tuple[bool, str]:
    """Balanced weights of a learned task lie in what the reversed task contracts."""
    turn, U = _TURN, sp.Matrix([[2, 1], [-2, 2], [1, 2]]) / 3
    roots = sp.diag(sp.Rational(3, 2), sp.Rational(1, 2))
    S = U * roots**2 * turn
    Q = (roots * turn).T.col_join(U * roots)
    F = blocks(-S, sp.S.Zero)
    contracted = F * Q + Q * roots**2 == sp.zeros(5, 2)
    # Then exp(F t) Q = Q exp(-S' t), Q^T Phi Q = I - exp(-2 S' t), and all of G goes to 0.
    strength, fall = roots[0, 0] ** 2, sp.exp(-2 * roots[0, 0] ** 2 * t)
    matrix = strength * fall / (1 + (1 - fall))
    mode = strength / (2 * sp.exp(2 * strength * t) - 1)
    same = sp.cancel(sp.together(matrix - mode)) == 0
    return bool(contracted and same), f"F Q = -Q S' exactly: {contracted}; as the mode law: {same}"


INPUTS, HIDDEN, OUTPUTS, SAMPLES, SCALE = 4, 3, 3, 8, 0.6
STRENGTHS, SWITCH, LONG = (2.0, 1.5, 1.0), 4.0, 40.0
LAMBDAS = (0.0, 0.01, 1.0)


def _frame(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0]


def _bases() -> tuple[np.ndarray, np.ndarray]:
    return _frame(OUTPUTS, OUTPUTS, 1000), _frame(INPUTS, OUTPUTS, 1001)


def tasks() -> tuple[sk.Task, sk.Task]:
    """Return two tasks on the same white inputs that share no singular vector; one of rank 2."""
    X = np.sqrt(SAMPLES) * _frame(SAMPLES, INPUTS, 1002)
    U, V = _bases()
    other = _frame(OUTPUTS, 2, 1003) @ _frame(INPUTS, 2, 1004).T
    return sk.Task(X, X @ (V * STRENGTHS) @ U.T), sk.Task(X, X @ other.T)


def problem(lam: float, second: sk.Task, duration: float) -> tuple[Any, Any, Any]:
    """Return a network with random lambda-balanced weights that learns two tasks in turn."""
    net = sk.Network.two_layer(inputs=INPUTS, hidden=HIDDEN, outputs=OUTPUTS)
    course = sk.Curriculum([sk.Phase(tasks()[0], duration), sk.Phase(second)])
    return net, course, sk.weights.lambda_balanced(net, lam=lam, scale=SCALE, seed=1005)


def law(lam: float, second: sk.Task, duration: float) -> sk.Derivation:
    """Return the full-matrix law of such a network."""
    return sk.derive(*problem(lam, second, duration), law="lambda_balanced")


def derive() -> sk.Derivation:
    """Return the law of balanced weights through a change of task."""
    return law(0.0, tasks()[1], SWITCH)


def change_of_task() -> tuple[bool, str]:
    """The maps through a change of task, against gradient descent at two learning rates."""
    times = np.linspace(0.0, 2 * SWITCH, 17)
    errors = []
    for rate in (4e-3, 2e-3):
        gaps = []
        for lam in LAMBDAS:
            exact = law(lam, tasks()[1], SWITCH).compile()(times).outputs
            run = sk.simulate(*problem(lam, tasks()[1], SWITCH), learning_rate=rate, record=times)
            gaps.append(np.abs(exact - run.outputs).max())
        errors.append(max(gaps))
    ratio = errors[0] / errors[1]
    return bool(1.9 < ratio < 2.1), f"error {errors[0]:.1e}, {errors[1]:.1e} at half the rate"


def crossings() -> tuple[bool, str]:
    r"""After long learning each mode crosses zero at $\ln(1 + R/\lambda)/R$."""
    U, V = _bases()
    gaps = []
    for lam in LAMBDAS[1:]:
        rates = np.hypot(2 * np.array(STRENGTHS), lam)
        moments = np.log1p(rates / lam) / rates
        reverse = law(lam, tasks()[0].reversed(), LONG).compile()
        maps = reverse(np.sort(LONG + moments)).end_to_end[np.argsort(np.argsort(moments))]
        gaps += [abs(U[:, k] @ maps[k] @ V[:, k]) for k in range(OUTPUTS)]
    stuck = law(0.0, tasks()[0].reversed(), LONG).compile()(LONG + np.array([10.0])).end_to_end
    gaps.append(np.abs(stuck).max())
    return bool(max(gaps) < 1e-7), f"largest entry where a mode should be 0: {max(gaps):.0e}"


def waiting(slope: float = 1 + STRENGTHS[-1] / STRENGTHS[0]) -> tuple[bool, str]:
    r"""From random balanced weights the strongest mode waits $(1 + s_{\min}/s_{\max})\,T$.

    What has learned mode k takes up $e^{s_k T}$ of its start, and leaves $e^{-(s_j + s_k)T}$ of the
    rest along mode j, which the reversed task multiplies by $e^{s_j t}$; the weakest k leaves most.
    """
    durations, waits = (3.0, 4.0, 5.0, 6.0), []
    for duration in durations:
        times = np.linspace(0.0, 1.75 * duration, 2001)
        reverse = law(0.0, tasks()[0].reversed(), duration).compile()
        losses = reverse(duration + times).task_losses[:, 1]
        # Without the strongest mode less than half of the loss at the saddle is left.
        waits.append(times[np.argmax(losses < sum(x**2 for x in STRENGTHS) / 4)])
    # Longer learning is out of reach: rounding would decide what is left to grow.
    found = np.diff(waits) / np.diff(durations)
    falling = bool((np.diff(found) < 0).all())
    words = ", ".join(f"{wait:.2f} after {d:g}" for wait, d in zip(waits, durations, strict=True))
    slopes = ", ".join(f"{value:.2f}" for value in found)
    held = falling and bool((found > slope).all()) and bool(found[-1] < slope + 0.15)
    return held, f"waits {words}: slopes {slopes} fall towards {slope:.2f}"


def claims() -> tuple[tuple[str, bool, str], ...]:
    """Return every claim: what, whether it holds, what was found."""
    return (
        ("the flow is a matrix Riccati equation", *riccati_equation()),
        ("its solution, any dimensions", *solution()),
        ("no inverse of F is needed", *power_series()),
        ("one mode: unequal amplitudes", *one_mode()),
        ("balanced weights fall to zero", *reversal()),
        ("change of task, any weights", *change_of_task()),
        ("modes cross zero in time", *crossings()),
        ("the reversal waits for the rest", *waiting()),
    )


def check(draws: int = 3, precision_draws: int = 20) -> Any:
    """Climb the ladder with the law."""
    return sk.check(derive(), draws=draws, precision_draws=precision_draws)


def figure() -> Figure:
    """Draw a change of task from random weights, and reversals at several lambda."""
    from symkernel.report.panels import panels

    page, (change, reversals) = panels(height=3.1)
    times = np.linspace(0.0, 2 * SWITCH, 161)
    exact = derive().compile()(times)
    run = sk.simulate(*problem(0.0, tasks()[1], SWITCH), learning_rate=2e-3, record=times)
    for i in range(OUTPUTS):
        (line,) = change.plot(times, exact.end_to_end[:, i, 0], label=f"output {i}")
        change.plot(times[::8], run.end_to_end[::8, i, 0], "o", color=line.get_color(), ms=3)
    change.axvline(SWITCH, color="0.5", lw=0.8, ls=":")
    change.set(
        xlabel="flow time t", ylabel="map from input 0", title="a new task, balanced weights"
    )
    change.legend(frameon=False, fontsize="small")
    span = np.linspace(0.0, 8.0, 241)
    for lam in LAMBDAS:
        losses = law(lam, tasks()[0].reversed(), LONG).compile()(LONG + span).task_losses
        reversals.plot(span, losses[:, 1], label=rf"$\lambda$ = {lam:g}")
    start = sum(x**2 for x in STRENGTHS)
    reversals.axhline(start / 2, color="0.6", lw=0.8, ls="--", label="saddle at 0")
    reversals.set(xlabel="flow time since the reversal", ylabel="loss", title="targets change sign")
    reversals.legend(frameon=False, fontsize="small")
    return page
