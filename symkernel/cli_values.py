"""What commands share: exit status, values of options, messages that name options, studies."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PASSED, FAILED = 0, 1
_ARGUMENT = re.compile(r"^Argument '(\w+)'")
# Options that are not called like the argument that they give.
_CALLED = {
    "n_jobs": ("jobs",),
    "folder": ("out",),
    "environment": ("groups",),
    "path": ("into", "arrays"),
    "name": (),  # NAME is no option
}


def reals(text: str) -> list[float]:
    """Return numbers with commas between them."""
    return _several(text, float, "numbers", "0.1,0.3,1")


def integers(text: str) -> list[int]:
    """Return whole numbers with commas between them."""
    return _several(text, int, "whole numbers", "1000,1001")


def named_path(text: str) -> Path:
    """Return the path of a file or a folder."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file or a folder, not ''")
    return Path(text)


def _several(text: str, kind: Callable[[str], Any], what: str, example: str) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be {what} with commas between them, as {example}, not {text!r}"
        ) from None


def by_option(message: str, options: argparse.Namespace) -> str:
    """Return a message with the option in place of the argument that it gave, if there is one."""

    def called(found: re.Match[str]) -> str:
        names = (one for one in _CALLED.get(found[1], (found[1],)) if hasattr(options, one))
        name = next(names, None)
        return found[0] if name is None else f"Option --{name.replace('_', '-')}"

    return _ARGUMENT.sub(called, message)


def add_shared(command: argparse.ArgumentParser, folder: str) -> None:
    """Add the options of every study."""
    command.add_argument(
        "--out", metavar="DIR", type=named_path, default=Path(folder), help=f"folder ({folder})"
    )
    command.add_argument("--scheduler", metavar="ADDRESS", help="of dask, as tcp://127.0.0.1:8786")
    command.add_argument("--jobs", metavar="N", type=int, default=-1, help="workers (all cores)")


def tell_study(study: Any, folder: Path, begun: float) -> None:
    """Print a study, write its files, and print these and the seconds that it took."""
    print(study)
    print("\nWritten")
    for path in study.save(folder):
        print(f"  {path}")
    print(f"\n{time.perf_counter() - begun:.1f} s")
