"""The command line: ``symkernel list | derive NAME | check NAME | simulate NAME | demo``.

NAME is a law, a published derivation or a TOML file with a problem.

Exit status: 0; 1 if a check failed; 2 for bad input, with the message on standard error.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from symkernel import __version__
from symkernel.errors import InvalidArgument, NoClosedForm, SymkernelError

if TYPE_CHECKING:
    from symkernel.compiled_law import CompiledLaw
    from symkernel.derivation import Derivation
    from symkernel.formula import Law
    from symkernel.problem.problem import Problem
    from symkernel.problem_file import ProblemFile
    from symkernel.trajectory import Trajectory

PASSED, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_LAW_PREFIX = "law:"
_FILE_SUFFIX = ".toml"
_STEPS = 4000
_CURVE_POINTS = 321
_MOST_DOUBLINGS = 60
_ROWS = 11


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.
    """
    try:
        options = _parser().parse_args(argv)
        return int(options.run(options))
    except SystemExit as stop:  # argparse: --help and bad arguments
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("symkernel: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone; what is left must not be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PASSED
    except (SymkernelError, ImportError, OSError) as error:
        print(f"symkernel: {error}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="symkernel",
        allow_abbrev=False,
        description="Exact laws of learning: derived, checked and exported.",
        epilog="Exit status: 0; 1 if a check failed; 2 for bad input.",
    )
    parser.add_argument("--version", action="version", version=f"symkernel {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="print all laws and derivations")
    listing.set_defaults(run=_list)
    for name, run, text in (
        ("derive", _derive, "derive a law on its example, a published result, or for a file"),
        ("check", _check, "derive it and climb the ladder of checks; judge the claims of a file"),
        ("simulate", _simulate, "train by gradient descent and print the loss through time"),
    ):
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument(
            "name", metavar="NAME",
            help="a name from 'symkernel list' (law:NAME where a derivation has the same name), "
            "or a file FILE.toml",
        )  # fmt: skip
        if name != "simulate":
            command.add_argument("--latex", metavar="FILE", type=Path, help="write LaTeX")
        command.add_argument("--figure", metavar="FILE", type=Path, help="write a PNG, PDF or SVG")
        command.add_argument("--json", metavar="FILE", type=Path, help="write the record as JSON")
        command.set_defaults(run=run)
        if name == "check":
            command.add_argument("--draws", type=int, default=12, help="random problems (12)")
            command.add_argument("--seed", type=int, default=1000, help="seed of all draws (1000)")
    demo = commands.add_parser("demo", help="the main job on real images of digits")
    demo.add_argument("--out", metavar="DIR", type=Path, default=Path("out"), help="folder (out)")
    demo.set_defaults(run=_demo)
    return parser


def _progress() -> bool:
    return sys.stderr.isatty()


def derivation_names() -> tuple[str, ...]:
    """Return the names of the published derivations, without loading them."""
    package = importlib.import_module("symkernel.derivations")
    found = (one.name for one in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def _title_of(name: str) -> str:
    """Return the first line of a derivation's docstring, read without running it."""
    spec = importlib.util.find_spec(f"symkernel.derivations.{name}")
    source = spec.loader.get_source(spec.name) if spec and spec.loader else None  # type: ignore[attr-defined]
    text = ast.get_docstring(ast.parse(source)) if source else None
    return text.splitlines()[0] if text else ""


class _Found(NamedTuple):
    """What a name stands for: exactly one of these."""

    law: Law | None = None
    module: ModuleType | None = None
    file: ProblemFile | None = None


def _find(name: str) -> _Found:
    """Return what a listed name or a file stands for; no other text is loaded."""
    from symkernel.theory import catalogue

    if name.lower().endswith(_FILE_SUFFIX):
        from symkernel.problem_file import load_problem

        return _Found(file=load_problem(name))
    laws = {law.name: law for law in catalogue()}
    if name.removeprefix(_LAW_PREFIX) in laws and (
        name.startswith(_LAW_PREFIX) or name not in derivation_names()
    ):
        return _Found(laws[name.removeprefix(_LAW_PREFIX)])
    if name in derivation_names():
        return _Found(module=importlib.import_module(f"symkernel.derivations.{name}"))
    raise InvalidArgument(
        f"Argument 'NAME' must be a law ({', '.join(laws)}), a derivation "
        f"({', '.join(derivation_names()) or 'none'}) or a file FILE.toml, not {name!r}."
    )


def _derived(found: _Found, judged: bool = False) -> Derivation:
    """Derive; what is judged has the numbers of its file, if it has them all."""
    from symkernel.derivation import derive

    if found.module is not None:
        return found.module.derive()
    if found.file is not None:
        numeric = judged and found.file.has_values
        problem, law = found.file.numeric if numeric else found.file.problem, None
    else:
        assert found.law is not None
        problem, law = found.law.example(), found.law.name
    return derive(problem.network, problem.curriculum, problem.weights, law=law, loss=problem.loss)


# ---- commands


def _list(_: argparse.Namespace) -> int:
    from symkernel.theory import catalogue

    rows = []
    for law in catalogue():
        sources = "; ".join(f"{c.key}, arXiv:{c.arxiv}" for c in law.citations)
        rows.append((law.name, law.rank, law.title, sources or "derived here"))
    print("Laws")
    _table(("name", "rank", "title", "source"), rows)
    print("\nDerivations of published results")
    _table(("name", "title"), [(name, _title_of(name)) for name in derivation_names()])
    print(f"\nWhere both have one name, {_LAW_PREFIX}NAME asks for the law.")
    return PASSED


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, ["-" * width for width in widths], *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  " + "  ".join(cells).rstrip())


def _derive(options: argparse.Namespace) -> int:
    from symkernel.report.display import where_lines

    _check_paths(options)
    found = _find(options.name)
    derivation = _derived(found)
    print(f"{derivation}\n{where_lines(derivation)}")
    if found.file is not None:
        _print_modes(found.file.problem)
    print("\nSteps")
    for position, step in enumerate(derivation.steps, 1):
        print(f"  {position}. {step.title}: {step.reason}")
    _write(options, derivation, found, (), judged=False)
    return PASSED


def _print_modes(problem: Problem) -> None:
    """Print what the law's letters stand for in a problem that is given by modes."""
    rows = [
        (str(phase), str(k), str(mode.s), str(mode.d), str(mode.multiplicity))
        for phase, part in enumerate(problem.curriculum.phases)
        for k, mode in enumerate(part.task.modes or ())
    ]
    if rows:
        print("\nModes of the task")
        _table(("phase", "mode", "s", "d", "multiplicity"), rows)


def _check(options: argparse.Namespace) -> int:
    from symkernel.ladder import check

    _check_paths(options)
    found = _find(options.name)
    try:
        derivation = _derived(found, judged=True)
    except NoClosedForm as refusal:
        # Files to be written would be of the law that there is not.
        wanted = options.latex or options.json or options.figure
        if found.file is None or not found.file.claims or wanted:
            raise
        print(refusal)
        return PASSED if all(holds for _, holds, _ in _claims(found)) else FAILED
    report = check(derivation, draws=options.draws, seed=options.seed, progress=_progress())
    print(report)
    claims = _claims(found)
    _write(options, report.derivation, found, claims, judged=True)
    return PASSED if report.passed and all(holds for _, holds, _ in claims) else FAILED


def _claims(found: _Found) -> tuple[tuple[str, bool, str], ...]:
    """Judge the claims of a published result or of a file, and print what was found."""
    claims = tuple(found.module.claims()) if hasattr(found.module, "claims") else ()  # type: ignore[union-attr]
    for title, holds, figure in claims:
        print(f"  claim: {title}: {'holds' if holds else 'FAILS'} ({figure})")
    return claims if found.file is None else _judged(found.file)


def _judged(file: ProblemFile) -> tuple[tuple[str, bool, str], ...]:
    from symkernel.claims import check_claim

    if not file.claims:
        return ()
    against = None if file.simulation is None else _run(file)
    claims = []
    for claim in file.claims:
        with file.blame("claim"):
            report = check_claim(claim.formula, claim.observable, file.numeric, against)
        print(report)
        figures = "; ".join(rung.figure for rung in report.rungs)
        claims.append((report.subject, report.passed, figures))
    return tuple(claims)


def _run(file: ProblemFile) -> Trajectory:
    from symkernel.simulation import simulate

    if file.simulation is None:
        raise InvalidArgument(
            f"{file.path}: key 'simulate' is missing; it must be a table with learning_rate and "
            f"steps."
        )
    p = file.numeric
    with file.blame("simulate"):
        return simulate(
            p.network, p.curriculum, p.weights, **file.simulation, loss=p.loss, progress=_progress()
        )


def _simulate(options: argparse.Namespace) -> int:
    from symkernel.report.record import save_record, simulation_record

    _check_paths(options)
    found = _find(options.name)
    if found.file is not None:
        problem, run = found.file.numeric, _run(found.file)
    else:
        law = _derived(found).compile()
        problem, run = law.problem, _descent(law)
    for line in problem.conventions:
        print(f"  {line}")
    print(f"  weights {problem.weights.provenance}\n")
    record = simulation_record(problem, run)
    shown = np.unique(np.linspace(0, len(run.times) - 1, _ROWS).round()).astype(int)
    columns = [np.array(record[name])[shown] for name in ("times", "steps", "loss")]
    rows = [(f"{t:.6g}", f"{step}", f"{loss:.6g}") for t, step, loss in zip(*columns, strict=True)]
    _table(("flow time t", "step", "loss"), rows)
    if options.json is not None:
        print(f"wrote {save_record(record, options.json)}")
    if options.figure is not None:
        from symkernel.report.figures import learning_curves, save_figure

        print(f"wrote {save_figure(learning_curves(run), options.figure)}")
    return PASSED


def _demo(options: argparse.Namespace) -> int:
    from symkernel.demo import run

    return PASSED if run(options.out, progress=_progress()).passed else FAILED


# ---- files


def _check_paths(options: argparse.Namespace) -> None:
    """Refuse files that cannot be written before the work, not after it."""
    from symkernel.report.files import checked_path

    for path in (getattr(options, "latex", None), options.json, options.figure):
        if path is not None:
            checked_path(path)
    if options.figure is not None:
        from symkernel.report.figures import checked_format

        checked_format(options.figure)


def _write(
    options: argparse.Namespace,
    derivation: Derivation,
    found: _Found,
    claims: Sequence[tuple[str, bool, str]],
    judged: bool,
) -> None:
    written = []
    if options.latex is not None:
        names = found.file.latex_names if found.file else None
        written.append(derivation.save_latex(options.latex, names=names))
    if options.json is not None:
        from symkernel.report.record import record, save_record

        written.append(save_record(record(derivation, claims), options.json))
    if options.figure is not None:
        from symkernel.report.figures import save_figure

        own = getattr(found.module, "figure", None)
        figure = own() if own else _figure(derivation, found.file, judged)
        written.append(save_figure(figure, options.figure))
    for path in written:
        print(f"wrote {path}")


def _figure(derivation: Derivation, file: ProblemFile | None, judged: bool) -> Any:
    """Draw a law that has numbers, with gradient descent over it where it is judged."""
    from symkernel.report.figures import learning_curves

    if file is None:
        law = derivation.compile()
    else:
        with file.blame("values"):
            law = derivation.compile({} if derivation.problem.is_numeric else file.values)
    if not judged:
        return learning_curves(law(_times(law)))
    run = _run(file) if file is not None and file.simulation is not None else _descent(law)
    # Phases of a curriculum are rounded to whole steps, which moves the times of the records.
    return learning_curves(law(run.times), run)


def _times(law: CompiledLaw) -> np.ndarray:
    """Return flow times of whole steps, until the law is learned."""
    return _learned_by(law) / _STEPS * np.round(np.linspace(0, _STEPS, _CURVE_POINTS))


def _descent(law: CompiledLaw) -> Trajectory:
    from symkernel.simulation import simulate

    problem, times = law.problem, _times(law)
    return simulate(
        problem.network, problem.curriculum, problem.weights, times[-1] / _STEPS, record=times,
        loss=problem.loss, progress=_progress(),
    )  # fmt: skip


def _learned_by(law: CompiledLaw) -> float:
    """Return a flow time at which the loss has all but settled."""
    curriculum = law.problem.curriculum
    if np.isfinite(curriculum.end):
        return float(curriculum.end)
    begun = curriculum.starts[-1]
    span = max(begun, 1e-3)
    for _ in range(_MOST_DOUBLINGS):
        start, now, later = law([0.0, begun + span, begun + 2 * span]).loss
        if start - later > 0 and abs(now - later) <= 1e-4 * (start - later):
            break
        span *= 2
    return float(begun + span)
