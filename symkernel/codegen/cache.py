r"""Generated modules, compiled once and kept on disk for every later process.

An entry of the cache is one folder, `<stem>_<hash>/`, that holds the module, numba's files for it
and `SHA256SUMS`, which seals them. The hash covers the source and everything that shapes the
machine code: numba, llvmlite, NumPy, Python, the processor. Three rules keep entries sound:

- A module is imported from a private temporary folder only, never from the cache itself. A new
  one is written and compiled there; a kept one is copied there and its seal checked on the copy.
- An entry appears by one rename of a complete folder and is never changed afterwards. Processes
  that compile the same module at once cannot mix their files: the first to finish is kept. A
  process that is killed leaves a `.new-...` folder that nobody reads, removed after a day.
- What fails its seal, or does not load, is removed and compiled anew. numba alone does not notice
  a damaged file: it raises from `pickle`, or runs the wrong machine code.

A folder that cannot be written (read-only, absent, full) costs one warning and the time to compile
in every process, nothing else; entries already there are still used. The seal guards against
accidents, not against an attacker who can write to the folder. Deleting the folder is always safe.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import linecache
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import llvmlite
import llvmlite.binding
import numba
import numpy as np

from symkernel.errors import InvalidArgument

__all__ = ["cache_folder", "load"]

_VARIABLE = "SYMKERNEL_CACHE_DIR"
_SEAL = "SHA256SUMS"
_UNFINISHED = ".new-"
_LEFT_BEHIND = 24 * 3600.0  # seconds; far longer than any compilation takes
_LOCK = threading.Lock()


def cache_folder() -> Path:
    r"""Return the folder in which compiled routines are kept; it need not exist.

    Returns
    -------
    pathlib.Path
        The folder named by the environment variable `SYMKERNEL_CACHE_DIR`; without it, `symkernel`
        in the user's cache folder: `%LOCALAPPDATA%` on Windows, `~/Library/Caches` on macOS,
        `$XDG_CACHE_HOME` or `~/.cache` elsewhere.

    Raises
    ------
    RuntimeError
        If the variable is not set and the user has no home folder.

    Examples
    --------
    >>> from symkernel.codegen.cache import cache_folder
    >>> assert cache_folder().is_absolute()
    """
    if chosen := os.environ.get(_VARIABLE):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        # The XDG specification asks for a relative path to be ignored.
        xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
        base = xdg if xdg.is_absolute() else Path.home() / ".cache"
    return base / "symkernel"


def load(source: str, stem: str, *, straight: bool = False) -> ModuleType:
    r"""Return the module with the given source, compiled now or read from the cache.

    Parameters
    ----------
    source : str
        A self-contained module: it imports numba, NumPy and the standard library only, because
        numba does not see changes in what a cached function calls. Functions meant for Python
        carry `@njit(signature, cache=True)` with an explicit signature, so that importing the
        module compiles or reads them and a call never does; helpers they call need no signature.
    stem : str
        Beginning of the module's name, an identifier; a hash completes it.
    straight : bool
        Whether straight-line code is to be vectorised as loops are (LLVM's SLP vectoriser, which
        numba leaves off).

    Returns
    -------
    types.ModuleType
        The module, registered in `sys.modules` under its own name. The same source, stem and
        process give the same module.

    Raises
    ------
    InvalidArgument
        If `stem` is not an identifier.

    Warns
    -----
    RuntimeWarning
        Once, if the cache folder cannot be written.

    Notes
    -----
    Whatever the source raises when it is imported for the first time, numba's errors among them,
    is passed on, and nothing is kept.

    Examples
    --------
    >>> from symkernel.codegen.cache import load
    >>> source = '''
    ... from numba import njit
    ...
    ... @njit("float64(float64)", cache=True)
    ... def twice(x):
    ...     return 2.0 * x
    ... '''
    >>> module = load(source, "twice")
    >>> assert module.twice(3.0) == 6.0
    >>> assert load(source, "twice") is module
    """
    if not stem.isidentifier():
        raise InvalidArgument(
            f"Argument 'stem' must be an identifier, not {stem!r}. Use letters, digits and '_'."
        )
    name = f"{stem}_{_digest(source + 'straight' * straight)}"
    with _LOCK:
        if name in sys.modules:
            return sys.modules[name]
        with (
            _numba_as_wanted(straight),
            tempfile.TemporaryDirectory(prefix="symkernel-", ignore_cleanup_errors=True) as private,
        ):
            return _load_kept(name, source, Path(private, "kept")) or _load_new(
                name, source, Path(private, "new")
            )


def _load_kept(name: str, source: str, copy: Path) -> ModuleType | None:
    """Import a copy of the entry `name`; if there is none that works, clear its place."""
    # Whatever is wrong with an entry, compiling the source again is the cure.
    with contextlib.suppress(Exception):
        shutil.copytree(cache_folder() / name, copy)
        intact = (copy / _SEAL).read_bytes() == _checksums(copy)
        if intact and (copy / f"{name}.py").read_bytes() == source.encode():
            return _import(name, source, copy)
    _discard(name)
    return None


def _load_new(name: str, source: str, folder: Path) -> ModuleType:
    """Write and compile the module in a private folder, then put a sealed copy into the cache."""
    folder.mkdir()
    (folder / f"{name}.py").write_bytes(source.encode())
    module = _import(name, source, folder)
    (folder / _SEAL).write_bytes(_checksums(folder))
    try:
        _publish(name, folder)
    except OSError as error:
        _warn_not_kept(f"in {str(cache_folder())!r} ({error.strerror or error})")
    except RuntimeError:
        _warn_not_kept("(there is no home folder)")
    return module


def _import(name: str, source: str, folder: Path) -> ModuleType:
    path = folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # numba stores functions by the name of their module and looks it up while it reads them back.
    sys.modules[name] = module
    # The file goes away with the private folder; tracebacks and `inspect` read the lines here.
    linecache.cache[str(path)] = (len(source), None, source.splitlines(keepends=True), str(path))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _publish(name: str, folder: Path) -> None:
    """Copy a sealed folder into the cache under a temporary name and move it into place."""
    cache = cache_folder()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(cache)
    with tempfile.TemporaryDirectory(
        prefix=_UNFINISHED, dir=cache, ignore_cleanup_errors=True
    ) as unfinished:
        complete = shutil.copytree(folder, Path(unfinished, name))
        try:
            complete.rename(cache / name)
        except OSError:
            # Another process finished the same module first: its entry serves as well.
            if not (cache / name / _SEAL).exists():
                raise


def _discard(name: str) -> None:
    """Remove the entry `name`, if there is one, by moving it out of sight first."""
    with contextlib.suppress(OSError, RuntimeError):
        entry = cache_folder() / name
        if os.path.lexists(entry):
            with tempfile.TemporaryDirectory(
                prefix=_UNFINISHED, dir=entry.parent, ignore_cleanup_errors=True
            ) as away:
                entry.rename(Path(away, name))


def _sweep(cache: Path) -> None:
    """Remove what killed processes left behind."""
    for folder in cache.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _LEFT_BEHIND:
                shutil.rmtree(folder, ignore_errors=True)


def _checksums(folder: Path) -> bytes:
    """Return the lines `sha256sum --check` reads, for every file but the seal itself."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return "".join(
        f"{hashlib.sha256((folder / path).read_bytes()).hexdigest()}  {path.as_posix()}\n"
        for path in files
        if path.name != _SEAL
    ).encode()


