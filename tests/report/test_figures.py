from __future__ import annotations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import InvalidArgument, ShapeMismatch
from symkernel.report.figures import (
    COLOURS,
    learning_curves,
    save_figure,
    similarity_matrices,
)
from symkernel.trajectory import Trajectory, Undetermined


def lines(axes, style=None):
    return [one for one in axes.get_lines() if style is None or one.get_linestyle() == style]


# ---- learning curves


def test_theory_alone_is_one_panel_with_the_modes(theory):
    figure = learning_curves(theory)
    (axes,) = figure.axes
    assert len(lines(axes)) == theory.modes.shape[1]
    for k, line in enumerate(lines(axes)):
        assert np.array_equal(line.get_xdata(), theory.times)
        assert np.array_equal(line.get_ydata(), theory.modes[:, k])
        assert line.get_color() == COLOURS[k]
    assert axes.get_xlabel() == "flow time $t$"
    assert "mode" in axes.get_ylabel()


def test_simulation_over_theory_with_residuals_below(theory, simulation):
    figure = learning_curves(theory, simulation, modes=[0, 2])
    upper, lower = figure.axes
    marks = lines(upper, "None")
    assert len(lines(upper)) == 4
    assert len(marks) == 2
    for mark, k in zip(marks, (0, 2), strict=True):
        assert np.array_equal(mark.get_xdata(), simulation.times)
        assert np.array_equal(mark.get_ydata(), simulation.modes[:, k])
    gap = abs(simulation.modes - theory.modes)
    for line, k in zip(lines(lower), (0, 2), strict=True):
        shown = gap[:, k][gap[:, k] > np.finfo(float).eps * theory.modes[:, [0, 2]].max()]
        assert np.array_equal(line.get_ydata(), shown)
    assert lower.get_yscale() == "log"
    (top,) = upper.child_axes
    assert "steps" in top.get_xlabel()
    forward = top._functions[0]
    assert forward(simulation.times[-1]) == pytest.approx(simulation.steps[-1])


def test_residuals_at_the_shared_times_only(derivation, simulation):
    dense = derivation.compile()(np.unique(np.append(simulation.times[::2], [0.31, 0.77])))
    figure = learning_curves(dense, simulation, modes=[1])
    shown = lines(figure.axes[1])[0].get_xdata()
    assert set(shown) <= set(simulation.times[::2].tolist())
    with pytest.raises(InvalidArgument, match="must share times with the theory"):
        learning_curves(derivation.compile()([0.0303, 0.0707]), simulation)


def test_several_seeds_are_mean_and_band(problem, theory, times):
    net, task, _ = problem
    starts = [sk.weights.gaussian(net, scale=0.3, seed=k) for k in range(1000, 1003)]
    runs = sk.simulate_ensemble(net, task, starts, 0.01, record=times)
    figure = learning_curves(theory, runs, modes=[0])
    upper, lower = figure.axes
    values = np.stack([run.modes[:, 0] for run in runs])
    assert np.allclose(lines(upper, "None")[0].get_ydata(), values.mean(0))
    (band,) = upper.collections
    edge = band.get_paths()[0].vertices
    assert edge[:, 1].min() == values.min()
    assert edge[:, 1].max() == values.max()
    assert len(lower.collections) == 1
    assert "range of 3" in figure.legends[0].get_texts()[0].get_text()


def test_loss_is_drawn_where_there_are_no_modes(theory):
    fields = {"loss": lambda: theory.loss, "modes": Undetermined("no basis")}
    figure = learning_curves(Trajectory(theory.times.copy(), fields))
    assert figure.axes[0].get_ylabel() == "loss"
    assert np.array_equal(lines(figure.axes[0])[0].get_ydata(), theory.loss)
    with pytest.raises(InvalidArgument, match="'modes' must be left out"):
        learning_curves(Trajectory(theory.times.copy(), fields), modes=[0])


@pytest.mark.parametrize("modes", [[], [3], [-1], [0.5]])
def test_modes_that_do_not_exist_are_refused(theory, modes):
    with pytest.raises(InvalidArgument, match="'modes' must hold integers from 0 to 2"):
        learning_curves(theory, modes=modes)


def test_simulations_must_agree_in_their_times(problem, theory, simulation):
    other = sk.simulate(*problem, learning_rate=0.01, record=[0.0, 1.0])
    with pytest.raises(ShapeMismatch, match="recorded at the same times"):
        learning_curves(theory, [simulation, other])
    with pytest.raises(InvalidArgument, match="'simulations' must be a Trajectory"):
        learning_curves(theory, [])


def test_many_modes_are_thinned_out():
    count = 40
    fields = {"modes": lambda: np.arange(2.0 * count).reshape(2, count)}
    figure = learning_curves(Trajectory(np.array([0.0, 1.0]), fields))
    assert len(lines(figure.axes[0])) == 10
    assert lines(figure.axes[0])[-1].get_ydata()[0] == count - 1


