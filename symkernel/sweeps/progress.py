"""How far a sweep is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

# Seconds between lines where there is no terminal: a log should tell that it goes on.
_EVERY = 20.0


@contextmanager
def progress(name: str, total: int, done: int, shown: bool) -> Iterator[Callable[[], None]]:
    """Yield what is to be called after each cell."""
    if not shown or done == total:
        yield lambda: None
    elif sys.stderr.isatty():
        with tqdm(desc=name, total=total, initial=done, unit="cell") as bar:
            yield lambda: bar.update() and None
    else:
        begun = last = time.monotonic()

        def advance() -> None:
            nonlocal done, last
            done, now = done + 1, time.monotonic()
            if now - last >= _EVERY or done == total:
                last = now
                words = f"{name}: {done} of {total} cells after {now - begun:.0f} s"
                sys.stderr.write(f"{words}\n")
                sys.stderr.flush()

        yield advance
