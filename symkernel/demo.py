"""The demonstration: 1797 images of digits, a law derived, evaluated, judged and exported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from symkernel.check_report import CheckReport
from symkernel.derivation import Derivation, derive
from symkernel.environments import digits
from symkernel.errors import InvalidArgument
from symkernel.ladder import check
from symkernel.problem import weights
from symkernel.problem.network import Network
from symkernel.problem.task import Task
from symkernel.report.display import where_lines
from symkernel.report.figures import learning_curves, save_figure, similarity_matrices
from symkernel.report.latex import compile_pdf, save
from symkernel.report.record import record, save_record
from symkernel.simulation import simulate
from symkernel.trajectory import Trajectory

COMPONENTS, HIDDEN, CLASSES = 20, 32, 10
# Small and unequal: learning is gradual, and the imbalance of the layers shows.
INPUT_SIDE, OUTPUT_SIDE = 0.05, 0.1
END, LEARNING_RATE = 40.0, 0.02
RECORD = np.linspace(0.0, END, 81)
DENSE = np.linspace(0.0, END, 401)
SNAPSHOTS = (0.0, 5.0, 10.0, END)


class _Clock:
    """Seconds of each part, printed when it ends."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, title: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[title] = time.perf_counter() - begin
        self.say(f"  {self.seconds[title]:7.2f} s  {title}")


def run(out: str | Path, progress: bool = True, say: Callable[[str], None] = print) -> CheckReport:
    """Derive, evaluate, judge and export the law of a network that learns the digits.

    Parameters
    ----------
    out : str or Path
        Folder for law.tex, law.pdf (where pdflatex is installed), learning_curves.png,
        similarity.png and report.json; made if it does not exist.
    progress : bool
        Whether to show progress bars.
    say : callable
        What is given each line of the account.

    Returns
    -------
    CheckReport
        With the derivation.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InvalidArgument(f"Argument 'out' must be a folder, not the file {str(folder)!r}.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidArgument(
            f"Argument 'out' must be a folder that can be made, but {str(folder)!r} cannot: "
            f"{error.strerror or error}."
        ) from error
    clock = _Clock(say)
    say("Timings")
    with clock.part("load the digits"):
        task = digits(components=COMPONENTS)
    net = Network.two_layer(inputs=COMPONENTS, hidden=HIDDEN, outputs=CLASSES)
    w0 = weights.aligned(net, task, a=INPUT_SIDE, b=OUTPUT_SIDE)
    with clock.part("derive the law"):
        derivation = derive(net, task, w0)
        _ = derivation.steps, derivation.formulas
    with clock.part("compile and evaluate it the first time"):
        law = derivation.compile()
        _ = law(DENSE).modes
    with clock.part("evaluate it again"):
        theory = law(DENSE)
        _ = theory.modes
    with clock.part("gradient descent on all images"):
        simulation = simulate(
            net, task, w0, LEARNING_RATE, record=RECORD, on="samples", progress=progress
        )
    with clock.part("check"):
        report = check(derivation, progress=progress)
    with clock.part("figures"):
        pictures = _draw(folder, theory, simulation, law(SNAPSHOTS))
    with clock.part("LaTeX"):
        texts = _typeset(folder, report.derivation)
    findings = _compare(law(simulation.times), simulation, task)
    data = {**record(report.derivation), "findings": findings, "seconds": clock.seconds}
    written = [*pictures, *texts, save_record(data, folder / "report.json")]
    _tell(say, report, findings)
    say("\nWritten\n" + "\n".join(f"  {path}" for path in written))
    if not any(path.suffix == ".pdf" for path in texts):
        say("  (no law.pdf: pdflatex is not installed)")
    return report


def _draw(
    folder: Path, theory: Trajectory, simulation: Trajectory, snapshots: Trajectory
) -> list[Path]:
    curves = learning_curves(theory, simulation)
    similarity = similarity_matrices(snapshots, SNAPSHOTS)
    return [
        save_figure(curves, folder / "learning_curves.png"),
        save_figure(similarity, folder / "similarity.png"),
    ]


def _typeset(folder: Path, derivation: Derivation) -> list[Path]:
    source = save(derivation.latex(), folder / "law.tex")
    return [path for path in (source, compile_pdf(source)) if path is not None]


def _compare(theory: Trajectory, simulation: Trajectory, task: Task) -> dict[str, Any]:
    """Return how far law and simulation are apart, and how many digits the law's network reads."""
    gap = float(abs(theory.modes - simulation.modes).max() / abs(theory.modes).max())
    read = theory.outputs[-1].argmax(1) == np.argmax(task.Y, axis=1)
    return {
        "largest gap between law and gradient descent": gap,
        "learning rate": LEARNING_RATE,
        "share of digits that the law's network reads": float(read.mean()),
    }


def _tell(say: Callable[[str], None], report: CheckReport, findings: dict[str, Any]) -> None:
    say(f"\nLaw\n{report.derivation}\n{where_lines(report.derivation)}")
    say(f"\n{report}\n")
    gap, _, read = findings.values()
    say(
        f"Law against gradient descent on all images (learning rate {LEARNING_RATE:g}): largest "
        f"gap {gap:.1e} of the largest mode."
    )
    say(f"At t = {END:g} the law's network reads {read:.1%} of these digits.")
