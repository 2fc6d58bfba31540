r"""Any network near its initial weights: the frozen-kernel law of outputs and hidden activity.

To first order in the displacement of the weights a network is linear in them, and gradient flow on
the squared error is solved in closed form, hidden layers included:
$f_t = f_0 - 2\kappa\,\Theta C g(t)$ and $h_t(x) = h_0(x) - 2\kappa\,K_h(x) C g(t)$ with the tangent
kernel $\Theta$ and the pseudo-kernel $K_h$ of the initial weights.

Notes
-----
Exact for the linearised network; of a true network it is the leading order in 1/width (with the
parameterisation that keeps the tangent kernel of order 1) and in 1/scale of the output. The
change of the hidden Gram matrix is an exception: its order 1/width has another part of the same
size, from the curvature of the activation, which no first order in the weights holds.

Gradient descent with learning rate $\eta$ has $(1 - (1 - \eta l)^k)/l$ in place of
$(1 - e^{-lt})/l$; it is stable for $\eta l < 2$.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from symkernel.formula import Asymptotics, Citation, Derived, Law, Verdict
from symkernel.problem.problem import Problem
from symkernel.theory.frozen_checks import draw, families, frozen_derived, showcase
from symkernel.theory.frozen_course import CourseWords
from symkernel.theory.frozen_domain import verdicts
from symkernel.theory.frozen_numbers import frozen_numbers
from symkernel.theory.frozen_path import (
    Clock,
    FrozenPath,
    movement,
    probed,
    systems_of,
    through,
)
from symkernel.theory.mode_flow import exact_loss
from symkernel.trajectory import Trajectory

_NAME = "frozen_kernel"
_CITATIONS = (
    Citation(
        "jacot2018",
        "Jacot, A. and Gabriel, F. and Hongler, C.",
        "Neural Tangent Kernel: Convergence and Generalization in Neural Networks",
        "Advances in Neural Information Processing Systems 31",
        2018,
        arxiv="1806.07572",
    ),
    Citation(
        "lee2019",
        "Lee, J. and Xiao, L. and Schoenholz, S. S. and Bahri, Y. and Novak, R. and "
        "Sohl-Dickstein, J. and Pennington, J.",
        "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent",
        "Advances in Neural Information Processing Systems 32",
        2019,
        arxiv="1902.06720",
    ),
    Citation(
        "chizat2019",
        "Chizat, L. and Oyallon, E. and Bach, F.",
        "On Lazy Training in Differentiable Programming",
        "Advances in Neural Information Processing Systems 32",
        2019,
        arxiv="1812.07956",
    ),
)


def _test(problem: Problem) -> tuple[Verdict, ...]:
    return verdicts(_NAME, problem)


def _derive(problem: Problem) -> Derived:
    exact = replace(problem, loss=exact_loss(problem.squared_error))
    return frozen_derived(CourseWords(exact), frozen_numbers)


def trajectory(
    problem: Problem,
    times: Any,
    *,
    learning_rate: Any = None,
    at: Any = None,
    gates: Any = None,
    method: str | None = None,
) -> Trajectory:
    """Return the trajectory of the linearised network.

    Parameters
    ----------
    problem : Problem
        With numbers.
    times : array_like
        Flow times.
    learning_rate : float, optional
        Of gradient descent; the flow without it.
    at : array_like, shape (n_samples, n_inputs), optional
        Inputs at which activities are looked at, in place of the training samples.
    gates : mapping of str to array_like, optional
        Gates of these inputs.
    method : {"factor", "kernel", "lanczos"}, optional
        How it is solved, see `frozen_solver`; by size, none less accurate, without it.
    """
    clock = Clock.of(problem.curriculum, times, learning_rate)
    probe = probed(problem, at, gates)
    systems = systems_of(problem, problem.weights.arrays)
    flats, notes = through(problem, clock, systems, method)
    last = systems[clock.position[-1]]
    far = movement(last.tangent, last.layout.moved(problem.weights.arrays, flats[-1]))
    notes += (
        f"the tangent kernel would move by {far:.2g} of itself by flow time {clock.times[-1]:g}",
    )
    passes = probe or tuple(system.tangent for system in systems)
    return FrozenPath(problem, clock, systems, flats, passes, notes, probe is not None).trajectory()


LAW = Law(
    name=_NAME,
    title="Any network near its initial weights: frozen tangent kernel and pseudo-kernel",
    rank="leading order in 1/width and 1/scale",
    assumptions=(
        "any feed-forward network with numbers; tasks given by samples",
        "squared error without weight decay",
        "the tangent kernel moves little while it learns; how far it would move is predicted",
    ),
    outputs=("output", "hidden", "displacement", "weights", "loss"),
    citations=_CITATIONS,
    test=_test,
    derive=_derive,
    trajectory=trajectory,
    example=showcase,
    draw=draw,
    asymptotics=Asymptotics("linearised", families()),
    options=("learning_rate", "at", "gates"),
    remark=(
        "leading order only. Others for such networks: law='relinearised', which refreshes the "
        "kernel on the way to a requested accuracy; sk.infinite_width, the limit of wide layers; "
        "sk.time_derivatives, the power series in time of small networks"
    ),
)
