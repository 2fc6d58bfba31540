from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel import cli
from symkernel.environments.multitasking import CURRICULA
from symkernel.errors import Diverged, InvalidArgument, SymkernelError
from symkernel.problem.activation import ARGUMENT
from symkernel.studies import cells
from symkernel.studies import predictors as predictors_module
from symkernel.studies.bands import Band
from symkernel.studies.measures import agreement, similarities
from symkernel.studies.setting import Setting, as_text

SMALL = sk.environments.Multitasking(groups=2, features=2)
TINY = {"scales": [0.1, 2.0], "seeds": [1000, 1001], "hidden": 20, "steps": (60, 40)}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study") / "kept"


@pytest.fixture(scope="module")
def study(folder):
    return sk.studies.multitask(SMALL, **TINY, folder=folder)


# What is measured ---------------------------------------------------------------------------------


def test_measures_stand_over_the_grid(study):
    assert not study.failures
    assert study.array("S").shape == (2, 5, 2, 13)
    assert study.values("acc", 0.1, "single", K=1).shape == (2,)
    assert study.array("activity").shape == (2, 5, 2, 16, 20)
    assert "5 curriculum" in repr(study)


@pytest.mark.parametrize("name", CURRICULA)
def test_a_cell_is_a_plain_simulation(study, name):
    net = SMALL.network(hidden=20)
    w0 = SMALL.weights(net, 2.0, seed=1001)
    run = sk.simulate(net, SMALL.curriculum(name, 20.0, 60, 40), w0, 20.0)
    last = {key: w[-1] for key, w in run.weights.items()}
    hidden = sk.activity(net, last, SMALL.single.X, "hidden")
    both = SMALL.prompts(SMALL.task_sets(2))
    answers = sk.activity(net, last, both.X)
    read, written = zip(*(SMALL.tasks[k] for k in SMALL.single.set_of), strict=True)
    sharing = sk.analysis.sharing_index(hidden, inputs=read, outputs=written)
    off = sk.activity(net, last, SMALL.single.X) - SMALL.single.Y
    wanted = {
        "S": sharing.index[0],
        "r_in": sharing.same_input[0],
        "r_out": sharing.same_output[0],
        "r_diff": sharing.neither[0],
        "loss": 0.5 * (off**2).sum(1).mean(),
    }
    for measure, value in wanted.items():
        assert study.values(measure, 2.0, name)[1] == pytest.approx(value, rel=1e-9)
    for measure, congruent in (("acc", None), ("acc_congruent", True), ("acc_incongruent", False)):
        assert study.values(measure, 2.0, name, K=2)[1] == both.accuracy(answers, congruent)


def test_the_initial_weights_have_not_moved(study):
    for scale in (0.1, 2.0):
        assert not study.values("move", scale, "init").any()
        assert (study.values("move", scale, "single") > 0.5).all()


def test_prompts_of_one_task_are_congruent(study):
    assert np.isnan(study.array("acc_incongruent")[..., 0]).all()
    assert (study.array("acc_congruent")[..., 0] == study.array("acc")[..., 0]).all()


def test_constant_patterns_have_no_correlations():
    dead = np.zeros((16, 5))
    assert np.isnan(similarities(dead)).all()
    assert np.isnan(agreement(np.ones(3), np.arange(3.0)))


# Theories -----------------------------------------------------------------------------------------


def theory(study, name, scale):
    return next(one for one in study.comparisons if (one.name, one.scale) == (name, scale))


def test_every_theory_is_asked_and_states_its_validity(study):
    names = [one.name for one in predictors_module.PREDICTORS]
    assert list(study.axis("predictor", "predictions")) == names
    assert {one.curriculum for one in study.comparisons} == {"single"}
    assert all(one.statement for one in study.comparisons)


def test_the_path_is_exact(study):
    for scale in (0.1, 2.0):
        one = theory(study, "path", scale)
        assert one.holds
        np.testing.assert_allclose(one.similarities, 1.0, atol=1e-6)
        np.testing.assert_allclose(one.S, one.true_S, atol=1e-9)
        assert (one.acc == one.true_acc).all()


def test_nothing_changes_is_the_initial_weights(study):
    one = theory(study, "nothing", 2.0)
    np.testing.assert_allclose(one.S, study.values("S", 2.0, "init"), atol=1e-12)
    assert not one.holds


