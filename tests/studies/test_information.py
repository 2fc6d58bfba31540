from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import symkernel as sk
from symkernel import cli
from symkernel.errors import Diverged, InvalidArgument, ShapeMismatch, SymkernelError
from symkernel.studies.bands import Band
from symkernel.studies.decisions import bands as bands_module
from symkernel.studies.decisions import cells, theory
from symkernel.studies.decisions.found import Found
from symkernel.studies.decisions.measures import NOISES, information_in
from symkernel.studies.decisions.setting import (
    INFORMATION_SETTINGS,
    environment_of,
    settings_of_arrays,
)
from symkernel.studies.decisions.verdicts import (
    CLAIMS,
    FAILS,
    HOLDS,
    UNDECIDED,
    UNJUDGED,
    WEAKLY,
    Paired,
    judged,
    paired,
    verdicts,
)
from symkernel.sweeps.results import Labels, Sweep

Decision, Descent, Setting = (
    sk.environments.Decision,
    sk.studies.Descent,
    sk.studies.InformationSetting,
)
BOARD = Decision.of_checkerboard(400, 400)
MINE = Decision.of(
    np.r_[BOARD.X, BOARD.probe],
    np.r_[BOARD.relevant, BOARD.probe_relevant],
    np.r_[BOARD.irrelevant, BOARD.probe_irrelevant],
    names=("direction", "colour"),
)
FAST, SLOW = Descent(0.2, 8, 20.0), Descent(0.1, 8, 20.0)
TINY = Setting(
    "arrays", "tanh", 1.0, 0.2, (8, 5), (SLOW, FAST), FAST, FAST, (0, 1), ("kept", "new")
)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study") / "kept"


@pytest.fixture(scope="module")
def study(folder):
    return sk.studies.information(MINE, settings=[TINY], seeds=[1000, 1001, 1002], folder=folder)


# Decisions ----------------------------------------------------------------------------------------


def test_the_checkerboard_trains_and_probes_on_different_trials():
    board = sk.environments.checkerboard(400, seed=1)
    assert (board.X == BOARD.X).all()
    assert (board.labels["direction"] == BOARD.relevant).all()
    assert (board.labels["colour"] == BOARD.irrelevant).all()
    assert not np.isin(BOARD.probe[:, 0], BOARD.X[:, 0]).any()
    assert not BOARD.conditional
    direction = BOARD.irrelevant_direction * np.sign(BOARD.irrelevant_direction[0])
    np.testing.assert_allclose(direction, [2**-0.5, -(2**-0.5), 0, 0], atol=0.1)


def test_digits_have_a_coarse_label_and_the_digit():
    pytest.importorskip("sklearn")
    digits = environment_of("digits parity")
    assert (digits.relevant == digits.irrelevant % 2).all()
    assert digits.X.shape == (900, 64)
    assert digits.probe.shape == (897, 64)
    assert digits.X.var(0).mean() == pytest.approx(1.0)
    halves = environment_of("digits random")
    assert sorted(np.unique(halves.irrelevant[halves.relevant == 1])) != [1, 3, 5, 7, 9]


def test_arrays_are_split_and_scaled_as_one():
    stream = np.random.default_rng(0)
    X = stream.standard_normal((90, 3)) * [1.0, 5.0, 0.0] + 7.0
    mine = Decision.of(X, stream.integers(3, 5, 90), stream.integers(-1, 2, 90), probed=1 / 3)
    assert (len(mine.X), len(mine.probe)) == (60, 30)
    np.testing.assert_allclose(mine.X.mean(0), 0.0, atol=1e-12)
    assert mine.X.var(0).mean() == pytest.approx(1.0)
    spreads = mine.X.std(0)
    assert spreads[1] > 3 * spreads[0]
    assert spreads[2] == pytest.approx(0.0, abs=1e-12)
    assert set(mine.irrelevant) == {0, 1, 2}
    assert set(mine.relevant) == {0, 1}
    assert mine.digest != replace(mine, names=("a", "b")).digest


