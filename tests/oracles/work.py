"""How much work Python does: calls of functions, which do not depend on the machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class TooMuchWork(BaseException):
    """No `Exception`: what is judged must not catch it."""


@contextmanager
def bounded_work(most: int = 3_000_000) -> Iterator[list[int]]:
    """Count calls of functions, Python's and C's; stop at a bound."""
    count = [0]

    def profile(_, event, __):
        if event in ("call", "c_call"):
            count[0] += 1
            if count[0] > most:
                sys.setprofile(None)
                raise TooMuchWork

    sys.setprofile(profile)
    try:
        yield count
    finally:
        sys.setprofile(None)
