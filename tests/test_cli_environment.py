"""Derivations whose law holds for all networks of an environment, on the command line."""

from __future__ import annotations

import json

import pytest

from symkernel import cli
from symkernel.derivations import pyle2023_multitasking as pyle

NAME = "pyle2023_multitasking"


def test_what_is_exported_is_the_law_of_the_environment(tmp_path, capsys):
    tex, record = tmp_path / "law.tex", tmp_path / "law.json"
    assert cli.main(["derive", NAME, "--latex", str(tex), "--json", str(record)]) == cli.PASSED
    shown, data, page = capsys.readouterr().out, json.loads(record.read_text()), tex.read_text()
    assert "margin = 1 - (1 - rho_modes)*(K_at_once - 1)/G" in shown
    assert "weight decay" not in shown  # gamma is the kernel's here
    assert "gamma: free in the kernel, an example" in shown
    assert "G: number of stimulus groups" in shown
    assert "Outputs start at 0." in shown
    assert r"$\gamma$: free in the kernel" in page
    assert r"$M$: number of features of a group" in page
    assert set(data["symbols"]) == {"G", "M", "alpha", "beta", "gamma"}
    assert data["law"]["name"] == "LazyMultitasking"
    assert len(data["steps"]) == len(pyle.derive().steps)
    assert data["report"] is None
    assert "Hamming" in page or "algebra of the relations" in page
    assert r"\lambda_{1c}" in page


def test_what_is_checked_is_the_law_of_the_environment(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pyle, "claims", lambda: (("one", True, "found"), ("two", False, "found")))
    tex, record = tmp_path / "law.tex", tmp_path / "law.json"
    files = ["--latex", str(tex), "--json", str(record)]
    assert cli.main(["check", NAME, *files]) == cli.FAILED
    data = json.loads(record.read_text())
    assert "lazy law of multitasking" in data["report"]["subject"]
    assert data["report"]["passed"]
    assert [one["holds"] for one in data["claims"]] == [True, False]
    assert "explicit Gram matrices" in tex.read_text()
    assert "two: FAILS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", NAME], "none to simulate"),
        (["derive", NAME, "--law", "aligned_modes"], "for problems in files"),
        (["check", NAME, "--draws", "3"], "--draws and --seed"),
    ],
)
def test_what_belongs_to_one_problem_is_refused(arguments, message, capsys):
    assert cli.main(arguments) == cli.BAD_INPUT
    assert message in capsys.readouterr().err