def labels(count=40):
    return np.arange(count) % 2


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"X": np.ones((40, 2))}, InvalidArgument, "all are constant"),
        ({"X": np.full((40, 2), np.nan)}, InvalidArgument, "finite"),
        ({"X": np.zeros((40, 2), dtype=complex)}, InvalidArgument, "complex"),
        ({"X": np.zeros((40, 2, 2))}, ShapeMismatch, "2-dimensional"),
        ({"relevant": labels() + 0.5}, InvalidArgument, "'relevant' must hold labels that are int"),
        ({"relevant": labels().astype(bool)}, InvalidArgument, "integers"),
        ({"irrelevant": np.zeros(40, dtype=int)}, InvalidArgument, "'irrelevant' .* two classes"),
        ({"irrelevant": labels(39)}, ShapeMismatch, "each of the 40 samples"),
        ({"relevant": np.r_[2, labels(39)]}, InvalidArgument, "class 2 .* is absent"),
        ({"probed": 1.0}, InvalidArgument, "'probed' must be between 0 and 1"),
        ({"probed": True}, InvalidArgument, "'probed'"),
        ({"names": ("a",)}, InvalidArgument, "'names' must be two names"),
        ({"conditional": 1}, InvalidArgument, "'conditional' must be True or False"),
        ({"seed": -1}, InvalidArgument, "'seed'"),
    ],
)
def test_arrays_that_make_no_decision_are_refused(change, error, words):
    stream = np.random.default_rng(0)
    given = {
        "X": stream.standard_normal((40, 2)),
        "relevant": labels(),
        "irrelevant": stream.integers(0, 2, 40),
    }
    with pytest.raises(error, match=words):
        Decision.of(**{**given, **change})


# Files of arrays ----------------------------------------------------------------------------------


def saved(folder, **arrays):
    np.savez(folder / "mine.npz", **arrays)
    return folder / "mine.npz"


