"""Values of options of the command line that hold several."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
