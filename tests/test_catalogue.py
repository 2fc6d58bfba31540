"""All laws at once: what is printed, the record of their last check, the table in the README."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import symkernel as sk
from symkernel import cli
from symkernel.check_report import CheckReport, Rung
from symkernel.errors import InvalidArgument
from symkernel.report.files import replace_block, with_block
from symkernel.theory import LAWS
from symkernel.theory.listing import Catalogue

README = Path(__file__).resolve().parents[1] / "README.md"


def test_it_is_a_sequence_of_laws_and_knows_their_names():
    laws = sk.catalogue()
    assert list(laws) == list(LAWS)
    assert len(laws) == len(LAWS)
    assert laws[0] is LAWS[0]
    assert laws[-1] is LAWS[-1]
    assert laws[:1] == LAWS[:1]
    assert LAWS[0] in laws
    for law in LAWS:
        assert laws[law.name] is law
    with pytest.raises(InvalidArgument, match="must be a position or one of aligned_modes"):
        _ = laws["saxe"]
    with pytest.raises(IndexError):
        _ = laws[len(laws)]


def test_the_record_of_the_last_check_is_in_step_with_the_laws():
    """Make it anew with `make laws` when a law comes or changes."""
    laws = sk.catalogue()
    assert set(laws.record["laws"]) == {law.name for law in LAWS}
    assert laws.record["draws"] >= 12
    for law in LAWS:
        rungs = laws.rungs[law.name]
        assert [rung.number for rung in rungs] == [1, 2, 3, 4, 5, 6]
        assert all(rung.passed is True and rung.figure and not rung.measured for rung in rungs)
        assert laws.record["laws"][law.name]["subject"] == law.title
        assert laws.climbed(law.name) == "1, 2, 3, 4, 5, 6"


def test_a_law_without_a_record_or_with_a_failed_rung_says_so():
    law = LAWS[0]
    laws = Catalogue((law,))
    laws.__dict__["record"] = {"laws": {}}
    assert laws.climbed(law.name) == "not checked yet"
    assert "not checked yet" in str(laws)
    for rows, words in (([True, None, False], "1"), ([False], "none")):
        laws = Catalogue((law,))
        rungs = [
            {"number": k, "title": "", "passed": p, "figure": ""} for k, p in enumerate(rows, 1)
        ]
        laws.__dict__["record"] = {"laws": {law.name: {"rungs": rungs}}}
        assert laws.climbed(law.name) == words


@pytest.mark.parametrize("face", [str, repr, Catalogue._repr_html_, Catalogue._repr_markdown_])
def test_every_face_shows_every_law(face):
    text = face(sk.catalogue())
    for law in LAWS:
        for part in (law.name, law.title, law.rank, *(c.arxiv for c in law.citations)):
            assert part in text.replace("&amp;", "&")
        words = " ".join(text.split())
        assert all(assumption in words for assumption in law.assumptions)


def test_lines_fit_a_terminal():
    assert max(map(len, str(sk.catalogue()).splitlines())) <= 100


def test_the_readme_is_in_step():
    text = README.read_text(encoding="utf-8")
    assert with_block(text, "laws", sk.catalogue()._repr_markdown_()) == text, "run `make laws`"


# ---- the command line


def test_list_shows_assumptions_source_and_derivations(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    assert str(sk.catalogue()) in out
    assert all(name in out for name in cli.derivation_names())


def test_list_into_a_file_replaces_the_block_alone(tmp_path, capsys):
    path = tmp_path / "page.md"
    path.write_text("# Ours\n<!-- laws: made -->\nold\n<!-- end of laws -->\ntail\n")
    for _ in range(2):
        assert cli.main(["list", "--into", str(path)]) == 0
        text = path.read_text()
        assert text.startswith("# Ours\n<!-- laws: made -->\n\n| law |")
        assert text.endswith("|\n\n<!-- end of laws -->\ntail\n")
        assert "old" not in text
    assert f"wrote {path}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "<!-- laws: a -->\n",
        "<!-- end of laws -->\n<!-- laws: a -->\n",
        "<!-- laws: a -->\n<!-- end of laws -->\n<!-- end of laws -->\n",
        "<!-- laws: a -->\n<!-- laws: a -->\n<!-- end of laws -->\n",
    ],
)
def test_a_file_without_the_comments_is_refused_and_kept(tmp_path, text):
    path = tmp_path / "page.md"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match="each once"):
        replace_block(path, "laws", "new")
    assert path.read_text() == text


def test_a_file_that_is_no_text_is_refused(tmp_path, capsys):
    (tmp_path / "b").write_bytes(b"\xff\xfe")
    for name in ("b", "none"):
        assert cli.main(["list", "--into", str(tmp_path / name)]) == 2
        assert "must be a file of text" in capsys.readouterr().err


@pytest.mark.parametrize("passed", [True, False])
def test_check_all_writes_what_the_reports_say(monkeypatch, tmp_path, capsys, passed):
    climbed = []

    def check(derivation, *, draws, seed, progress):
        climbed.append(derivation.law.name)
        rung = Rung(1, "symbolic", passed, f"{draws} draws from seed {seed}", "exact")
        return CheckReport(derivation.law.title, (rung,))

    monkeypatch.setattr("symkernel.ladder.check", check)
    path = tmp_path / "checks.json"
    options = ["--all", "--draws", "2", "--seed", "7", "--json", str(path)]
    assert cli.main(["check", *options]) == (0 if passed else 1)
    assert climbed == [law.name for law in LAWS]
    data = json.loads(path.read_text())
    assert set(data["laws"]) == set(climbed)
    assert (data["symkernel"], data["draws"], data["seed"]) == (sk.__version__, 2, 7)
    (rung,) = data["laws"][climbed[0]]["rungs"]
    assert Rung(**rung) == Rung(1, "symbolic", passed, "2 draws from seed 7", "exact")
    assert capsys.readouterr().out.count("Check of") == len(LAWS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check"], "'NAME' must be given, or --all"),
        (["check", "aligned_modes", "--all"], "'NAME' must be given, or --all"),
        (["check", "--all", "--latex", "law.tex"], "--all goes with"),
        (["check", "--all", "--law", "aligned_modes"], "--all goes with"),
        (["derive", "--all"], "required: NAME"),
    ],
)
def test_bad_requests_are_status_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    assert words in capsys.readouterr().err