def test_images_are_read_as_rows(tmp_path):
    stream = np.random.default_rng(0)
    one, other = stream.integers(0, 2, (2, 60))
    path = saved(tmp_path, images=stream.random((60, 4, 5)), shape=one, colour=other)
    mine = sk.studies.read_arrays(path, keys=("images", "shape", "colour"))
    assert mine.X.shape == (30, 20)
    assert mine.names == ("shape", "colour")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("X", "y", "z"), "no array 'z'; it holds X, y, o"),
        (("X", "y", "o"), "would have to be unpickled"),
        (("X", "y"), "names of three arrays"),
        ("Xyo", "names of three arrays"),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path, keys, words):
    path = saved(tmp_path, X=np.ones((4, 2)), y=labels(4), o=np.array([{}], dtype=object))
    with pytest.raises(InvalidArgument, match=words):
        sk.studies.read_arrays(path, keys=keys)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    for path, words in (
        (tmp_path / "no.npz", "does not exist"),
        (tmp_path / "text.npz", "must be an NPZ archive"),
        (tmp_path / "mine.csv", "must be the name of an NPZ file"),
        (3, "must be the name of an NPZ file"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            sk.studies.read_arrays(path)


# What is measured ---------------------------------------------------------------------------------


def test_a_cell_is_a_plain_simulation(study):
    found = study.found[0]
    assert not study.failures
    net = sk.Network.mlp([4, 8, 5, 2], "tanh", bias=True)
    run = sk.simulate(
        net, MINE.task, sk.weights.gaussian(net, 1.0, seed=1001), 0.2, steps=100, record=[20.0],
        batch_size=8, seed=1001, loss=sk.CrossEntropy(), label_noise=sk.LabelNoise(probability=0.2),
    )  # fmt: skip
    last = {name: w[-1] for name, w in run.weights.items()}
    hidden = sk.activity(net, last, MINE.probe, "hidden1")
    decoder = sk.analysis.Decoder("linear", ridge=1e-4)
    for label, y, given in (
        ("relevant", MINE.probe_relevant, None),
        ("irrelevant", MINE.probe_irrelevant, MINE.probe_relevant),
    ):
        for noise, kind in NOISES.items():
            wanted = sk.usable_information(hidden, y, decoder=decoder, noise=kind, given=given)
            at = found.bits("trainings", label, noise, layer=0)[1, 1, -1]
            assert at == pytest.approx(max(wanted.bits, 0.0), abs=1e-12)
    right = sk.activity(net, last, MINE.probe).argmax(1) == MINE.probe_relevant
    assert found.trainings["accuracy"][1, 1, -1] == pytest.approx(right.mean())


def test_a_watched_training_is_the_same_one(study):
    found = study.found[0]
    ends = found.bits("watched")[0, :, -1]
    np.testing.assert_array_equal(ends, found.bits("trainings")[1, :, -1])
    times = found.watched["time"][0, 0]
    assert times[0] == 0
    assert times[-1] == pytest.approx(20.0)
    assert len(np.unique(times)) == len(times)
    clock = found.watched["clock"][0]
    assert (clock[:, 0] == 0).all()
    assert (np.diff(clock, axis=1) > 0).all()


def test_pretraining_of_no_epochs_is_none_and_keeps_or_renews_the_readout(study):
    found = study.found[0]
    end = found.bits("pretrainings")[..., -1]
    for readout in (0, 1):
        np.testing.assert_array_equal(end[0, readout], found.bits("trainings")[1, :, -1])
    assert (end[1, 0] != end[1, 1]).all()
    net = cells.network_of(TINY, MINE.task)
    learned = {p.name: np.ones(p.shape) for p in net.parameters}
    fresh = TINY.weights(net, 5).arrays
    kept, new = (cells.carried(TINY, MINE, learned, how, 5).arrays for how in ("kept", "new"))
    assert all((kept[name] == 1).all() for name in learned)
    assert (new["W2"] == 1).all()
    for name in ("W3", "b3"):
        np.testing.assert_array_equal(new[name], fresh[name])


def test_epochs_are_counted_in_whole_batches(monkeypatch):
    steps = []

    def noted(setting, net, task, w0, descent, seed, count, shares=None):
        steps.append((task is MINE.other_task, count))
        still = {name: w[None] for name, w in w0.arrays.items()}
        return SimpleNamespace(times=np.ones(1), weights=still, task_losses=np.zeros((1, 1)))

    monkeypatch.setattr(cells, "trained", noted)
    setting = replace(TINY, perturbed=Descent(0.2, 30, 20.0))
    cells.Pretrained(setting, MINE)(np.random.default_rng(0), epochs=4, readout="new", seed=1)
    assert steps == [(True, 4 * (400 // 30)), (False, 100)]


def test_the_read_out_of_other_classes_is_new():
    digits = replace(MINE, irrelevant=MINE.irrelevant + 2 * (np.arange(400) % 2))
    net = TINY.network(4, 4)
    assert cells.network_of(TINY, digits.other_task).parameters[-1].shape == (4,)
    learned = TINY.weights(net, 7).arrays
    start = cells.carried(TINY, digits, learned, "new", 1)
    assert start.arrays["W3"].shape == (2, 5)
    np.testing.assert_array_equal(start.arrays["W2"], learned["W2"])


def test_constant_layers_hold_nothing():
    net = TINY.network(4, 2)
    zeros = {p.name: np.zeros(p.shape) for p in net.parameters}
    found = information_in(net, zeros, TINY.layers, MINE, 1e-3)
    assert np.abs(found[:, :2]).max() < 0.02
    # The noise alone: 100 samples that fit a decoder of 8 units.
    assert np.abs(found[:, 2]).max() < 0.15


def test_entropies_are_those_of_the_probes():
    one, other = labels(400), np.arange(400) % 4
    decision = replace(MINE, probe_relevant=one, probe_irrelevant=other)
    found = Found(TINY, decision, None, None, None)
    assert found.entropy == {"relevant": pytest.approx(1.0), "irrelevant": pytest.approx(1.0)}
    whole = Found(TINY, replace(decision, conditional=False), None, None, None)
    assert whole.entropy["irrelevant"] == pytest.approx(2.0)


# Verdicts, on numbers that are made up ------------------------------------------------------------

SEEDS = tuple(range(8))
WOBBLE = np.array([1, -1, 2, -2, 1, -1, 2, -2]) / 100


def sweep_of(grid, irrelevant, relevant):
    """Return a sweep with one layer, alike under all noises; bits over the grid and records."""
    irrelevant, relevant = np.broadcast_arrays(irrelevant, relevant)
    bits = np.stack([irrelevant, relevant][::-1], axis=-1)[..., None, None, :]
    values = {"bits": np.repeat(bits, len(NOISES), axis=-2)}
    values["time"] = np.broadcast_to(np.arange(irrelevant.shape[-1]), irrelevant.shape)
    grid = {**grid, "seed": SEEDS}
    return Sweep(grid, values, (), np.zeros(1), 0, Path(), Labels({}, {}))


QUIET, MIDDLE, NOISY, WILD = (Descent(0.1, B, 10.0) for B in (64, 16, 4, 1))
MADE_UP = Setting("arrays", "tanh", 1.0, 0.0, (3,), (NOISY, QUIET, MIDDLE, WILD))


def made_up(trainings, relevant=0.8, watched=None, pretrained=None, pretrained_relevant=0.8):
    names = [str(one) for one in MADE_UP.descents]
    rows = np.array(trainings)[:, None, None] + WOBBLE[:, None] * [[[1]], [[2]], [[3]], [[-1]]]
    means = np.broadcast_to(relevant, len(names))[:, None, None]
    found = {"trainings": sweep_of({"descent": names}, rows, means), "watched": None}
    if watched is not None:
        curves = np.array(watched)[None, None] + WOBBLE[:, None] * np.arange(len(watched))
        found["watched"] = sweep_of({"descent": [str(NOISY)]}, curves, 0.8)
    found["pretrainings"] = None
    if pretrained is not None:
        rows = np.array(pretrained)[:, None, None, None] + np.zeros((1, 1, 8, 1))
        rows = rows + WOBBLE[:, None] * np.arange(len(pretrained))[:, None, None, None]
        learned = np.broadcast_to(pretrained_relevant, len(pretrained))[:, None, None, None]
        grid = {"epochs": (0, 1, 4)[: len(pretrained)], "readout": ("kept",)}
        found["pretrainings"] = sweep_of(grid, rows, learned)
    decision = replace(MINE, conditional=False)
    return Found(MADE_UP, decision, *found.values())


def verdict(found, claim, noise="rel.3"):
    return next(one for one in verdicts(found) if (one.claim, one.noise) == (claim, noise))


def test_a_difference_has_students_interval():
    from scipy import stats

    gaps = np.array([0.1, 0.3, 0.2, 0.5, 0.4])
    found = paired(1 + gaps, np.ones(5))
    half = stats.t.ppf(0.975, 4) * gaps.std(ddof=1) / np.sqrt(5)
    assert found.difference == pytest.approx(0.3)
    assert (found.low, found.high) == (pytest.approx(0.3 - half), pytest.approx(0.3 + half))
    assert found.effect == pytest.approx(0.3 / gaps.std(ddof=1))
    assert paired(np.array([1.0, 2.0, np.nan]), np.zeros(3)) is None
    with_gap = paired(np.r_[1 + gaps, np.nan], np.ones(6))
    assert with_gap.low == pytest.approx(found.low)
    same = paired(np.full(3, 2.0), np.ones(3))
    assert (same.low, same.high, same.effect) == (1.0, 1.0, np.inf)
    assert paired(np.ones(3), np.ones(3)).effect == 0.0


@pytest.mark.parametrize(
    ("noisiest", "words"), [(0.3, HOLDS), (0.47, WEAKLY), (0.53, FAILS), (0.8, FAILS)]
)
def test_noise_is_judged_between_the_ends(noisiest, words):
    # In the order of the setting: 0.1/4, 0.1/64, 0.1/16, 0.1/1.
    one = verdict(made_up([0.5, 0.53, 0.52, noisiest]), 1)
    assert one.words == words
    assert one.about.startswith("0.1/64 less 0.1/1")
    assert one.found.difference == pytest.approx(0.53 - noisiest)


def test_training_that_failed_is_no_minimal_representation():
    one = verdict(made_up([0.5, 0.53, 0.52, 0.0], relevant=[0.8, 0.8, 0.8, 0.1]), 1)
    assert one.words != HOLDS
    assert one.about.startswith("0.1/64 less 0.1/4")
    assert "training failed at 0.1/1" in one.about
    nothing = verdict(made_up([0.5, 0.5, 0.5, 0.0], relevant=0.05), 1)
    assert nothing.words == UNJUDGED
    single = verdict(made_up([0.5, 0.5, 0.5, 0.0], relevant=[0.8, 0.1, 0.1, 0.1]), 1)
    assert single.words == UNJUDGED


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        ([0.1, 0.5, 0.2], HOLDS),
        ([0.5, 0.5, 0.1], FAILS),  # no rise
        ([0.1, 0.5, 0.48], WEAKLY),  # a fall of no interest
        ([0.1, 0.4, 0.5], FAILS),
        ([0.5, 0.3, 0.2], FAILS),
        ([0.3, 0.3, 0.3], FAILS),
    ],
)
def test_transients_need_a_rise_and_a_fall(curve, words):
    found = verdict(made_up([0.5] * 4, watched=curve), 2)
    assert found.words == words, str(found)
    assert ("rise before it: does not hold" in found.about) == (curve[0] >= curve[1])


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.06, 0.5, HOLDS), (0.01, 0.5, WEAKLY), (-0.1, 0.7, UNDECIDED), (-0.3, 0.04, FAILS),
     (-0.1, 0.05, UNDECIDED)],
)  # fmt: skip
def test_an_interval_that_holds_too_much_decides_nothing(low, high, words):
    assert judged(Paired((low + high) / 2, low, high, 1.0), 0.05) == words


