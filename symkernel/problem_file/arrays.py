"""Arrays from CSV and NPZ files."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from symkernel.errors import InvalidArgument

MOST_CSV = 64 * 2**20
MOST_ARRAY = 2**30
_COMMENT = "#"


class Found(NamedTuple):
    """An array, and the names of its columns if the file has a header line."""

    array: np.ndarray
    columns: tuple[str, ...] | None = None


def read_array(reference: str, folder: Path) -> Found:
    """Return the array that a reference in a file stands for.

    Parameters
    ----------
    reference : str
        ``"x.csv"``, or ``"data.npz:X"`` for one array of an NPZ file.
    folder : Path
        Relative paths start here.

    Raises
    ------
    InvalidArgument
        If there is no such array of numbers; with the line and column where that helps.

    Notes
    -----
    CSV: one row a line, fields separated by commas, numbers with a decimal point; lines that
    start with # are comments, and the first line may hold the names of the columns. NPZ: only
    arrays of plain numbers, never pickled objects.
    """
    name, colon, key = reference.rpartition(":")
    if colon and name.lower().endswith(".npz"):
        return Found(_from_npz(regular_file(folder / name, 2 * MOST_ARRAY), key))
    if reference.lower().endswith(".npz"):
        path = regular_file(folder / reference, 2 * MOST_ARRAY)
        raise InvalidArgument(
            f"{reference!r} must say which array is meant, as in '{reference}:X'; the file holds "
            f"{', '.join(_names(path)) or 'none'}."
        )
    if not reference.lower().endswith(".csv"):
        raise InvalidArgument(
            f"{reference!r} must be the name of a CSV file, such as 'x.csv', or an array of an NPZ "
            f"file, such as 'data.npz:X'."
        )
    return _from_csv(regular_file(folder / reference, MOST_CSV))


def regular_file(path: Path, most: int) -> Path:
    """Return the path of a file that exists, is no folder or device, and is not too large."""
    try:
        exists, folder, plain = path.exists(), path.is_dir(), path.is_file()
        size = path.stat().st_size if plain else 0
        readable = os.access(path, os.R_OK)
    except (OSError, ValueError) as error:  # names with zeros, or too long ones
        raise InvalidArgument(f"The file {str(path)!r} cannot be opened: {error}.") from error
    if not exists:
        raise InvalidArgument(
            f"The file {str(path)!r} does not exist; check its path (in a TOML file it starts in "
            f"the folder of that file)."
        )
    if not plain:
        raise InvalidArgument(
            f"The path {str(path)!r} must be a file, not a {'folder' if folder else 'device'}."
        )
    if not readable:
        raise InvalidArgument(f"The file {str(path)!r} must be readable; change its permissions.")
    if size > most:
        raise InvalidArgument(
            f"The file {str(path)!r} must not be larger than {most / 2**20:,.0f} MiB, but has "
            f"{size / 2**20:,.0f} MiB."
        )
    return path


# ---- CSV


def _from_csv(path: Path) -> Found:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"The file {str(path)!r} must be text in UTF-8; byte {error.start} is not."
        ) from error
    lines = [
        (number, line)
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.lstrip().startswith(_COMMENT)
    ]
    columns = None
    if lines and not any(map(_is_number, lines[0][1].split(","))):
        columns = tuple(field.strip(' \t"') for field in lines[0][1].split(","))
        lines = lines[1:]
    if not lines:
        empty = "is empty" if columns is None else "holds a header line alone"
        raise InvalidArgument(f"The file {str(path)!r} {empty}; it must hold rows of numbers.")
    _check_lines(path, lines, len(columns or lines[0][1].split(",")), columns is not None)
    try:
        array = np.loadtxt([line for _, line in lines], delimiter=",", comments=None, ndmin=2)
    except ValueError as error:
        raise InvalidArgument(f"The file {str(path)!r} cannot be read: {error}.") from error
    return Found(array, columns)


def _check_lines(path: Path, lines: Sequence[tuple[int, str]], width: int, header: bool) -> None:
    for number, line in lines:
        fields = line.split(",")
        if len(fields) != width:
            other = "the header line" if header else "the first row"
            raise InvalidArgument(
                f"The file {str(path)!r} must have rows of one length: line {number} has "
                f"{len(fields)} fields, {other} {width}; fields are separated by commas."
            )
        for column, field in enumerate(fields, 1):
            if not _is_number(field) or not np.isfinite(float(field)):
                raise InvalidArgument(
                    f"The file {str(path)!r} must hold finite numbers, but line {number}, column "
                    f"{column} is {field.strip()[:40]!r}; numbers have a decimal point, and fields "
                    f"are separated by commas."
                )


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    # What Python takes and NumPy does not.
    return "_" not in field and field.isascii()


# ---- NPZ


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise InvalidArgument(
            f"The file {str(path)!r} must be an NPZ archive, as numpy.savez writes it: {error}."
        ) from error


def _from_npz(path: Path, key: str) -> np.ndarray:
    names = _names(path)
    if key not in names:
        raise InvalidArgument(
            f"The file {str(path)!r} holds no array {key!r}; it holds {', '.join(names) or 'none'}."
        )
    what = f"The array {key!r} of {str(path)!r}"
    try:
        with zipfile.ZipFile(path) as archive:
            member = key if key in archive.namelist() else f"{key}.npy"
            with archive.open(member) as file:
                _check_header(what, file)  # type: ignore[arg-type]
            with archive.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
    except InvalidArgument:
        raise
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.error, zlib.error) as error:
        raise InvalidArgument(f"{what} cannot be read: {error}.") from error


def _check_header(what: str, file: BinaryIO) -> None:
    """Refuse pickled objects, and arrays that would not fit, before anything is made of them."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise InvalidArgument(f"{what} must hold plain numbers, not named fields.")
    if dtype.hasobject:
        raise InvalidArgument(
            f"{what} must hold numbers, not Python objects, which would have to be unpickled; "
            f"save it with a numeric dtype."
        )
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size > MOST_ARRAY or size < 0:
        raise InvalidArgument(
            f"{what} must not be larger than {MOST_ARRAY / 2**20:,.0f} MiB, but its shape is "
            f"{shape}."
        )