def _digest(source: str) -> str:
    return hashlib.sha256("\0".join((source, *_toolchain())).encode()).hexdigest()[:24]


@functools.cache
def _toolchain() -> tuple[str, ...]:
    """Return whatever shapes machine code besides the source."""
    config = numba.config
    # The processor decides too: home folders are shared between machines.
    processor = config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    features = config.CPU_FEATURES or llvmlite.binding.get_host_cpu_features().flatten()
    options = (config.DISABLE_JIT, config.BOUNDSCHECK, config.OPT)
    versions = (numba.__version__, llvmlite.__version__, np.__version__)
    python = (platform.python_implementation(), platform.python_version())
    machine = (llvmlite.binding.get_process_triple(), processor, features)
    return tuple(str(part) for part in (*versions, *python, *machine, *options))


@contextlib.contextmanager
def _numba_as_wanted(straight: bool) -> Iterator[None]:
    """Keep NUMBA_CACHE_DIR and its like from sending the module's files elsewhere.

    And have straight-line code vectorised, if it is to be.
    """
    config = numba.config
    before = config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES, config.SLP_VECTORIZE
    config.CACHE_DIR = config.CACHE_LOCATOR_CLASSES = ""
    config.SLP_VECTORIZE = int(straight or config.SLP_VECTORIZE)
    try:
        yield
    finally:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES, config.SLP_VECTORIZE = before


@functools.cache
def _warn_not_kept(reason: str) -> None:
    warnings.warn(
        f"Compiled routines cannot be kept {reason}: every process compiles them anew. Set the "
        f"environment variable {_VARIABLE} to a folder that can be written.",
        RuntimeWarning,
        stacklevel=4,
    )