def test_the_time_of_a_peak_is_that_of_the_other_seeds():
    """Peaks that every seed has at a place of its own, by chance, are none."""
    found = made_up([0.5] * 4, watched=[0.3] * 9)
    bits = found.watched.values["bits"]
    bits[..., 1] = 0.3
    bits[0, np.arange(8), np.arange(8), ..., 1] = 0.6
    bits[0, :, -1, ..., 1] = 0.29
    assert verdict(found, 2).words != HOLDS


@pytest.mark.parametrize(
    ("after", "words"), [(0.5, HOLDS), (0.34, WEAKLY), (0.3, FAILS), (0.1, FAILS)]
)
def test_pretraining_is_judged_at_its_shortest(after, words):
    one = verdict(made_up([0.5] * 4, pretrained=[0.3, after, 0.9]), 3)
    assert one.words == words
    assert one.found.difference == pytest.approx(after - 0.3)
    assert "4 kept +0.60" in one.about


def test_pretraining_that_hinders_the_task_is_told():
    one = verdict(
        made_up([0.5] * 4, pretrained=[0.3, 0.5, 0.9], pretrained_relevant=[0.8, 0.8, 0.2]), 3
    )
    assert one.words == HOLDS
    assert "4 kept task not learned" in one.about
    for relevant in ([0.8, 0.2, 0.8], [0.05, 0.8, 0.8]):
        hindered = made_up([0.5] * 4, pretrained=[0.3, 0.5, 0.9], pretrained_relevant=relevant)
        assert verdict(hindered, 3).words == UNJUDGED