# ---- similarity


def test_matrices_are_those_of_the_trajectory_on_one_scale(theory, simulation):
    for trajectory in (theory, simulation):
        figure = similarity_matrices(trajectory, [0.0, 4.0, 8.0])
        images = [axes.images[0] for axes in figure.axes[:3]]
        for image, k in zip(images, (0, 20, 40), strict=True):
            assert np.allclose(image.get_array(), trajectory.hidden_gram[k])
        low, high = {image.get_clim() for image in images}.pop()
        assert low == -high
        assert high == pytest.approx(abs(trajectory.hidden_gram[[0, 20, 40]]).max(), rel=1e-14)
        titles = [axes.get_title() for axes in figure.axes[:3]]
        assert titles == ["flow time $t = 0$", "$t = 4$", "$t = 8$"]


def test_cosines(theory):
    matrix = similarity_matrices(theory, [8.0], normalised=True).axes[0].images[0].get_array()
    assert np.allclose(np.diag(matrix), 1.0)
    assert abs(matrix).max() <= 1 + 1e-12


def test_groups_are_block_averages_in_order(theory):
    groups = ["b", "a", "b"]
    figure = similarity_matrices(theory, [4.0], groups=groups)
    gram = theory.hidden_gram[20]
    a, b = [1], [0, 2]
    blocks = [[gram[np.ix_(i, j)].mean() for j in (a, b)] for i in (a, b)]
    assert np.allclose(figure.axes[0].images[0].get_array(), blocks)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "b"]
    with pytest.raises(ShapeMismatch, match="'groups' must hold a label for each of the 3"):
        similarity_matrices(theory, [4.0], groups=["a"])


def test_a_gram_matrix_alone_will_do(theory):
    fields = {"hidden": Undetermined("up to a rotation"), "hidden_gram": lambda: theory.hidden_gram}
    trajectory = Trajectory(theory.times.copy(), fields)
    for groups in (None, ["b", "a", "b"]):
        one = similarity_matrices(trajectory, [4.0], groups=groups).axes[0].images[0]
        two = similarity_matrices(theory, [4.0], groups=groups).axes[0].images[0]
        assert np.allclose(one.get_array(), two.get_array())


def test_many_samples_are_grouped_by_their_labels_or_thinned_out():
    stream = np.random.default_rng(1000)
    hidden = stream.standard_normal((1, 200, 3))
    fields = {"hidden": lambda: hidden}
    digits = tuple(str(k % 12) for k in range(200))
    grouped = Trajectory(np.array([0.0]), fields, labels={"samples": digits})
    figure = similarity_matrices(grouped, [0.0])
    assert figure.axes[0].images[0].get_array().shape == (12, 12)
    names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert names == [str(k) for k in range(12)]
    thinned = similarity_matrices(Trajectory(np.array([0.0]), fields), [0.0])
    assert thinned.axes[0].images[0].get_array().shape == (64, 64)
    assert thinned.axes[0].get_ylabel() == "64 of 200 samples"


def test_times_after_the_end_are_refused(theory):
    with pytest.raises(InvalidArgument, match="must not exceed the last recorded time 8"):
        similarity_matrices(theory, [9.0])


# ---- files


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?")])
def test_figures_are_saved(tmp_path, theory, kind, start):
    figure = learning_curves(theory)
    path = save_figure(figure, tmp_path / f"curves.{kind}")
    assert path.read_bytes().startswith(start)
    assert len(list(tmp_path.iterdir())) == 1


def test_other_endings_are_refused(tmp_path, theory):
    with pytest.raises(InvalidArgument, match=r"must end in one of \.png, \.pdf, \.svg"):
        save_figure(learning_curves(theory), tmp_path / "curves.gif")


def test_no_global_state_is_touched(theory):
    import sys

    before = "matplotlib.pyplot" in sys.modules
    png = learning_curves(theory)._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_diagonal_networks_have_coordinates_not_modes():
    law = next(law for law in sk.catalogue() if law.name == "diagonal_network")
    p = law.example()
    theory = sk.derive(p.network, p.curriculum, p.weights).compile()(np.linspace(0, 2, 21))
    run = sk.simulate(p.network, p.curriculum, p.weights, 1e-3, record=theory.times)
    assert run.modes.shape[1] == 1  # the singular mode of one output, which is another thing
    for figure in (learning_curves(theory), learning_curves(theory, run)):
        assert figure.axes[0].get_ylabel() == "coefficient of the input"
        assert figure.legends[-1].get_title().get_text() == "coordinate"
    upper, lower = figure.axes[:2]
    assert np.allclose(upper.lines[3].get_ydata(), run.end_to_end[:, 0, 1])
    assert all(np.nanmax(line.get_ydata()) < 1e-2 for line in lower.lines)
