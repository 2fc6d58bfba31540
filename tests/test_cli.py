from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import symkernel as sk
from symkernel import cli
from symkernel.check_report import CheckReport, Rung
from symkernel.errors import Diverged

ROOT = Path(__file__).resolve().parents[1]
LAWS = [law.name for law in sk.catalogue()]


def fake(passed):
    def check(derivation, *, draws=12, seed=1000, progress=False):
        rungs = (Rung(1, "symbolic", passed, f"{draws} draws from seed {seed}", "exact"),)
        report = CheckReport("law", rungs)
        return replace(report, derivation=replace(derivation, report=report))

    return check


@pytest.fixture
def judged(monkeypatch):
    monkeypatch.setattr("symkernel.ladder.check", fake(True))


def test_list_names_every_law_and_derivation(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    for law in sk.catalogue():
        assert law.name in out
        assert law.title in out
        assert law.rank in out
    assert "arXiv:1312.6120" in out
    for name in cli.derivation_names():
        assert name in out
    assert "saxe2014" in cli.derivation_names()


# Drawing these two compiles a network's own equations; their reports are tested elsewhere.
LONG = {"reduced_flow", "relinearised"}


@pytest.mark.parametrize(
    "law", [pytest.param(law, marks=[pytest.mark.slow] * (law in LONG)) for law in LAWS]
)
def test_derive_prints_and_writes(law, tmp_path, capsys):
    files = {kind: tmp_path / f"law.{kind}" for kind in ("tex", "png", "json")}
    status = cli.main(
        ["derive", f"law:{law}", "--latex", str(files["tex"]), "--figure", str(files["png"]),
         "--json", str(files["json"])]
    )  # fmt: skip
    out = capsys.readouterr().out
    assert status == 0
    assert "not checked here" in out
    assert "where " in out
    assert files["tex"].read_text().startswith(r"\documentclass")
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    data = json.loads(files["json"].read_text())
    assert data["law"]["name"] == law
    assert data["report"] is None
    assert all(str(path) in out for path in files.values())


def test_check_passes(judged, tmp_path, capsys):
    status = cli.main(
        ["check", "aligned_modes", "--draws", "3", "--seed", "1001", "--json",
         str(tmp_path / "r.json"), "--latex", str(tmp_path / "r.tex"), "--figure",
         str(tmp_path / "r.pdf")]
    )  # fmt: skip
    assert status == 0
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["report"]["rungs"] == [
        {"number": 1, "title": "symbolic", "passed": True, "figure": "3 draws from seed 1001",
         "bound": "exact", "measured": False}
    ]  # fmt: skip
    assert "Check passed" in (tmp_path / "r.tex").read_text()
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")
    assert "all climbed rungs passed" in capsys.readouterr().out


def test_a_failed_check_is_status_1(monkeypatch, capsys):
    monkeypatch.setattr("symkernel.ladder.check", fake(False))
    assert cli.main(["check", "aligned_modes"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_a_failed_claim_is_status_1(judged, monkeypatch, capsys):
    import importlib

    module = importlib.import_module("symkernel.derivations.saxe2014")
    monkeypatch.setattr(module, "claims", lambda: (("a claim", False, "3 instead of 4"),))
    assert cli.main(["check", "saxe2014"]) == 1
    assert "claim: a claim: FAILS (3 instead of 4)" in capsys.readouterr().out


def test_the_real_ladder_is_climbed(capsys):
    assert cli.main(["check", "law:aligned_modes", "--draws", "1"]) == 0
    assert "DOP853" in capsys.readouterr().out


def test_a_derivation_comes_before_a_law_of_its_name(judged, capsys, monkeypatch):
    import importlib

    module = importlib.import_module("symkernel.derivations.gram_diagonal")
    monkeypatch.setattr(module, "claims", lambda: (("ours", True, "found"),))
    assert cli.main(["check", "gram_diagonal"]) == 0
    assert "claim: ours" in capsys.readouterr().out
    assert cli.main(["check", "law:gram_diagonal"]) == 0
    assert "claim" not in capsys.readouterr().out


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["sing"], "invalid choice"),
        (["derive"], "required: NAME"),
        (["derive", "nothing"], "'NAME' must be a law"),
        (["derive", "os"], "'NAME' must be a law"),
        (["derive", "__init__"], "'NAME' must be a law"),
        (["derive", "../cli"], "'NAME' must be a law"),
        (["check", "law:nothing"], "'NAME' must be a law"),
        (
            ["derive", "aligned_modes", "--latex", "/none/at/all.tex"],
            "--latex must lie in an existing folder",
        ),
        (["derive", "aligned_modes", "--latex", ""], "--latex: must name a file or a folder"),
        (["study", "multitask", "--out", ""], "--out: must name a file or a folder"),
        (["check", str(ROOT / "examples/vehicles.toml"), "--tolerance", "0.1"], "name it by --law"),
        (["derive", "aligned_modes", "--figure", "picture.gif"], "Option --figure must end in one"),
        (["check", "aligned_modes", "--draws", "few"], "invalid int"),
        (["check", "aligned_modes", "--draws", "-1"], "Option --draws must be an integer"),
        (["check", "aligned_modes", "--seed", "-1"], "Option --seed must be"),
        (["derive", str(ROOT / "examples/vehicles.toml"), "--law", "no"], "Option --law must be"),
        (["list", "--into", "/none/at/all.md"], "Option --into must lie in an existing folder"),
        (["study", "information", "--seeds", "-1"], "Option --seeds must be"),
        (["study", "information", "--jobs", "0"], "Option --jobs must be"),
        (["study", "information", "--arrays", "mine.txt"], "Option --arrays must be the name of"),
        (["check", "--all", "--tolerance", "0"], "goes with --json, --draws and --seed alone"),
    ],
)
def test_bad_input_is_status_2_with_a_message(arguments, message, capsys):
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_files_are_refused_before_the_work(monkeypatch):
    monkeypatch.setattr("symkernel.ladder.check", lambda *_, **__: pytest.fail("worked in vain"))
    assert cli.main(["check", "aligned_modes", "--json", "/none/at/all.json"]) == 2