def test_every_noise_has_verdicts_of_its_own():
    found = made_up([0.5, 0.53, 0.52, 0.3])
    found.trainings.values["bits"][..., 2, 1] = 0.4
    assert verdict(found, 1, "n0").words == HOLDS
    assert verdict(found, 1, "abs.3").words == FAILS


def test_cells_that_failed_are_left_out():
    found = made_up([0.5, 0.53, 0.52, 0.3])
    found.trainings.values["bits"][3, :2] = np.nan
    assert verdict(found, 1).words == HOLDS
    found.trainings.values["bits"][3, :6] = np.nan
    assert verdict(found, 1).words == UNJUDGED


# Bands --------------------------------------------------------------------------------------------


def test_bands_are_two_deviations_wide_and_for_the_default_settings():
    values = np.array([0.1, 0.3])
    assert bands_module._band("x", values, (0.5, 0.1)) == Band("x", 0.2, 0.3, 0.7)
    assert bands_module._band("x", values, (0.5, 0.001)) == Band("x", 0.2, 0.46, 0.54)
    own = bands_module._band("x", values, (0.5, None))
    assert own.high - own.low == pytest.approx(4 * values.std(ddof=1), abs=1e-5)
    assert not bands_module._band("x", np.array([0.5, np.nan]), (0.5, 0.1)).holds
    assert list(bands_module.bands([made_up([0.5] * 4)])) == []


def test_every_band_has_a_cell():
    by_name = {one.name: one for one in INFORMATION_SETTINGS}
    for name, entries in {**bands_module._NOISE, **bands_module._NOISE_RELATIVE}.items():
        assert set(entries) <= {str(one) for one in by_name[name].descents}
    for name in bands_module._THROUGH:
        assert by_name[name].watched is not None
    for name, entries in bands_module._PRETRAINED.items():
        for (readout, noise), along in entries.items():
            assert readout in by_name[name].readouts
            assert noise in NOISES
            assert len(along) == len(by_name[name].epochs)


