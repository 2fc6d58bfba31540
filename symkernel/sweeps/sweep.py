r"""Grids of problems, computed in parallel, kept on disk cell by cell, resumed after any end."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import itertools
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from symkernel.errors import InvalidArgument, SymkernelError, as_choice, as_count, as_seed
from symkernel.sweeps.folder import Folder, Outcome
from symkernel.sweeps.results import Sweep, checked_dims

Cell = Callable[..., Mapping[str, Any]]
_BACKENDS = ("threading", "loky", "dask")
# A scheduler that has not answered after so many seconds is not there.
_PATIENCE = 3.0


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
        Whether to show a bar.

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
        If a result cannot be written, or the scheduler cannot be reached. What was finished stays.

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
    if n_jobs != -1:
        n_jobs = as_count(n_jobs, "n_jobs")
    how = _backend(backend, scheduler)
    kept = Folder.of(folder, _identity(cell, tuple(axes), seed))
    cells = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    outcomes = {kept.key(p): kept.read(p) for p in cells}
    # A failure is tried again: what failed for want of memory or of a file may pass now.
    open_cells = [p for p in cells if (o := outcomes[kept.key(p)]) is None or o.error]
    with tqdm(
        total=len(cells), initial=len(cells) - len(open_cells), disable=not progress, unit="cell"
    ) as bar:
        for outcome in _computed(cell, open_cells, seed, how, n_jobs, scheduler):
            kept.write(outcome)
            outcomes[kept.key(outcome.parameters)] = outcome
            bar.update()
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


def _backend(backend: object, scheduler: object) -> str:
    """Return the backend, refusing unknown ones and what is not installed."""
    if backend is not None:
        as_choice(backend, "backend", _BACKENDS)
    if importlib.util.find_spec("joblib") is None:
        raise ImportError("sweep() needs the package joblib; pip install 'symkernel[sweep]'.")
    found = backend or ("dask" if scheduler else "threading" if _bears_threads() else "loky")
    if (found == "dask") != (scheduler is not None):
        raise InvalidArgument(
            f"Argument 'scheduler' must be given with the backend 'dask' and with no other; it is "
            f"{scheduler!r} with {found!r}."
        )
    if scheduler is not None and not isinstance(scheduler, str):
        raise InvalidArgument(
            f"Argument 'scheduler' must be an address such as 'tcp://127.0.0.1:8786', not "
            f"{scheduler!r}."
        )
    if found == "dask" and importlib.util.find_spec("distributed") is None:
        raise ImportError("The backend 'dask' needs distributed; pip install 'symkernel[dask]'.")
    return str(found)


def _bears_threads() -> bool:
    """Whether numba has a threading layer that may be called from several threads at once."""
    for name in ("tbbpool", "omppool"):
        try:
            importlib.import_module(f"numba.np.ufunc.{name}")
        except ImportError:
            continue
        return True
    return False


def _computed(
    cell: Cell,
    cells: Sequence[dict[str, Any]],
    seed: int,
    backend: str,
    n_jobs: int,
    scheduler: str | None,
) -> Iterator[Outcome]:
    """Yield outcomes as they come."""
    from joblib import Parallel, delayed

    if not cells:
        return
    with _workers(backend, scheduler) as extra:
        run = Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1, **extra)
        yield from run(delayed(_outcome)(cell, p, seed) for p in cells)


@contextmanager
def _workers(backend: str, scheduler: str | None) -> Iterator[dict[str, Any]]:
    """Enter the backend; every worker has one thread for BLAS."""
    from joblib import parallel_config
    from threadpoolctl import threadpool_limits

    if backend == "loky":
        with parallel_config(backend="loky", inner_max_num_threads=1):
            yield {}
        return
    if backend == "threading":
        # The limit is set here, since the first cell to finish would lift the one it has set.
        with threadpool_limits(1, "blas"), parallel_config(backend="threading"):
            yield {}
        return
    from distributed import Client

    try:
        client = Client(scheduler, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SymkernelError(
            f"No dask scheduler answers at {scheduler!r} ({error}); start one with 'dask "
            f"scheduler' and at least one 'dask worker', or leave the argument out."
        ) from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise SymkernelError(
                f"The dask scheduler at {scheduler!r} has no workers; start one with 'dask worker "
                f"{scheduler}'."
            )
        with parallel_config(backend="dask", client=client):
            yield {}


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
