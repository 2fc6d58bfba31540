"""The walk over the laws: which one holds for a problem, which fail, and by how much."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from symkernel.assumptions import Assumptions
from symkernel.errors import InvalidArgument, NoClosedForm, as_choice, as_positive
from symkernel.formula import Law, Verdict
from symkernel.problem.loss import SquaredError
from symkernel.problem.problem import Problem
from symkernel.theory import LAWS


def choose(problem: Problem, name: str | None, tolerance: object) -> tuple[Law, Assumptions]:
    """Return the law that is used, the first that holds or the one asked for, and what was tested.

    Parameters
    ----------
    problem : Problem
    name : str, optional
        The law that is asked for.
    tolerance : float, optional
        The largest distance from its assumptions that is accepted.

    Raises
    ------
    InvalidArgument
        If there is no such law, or a tolerance without a law.
    NoClosedForm
        If no law holds; the message and ``error.verdicts`` say by how much.
    """
    accepted = _as_accepted(tolerance, name)
    if not isinstance(problem.loss, SquaredError):
        raise NoClosedForm(
            f"No law of the catalogue is for {type(problem.loss).__name__}: all are for squared "
            f"error. Use sk.simulate for the trajectory, or loss=sk.SquaredError() for a law."
        )
    candidates = tuple(law for law in LAWS if name == law.name or _offered(law, problem, name))
    if not candidates:
        as_choice(name, "law", [law.name for law in LAWS])
    asked = name is not None
    found: dict[str, tuple[Verdict, ...]] = {}
    for law in candidates:
        found[law.name] = verdicts_of(law, problem, accepted)
        if all(verdict.stands for verdict in found[law.name]):
            return law, _table(found, law, asked)
    table = _table(found, None, asked)
    which = f"The law '{name}' does not cover" if asked else "No law of the catalogue covers"
    raise NoClosedForm(
        f"{which} this problem:\n{table}\nUse sk.simulate for its trajectory, or change what "
        f"fails.",
        table,
    )


def verdicts_of(law: Law, problem: Problem, accepted: float) -> tuple[Verdict, ...]:
    """Return what a law's test says, with the distance that the user accepts.

    A flow that cannot be derived on the way is a law that fails, no end of the walk.
    """
    try:
        found = law.test(problem)
    except NoClosedForm as error:
        words = "the flow that the law solves can be derived"
        found = (Verdict(law.name, words, False, float("inf"), 0.0, str(error)),)
    return tuple(replace(verdict, accepted=accepted) for verdict in found)


def require(law: Law, problem: Problem, accepted: float) -> Assumptions:
    """Test a law for a problem that has got its numbers.

    Raises
    ------
    NoClosedForm
        If it does not hold for them.
    """
    verdicts = verdicts_of(law, problem, accepted)
    table = Assumptions(verdicts, law.name, asked=True, remark=law.remark)
    if not all(verdict.stands for verdict in table):
        table = replace(table, chosen=None)
        raise NoClosedForm(
            f"The law '{law.name}' does not hold for these values:\n{table}\nUse sk.simulate for "
            f"the trajectory.",
            table,
        )
    return table


def _offered(law: Law, problem: Problem, name: str | None) -> bool:
    """Whether a law is tried unasked: of leading order only where the network is nonlinear."""
    if name is not None:
        return False
    curved = any(not phi.is_linear for phi in problem.network.activations)
    return law.asymptotics is None or curved


def _as_accepted(tolerance: object, law: str | None) -> float:
    if tolerance is None:
        return 0.0
    if law is None:
        raise InvalidArgument(
            "Argument 'tolerance' accepts violations of one law; name it, as in "
            "sk.derive(..., law='aligned_modes', tolerance=0.05)."
        )
    return as_positive(tolerance, "tolerance")


def _table(found: dict[str, tuple[Verdict, ...]], chosen: Law | None, asked: bool) -> Assumptions:
    untried = tuple(law.name for law in LAWS if law.name not in found)
    name, remark = (None, "") if chosen is None else (chosen.name, chosen.remark)
    return Assumptions(tuple(chain(*found.values())), name, untried, asked, remark)