# Theory -------------------------------------------------------------------------------------------


def test_pruning_starts_at_the_measured_bits_and_ends_at_none():
    left = theory.pruned(0.5, np.array([0.0, 1.0, 50.0]))
    assert left[0] == pytest.approx(0.5, abs=1e-9)
    assert 0 < left[1] < 0.3
    assert left[2] < 1e-9
    assert not theory.pruned(-0.01, np.array([0.0, 1.0])).any()
    # J of twice the squared distance is about twice J where both are small.
    small = theory.pruned(0.02, np.array([0.0, np.log(2)]))
    assert small[1] == pytest.approx(0.01, rel=0.02)


def test_foreseen_bits_start_at_the_peak(study):
    found = study.found[0]
    mean = found.bits("watched")[0].mean(axis=0)
    left = theory.foreseen(found, "rel.3")
    peak = mean.argmax()
    assert np.isnan(left[:peak]).all()
    assert left[peak] == pytest.approx(mean[peak], abs=1e-6)
    assert (np.diff(left[peak:]) < 0).all()
    by_noise = theory.foreseen_by_noise(found, "rel.3", [SLOW, FAST])
    assert by_noise[0] > by_noise[1]
    clock = found.watched["clock"][0].mean(axis=0)[-1]
    assert by_noise[1] == pytest.approx(theory.pruned(mean[peak], np.array([clock]))[0])


def test_solved_networks_hump_forget_and_keep():
    solved = theory.hump()
    top = solved.irrelevant.max()
    peak = np.log(9) / 1.6  # where the two rates are 1.8 and 0.2
    q = 1 / 9
    highest = (q**0.125 - q**1.125) / 2  # of the irrelevant weight, by the derived formula
    assert top == pytest.approx(0.5 * np.log2(1 + 0.36 * highest**2 / 0.09), rel=0.01)
    assert solved.times[solved.irrelevant.argmax()] == pytest.approx(peak, rel=0.08)
    assert solved.irrelevant[[0, -1]] == pytest.approx([0.0, 0.0], abs=1e-3)
    assert solved.relevant[-1] == pytest.approx(0.5 * np.log2(1 + 0.36 / 0.09), abs=1e-3)
    _, kept = theory.memory(reset=False)
    _, new = theory.memory(reset=True)
    assert kept[0] == pytest.approx(new[0])
    assert kept[-1] < 0.2
    assert new[-1] > 0.9


# What is written ----------------------------------------------------------------------------------


def test_everything_is_written(study, tmp_path):
    files = {path.name: path for path in study.save(tmp_path / "new")}
    data = json.loads(files["information.json"].read_text())
    assert len(data["verdicts"]) == 9
    assert {one["verdict"] for one in data["verdicts"]} <= {
        HOLDS,
        WEAKLY,
        UNDECIDED,
        FAILS,
        UNJUDGED,
    }
    assert data["bands"] == []
    for kind in ("noise", "training", "plane", "pretraining"):
        assert files[f"{kind}_arrays.png"].read_bytes().startswith(b"\x89PNG")
        assert files[f"{kind}_arrays.pdf"].read_bytes().startswith(b"%PDF")
    tex = files["information.tex"].read_text()
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 4
    text = files["information.txt"].read_text()
    assert all(words in text for words in CLAIMS.values())
    assert "colour rel.3" in text
    assert "pruning clock" in text
    found = study.found[0]
    mean = found.bits("trainings", "irrelevant", "rel.3")[0, :, -1].mean()
    assert f"{mean:.2f} ± " in text
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(files["information.nc"], engine="scipy") as kept:
        chosen = kept["watched_bits_0"].sel(label="irrelevant", noise="rel.3", layer_0="hidden2")
        np.testing.assert_array_equal(chosen.values, found.bits("watched"))


