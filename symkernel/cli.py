"""The command line: ``symkernel list | derive | check | simulate | study | demo``.

NAME is a law, a published derivation or a TOML file with a problem.

Exit status: 0; 1 if a check failed; 2 for bad input, with the message on standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from symkernel import __version__
from symkernel.cli_names import LAW_PREFIX, Found, derivation_names, find, title_of
from symkernel.cli_study import add_study
from symkernel.cli_values import FAILED, PASSED, by_option, named_path
from symkernel.errors import InvalidArgument, NoClosedForm, SymkernelError
from symkernel.tables import as_text

if TYPE_CHECKING:
    from symkernel.check_report import CheckReport
    from symkernel.cli_environment import EnvironmentLaw
    from symkernel.derivation import Derivation
    from symkernel.problem_file import ProblemFile

BAD_INPUT, INTERRUPTED = 2, 130
_ROWS = 11
_DRAWS, _SEED = 12, 1000


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
    except KeyboardInterrupt as stop:
        words = f": {stop}" if str(stop) else ""
        print(f"symkernel: interrupted{words}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone; what is left must not be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PASSED
    except (SymkernelError, ImportError, OSError) as error:
        print(f"symkernel: {by_option(str(error), options)}", file=sys.stderr)
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
    listing.add_argument(
        "--into", metavar="FILE", type=named_path, help="write the laws' table into a Markdown file"
    )
    listing.set_defaults(run=_list)
    for name, run, text in (
        ("derive", _derive, "derive a law on its example, a published result, or for a file"),
        ("check", _check, "derive it and climb the ladder of checks; judge the claims of a file"),
        ("simulate", _simulate, "train by gradient descent and print the loss through time"),
    ):
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument(
            "name", metavar="NAME", nargs="?" if name == "check" else None,
            help="a name from 'symkernel list' (law:NAME where a derivation has the same name), "
            "or a file FILE.toml",
        )  # fmt: skip
        if name != "simulate":
            command.add_argument("--latex", metavar="FILE", type=named_path, help="write LaTeX")
            command.add_argument("--law", metavar="LAW", help="the law to use for a file")
            command.add_argument(
                "--tolerance", metavar="X", type=float,
                help="accept violations of the assumptions of that law up to X",
            )  # fmt: skip
        command.add_argument(
            "--figure", metavar="FILE", type=named_path, help="write a PNG, PDF or SVG"
        )
        command.add_argument(
            "--json", metavar="FILE", type=named_path, help="write the record as JSON"
        )
        command.set_defaults(run=run)
        if name == "check":
            command.add_argument("--all", action="store_true", help="climb with every law")
            command.add_argument(
                "--draws", metavar="N", type=int, default=_DRAWS, help="random problems (12)"
            )
            command.add_argument(
                "--seed", metavar="N", type=int, default=_SEED, help="seed of all draws (1000)"
            )
    demo = commands.add_parser("demo", help="the main job on real images of digits")
    demo.add_argument(
        "--out", metavar="DIR", type=named_path, default=Path("out"), help="folder (out)"
    )
    demo.set_defaults(run=_demo)
    add_study(commands)
    return parser


def _progress() -> bool:
    return sys.stderr.isatty()


def _derived(
    found: Found, judged: bool = False, law: str | None = None, tolerance: float | None = None
) -> Derivation | EnvironmentLaw:
    """Derive; what is judged has the numbers of its file, if it has them all."""
    from symkernel.derivation import derive

    if found.file is None and (law, tolerance) != (None, None):
        raise InvalidArgument("Options --law and --tolerance are for problems in files.")
    if law is None and tolerance is not None:
        raise InvalidArgument(
            "Option --tolerance is for the assumptions of one law: name it by --law, as in "
            "--law aligned_modes --tolerance 0.05."
        )
    if found.module is not None:
        return found.module.derive()
    if found.file is not None:
        numeric = judged and found.file.has_values
        problem = found.file.numeric if numeric else found.file.problem
    else:
        assert found.law is not None
        problem, law = found.law.example(), found.law.name
    return derive(
        problem.network, problem.curriculum, problem.weights, law=law, tolerance=tolerance,
        loss=problem.loss,
    )  # fmt: skip


# ---- commands


def _list(options: argparse.Namespace) -> int:
    from symkernel.report.files import replace_block
    from symkernel.theory import catalogue

    laws = catalogue()
    if options.into is not None:
        print(f"wrote {replace_block(options.into, 'laws', laws._repr_markdown_())}")
        return PASSED
    print(f"Laws, in the order in which they are tried\n\n{laws}")
    print("\nDerivations of published results")
    print(as_text(("name", "title"), [(name, title_of(name)) for name in derivation_names()]))
    print(f"\nWhere both have one name, {LAW_PREFIX}NAME asks for the law.")
    return PASSED


def _derive(options: argparse.Namespace) -> int:
    from symkernel.cli_environment import as_lines
    from symkernel.derivation import Derivation

    _check_paths(options)
    found = find(options.name)
    derivation = _derived(found, law=options.law, tolerance=options.tolerance)
    if isinstance(derivation, Derivation):
        _print_law(derivation)
    else:
        print(as_lines(derivation, title_of(options.name)))
    print("\nSteps")
    for position, step in enumerate(derivation.steps, 1):
        print(f"  {position}. {step.title}: {step.reason}")
    _write(options, derivation, found)
    return PASSED


def _print_law(derivation: Derivation) -> None:
    from symkernel.report.display import symbol_lines, where_lines
    from symkernel.report.modes import modes_in_phases

    print("\n".join(filter(None, (str(derivation), where_lines(derivation)))))
    modes = modes_in_phases(derivation) if derivation.derived.mode is not None else None
    if modes is not None:
        what = "Coordinates" if "coordinate" in modes.head else "Modes"
        print(f"\n{what} of the task\n{modes}")
    print(f"\nSymbols\n{symbol_lines(derivation)}")


def _check(options: argparse.Namespace) -> int:
    from symkernel.derivation import Derivation
    from symkernel.ladder import check

    _check_paths(options)
    if (options.name is None) != options.all:
        raise InvalidArgument("Argument 'NAME' must be given, or --all in place of it.")
    if options.all:
        return _check_all(options)
    found = find(options.name)
    try:
        derivation = _derived(found, True, options.law, options.tolerance)
    except NoClosedForm as refusal:
        # Files to be written would be of the law that there is not.
        wanted = options.latex or options.json or options.figure
        if found.file is None or not found.file.claims or wanted:
            raise
        print(refusal)
        return PASSED if all(holds for _, holds, _ in _claims(found)) else FAILED
    if isinstance(derivation, Derivation):
        report = check(derivation, draws=options.draws, seed=options.seed, progress=_progress())
    elif (options.draws, options.seed) != (_DRAWS, _SEED):
        raise InvalidArgument(
            f"Options --draws and --seed are for laws that are checked on random problems, which "
            f"'{options.name}' is not."
        )
    else:
        report = derivation.check()
    print(report)
    claims = _claims(found)
    _write(options, report.derivation, found, claims, report)
    return PASSED if report.passed and all(holds for _, holds, _ in claims) else FAILED


def _check_all(options: argparse.Namespace) -> int:
    from symkernel.derivation import Derivation
    from symkernel.ladder import check
    from symkernel.report.record import laws_record, save_record
    from symkernel.theory import catalogue

    unwanted = (options.latex, options.figure, options.law, options.tolerance)
    if any(option is not None for option in unwanted):
        raise InvalidArgument("Option --all goes with --json, --draws and --seed alone.")
    reports = {}
    for law in catalogue():
        derivation = _derived(Found(law))
        assert isinstance(derivation, Derivation)
        reports[law.name] = check(
            derivation, draws=options.draws, seed=options.seed, progress=_progress()
        )
        print(reports[law.name])
    if options.json is not None:
        data = laws_record(reports, options.draws, options.seed)
        print(f"wrote {save_record(data, options.json)}")
    return PASSED if all(report.passed for report in reports.values()) else FAILED


def _claims(found: Found) -> tuple[tuple[str, bool, str], ...]:
    """Judge the claims of a published result or of a file, and print what was found."""
    claims = []
    # Some are judged one by one, and take long: each is told when it is known.
    for title, holds, figure in found.module.claims() if hasattr(found.module, "claims") else ():  # type: ignore[union-attr]
        print(f"  claim: {title}: {'holds' if holds else 'FAILS'} ({figure})", flush=True)
        claims.append((title, holds, figure))
    return tuple(claims) if found.file is None else _judged(found.file)


def _judged(file: ProblemFile) -> tuple[tuple[str, bool, str], ...]:
    from symkernel.claims import check_claim
    from symkernel.cli_curves import run_of

    if not file.claims:
        return ()
    against = None if file.simulation is None else run_of(file)
    claims = []
    for claim in file.claims:
        with file.blame("claim"):
            report = check_claim(claim.formula, claim.observable, file.numeric, against)
        print(report)
        figures = "; ".join(rung.figure for rung in report.rungs)
        claims.append((report.subject, report.passed, figures))
    return tuple(claims)


def _simulate(options: argparse.Namespace) -> int:
    from symkernel.cli_curves import descent, run_of
    from symkernel.derivation import Derivation
    from symkernel.report.record import save_record, simulation_record

    _check_paths(options)
    found = find(options.name)
    if found.file is not None:
        problem, run = found.file.numeric, run_of(found.file)
    else:
        derivation = _derived(found)
        if not isinstance(derivation, Derivation):
            raise InvalidArgument(
                f"'{options.name}' is a law for all networks of an environment, with none to "
                f"simulate; 'symkernel study multitask' trains some."
            )
        law = derivation.compile()
        problem, run = law.problem, descent(law)
    for line in problem.conventions:
        print(f"  {line}")
    print(f"  weights {problem.weights.provenance}\n")
    record = simulation_record(problem, run)
    shown = np.unique(np.linspace(0, len(run.times) - 1, _ROWS).round()).astype(int)
    columns = [np.array(record[name])[shown] for name in ("times", "steps", "loss")]
    rows = [(f"{t:.6g}", f"{step}", f"{loss:.6g}") for t, step, loss in zip(*columns, strict=True)]
    print(as_text(("flow time t", "step", "loss"), rows))
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

    check: Callable[[Path], object] = checked_path
    for name in ("latex", "json", "figure"):
        chosen = getattr(options, name, None)
        if chosen is None:
            continue
        if name == "figure":
            from symkernel.report.figures import checked_format as check
        try:
            check(chosen)
        except InvalidArgument as error:
            raise InvalidArgument(
                str(error).replace("Argument 'path'", f"Option --{name}")
            ) from error


def _write(
    options: argparse.Namespace,
    derivation: Derivation | EnvironmentLaw,
    found: Found,
    claims: Sequence[tuple[str, bool, str]] = (),
    report: CheckReport | None = None,
) -> None:
    from symkernel.derivation import Derivation

    written = []
    if options.latex is not None:
        names = found.file.latex_names if found.file else None
        written.append(derivation.save_latex(options.latex, names=names))
    if options.json is not None:
        from symkernel import cli_environment
        from symkernel.report.record import record, save_record

        if isinstance(derivation, Derivation):
            data = record(derivation, claims)
        else:
            data = cli_environment.record(derivation, title_of(options.name), claims, report)
        written.append(save_record(data, options.json))
    if options.figure is not None:
        from symkernel.cli_curves import figure_of
        from symkernel.report.figures import save_figure

        own = getattr(found.module, "figure", None)
        if own is None:
            assert isinstance(derivation, Derivation)
            figure = figure_of(derivation, found.file, report is not None)
        else:
            figure = own()
        written.append(save_figure(figure, options.figure))
    for path in written:
        print(f"wrote {path}")
