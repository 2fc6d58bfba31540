"""``symkernel study multitask``: its arguments, and what it prints and writes."""

from __future__ import annotations

import argparse
import time
from typing import Any

from symkernel.cli_information import add_information
from symkernel.cli_values import FAILED, PASSED, add_shared, integers, reals, tell_study
from symkernel.errors import InvalidArgument

# What a quick look takes: the ends of the scales, one seed, and no theory that is slow.
_QUICK: dict[str, Any] = {
    "scales": [0.1, 2.0],
    "curricula": ["single", "concurrent"],
    "seeds": [1000],
    "predictors": ["nothing", "frozen_inside", "relinearised", "quotient"],
}
# Of the study's own environment; see the notes of `symkernel.studies.multitask`.
_RATES = (
    "flow time of a step, by default by the functions (20, which suits sigmoid units with bias "
    "-2; sigmoid with bias 0 and sigmoid with linear output 2; tanh, erf and relu 2; these with "
    "linear output 0.2)"
)
_ALL = "theories on all curricula and seeds"


def add_study(commands: Any) -> None:
    """Add the command to those of the command line."""
    text = "run a whole study: simulation and theories side by side, tables, figures, numbers"
    study = commands.add_parser("study", help=text, description=text, allow_abbrev=False)
    names = study.add_subparsers(required=True, metavar="NAME")
    command = names.add_parser(
        "multitask", allow_abbrev=False,
        help="shared or separated task representations, and concurrent multitasking",
        description="Which task representations are learned, from the scale of the initial "
        "weights and the curriculum, and can the network do several tasks at once? By default 4 "
        "scales x 5 curricula x 8 seeds, and the theories on 2 seeds of the single-task "
        "curriculum. A study that was stopped goes on when it is called again.",
        epilog="Exit status: 0; 1 if a band of the published setting is not held, or a cell "
        "failed; 2 for bad input.",
    )  # fmt: skip
    add_shared(command, "multitask")
    command.add_argument(
        "--quick", action="store_true",
        help="2 scales, 2 curricula, 1 seed, 4 theories: some seconds, and half a minute more the "
        "first time, for compiling",
    )  # fmt: skip
    command.add_argument(
        "--predictors", metavar="WHICH",
        help=f"few, all ({_ALL}: 20 minutes on 2 cores for the 8 seeds), none, or names "
        "with commas (few)",
    )  # fmt: skip
    varied = command.add_argument_group("your own variations")
    for name, kind, what in (
        ("groups", int, "stimulus and response groups (3)"),
        ("features", int, "features of a group (3)"),
        ("hidden", int, "hidden units (100)"),
        ("learning-rate", float, _RATES),
        ("bias", float, "constant bias of the hidden units (-2)"),
        ("output-bias", float, "constant bias of the outputs (-2)"),
        ("single-steps", int, "steps on single tasks (1000)"),
        ("concurrent-steps", int, "steps on concurrent tasks (600)"),
    ):
        varied.add_argument(f"--{name}", metavar="X", type=kind, help=what)
    for name in ("activation", "output-activation"):
        varied.add_argument(f"--{name}", metavar="F", help="a name, or a formula in z (sigmoid)")
    varied.add_argument(
        "--no-direct", action="store_true", help="no path from the task to the output"
    )
    varied.add_argument("--scales", metavar="X,X,...", type=reals, help="0.1,0.3,1,2")
    varied.add_argument("--seeds", metavar="N,N,...", type=integers, help="1000,...,1007")
    varied.add_argument(
        "--curricula", metavar="NAME;NAME;...", type=lambda text: text.split(";"),
        help='as "single; concurrent; single, concurrent; concurrent, single; interleaved"',
    )  # fmt: skip
    command.set_defaults(run=_multitask)
    add_information(names)


def _multitask(options: argparse.Namespace) -> int:
    from symkernel.environments.multitasking import Multitasking
    from symkernel.studies import multitask

    begun = time.perf_counter()
    asked = _asked(options)
    sizes = [3 if n is None else n for n in (options.groups, options.features)]
    study = multitask(
        Multitasking(*sizes), **asked, folder=options.out, n_jobs=options.jobs,
        scheduler=options.scheduler, progress=True,
    )  # fmt: skip
    tell_study(study, options.out, begun)
    held = all(band.holds for band in study.bands)
    return PASSED if held and not study.failures else FAILED


def _count(value: int, option: str) -> int:
    if value < 1:
        raise InvalidArgument(f"Option --{option} must be an integer of at least 1, not {value}.")
    return value


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `multitask`: those given, else those of a quick look or its own."""
    asked: dict[str, Any] = dict(_QUICK) if options.quick else {}
    same = ("scales", "seeds", "hidden", "learning_rate", "bias", "output_bias", "activation")
    for name in (*same, "output_activation"):
        if getattr(options, name) is not None:
            asked[name] = getattr(options, name)
    if options.curricula is not None:
        asked["curricula"] = [name.strip() for name in options.curricula]
    if options.no_direct:
        asked["direct"] = False
    asked["steps"] = tuple(
        plain if n is None else _count(n, name)
        for name, n, plain in (
            ("single-steps", options.single_steps, 1000),
            ("concurrent-steps", options.concurrent_steps, 600),
        )
    )
    if options.predictors is not None:
        which = options.predictors
        if not which:
            raise InvalidArgument("Option --predictors must name something, not ''.")
        asked["predictors"] = which if which in ("few", "all", "none") else which.split(",")
    return asked
