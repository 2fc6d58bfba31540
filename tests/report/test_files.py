from __future__ import annotations

import json
import os

import pytest

from symkernel.errors import InvalidArgument, SymkernelError
from symkernel.report import latex
from symkernel.report.figures import learning_curves, save_figure
from symkernel.report.files import save, write_atomically
from symkernel.report.record import record, save_record


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_text_is_written_and_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    assert save("first", path) == path
    assert save("zweite ≤", str(path)) == path
    assert path.read_text(encoding="utf-8") == "zweite ≤"
    assert names(tmp_path) == ["a.txt"]
    assert os.stat(path).st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("there_before", [False, True])
def test_a_write_that_is_broken_off_leaves_no_half_file(tmp_path, error, there_before):
    path = tmp_path / "a.txt"
    if there_before:
        path.write_text("whole")

    def write(file):
        file.write(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert names(tmp_path) == (["a.txt"] if there_before else [])
    assert not there_before or path.read_text() == "whole"


def test_a_move_that_fails_leaves_no_half_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save("text", tmp_path / "a.txt")
    assert names(tmp_path) == []


def test_a_figure_that_fails_leaves_no_half_file(tmp_path, theory, monkeypatch):
    figure = learning_curves(theory)

    def broken(file, **_):
        file.write(b"\x89PNG")
        raise RuntimeError("no memory")

    monkeypatch.setattr(figure, "savefig", broken)
    with pytest.raises(RuntimeError):
        save_figure(figure, tmp_path / "a.png")
    assert names(tmp_path) == []


@pytest.mark.parametrize("path", ["", 3, None])
def test_names_that_are_none_are_refused(path):
    with pytest.raises(InvalidArgument, match="'path' must be a file name"):
        save("text", path)


def test_folders_must_exist(tmp_path):
    with pytest.raises(InvalidArgument, match="must lie in an existing folder"):
        save("text", tmp_path / "none" / "a.txt")
    with pytest.raises(InvalidArgument, match="must be a file, not the folder"):
        save("text", tmp_path)


def test_devices_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgument, match="must be a file, not the device or pipe"):
        save("text", tmp_path / "pipe")
    assert names(tmp_path) == ["pipe"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_must_be_writable(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InvalidArgument, match="that can be written to"):
        save("text", tmp_path / "a.txt")


def test_save_latex_of_a_derivation(tmp_path, derivation):
    path = derivation.save_latex(tmp_path / "law.tex", fragment=True, names={"s": r"\sigma"})
    assert path.read_text(encoding="utf-8") == latex.fragment_of(derivation, {"s": r"\sigma"})


def test_record_holds_assumptions_formulas_and_rungs(tmp_path, derivation, checked):
    claims = [("title", False, "found")]
    data = json.loads(save_record(record(checked, claims), tmp_path / "r.json").read_text())
    assert data["law"]["name"] == "aligned_modes"
    assert data["law"]["rank"] == "exact"
    assert data["claims"] == [{"title": "title", "holds": False, "found": "found"}]
    assert [v["distance"] for v in data["assumptions"]] == [
        v.distance for v in derivation.assumptions
    ]
    assert data["report"]["passed"] is False
    assert [
        (r["number"], r["title"], r["passed"], r["figure"], r["bound"])
        for r in data["report"]["rungs"]
    ] == [(r.number, r.title, r.passed, r.figure, r.bound) for r in checked.report.rungs]
    assert data["formulas"][0]["expression"] == str(derivation.formulas[0].expression)
    assert record(derivation)["report"] is None


def test_record_has_no_infinity(derivation, tmp_path):
    from dataclasses import replace

    from symkernel.assumptions import Assumptions
    from symkernel.formula import Verdict

    endless = Verdict("law", "assumption", False, float("inf"), 1e-8)
    data = record(replace(derivation, assumptions=Assumptions((endless,))))
    assert data["assumptions"][0]["distance"] is None
    assert "Infinity" not in save_record(data, tmp_path / "r.json").read_text()


def test_errors_are_ours():
    assert issubclass(InvalidArgument, SymkernelError)