def test_refreshed_kernels_foresee_more_than_frozen_ones(study):
    gaps = {
        name: abs(theory(study, name, 2.0).S - theory(study, name, 2.0).true_S).max()
        for name in ("nothing", "frozen", "relinearised")
    }
    assert gaps["relinearised"] < 0.1 * min(gaps["nothing"], gaps["frozen"]) + 0.05
    assert theory(study, "relinearised", 2.0).similarities.min() > 0.95


def test_the_quotient_shares_by_construction(study):
    """All tasks from one stimulus group have one pattern, and one answer serves them all."""
    for scale in (0.1, 2.0):
        found = study.array("r_in", "predictions")
        row = study.axis("predictor", "predictions").index("quotient")
        np.testing.assert_allclose(found[row, study.axis("scale").index(scale)], 1.0, atol=1e-9)
    assert not theory(study, "quotient", 2.0).holds
    theirs, true = study.array("r_in", "predictions"), study.values("r_in", 0.1, "single")
    names = study.axis("predictor", "predictions")
    gaps = [
        abs(theirs[names.index(name), 0, 0] - true).max() for name in ("quotient", "quotient_first")
    ]
    assert gaps[1] < 0.2 * gaps[0] < 0.1


def test_kernels_inside_the_output_tend_to_the_limit_of_wide_networks():
    from symkernel.studies.inside import frozen_inside
    from symkernel.studies.wide import foreseen_wide

    # The outputs that each starts from are draws of their own, as far apart as the scale.
    scale, setting = 0.01, Setting(2, 2, hidden=1000, learning_rate=0.1, single_steps=200)
    course, w0 = setting.curriculum("single"), setting.weights(scale, 1000)
    inside = frozen_inside(setting, w0, course)
    wide = foreseen_wide(setting, scale, course, np.random.default_rng(0))
    moved = np.abs(wide.outputs - sk.activity(setting.network, w0, setting.inputs)).max()
    assert moved > 0.15
    assert np.abs(inside.outputs - wide.outputs).max() < 0.02 * moved


def test_kept_nonlinearity_is_no_change_where_the_output_is_linear():
    from symkernel.studies.inside import frozen_inside

    setting = Setting(
        2, 2, hidden=12, activation="tanh", output_activation="linear", output_bias=0.0,
        learning_rate=0.01, single_steps=50,
    )  # fmt: skip
    w0, course = setting.weights(1.0, 1000), setting.curriculum("single")
    found = frozen_inside(setting, w0, course)
    law = sk.derive(setting.network, course, w0, law="frozen_kernel").compile()
    wanted = law.predict(setting.inputs, [course.end], learning_rate=0.01)
    np.testing.assert_allclose(found.outputs, wanted.outputs[-1], atol=1e-10)
    np.testing.assert_allclose(found.hidden, wanted.hidden[-1, :16], atol=1e-10)


def test_contributions_are_the_attribution(study):
    net = SMALL.network(hidden=20)
    w0 = SMALL.weights(net, 0.1, seed=1000)
    course = SMALL.curriculum("single", 20.0, 60, 40)
    run = sk.simulate(net, course, w0, 20.0, record=[0.0, course.end], attribute="task")
    found = study.array("matrix", "contributions")[0, 0, 0]
    np.testing.assert_allclose(found, run.attribution(by="task").matrix(), rtol=1e-9)
    np.testing.assert_allclose(found.sum(1), 1.0)


# What is written ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("written") / "new"
    return {path.name: path for path in study.save(out)}


def test_everything_is_written(study, files):
    data = json.loads(files["multitask.json"].read_text())
    lines = {(line["scale"], line["curriculum"]): line for line in data["table"]}
    assert len(lines) == 12
    found = lines[0.1, "single"]["acc_2"]
    values = study.values("acc", 0.1, "single", K=2)
    assert found["mean"] == pytest.approx(values.mean())
    assert found["deviation"] == pytest.approx(values.std(ddof=1))
    assert {one["name"] for one in data["theories"]} >= {"frozen", "infinite", "relinearised"}
    for name in ("sharing", "similarity", "contributions", "representations"):
        assert files[f"{name}.png"].read_bytes().startswith(b"\x89PNG")
        assert files[f"{name}.pdf"].read_bytes().startswith(b"%PDF")
    tex = files["multitask.tex"].read_text()
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 3
    assert "interleaved" in files["multitask.txt"].read_text()
    kept = sorted([*files, "symkernel_study.json"])
    assert sorted(contents(files["multitask.txt"].parent)) == kept


