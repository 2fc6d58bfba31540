from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import symkernel as sk
from symkernel.errors import InvalidArgument, OutsideValidity
from symkernel.report.figures import save_figure
from symkernel.report.representations import (
    alignment_matrix,
    dimensionality_curves,
    embedding_paths,
    sharing_curves,
    similarity_panels,
)

H = np.random.default_rng(0).normal(size=(7, 4, 6))
READ, WRITTEN = [0, 0, 1, 1], [0, 1, 0, 1]
REPRESENTATION = sk.analysis.Representation.from_activity(
    H, times=np.linspace(0, 3, 7), labels=["ant", "bee", "cat", "dog"]
)


def test_similarities_are_drawn_as_they_are():
    found = sk.analysis.similarity(REPRESENTATION, "correlation")
    figure = similarity_panels(found)
    panels = figure.axes[:5]
    assert [panel.get_title() for panel in panels][::4] == ["flow time $t = 0$", "$t = 3$"]
    assert np.array_equal(panels[-1].images[0].get_array(), found.values[-1])
    assert panels[2].images[0].get_clim() == (-1, 1)
    assert [text.get_text() for text in panels[0].get_yticklabels()] == list(found.labels)
    assert figure.axes[5].get_ylabel() == "correlation"


def inside(figure, box):
    return box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_long_names_fit_into_the_figure():
    names = ("the last hidden layer", "outputs of the network", "another representation")
    figure = dimensionality_curves(dict.fromkeys(names, REPRESENTATION))
    figure.draw_without_rendering()
    assert inside(figure, figure.legends[0].get_window_extent())
    labels = [f"a rather long name {k}" for k in range(4)]
    patterns = sk.analysis.Representation.from_activity(H, times=np.arange(7), labels=labels)
    figure = embedding_paths(sk.analysis.multidimensional_scaling(patterns))
    figure.draw_without_rendering()
    panel = figure.axes[0]
    for text in panel.texts:
        assert inside(figure, text.get_window_extent())
        assert text.get_window_extent().x0 >= panel.get_window_extent().x0
    assert "open marks: start" in panel.get_xlabel()


def test_distances_start_at_zero_and_chosen_times_are_the_nearest():
    found = sk.analysis.similarity(REPRESENTATION, "euclidean")
    figure = similarity_panels(found, [0.6, 2.9])
    assert [panel.get_title() for panel in figure.axes[:2]] == [
        "flow time $t = 0.5$", "$t = 3$",
    ]  # fmt: skip
    assert figure.axes[0].images[0].get_clim() == (0, found.values[[1, 6]].max())
    assert figure.axes[2].get_ylabel() == "distance"
    with pytest.raises(InvalidArgument, match="last recorded time"):
        similarity_panels(found, [9.0])
    assert similarity_panels(sk.analysis.similarity(np.ones((2, 2)), "euclidean"))


def test_sharing_and_the_means_below_it():
    found = sk.analysis.sharing_index(REPRESENTATION, inputs=READ, outputs=WRITTEN)
    upper, lower = sharing_curves(found).axes
    assert np.array_equal(upper.get_lines()[0].get_ydata(), found.index)
    drawn = {line.get_label(): line.get_ydata() for line in lower.get_lines()[:3]}
    assert np.array_equal(drawn["same input"], found.same_input)
    assert np.array_equal(drawn["same output"], found.same_output)
    assert np.array_equal(drawn["neither"], found.neither)


def test_a_class_without_pairs_is_not_drawn():
    found = sk.analysis.sharing_index(REPRESENTATION, inputs=READ, outputs=[0, 1, 2, 3])
    labels = [line.get_label() for line in sharing_curves(found).axes[1].get_lines()]
    assert "same output" not in labels
    assert "neither" in labels