@pytest.mark.parametrize(
    "error", [Diverged("at step 3", 3, 0.1, 0.05), ImportError("no scikit-learn"), OSError("full")]
)
def test_errors_are_told_without_traceback(error, monkeypatch, capsys):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("symkernel.ladder.check", fails)
    assert cli.main(["check", "aligned_modes"]) == 2
    assert capsys.readouterr().err == f"symkernel: {error}\n"


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    def fails(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("symkernel.ladder.check", fails)
    with pytest.raises(ZeroDivisionError):
        cli.main(["check", "aligned_modes"])


def test_interruption_is_status_130(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("symkernel.ladder.check", interrupted)
    assert cli.main(["check", "aligned_modes"]) == 130
    assert capsys.readouterr().err == "symkernel: interrupted\n"


# ---- help, version, process


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_are_status_0(argument, capsys):
    assert cli.main([argument]) == 0
    assert "symkernel" in capsys.readouterr().out


def test_python_m_symkernel():
    done = subprocess.run(
        [sys.executable, "-m", "symkernel", "list"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "aligned_modes" in done.stdout
    assert not done.stderr
    failed = subprocess.run(
        [sys.executable, "-m", "symkernel", "derive", "nothing"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr


# ---- the demonstration


def test_demo(tmp_path, capsys):
    pytest.importorskip("sklearn")
    out = tmp_path / "new" / "out"
    assert cli.main(["demo", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "all climbed rungs passed" in text
    assert "Timings" in text
    assert "u = " in text
    data = json.loads((out / "report.json").read_text())
    assert data["report"]["passed"]
    assert all(r["passed"] for r in data["report"]["rungs"])
    assert data["findings"]["largest gap between law and gradient descent"] < 5e-3
    assert 0.85 < data["findings"]["share of digits that the law's network reads"] < 1
    wanted = {"law.tex", "learning_curves.png", "similarity.png", "report.json"}
    assert wanted <= {p.name for p in out.iterdir()} <= wanted | {"law.pdf"}
    assert "Check passed" in (out / "law.tex").read_text()


def test_demo_wants_a_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert cli.main(["demo", "--out", str(tmp_path / "file")]) == 2
    assert "Option --out must be a folder" in capsys.readouterr().err
    assert cli.main(["demo", "--out", str(tmp_path / "file" / "below")]) == 2
    assert "Option --out must be a folder that can be made" in capsys.readouterr().err