def test_numbers_come_back_from_the_file(study, files):
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(files["multitask.nc"], engine="scipy") as found:
        assert (found["S"].values == study.array("S")).all()
        one = found["foreseen_agreement"].sel(predictor="path", scale=2.0)
        assert one.values.ravel() == pytest.approx(theory(study, "path", 2.0).similarities)
        assert found.attrs["groups"] == 2


def test_without_xarray_the_numbers_are_an_npz(study, tmp_path, monkeypatch):
    from symkernel.studies import files
    from symkernel.studies.store import dataset, labelled

    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None)
    path = files.save_numbers(*labelled(study), lambda: dataset(study), tmp_path / "numbers")
    with np.load(path, allow_pickle=False) as found:
        assert (found["S"] == study.array("S")).all()
        assert found["axes_of_S"].tolist() == ["scale", "curriculum", "seed", "kept"]
        assert found["along_seed"].tolist() == [1000, 1001]


# Folders ------------------------------------------------------------------------------------------


def test_a_study_goes_on_where_it_stood(study, folder):
    before = contents(folder)
    again = sk.studies.multitask(SMALL, **TINY, folder=folder)
    assert (again.runs.computed, again.predictions.computed) == (0, 0)
    assert (again.array("S") == study.array("S")).all()
    assert contents(folder) == before
    more = {**TINY, "scales": [0.1, 0.5, 2.0], "curricula": ["single"], "predictors": "none"}
    assert sk.studies.multitask(SMALL, **more, folder=folder).runs.computed == 2


def test_a_folder_of_something_else_is_refused_and_untouched(study, folder, tmp_path):
    before = contents(folder)
    with pytest.raises(InvalidArgument, match=r"\(hidden 20, not 21\)"):
        sk.studies.multitask(SMALL, **{**TINY, "hidden": 21}, folder=folder)
    assert contents(folder) == before
    sk.sweep(lambda stream, k: {"it": k}, {"k": [1]}, tmp_path / "sweep", progress=False)
    before = contents(tmp_path)
    with pytest.raises(InvalidArgument, match="holds other files"):
        sk.studies.multitask(SMALL, **TINY, folder=tmp_path / "sweep")
    assert contents(tmp_path) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument, match="must not be the file"):
        sk.studies.multitask(SMALL, **TINY, folder=tmp_path / "file")


def test_cells_that_fail_are_told_and_do_not_lose_the_others(tmp_path, monkeypatch, capsys):
    largest = [0.5]

    def fragile(net, course, w0, rate, **options):
        if np.abs(w0.arrays["W_s"]).max() > largest[0]:
            raise Diverged("too large", 3, rate, 1.0)
        return sk.simulate(net, course, w0, rate, **options)

    monkeypatch.setattr(cells, "simulate", fragile)
    few = {**TINY, "curricula": ["single"], "predictors": ["nothing", "path"]}

    found = sk.studies.multitask(SMALL, **few)
    assert {one.parameters["scale"] for one in found.failures} == {2.0}
    assert np.isnan(found.values("S", 2.0, "single")).all()
    assert np.isfinite(found.values("S", 0.1, "single")).all()
    assert "4 cells failed" in str(found)
    assert [path.name for path in found.save(tmp_path)]
    json.loads((tmp_path / "multitask.json").read_text())

    largest[0] = 0.0
    with pytest.raises(SymkernelError, match="Every training failed; the first: Diverged: too la"):
        sk.studies.multitask(SMALL, **few)


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"environment": "3x3"}, "must be a Multitasking"),
        ({"curricula": ["both"]}, "must hold some of single; concurrent"),
        ({"curricula": "single"}, "must be a list of one or more"),
        ({"curricula": []}, "must be a list of one or more"),
        ({"scales": [0.1, 0.1]}, "different values"),
        ({"scales": [1, 1.0]}, "different values"),
        ({"seeds": [1000, np.int64(1000)]}, "different values"),
        ({"scales": [0.0]}, "'scales' must be a finite positive"),
        ({"scales": [float("nan")]}, "'scales' must be a finite positive"),
        ({"scales": [1j]}, "'scales' must be a positive number"),
        ({"seeds": [-1]}, "'seeds' must be a non-negative integer"),
        ({"seeds": [True]}, "'seeds' must be a non-negative integer"),
        ({"steps": 100}, "two numbers of steps"),
        ({"steps": (0, 10)}, "'steps' must be an integer of at least 1"),
        ({"hidden": 2.5}, "'hidden' must be an integer"),
        ({"direct": 1}, "'direct' must be True or False"),
        ({"bias": float("inf")}, "'bias' must be finite"),
        ({"learning_rate": -1.0}, "'learning_rate' must be a finite positive"),
        ({"activation": "import os"}, "must be one of .* or a formula in z"),
        ({"activation": 3}, "activation"),
        ({"predictors": "most"}, "must be one of few, all, none, or a list of some of nothing"),
        ({"predictors": ["crystal ball"]}, "must name some of nothing, .*not 'crystal ball'"),
        ({"folder": 3}, "must be a folder's name"),
    ],
)
def test_bad_input_is_refused(given, words):
    with pytest.raises(InvalidArgument, match=words):
        sk.studies.multitask(**{"environment": SMALL, **given})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: s.values("acc", 0.1, "single", K=3), "from 1 to 2, for 'acc', not 3"),
        (lambda s: s.values("acc", 0.1, "single"), "from 1 to 2, for 'acc', not None"),
        (lambda s: s.values("acc", 0.1, "single", K=0), "'K'"),
        (lambda s: s.values("S", 0.7, "single"), "'scale' must be one of 0.1, 2.0"),
        (lambda s: s.values("S", 0.1, "both"), "'curriculum' must be one of single"),
        (lambda s: s.values("beauty", 0.1, "single"), "gave no 'beauty'"),
        (lambda s: s.save(""), "must be a folder's name"),
    ],
)
def test_what_was_not_measured_is_refused(study, call, words):
    with pytest.raises(InvalidArgument, match=words):
        call(study)


