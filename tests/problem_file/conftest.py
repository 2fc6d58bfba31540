"""A folder with a problem's arrays, and a function that writes the problem and loads it."""

from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from tests.problem_file.samples import BASE, X, Y


@pytest.fixture
def load(tmp_path):
    """Return a function that writes a file, with changes to its lines, and loads it."""

    def run(text=BASE, **tables):
        lines = [line for line in text.splitlines() if line.split(" = ")[0] not in tables]
        lines += [f"{key} = {value}" for key, value in tables.items() if value]
        (tmp_path / "p.toml").write_text("\n".join(lines), encoding="utf-8")
        return sk.load_problem(tmp_path / "p.toml")

    np.savetxt(tmp_path / "x.csv", X, delimiter=",")
    (tmp_path / "y.csv").write_text("# targets\nleft, right\n1,0\n\n0,1\n2,-3.5\n")
    np.savez(tmp_path / "d.npz", X=X, Y=Y, O=np.array([{}], dtype=object))
    return run
