"""The command line: ``symkernel list | derive NAME | check NAME | demo``.

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
from typing import TYPE_CHECKING, Any

import numpy as np

from symkernel import __version__
from symkernel.errors import InvalidArgument, SymkernelError

if TYPE_CHECKING:
    from symkernel.derivation import CompiledLaw, Derivation
    from symkernel.formula import Law

PASSED, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
_LAW_PREFIX = "law:"
_STEPS = 4000
_CURVE_POINTS = 321
_MOST_DOUBLINGS = 60


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
        description="Exact laws of learning: derived, checked and exported.",
        epilog="Exit status: 0; 1 if a check failed; 2 for bad input.",
    )
    parser.add_argument("--version", action="version", version=f"symkernel {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="print all laws and derivations")
    listing.set_defaults(run=_list)
    for name, run, text in (
        ("derive", _derive, "derive a law on its example, or a published result"),
        ("check", _check, "derive it and climb the ladder of checks"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "name", metavar="NAME",
            help="a name from 'symkernel list'; law:NAME where a derivation has the same name",
        )  # fmt: skip
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


# ---- names


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


def _find(name: str) -> tuple[Law | None, ModuleType | None]:
    """Return the law or the derivation of a name that was listed; no other text is loaded."""
    from symkernel.derivation import catalogue

    laws = {law.name: law for law in catalogue()}
    if name.removeprefix(_LAW_PREFIX) in laws and (
        name.startswith(_LAW_PREFIX) or name not in derivation_names()
    ):
        return laws[name.removeprefix(_LAW_PREFIX)], None
    if name in derivation_names():
        return None, importlib.import_module(f"symkernel.derivations.{name}")
    raise InvalidArgument(
        f"Argument 'NAME' must be a law ({', '.join(laws)}) or a derivation "
        f"({', '.join(derivation_names()) or 'none'}), not {name!r}."
    )


def _derived(law: Law | None, module: ModuleType | None) -> Derivation:
    from symkernel.derivation import derive

    if law is None:
        assert module is not None
        return module.derive()
    problem = law.example()
    return derive(
        problem.network, problem.curriculum, problem.weights, law=law.name, loss=problem.loss
    )


# ---- commands


def _list(_: argparse.Namespace) -> int:
    from symkernel.derivation import catalogue

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
    law, module = _find(options.name)
    derivation = _derived(law, module)
    print(f"{derivation}\n{where_lines(derivation)}\n\nSteps")
    for position, step in enumerate(derivation.steps, 1):
        print(f"  {position}. {step.title}: {step.reason}")
    _write(options, derivation, module, (), judged=False)
    return PASSED


def _check(options: argparse.Namespace) -> int:
    from symkernel.ladder import check

    _check_paths(options)
    law, module = _find(options.name)
    report = check(
        _derived(law, module), draws=options.draws, seed=options.seed, progress=_progress()
    )
    claims = tuple(module.claims()) if hasattr(module, "claims") else ()  # type: ignore[union-attr]
    print(report)
    for title, holds, found in claims:
        print(f"  claim: {title}: {'holds' if holds else 'FAILS'} ({found})")
    _write(options, report.derivation, module, claims, judged=True)
    return PASSED if report.passed and all(holds for _, holds, _ in claims) else FAILED


def _demo(options: argparse.Namespace) -> int:
    from symkernel.demo import run

    return PASSED if run(options.out, progress=_progress()).passed else FAILED


# ---- files


def _check_paths(options: argparse.Namespace) -> None:
    """Refuse files that cannot be written before the work, not after it."""
    from symkernel.report.files import checked_path

    for path in (options.latex, options.json, options.figure):
        if path is not None:
            checked_path(path)
    if options.figure is not None:
        from symkernel.report.figures import checked_format

        checked_format(options.figure)


def _write(
    options: argparse.Namespace,
    derivation: Derivation,
    module: ModuleType | None,
    claims: Sequence[tuple[str, bool, str]],
    judged: bool,
) -> None:
    written = []
    if options.latex is not None:
        written.append(derivation.save_latex(options.latex))
    if options.json is not None:
        from symkernel.report.record import record, save_record

        written.append(save_record(record(derivation, claims), options.json))
    if options.figure is not None:
        from symkernel.report.figures import save_figure

        figure = module.figure() if hasattr(module, "figure") else _figure(derivation, judged)  # type: ignore[union-attr]
        written.append(save_figure(figure, options.figure))
    for path in written:
        print(f"wrote {path}")


def _figure(derivation: Derivation, judged: bool) -> Any:
    """Draw a law that has numbers, with gradient descent over it where it is judged."""
    from symkernel.report.figures import learning_curves
    from symkernel.simulation import simulate

    law = derivation.compile()
    end = _learned_by(law)
    problem, rate = law.problem, end / _STEPS
    times = rate * np.round(np.linspace(0, _STEPS, _CURVE_POINTS))
    if not judged:
        return learning_curves(law(times))
    run = simulate(
        problem.network, problem.curriculum, problem.weights, rate, record=times,
        loss=problem.loss, progress=_progress(),
    )  # fmt: skip
    # Phases of a curriculum are rounded to whole steps, which moves the times of the records.
    return learning_curves(law(run.times), run)


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