def test_a_scheduler_that_is_not_there_is_told_at_once(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(SymkernelError, match="No dask scheduler answers"):
        sk.studies.multitask(
            SMALL, **TINY, folder=tmp_path, scheduler="tcp://127.0.0.1:9", predictors="none"
        )


def test_formulas_are_activations():
    assert Setting(2, 2, activation="tanh(z)").network.nodes
    z = sp.Symbol("q")
    for given in (sp.log(1 + sp.exp(z)), "log(1 + exp(z))"):
        text = as_text(given)
        assert text == "log(exp(z) + 1)"
        again = Setting.of({name: v[0] for name, v in Setting(activation=text).axes.items()})
        assert again.network.node("hidden").activation.expression == sp.log(1 + sp.exp(ARGUMENT))
    assert as_text(sp.tanh(z)) == "tanh"


# The published setting ----------------------------------------------------------------------------


def test_bands_are_judged_as_they_are():
    assert Band("S", 0.8, low=0.8).holds
    assert str(Band("S", 0.7, low=0.8)) == "NOT held  S: 0.7 (>= 0.8)"
    assert not Band("S", float("nan"), low=0.0).holds


def test_the_command_line_writes_and_judges(tmp_path, capsys):
    out = str(tmp_path / "out")
    small = ["--scales", "0.1", "--seeds", "1000", "--curricula", "single", "--predictors", "none"]
    assert cli.main(["study", "multitask", "--out", out, *small]) == 0
    text = capsys.readouterr().out
    assert "0.863" in text
    assert "held" not in text  # bands are for means over eight seeds
    assert str(Path(out) / "multitask.json") in text
    assert cli.main(["study", "multitask", *small, "--out", out, "--hidden", "3"]) == 2
    assert "another setting" in capsys.readouterr().err
    assert cli.main(["study", "multitask", "--curricula", "both", "--out", out + "3"]) == 2
    assert cli.main(["study", "multitask", "--seeds", "a"]) == 2
    assert not Path(out + "3").exists()


@pytest.mark.slow
def test_the_table_is_within_its_bands_on_all_seeds():
    middle = sk.studies.multitask(
        scales=[0.5], curricula=["single"], seeds=[1000, 1001], predictors=["relinearised"]
    )
    assert middle.comparisons[0].similarities.min() >= 0.98
    found = sk.studies.multitask(predictors=["relinearised", "quotient"])
    assert len(found.bands) == 23
    assert [str(band) for band in found.bands if not band.holds] == []
    for one in found.comparisons:
        if one.name == "relinearised" and one.scale >= 0.5:
            assert one.similarities.min() >= 0.98
        if one.name == "quotient" and one.scale == 0.1:
            assert one.similarities.min() >= 0.99
