"""Who computes the cells: threads, processes, or the workers of a dask cluster."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from symkernel.errors import InvalidArgument, SymkernelError, as_choice, as_count

_BACKENDS = ("threading", "loky", "dask")
# A scheduler that has not answered after so many seconds is not there.
_PATIENCE = 3.0


@dataclass(frozen=True)
class Workers:
    """A backend of joblib that was found to be there.

    Attributes
    ----------
    backend : {"threading", "loky", "dask"}
    n_jobs : int
        -1 for one each core.
    scheduler : str or None
        Address, of "dask".
    """

    backend: str
    n_jobs: int
    scheduler: str | None

    @classmethod
    def of(cls, backend: object = None, n_jobs: object = -1, scheduler: object = None) -> Workers:
        """Return who is asked for, refusing unknown ones and who is not there.

        Raises
        ------
        InvalidArgument
        SymkernelError
            If no scheduler answers, or it has no workers.
        ImportError
            If a package is not installed.
        """
        count = -1 if n_jobs == -1 and not isinstance(n_jobs, bool) else as_count(n_jobs, "n_jobs")
        if backend is not None:
            as_choice(backend, "backend", _BACKENDS)
        if importlib.util.find_spec("joblib") is None:
            raise ImportError("sweep() needs the package joblib; pip install 'symkernel[sweep]'.")
        threads = "threading" if _bears_threads() else "loky"
        found = str(backend or ("dask" if scheduler is not None else threads))
        if (found == "dask") != (scheduler is not None):
            raise InvalidArgument(
                f"Argument 'scheduler' must be given with the backend 'dask' and with no other; it "
                f"is {scheduler!r} with {found!r}."
            )
        if scheduler is None:
            return cls(found, count, None)
        if not isinstance(scheduler, str):
            raise InvalidArgument(
                f"Argument 'scheduler' must be an address such as 'tcp://127.0.0.1:8786', not "
                f"{scheduler!r}."
            )
        if importlib.util.find_spec("distributed") is None:
            raise ImportError(
                "The backend 'dask' needs distributed; pip install 'symkernel[dask]'."
            )
        _require_scheduler(scheduler)
        return cls(found, count, scheduler)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Enter the backend; every worker has one thread for BLAS."""
        from joblib import parallel_config
        from threadpoolctl import threadpool_limits

        if self.backend == "loky":
            with parallel_config(backend="loky", inner_max_num_threads=1):
                yield
            return
        if self.backend == "threading":
            # The limit is set here, since the first cell to finish would lift the one it has set.
            with threadpool_limits(1, "blas"), parallel_config(backend="threading"):
                yield
            return
        from distributed import Client

        with (
            Client(self.scheduler, timeout=_PATIENCE, set_as_default=False) as client,
            parallel_config(backend="dask", client=client),
        ):
            yield


def _bears_threads() -> bool:
    """Whether numba has a threading layer that may be called from several threads at once."""
    for name in ("tbbpool", "omppool"):
        try:
            importlib.import_module(f"numba.np.ufunc.{name}")
        except ImportError:
            continue
        return True
    return False


def _require_scheduler(address: str) -> None:
    """Refuse an address at which no scheduler with workers answers.

    It is asked before a client is made: a client goes on for minutes with a server that takes the
    connection and says nothing, and leaves errors behind when it is closed.
    """
    try:
        # In a thread of its own, since a notebook's has a loop that runs.
        with ThreadPoolExecutor(1) as thread:
            found = thread.submit(asyncio.run, _identity(address)).result()
    except Exception as error:  # another server may say anything
        words = str(error).splitlines()[0] if str(error) else "it says nothing"
        raise SymkernelError(
            f"No dask scheduler answers at {address!r} ({words}); start one with 'dask scheduler' "
            f"and at least one 'dask worker', or leave the argument out."
        ) from None
    if not isinstance(found, dict) or found.get("type") != "Scheduler":
        raise SymkernelError(
            f"No dask scheduler answers at {address!r}, but something else; give the address that "
            f"'dask scheduler' prints."
        )
    if not found.get("workers"):
        raise SymkernelError(
            f"The dask scheduler at {address!r} has no workers; start one with 'dask worker "
            f"{address}'."
        )


async def _identity(address: str) -> Any:
    """Return what a server says of itself."""
    from distributed.comm.addressing import parse_address
    from distributed.core import rpc

    parse_address(address, strict=True)
    server = rpc(address, timeout=_PATIENCE)
    try:
        return await asyncio.wait_for(server.identity(), _PATIENCE)
    finally:
        await server.close_rpc()
