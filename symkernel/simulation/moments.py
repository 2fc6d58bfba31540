r"""Linear networks on second moments: the cost of a step does not depend on the samples.

A linear network $f(x) = A x$ sees the data through $\Sigma_{xx}$, $\Sigma_{yx}$ and $\Sigma_{yy}$
alone: its loss is

$$L = \kappa\,\mathrm{tr}\big(\Sigma_{yy} - 2 A \Sigma_{yx}^T + A \Sigma_{xx} A^T\big), \qquad
\partial L/\partial A = 2\kappa\,(A \Sigma_{xx} - \Sigma_{yx}) .$$

The program runs on the identity matrix as its samples, so that its output is $A$ and the gradient
by the output is the matrix above; the way back is the same as on samples. A weight on the input
is then a value already, which saves its product and that of its gradient.
"""

from __future__ import annotations

from symkernel.errors import InvalidArgument, as_choice
from symkernel.problem.network import Network
from symkernel.problem.nodes import Apply, Bias, Gate
from symkernel.problem.task import Task


def why_not(net: Network) -> str | None:
    """Return what keeps a network off moments, None if nothing does."""
    for node in net.order:
        if isinstance(node, Apply) and not node.activation.is_linear:
            return f"it applies {node.activation.name}"
        if isinstance(node, Bias):
            return f"it adds the bias '{node.parameter.name}'"
        if isinstance(node, Gate):
            return f"it has the gate '{node.name}'"
    return None


def choose_moments(
    net: Network, tasks: list[Task], on: str, batches: bool, other: str | None = None
) -> bool:
    """Return whether to run on moments.

    Parameters
    ----------
    net : Network
        The network.
    tasks : list of Task
        Tasks of the curriculum.
    on : {"auto", "samples", "moments"}
        What the caller wants; "auto" takes moments where they are possible and cost less.
    batches : bool
        Whether mini-batches are drawn, which need samples.
    other : str, optional
        What else keeps a run off moments.
    """
    as_choice(on, "on", ("auto", "samples", "moments"))
    reason = why_not(net) or other
    if reason is None and batches:
        reason = "mini-batches are drawn from samples"
    fresh = any(task.teacher is not None for task in tasks)
    lacking = any(task.X is None and not (batches and task.teacher) for task in tasks)
    if fresh and not batches:
        bare = any(task.Syx is None for task in tasks)
        reason = reason or ("the teacher is not linear" if bare else None)
        if reason is not None or on == "samples":
            raise InvalidArgument(
                f"Argument 'batch_size' must be given for a task of fresh samples: the number of "
                f"them in each step. Without it a linear network learns the exact moments of a "
                f"linear teacher{f', but here {reason}' if reason else ''}."
            )
    if on == "moments" and reason is not None:
        raise InvalidArgument(
            f"Argument 'on' must not be 'moments' here, because {reason}; use 'samples'."
        )
    if lacking and (on == "samples" or reason is not None):
        raise InvalidArgument(
            "A task given by moments has no samples to train on"
            + (f", and they are needed because {reason}." if reason else "; use on='moments'.")
        )
    if on != "auto" or reason is not None:
        return on == "moments"
    return lacking or all(len(task.X) > int(task.inputs) for task in tasks)
