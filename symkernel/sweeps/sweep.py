r"""Grids of problems, computed in parallel, kept on disk cell by cell, resumed after any end."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symkernel.errors import InvalidArgument, as_seed
from symkernel.sweeps.folder import Folder, Outcome
from symkernel.sweeps.progress import progress as shown_progress
from symkernel.sweeps.results import Sweep, checked_dims
from symkernel.sweeps.workers import Workers

Cell = Callable[..., Mapping[str, Any]]


def sweep(
    cell: Cell,
    grid: Mapping[str, Sequence[object]],
    folder: str | Path,
    *,
    seed: int = 0,
    backend: str | None = None,
    n_jobs: int = -1,
    scheduler: str | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, object] | None = None,
    progress: bool = True,
) -> Sweep:
    r"""Compute a function on every cell of a grid of parameters, each once and for all.

    A finished cell is on disk at once. A sweep that was interrupted or killed goes on where it
    stood when it is called again; a grid that has grown has its new cells computed. An exception
    in a cell is kept with its parameters; the other cells go on, and the next call tries again.

    Parameters
    ----------
    cell : callable
        Called as ``cell(stream, **parameters)``; returns named numbers, texts or arrays. `stream`
        is a `numpy.random.Generator` of this cell's own, decided by `seed` and the parameters: it
        does not depend on the rest of the grid, on the order of the cells or on the backend. For
        "loky" and "dask" a function at the top level of a module that the workers can import.
    grid : mapping of str to sequence
        Values of each parameter: texts, whole or real numbers, True and False.
    folder : str or Path
        Where the cells are kept; made if it does not exist.
    seed : int
        Of all streams.
    backend : {"threading", "loky", "dask"}, optional
        Of joblib. Threads by default, since the simulator leaves Python's lock alone; processes
        ("loky") where numba has no threading layer that bears calls from several threads.
    n_jobs : int
        Workers; -1 for one each core. Each computes on one thread. Ignored by "dask".
    scheduler : str, optional
        Address of the dask scheduler, as ``"tcp://127.0.0.1:8786"``; for "dask" alone.
    dims : mapping of str to sequence of str, optional
        Names of the axes of the arrays that the cells return.
    coords : mapping of str to array_like, optional
        Values along such axes.
    progress : bool
        Whether to show a bar, or where there is no terminal a line now and then.

    Returns
    -------
    Sweep
        The values over the grid, and what failed.

    Raises
    ------
    InvalidArgument
        If the grid is not one, or the folder holds something else or another sweep: one of another
        function, of another version of its source, or of another seed. Nothing in it is touched.
    SymkernelError
        If a result cannot be written, or no scheduler answers. What was finished stays.
    KeyboardInterrupt
        If it is interrupted; it says how many cells are kept.

    Examples
    --------
    >>> import tempfile, symkernel as sk
    >>> def final_loss(stream, scale, width):
    ...     net = sk.Network.two_layer(inputs=2, hidden=width, outputs=2)
    ...     task = sk.Task.from_modes([2.0, 1.0])
    ...     w0 = sk.weights.gaussian(net, scale=scale, seed=int(stream.integers(2**31)))
    ...     run = sk.simulate(net, task, w0, learning_rate=0.1, steps=50)
    ...     return {"loss": run.loss[-1]}
    >>> grid = {"scale": [0.1, 1.0], "width": [4, 8]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = sk.sweep(final_loss, grid, folder, progress=False)
    ...     again = sk.sweep(final_loss, grid, folder, progress=False)
    >>> assert found["loss"].shape == (2, 2) and not found.failures
    >>> assert again.computed == 0 and (again["loss"] == found["loss"]).all()
    """
    axes = _axes(grid)
    named = checked_dims(axes, dims, coords)
    seed = as_seed(seed)
    identity = _identity(cell, tuple(axes), seed)
    workers = Workers.of(backend, n_jobs, scheduler)
    # Last: what is refused leaves no folder behind.
    kept = Folder.of(folder, identity)
    cells = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    outcomes = {kept.key(p): kept.read(p) for p in cells}
    # A failure is tried again: what failed for want of memory or of a file may pass now.
    open_cells = [p for p in cells if (o := outcomes[kept.key(p)]) is None or o.error]
    ready = len(cells) - len(open_cells)
    try:
        with shown_progress(kept.path.name, len(cells), ready, progress) as advance:
            for outcome in _computed(cell, open_cells, seed, workers):
                kept.write(outcome)
                outcomes[kept.key(outcome.parameters)] = outcome
                advance()
    except KeyboardInterrupt:
        there = sum(1 for o in outcomes.values() if o is not None and not o.error)
        raise KeyboardInterrupt(
            f"{there} of {len(cells)} cells are kept in {str(kept.path)!r}; call again with the "
            f"same folder to go on"
        ) from None
    done = [outcomes[kept.key(p)] for p in cells]
    return Sweep.of(axes, [o for o in done if o is not None], named, len(open_cells), kept.path)


def _axes(grid: object) -> dict[str, tuple[Any, ...]]:
    """Return the parameters' values as plain Python ones, refusing what cannot name a cell."""
    if not isinstance(grid, Mapping) or not grid:
        raise InvalidArgument(
            f"Argument 'grid' must map names of parameters to their values, not {grid!r}."
        )
    axes = {}
    for name, values in grid.items():
        if not isinstance(name, str) or not name.isidentifier() or name == "stream":
            raise InvalidArgument(
                f"Argument 'grid' must name parameters by identifiers other than 'stream', which "
                f"is the cell's own, not {name!r}."
            )
        if isinstance(values, (str, bytes)) or not isinstance(values, (Sequence, np.ndarray)):
            raise InvalidArgument(
                f"Argument 'grid' must give '{name}' as a list of values, not {values!r}."
            )
        axes[name] = tuple(_plain(name, value) for value in values)
        if not axes[name] or len(set(map(repr, axes[name]))) < len(axes[name]):
            raise InvalidArgument(
                f"Argument 'grid' must give '{name}' one value at least and each value once, not "
                f"{list(axes[name])!r}."
            )
    return axes


def _plain(name: str, value: object) -> str | bool | int | float:
    """Return a parameter's value as JSON can hold it, without loss."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and np.isfinite(value):
        return value
    raise InvalidArgument(
        f"Argument 'grid' must hold texts, finite numbers, True and False; '{name}' holds "
        f"{value!r}. Name a task or a curriculum by a text and build it inside the cell."
    )


def _identity(cell: object, names: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Return what makes a sweep the same sweep: function, its source, parameters, seed."""
    if not callable(cell):
        raise InvalidArgument(
            f"Argument 'cell' must be a function cell(stream, **parameters), not {cell!r}."
        )
    try:
        inspect.signature(cell).bind(None, **dict.fromkeys(names))
    except TypeError as error:
        raise InvalidArgument(
            f"Argument 'cell' must be callable as cell(stream, {', '.join(names)}): {error}."
        ) from None
    try:
        source = hashlib.sha256(inspect.getsource(cell).encode()).hexdigest()
    except (OSError, TypeError):  # typed at a prompt
        source = "unknown"
    name = getattr(cell, "__qualname__", type(cell).__qualname__)
    return {"cell": name, "source": source, "parameters": sorted(names), "seed": seed}


# How it is computed -------------------------------------------------------------------------------


def _computed(
    cell: Cell, cells: Sequence[dict[str, Any]], seed: int, workers: Workers
) -> Iterator[Outcome]:
    """Yield outcomes as they come."""
    from joblib import Parallel, delayed

    if not cells:
        return
    with workers.entered():
        run = Parallel(n_jobs=workers.n_jobs, return_as="generator_unordered", batch_size=1)
        yield from run(delayed(_outcome)(cell, p, seed) for p in cells)


def _outcome(cell: Cell, parameters: dict[str, Any], seed: int) -> Outcome:
    """Compute one cell, in a worker."""
    import numba

    # Cells run side by side; threads inside each would get in their way.
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    began = time.perf_counter()
    try:
        values = _values(cell(_stream(parameters, seed), **parameters))
    except Exception as error:
        words = "".join(traceback.format_exception(error))
        return Outcome(parameters, {}, _elapsed(began), f"{type(error).__name__}: {error}", words)
    finally:
        numba.set_num_threads(threads)
    return Outcome(parameters, values, _elapsed(began))


def _elapsed(began: float) -> float:
    return time.perf_counter() - began


def _stream(parameters: Mapping[str, Any], seed: int) -> np.random.Generator:
    """Return the stream of a cell: of its parameters and the seed alone."""
    text = json.dumps(dict(sorted(parameters.items())), sort_keys=True)
    digest = hashlib.sha256(text.encode()).digest()
    words = np.frombuffer(digest, dtype=np.uint32)
    return np.random.default_rng(np.random.SeedSequence([seed, *map(int, words)]))


def _values(found: object) -> dict[str, np.ndarray]:
    """Return what a cell gave as arrays that a file can hold."""
    if not isinstance(found, Mapping) or not found:
        raise InvalidArgument(
            f"A cell must return named values, as {{'loss': 0.1}}, not {found!r:.200}."
        )
    values = {}
    for name, value in found.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise InvalidArgument(f"A cell must name its values by identifiers, not {name!r}.")
        array = np.asarray(value)
        if array.dtype.kind not in "biufcU":
            raise InvalidArgument(
                f"A cell must return numbers, texts or arrays of them; '{name}' is {value!r:.200}."
            )
        values[name] = array
    return values
