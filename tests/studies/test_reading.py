"""What a reader of the study is told: legends, captions, labels, and what was not learned."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel import cli
from symkernel.errors import InvalidArgument
from symkernel.studies.figures import similarity_panels
from symkernel.studies.measures import unlearned
from symkernel.studies.setting import usual_rate
from symkernel.studies.tables import legend

TINY = {"scales": [0.1, 2.0], "curricula": ["single"], "hidden": 20, "predictors": "none"}


@pytest.fixture(scope="module")
def study():
    env = sk.environments.Multitasking(groups=2, features=2)
    return sk.studies.multitask(env, **TINY, seeds=[1000, 1001], steps=(300, 5))


@pytest.fixture(scope="module")
def dead():
    env = sk.environments.Multitasking(groups=4, features=2)
    options = {**TINY, "activation": "tanh", "hidden": 60, "learning_rate": 20.0}
    return sk.studies.multitask(env, **options, seeds=[1000], steps=(60, 5))


def test_every_column_is_explained(study):
    text = str(study)
    for name in ("r_in, r_out, r_diff", "S ", "acc_K", "incongruent", "loss", "move"):
        assert f"\n  {name}" in text
    assert max(map(len, legend().splitlines())) <= 100


def test_latex_has_captions_and_no_more_columns_than_a_page_holds(study):
    tex = study.latex()
    assert tex.count(r"\caption{") == tex.count(r"\begin{tabular}") == 2
    heads = [line for line in tex.splitlines() if line.startswith("scale &")]
    assert max(head.count("&") for head in heads) <= 8
    assert r"$0.00_{\pm 0.00}$" not in heads
    assert "nan" not in tex


def test_latex_tells_which_theory_is_valid(study):
    env = sk.environments.Multitasking(groups=2, features=2)
    more = sk.studies.multitask(
        env, **{**TINY, "predictors": ["nothing", "path"]}, seeds=[1000], steps=(300, 5)
    )
    rows = [line for line in more.latex().splitlines() if "path" in line or "nothing" in line]
    assert len(rows) == 4
    assert all(row.split("&")[-1].strip().startswith(word) for row, word in
               zip(rows, ("no", "yes") * 2, strict=True))  # fmt: skip


def test_rows_that_did_not_learn_are_flagged(study, dead):
    assert not study.unlearned
    assert "NOT learned" not in str(study)
    assert {(scale, name) for scale, name, _ in dead.unlearned} >= {(0.1, "single")}
    assert "NOT learned" in str(dead)
    assert "another learning rate than 20" in " ".join(str(dead).split())


def test_sixteen_tasks_are_named_by_stimulus_group(dead):
    panel = similarity_panels(dead).axes[0]
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == [rf"{i}$\to$" for i in range(4)]
    assert panel.get_yticks().tolist() == [1.5, 5.5, 9.5, 13.5]


def test_arrays_have_names_units_and_labels(study, tmp_path):
    pytest.importorskip("xarray")
    found = study.to_xarray()
    for name in ("S", "r_in", "acc_congruent", "loss", "scale", "seed", "unit", "prompt", "task"):
        assert found[name].attrs["long_name"]
    assert not [n for n in found.data_vars if "long_name" not in found[n].attrs]
    assert found["S"].attrs["units"] == "1"
    assert found["acc_congruent"].attrs["congruent"] == 1
    assert found["acc_incongruent"].attrs["congruent"] == 0
    assert "congruent" not in found["acc"].attrs
    assert found.attrs["seeds"] == "1000, 1001"
    assert len(set(found["prompt"].values)) == len(study.setting.environment.single.X)
    path = next(p for p in study.save(tmp_path / "out") if p.suffix == ".nc")
    import xarray

    with xarray.open_dataset(path, engine="scipy") as back:
        assert back["r_in"].attrs == found["r_in"].attrs


def test_a_study_is_not_saved_over_what_is_not_its_own(study, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "multitask.txt").write_text("mine")
    with pytest.raises(InvalidArgument, match="holds other files"):
        study.save(foreign)
    assert [p.name for p in foreign.iterdir()] == ["multitask.txt"]
    assert (foreign / "multitask.txt").read_text() == "mine"
    own = tmp_path / "own"
    assert sorted(study.save(own)) == sorted(study.save(own))
    other = sk.studies.multitask(
        sk.environments.Multitasking(2, 2), **{**TINY, "hidden": 5}, seeds=[1], steps=(2, 2)
    )
    with pytest.raises(InvalidArgument, match="hidden 20, not 5"):
        other.save(own)


def test_symbols_are_refused_with_what_takes_them():
    G, M = sp.symbols("G M", integer=True, positive=True)
    with pytest.raises(InvalidArgument, match=r"numbers for its groups.*sk\.lazy_multitasking"):
        sk.studies.multitask(sk.environments.Multitasking(G, M))
    assert sk.small_weights(sk.environments.Multitasking(G, M)).plateaus[0].plain.has(M)


@pytest.mark.parametrize(
    ("option", "words"),
    [("--scales", "must be numbers with commas"), ("--seeds", "must be whole numbers with commas")],
)
def test_lists_of_numbers_are_refused_in_words(option, words, capsys):
    assert cli.main(["study", "multitask", option, "1;x"]) == cli.BAD_INPUT
    found = capsys.readouterr().err
    assert words in found
    assert "_" not in found.splitlines()[-1]


def test_help_names_a_rate_for_each_activation(capsys):
    assert cli.main(["study", "multitask", "--help"]) == cli.PASSED
    text = " ".join(capsys.readouterr().out.split())
    for name in ("sigmoid", "tanh", "erf", "relu", "linear"):
        assert name in text.partition("flow time of a step")[2].partition("--bias")[0]


def test_what_is_unlearned_is_on_record(dead, tmp_path):
    path = next(p for p in dead.save(tmp_path / "out") if p.suffix == ".json")
    assert json.loads(path.read_text())["unlearned"][0]["curriculum"] == "single"


@pytest.mark.parametrize(
    ("functions", "rate"),
    [(("sigmoid", "sigmoid", -2.0), 20.0), (("tanh", "sigmoid", -2.0), 2.0),
     (("sigmoid", "sigmoid", 0.0), 2.0), (("sigmoid", "linear", -2.0), 2.0),
     (("relu", "linear", -2.0), 0.2)],
)  # fmt: skip
def test_the_usual_learning_rate_follows_the_functions(functions, rate):
    assert usual_rate(*functions) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("loss", "accuracy", "words"),
    [(0.1, 0.9, ""), (0.1, 0.74, "accuracy 0.74 at 1 task, by chance 0.50"),
     (0.6, 0.9, "loss 0.6"), (1.2, 0.9, "loss 1.2")],
)  # fmt: skip
def test_half_way_is_far_enough(loss, accuracy, words):
    def values(measure, scale, name, K=None):
        return np.array([{"loss": 1.0 if name == "init" else loss, "acc": accuracy}[measure]])

    study = SimpleNamespace(
        values=values, axis=lambda name: {"scale": [1.0], "curriculum": ["single"]}[name],
        setting=SimpleNamespace(features=2, groups=2),
    )  # fmt: skip
    found = [why for _, _, why in unlearned(study)]
    assert found == [] if not words else found[0].startswith(words)


@pytest.mark.parametrize(
    ("given", "option"),
    [(["--jobs", "0"], "--jobs"), (["--single-steps", "0"], "--single-steps"),
     (["--groups", "1"], "--groups"), (["--hidden", "0"], "--hidden")],
)  # fmt: skip
def test_errors_name_options(given, option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", "multitask", *given]) == 2
    assert f"Option {option} " in capsys.readouterr().err