def test_dimensionality_of_one_and_of_several():
    (panel,) = dimensionality_curves(REPRESENTATION).axes
    ratio = sk.analysis.participation_ratio(REPRESENTATION)
    assert np.array_equal(panel.get_lines()[0].get_ydata(), ratio)
    (panel,) = dimensionality_curves({"all": REPRESENTATION, "half": H[:, :, :3]}).axes
    assert [line.get_label() for line in panel.get_lines()] == ["all", "half"]
    still = np.stack([H[0] + 1e-9 * h for h in H])
    (flat,) = dimensionality_curves(still).axes
    low, high = flat.get_ylim()
    assert 0 < np.ptp(flat.get_lines()[0].get_ydata()) < 1e-7  # no movement to speak of
    assert high - low == pytest.approx(0.1)
    for bad in ({}, dict.fromkeys("abcdefgh", H)):
        with pytest.raises(InvalidArgument, match="1 to 7 representations"):
            dimensionality_curves(bad)
    with pytest.raises(OutsideValidity, match="at time 0"):
        dimensionality_curves(np.zeros((2, 3, 3)))


def test_alignment_with_its_times():
    figure = alignment_matrix(REPRESENTATION, H[:3], names=("law", "run"))
    panel = figure.axes[0]
    expected = sk.analysis.centred_kernel_alignment(REPRESENTATION, H[:3])
    assert np.array_equal(panel.images[0].get_array(), expected)
    assert panel.get_ylabel() == "flow time $t$, law"
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0", "1", "2"]
    assert alignment_matrix(H).axes[0].get_xlabel() == "flow time $t$"
    for bad in ("ab", ("a",), (1, 2)):
        with pytest.raises(InvalidArgument, match="two names"):
            alignment_matrix(H, names=bad)


def test_paths_from_open_to_full_marks():
    shown = sk.analysis.multidimensional_scaling(REPRESENTATION)
    (panel,) = embedding_paths(shown).axes
    path, start, end = panel.get_lines()[:3]
    assert np.array_equal(np.stack(path.get_data(), 1), shown.points[:, 0])
    assert np.array_equal(np.ravel(start.get_data()), shown.points[0, 0])
    assert start.get_markerfacecolor() == "white"
    assert np.array_equal(np.ravel(end.get_data()), shown.points[-1, 0])
    assert sorted(text.get_text() for text in panel.texts) == ["ant", "bee", "cat", "dog"]
    assert "explain" in panel.get_title()


def test_patterns_that_meet_are_named_by_one_text():
    met = np.array(H[:2])
    met[1, 2] = met[1, 0]
    (panel,) = embedding_paths(sk.analysis.multidimensional_scaling(met)).axes
    assert sorted(text.get_text() for text in panel.texts) == ["0\n2", "1", "3"]


def test_no_name_is_written_over_another():
    rng = np.random.default_rng(0)
    centres = np.repeat([[3.0, 1.0], [-3.0, 1.5], [1.0, -3.0], [-1.0, 0.5]], 3, axis=0)
    ends = (centres + 0.2 * rng.normal(size=(12, 2)))[None]
    names = tuple(f"stimulus {k}" for k in range(12))
    figure = embedding_paths(sk.analysis.Embedding(np.zeros(1), ends, *np.ones((2, 1)), names))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 6
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_paths_by_group():
    shown = sk.analysis.multidimensional_scaling(REPRESENTATION, 3)
    figure = embedding_paths(shown, ["insect", "insect", "pet", "pet"])
    colours = [line.get_color() for line in figure.axes[0].get_lines()[::3]]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["insect", "pet"]
    with pytest.raises(InvalidArgument, match="each of the 4 samples"):
        embedding_paths(shown, ["a"])
    with pytest.raises(InvalidArgument, match="two coordinates or more"):
        embedding_paths(sk.analysis.multidimensional_scaling(REPRESENTATION, 1))


@pytest.mark.parametrize("draw", [similarity_panels, sharing_curves, embedding_paths])
def test_other_things_are_refused(draw):
    with pytest.raises(InvalidArgument, match="not ndarray"):
        draw(H)


def test_they_can_be_saved(tmp_path):
    figure = dimensionality_curves({"all": REPRESENTATION})
    assert save_figure(figure, tmp_path / "ratio.svg").stat().st_size > 1000
    assert figure._repr_png_()
