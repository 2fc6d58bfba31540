"""``symkernel study information``: its arguments, and what it prints and writes."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from symkernel.cli_values import FAILED, PASSED, add_shared, integers, tell_study
from symkernel.errors import InvalidArgument

if TYPE_CHECKING:
    from symkernel.environments.decision import Decision
    from symkernel.studies.decisions.setting import InformationSetting

_KEYS = "X,relevant,irrelevant"
_QUICK_SEEDS = (1000, 1001, 1002)


def add_information(names: Any) -> None:
    """Add the study to those of ``symkernel study``."""
    command = names.add_parser(
        "information", allow_abbrev=False,
        help="relevant and irrelevant information through training: noise, time, pretraining",
        description="What do representations keep of a label that nobody asks for? Three claims, "
        "each with a verdict: noisy descent leaves less of it; it is encoded first and discarded "
        "later; pretraining on it leaves more. On the checkerboard and on digits, 8 settings x 8 "
        "seeds, or on your own arrays. A study that was stopped goes on when it is called again.",
        epilog="Exit status: 0, whatever the verdicts; 1 if a cell failed; 2 for bad input.",
    )  # fmt: skip
    add_shared(command, "information")
    command.add_argument(
        "--quick",
        action="store_true",
        help="1 setting (others by --only), 3 seeds, fewer descents: some seconds",
    )
    command.add_argument(
        "--only", metavar="TEXT", help='settings with this in their names, as "tanh" or "digits"'
    )
    command.add_argument("--seeds", metavar="N,N,...", type=integers, help="1000,...,1007")
    mine = command.add_argument_group("your own arrays")
    mine.add_argument(
        "--arrays", metavar="FILE", help="NPZ file: inputs, relevant and irrelevant labels"
    )
    mine.add_argument("--keys", metavar="X,R,I", help=f"names of the three arrays ({_KEYS})")
    mine.add_argument(
        "--hidden", metavar="N,N,...", type=integers, help="units of the hidden layers (32,16)"
    )
    command.set_defaults(run=_information)


def _information(options: argparse.Namespace) -> int:
    from symkernel.studies import information

    begun = time.perf_counter()
    decision, settings = _asked(options)
    seeds = {"seeds": options.seeds} if options.seeds is not None else {}
    if options.quick:
        seeds.setdefault("seeds", list(_QUICK_SEEDS))
    study = information(
        decision, settings=settings, folder=options.out, n_jobs=options.jobs,
        scheduler=options.scheduler, progress=True, **seeds,
    )  # fmt: skip
    tell_study(study, options.out, begun)
    return FAILED if study.failures else PASSED


def _asked(options: argparse.Namespace) -> tuple[Decision | None, list[InformationSetting]]:
    """Return the arrays, if there are any, and the settings that are asked for."""
    from symkernel.studies.decisions.arrays import read_arrays
    from symkernel.studies.decisions.setting import INFORMATION_SETTINGS, settings_of_arrays

    decision = None
    settings = list(INFORMATION_SETTINGS)
    if options.arrays is not None:
        keys: Any = tuple((options.keys or _KEYS).split(","))
        decision = read_arrays(options.arrays, keys)
        hidden = {} if options.hidden is None else {"hidden": tuple(options.hidden)}
        settings = list(settings_of_arrays(decision, **hidden))
    elif options.keys is not None or options.hidden is not None:
        raise InvalidArgument("Options --keys and --hidden must come with --arrays FILE.")
    if options.only is not None:
        known = ", ".join(repr(one.name) for one in settings)
        settings = [one for one in settings if options.only in one.name]
        if not settings:
            raise InvalidArgument(
                f"Option --only must be part of the name of a setting, not {options.only!r}; there "
                f"are {known}."
            )
    elif options.quick and decision is None:
        settings = settings[:1]
    return decision, [_shortened(one) for one in settings] if options.quick else settings


def _shortened(setting: InformationSetting) -> InformationSetting:
    """Return a setting with the ends of its noise alone, and one pretraining."""
    ends = sorted(setting.descents, key=lambda one: one.noise)
    return replace(
        setting,
        descents=tuple(dict.fromkeys((ends[0], ends[-1]))),
        epochs=setting.epochs[:2],
        readouts=setting.readouts[:1],
    )