def test_a_study_goes_on_where_it_stood(study, folder):
    before = contents(folder)
    again = sk.studies.information(
        MINE, settings=[TINY], seeds=[1000, 1001, 1002], folder=folder
    ).found[0]
    assert [one.computed for one in again.sweeps.values()] == [0, 0, 0]
    np.testing.assert_array_equal(again.bits("trainings"), study.found[0].bits("trainings"))
    assert contents(folder) == before
    other = replace(TINY, hidden=(9, 5))
    with pytest.raises(InvalidArgument, match="another setting or of other code"):
        sk.studies.information(MINE, settings=[other], seeds=[1000], folder=folder)
    shuffled = replace(MINE, irrelevant=MINE.irrelevant[::-1].copy())
    with pytest.raises(InvalidArgument, match="data"):
        sk.studies.information(shuffled, settings=[TINY], seeds=[1000], folder=folder)
    with pytest.raises(InvalidArgument, match="symkernel_study"):
        sk.studies.multitask(folder=folder)
    assert contents(folder) == before


def test_names_of_labels_are_safe_in_latex(study):
    one = study.found[0]
    named = replace(one, decision=replace(one.decision, names=("is_odd", "50%_grey")))
    text = replace(study, found=(named,)).latex()
    assert r"is\_odd n0" in text
    assert r"pretraining on 50\%\_grey" in text
    assert not re.search(r"(?<!\\)[_%]", text.partition("\n")[2])


def test_cells_that_fail_are_told(monkeypatch, tmp_path):
    def fragile(net, course, w0, rate, **options):
        if options["seed"] != 1000 or rate == SLOW.learning_rate:
            raise Diverged("too large", 3, rate, 1.0)
        return sk.simulate(net, course, w0, rate, **options)

    monkeypatch.setattr(cells, "simulate", fragile)
    few = replace(TINY, perturbed=None)
    found = sk.studies.information(MINE, settings=[few], seeds=[1000, 1001])
    assert len(found.failures) == 4
    assert "4 cells failed" in str(found)
    assert all(one.words == UNJUDGED for one in found.verdicts)
    for figure in found.figures().values():
        figure.savefig(tmp_path / "drawn.png", dpi=40)
    assert found.latex().count("failed") >= 4
    with pytest.raises(SymkernelError, match="Every training of 'arrays, tanh"):
        sk.studies.information(MINE, settings=[few], seeds=[1001])


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"environment": 3}, "must be a Decision"),
        ({"environment": None}, "given with settings on 'arrays'"),
        ({"settings": [INFORMATION_SETTINGS[0]]}, "given with settings on 'arrays'"),
        ({"settings": []}, "list of one or more InformationSettings"),
        ({"settings": ["tanh"]}, "list of one or more InformationSettings"),
        ({"settings": [TINY, replace(TINY, hidden=(3,))]}, "settings that differ in"),
        ({"settings": [replace(TINY, hidden=(90,))]}, "must have 455 samples or more"),
        ({"settings": [replace(TINY, watched=Descent(0.1, 401, 1.0))]}, "batches of 401 samples"),
        ({"seeds": []}, "one or more different values"),
        ({"seeds": [1, 1]}, "one or more different values"),
        ({"seeds": [True]}, "'seeds' must be a non-negative integer"),
        ({"seeds": "1000"}, "one or more different values"),
        ({"folder": 3}, "must be a folder's name"),
    ],
)
def test_bad_input_is_refused(given, words):
    with pytest.raises(InvalidArgument, match=words):
        sk.studies.information(**{"environment": MINE, "settings": [TINY], **given})


