"""Imports run down the list of rooms in README alone."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Where what is in a room is said.
COLUMN = 36


def rooms():
    block = (
        (ROOT / "README.md").read_text().partition("## The rooms\n")[2].partition("Imports run")[0]
    )
    lines = [line[:COLUMN] for line in block.splitlines() if line.strip()]
    return [line.replace(",", " ").replace("/", " ").split() for line in lines]


ROOMS = rooms()


def place(module):
    name = module.split(".")[1]
    return next(k for k, row in enumerate(ROOMS) if any(fnmatch(name, one) for one in row))


def imported(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "symkernel":
            yield from (f"symkernel.{one.name}" for one in node.names if one.name[0] != "_")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("symkernel."):
            yield node.module


def test_every_module_has_a_room_and_imports_run_down():
    package = ROOT / "symkernel"
    files = [
        path for path in package.rglob("*.py") if path.parent != package or path.stem[0] != "_"
    ]
    assert len(files) > 300
    for path in files:
        here = place(".".join(path.relative_to(ROOT).with_suffix("").parts))
        assert [one for one in imported(path) if place(one) > here] == [], path
