"""Every file in examples/ is run through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import symkernel as sk
from symkernel import cli

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.toml"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_derive(path, tmp_path, capsys):
    files = [tmp_path / name for name in ("law.tex", "law.png", "law.json")]
    options = [
        q for pair in zip(("--latex", "--figure", "--json"), files, strict=True) for q in pair
    ]
    assert cli.main(["derive", str(path), *map(str, options)]) == 0
    out = capsys.readouterr().out
    assert "aligned_modes" in out
    assert all(str(file) in out for file in files)
    names = sk.load_problem(path).latex_names
    text = files[0].read_text()
    assert all(names[letter] in text for letter in ("s", "z", "a0") if letter in names)
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert json.loads(files[2].read_text())["law"]["name"] == "aligned_modes"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_simulate(path, tmp_path, capsys):
    record, figure = tmp_path / "run.json", tmp_path / "run.png"
    options = ["--json", str(record), "--figure", str(figure)]
    assert cli.main(["simulate", str(path), *options]) == 0
    out = capsys.readouterr().out
    data = json.loads(record.read_text())
    assert data["loss"][-1] < 1e-4 < data["loss"][0]
    assert len(data["times"]) == len(data["steps"]) == len(data["loss"])
    assert f"{data['loss'][-1]:.6g}" in out
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_check(path, capsys):
    assert cli.main(["check", str(path), "--draws", "1"]) == 0
    out = capsys.readouterr().out
    assert "DOP853" in out
    assert ("claim" in out) == bool(sk.load_problem(path).claims)


def test_a_wrong_claim_is_status_1_and_one_without_a_law_is_judged(tmp_path, capsys):
    text = next(p for p in EXAMPLES if p.stem == "logistic_claim").read_text()
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace("exp(-2*s*t)", "exp(-s*t)"))
    assert cli.main(["check", str(path), "--draws", "0"]) == 1
    assert "claim mode 0" in capsys.readouterr().out
    path.write_text(
        'network = { kind = "mlp", sizes = [2, 3, 3, 2], activation = "linear" }\n'
        'task = { s = [2, 1] }\nweights = { kind = "gaussian" }\n'
        'claim = { observable = "loss", formula = "exp(-t)" }'
    )
    assert cli.main(["check", str(path), "--draws", "0"]) == 1
    out = capsys.readouterr().out
    assert "No law of the catalogue" in out
    assert "claim loss = exp(-t)" in out


def test_a_law_by_its_name_is_simulated(capsys):
    assert cli.main(["simulate", "law:aligned_modes"]) == 0
    assert "flow time t" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "command", "words"),
    [
        ("network = ", "derive", "is no TOML"),
        ("netwrok = {}", "check", "key 'network' is missing"),
        (None, "derive", "does not exist"),
        ("simulate", "simulate", "key 'simulate' is missing"),
        ("claim", "check", "key 'claim.observable' must be 'loss' or"),
        ("rate", "simulate", "diverged"),
        ("batch", "simulate", "table 'simulate': Argument 'batch_size'"),
    ],
)
def test_faults_are_status_2_without_traceback(tmp_path, text, command, words, capsys):
    good = next(p for p in EXAMPLES if p.stem == "logistic_claim").read_text()
    texts = {
        "simulate": good.replace("simulate = {", "loss = { factor = 0.5 } #"),
        "claim": good.replace('["mode", 0]', '["mode", 1]'),
        "rate": good.replace("1e-3", "1e3"),
        "batch": good.replace("steps = 4000", "steps = 4000, batch_size = 7"),
    }
    path = tmp_path / "p.toml"
    if text is not None:
        path.write_text(texts.get(text, text))
    assert cli.main([command, str(path), *(["--draws", "0"] if command == "check" else [])]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_in_a_process_of_its_own(tmp_path):
    (path,) = (p for p in EXAMPLES if p.stem == "vehicles")
    done = subprocess.run(
        [sys.executable, "-m", "symkernel", "simulate", str(path)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0
    assert "flow time t" in done.stdout
    assert not done.stderr  # the progress bar is for terminals