def test_a_read_out_of_other_classes_cannot_be_kept():
    four = replace(MINE, irrelevant=MINE.irrelevant + 2 * (np.arange(400) % 2))
    with pytest.raises(InvalidArgument, match="a read-out of 4 classes"):
        sk.studies.information(four, settings=[TINY])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"environment": "faces"}, "'environment' must be one of checkerboard"),
        ({"activation": "relux"}, "did you mean 'relu'"),
        ({"gain": 0.0}, "'gain' must be a finite positive"),
        ({"ridge": -1.0}, "'ridge' must be a finite positive"),
        ({"label_noise": 1.0}, "must be a probability below 1"),
        ({"label_noise": True}, "'label_noise'"),
        ({"hidden": ()}, "'hidden' must be a list of one or more"),
        ({"hidden": (2.5,)}, "'hidden' must be an integer"),
        ({"descents": (FAST, FAST)}, "'descents' must be a list of one or more different"),
        ({"descents": (0.1,)}, "'descents' must hold Descents"),
        ({"descents": (FAST, Descent(0.1, 4, 30.0))}, "descents of one duration"),
        ({"epochs": (1, 2)}, "'epochs' must hold 0"),
        ({"epochs": (0, -1)}, "'epochs' must be an integer of at least 0"),
        ({"readouts": ("old",)}, "'readouts' must be one of kept, new"),
        ({"watched": 3}, "'watched' must be a Descent or None"),
    ],
)
def test_settings_that_cannot_be_trained_are_refused(change, words):
    with pytest.raises(InvalidArgument, match=words):
        replace(TINY, **change)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.0, 4, 1.0), "'learning_rate'"),
        ((0.1, 4, -1.0), "'duration'"),
        ((0.1, 2.5, 1.0), "'batch_size'"),
        ((0.1, True, 1.0), "'batch_size'"),
    ],
)
def test_descents_that_cannot_be_run_are_refused(values, words):
    with pytest.raises(InvalidArgument, match=words):
        Descent(*values)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("nothing",), "'sweep' must be one of trainings"),
        (("trainings", "other"), "'label' must be one of relevant"),
        (("trainings", "relevant", "loud"), "'noise' must be one of n0"),
    ],
)
def test_bits_that_were_not_measured_are_refused(study, given, words):
    with pytest.raises(InvalidArgument, match=words):
        study.found[0].bits(*given)


def test_the_command_line_reads_arrays_and_refuses(tmp_path, capsys):
    def run(*words):
        return cli.main(["study", "information", *words])

    path = str(saved(tmp_path, X=BOARD.X, relevant=BOARD.relevant, irrelevant=BOARD.irrelevant))
    for words, told in (
        (["--arrays", path, "--hidden", "99"], "samples or more"),
        (["--arrays", path, "--keys", "X,relevant,colour"], "no array 'colour'"),
        (["--arrays", path, "--keys", "X"], "names of three arrays"),
        (["--hidden", "3"], "must come with --arrays"),
        (["--only", "nothing"], "must be part of the name of a setting"),
        (["--seeds", "a"], "must be whole numbers"),
    ):
        assert run(*words, "--out", str(tmp_path / "none")) == 2
        assert told in capsys.readouterr().err
    assert len(settings_of_arrays(MINE)) == 2


@pytest.mark.slow
def test_noise_prunes_the_checkerboard_as_an_earlier_simulation_found():
    chosen = ("0.05/4", "0.2/16", "0.1/4", "0.2/4")
    plain = INFORMATION_SETTINGS[0]
    descents = [one for one in plain.descents if str(one) in chosen]
    setting = replace(plain, descents=descents, watched=None, perturbed=None)
    study = sk.studies.information(settings=[setting])
    assert study.bands == ()  # for the whole setting alone
    found = study.found[0]
    for k, one in enumerate(descents):
        relative, none = bands_module._NOISE[plain.name][str(one)]
        for noise, entry in (("rel.3", relative), ("n0", none)):
            values = found.bits("trainings", noise=noise)[k, :, -1]
            assert bands_module._band(str(one), values, entry).holds
    assert found.bits("trainings", "relevant", "n0").min() > 0.7
    for noise in NOISES:
        assert verdict(found, 1, noise).words == HOLDS


@pytest.mark.slow
def test_pretraining_on_digits_is_remembered():
    pytest.importorskip("sklearn")
    rich = INFORMATION_SETTINGS[5]
    setting = replace(rich, descents=rich.descents[-1:], watched=None, epochs=(0, 5))
    found = sk.studies.information(settings=[setting]).found[0]
    entries = bands_module._PRETRAINED[rich.name]["new", "rel.3"]
    for k, entry in enumerate(entries[:2]):
        values = found.bits("pretrainings")[k, 0, :, -1]
        assert bands_module._band(str(k), values, entry).holds
    assert verdict(found, 3).words == HOLDS


@pytest.mark.slow
def test_the_command_line_writes_a_quick_study(tmp_path, capsys):
    path = str(saved(tmp_path, X=BOARD.X, relevant=BOARD.relevant, irrelevant=BOARD.irrelevant))
    out = str(tmp_path / "out")
    words = ["--quick", "--hidden", "8,5", "--out", out, "--only", "tanh", "--arrays", path]
    assert cli.main(["study", "information", *words]) == 0
    text = capsys.readouterr().out
    assert "arrays, tanh gain 0.5, clean labels" in text
    assert str(Path(out) / "information.json") in text
