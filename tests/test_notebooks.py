"""Every notebook runs from its first cell to its last, and is committed with its outputs."""

from __future__ import annotations

import os
import re
from itertools import groupby
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# They come with the extra `notebooks`.
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


def _read(path: Path):
    return nbformat.read(path, as_version=4)


def _code(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def _kinds(cell):
    # What is printed at once may arrive in pieces.
    return [kind for kind, _ in groupby(output.output_type for output in cell.outputs)]


def _texts(cell):
    for output in cell.outputs:
        yield output.get("text", "")
        yield from (str(v) for k, v in output.get("data", {}).items() if k.startswith("text/"))


def test_there_is_a_notebook():
    assert NOTEBOOKS


# Those of the applications train many networks, as their tests do.
LONG = {"03_curricula", "04_pseudo_kernel", "05_multitasking", "06_usable_information"}
executing = pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.stem in LONG), id=p.stem) for p in NOTEBOOKS],
)


@executing
def test_executes(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    book = _read(path)
    client = nbclient.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    # Cell by cell: `execute` asks the kernel about itself at the end, and may wait for the answer
    # until the time is up.
    with client.setup_kernel():
        for k, cell in enumerate(book.cells):
            client.execute_cell(cell, k)
    assert [_kinds(cell) for cell in _code(book)] == [_kinds(cell) for cell in _code(_read(path))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_with_outputs(path):
    cells = _code(_read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert all(output.output_type != "error" for output in cell.outputs)
        for text in _texts(cell):
            assert not re.search(r"(/home/|/root|/tmp/|/Users/|site-packages|[A-Z]:\\)", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_public_api_alone(path):
    source = "\n".join(cell.source for cell in _code(_read(path)))
    modules = set(re.findall(r"^\s*(?:from|import) (symkernel[\w.]*)", source, re.MULTILINE))
    assert modules <= {"symkernel", "symkernel.errors", "symkernel.report.figures"}
