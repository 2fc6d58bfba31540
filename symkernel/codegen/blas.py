"""The BLAS that compiled products call, held to one thread."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any


@cache
def _controller() -> Any:
    # numba's np.dot calls the BLAS that SciPy brings: it has to be loaded to be found.
    import scipy.linalg.cython_blas  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """Keep BLAS to one thread: where loops over samples are parallel, more get in their way.

    With threads in BLAS too, kernels are ten times slower on two cores.
    """
    limited: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limited
