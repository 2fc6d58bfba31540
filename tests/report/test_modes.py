"""The table of modes, as text and in LaTeX; what LaTeX says of a curriculum."""

from __future__ import annotations

import re
import subprocess

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel import cli
from symkernel.errors import SymkernelError
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.problem import Problem
from symkernel.report import latex
from symkernel.report.modes import modes_in_phases, modes_of

S, R, A, D = sp.symbols("s_user r_user a_user D", positive=True)


def problem(net, task, w0):
    return Problem(net, Curriculum.of(task), w0)


def test_numbers_are_measured_and_sorted_as_in_every_result():
    task = sk.Task.from_modes([0.5, 2.0], input_variance=[3.0, 4.0])
    net = sk.Network.two_layer(inputs=2, hidden=3, outputs=2)
    w0 = sk.weights.aligned(net, task, a=[0.1, 0.2], b=[0.3, -0.4])
    found = modes_of(problem(net, task, w0))
    assert found.head == ("mode", "s", "d", "|p|", "|q|", "p.q")
    assert found.rows[0][0] == 0
    np.testing.assert_allclose(found.rows[0][1:], [2.0, 4.0, 0.2, 0.4, -0.08], atol=1e-12)
    np.testing.assert_allclose(found.rows[1][1:], [0.5, 3.0, 0.1, 0.3, 0.03], atol=1e-12)
    law = sk.derive(net, task, w0)
    first = law.compile()([0.0]).modes[0]
    np.testing.assert_allclose([row[-1] for row in found.rows], first)


def test_symbols_stand_as_they_were_given():
    first, then = sk.Task.from_modes([S, 2]), sk.Task.from_modes([R, 1])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    course = sk.Curriculum([sk.Phase(first, duration=D), sk.Phase(then)])
    found = modes_of(problem(net, course, sk.weights.aligned(net, first, a=A, b=[A, 1])))
    assert found.head == ("phase", "mode", "s", "d", "multiplicity", "a0", "b0")
    assert found.rows == (
        (0, 0, S, 1, 1, A, A), (0, 1, 2, 1, 1, A, 1),
        (1, 0, R, 1, 1, "", ""), (1, 1, 1, 1, 1, "", ""),
    )  # fmt: skip
    assert "r_user" in str(found)


def test_modes_without_hidden_units_start_from_nothing():
    task = sk.Task.from_modes([3, 2, S])
    net = sk.Network.two_layer(inputs=3, hidden=2, outputs=3)
    found = modes_of(problem(net, task, sk.weights.aligned(net, task, a=[A, 1], b=1)))
    assert [row[-2] for row in found.rows] == [A, 1, 0]


def test_exact_matrices_have_exact_modes():
    task = sk.Task(sp.eye(2), sp.Matrix([[2 * S, 0], [0, 2]]))
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    found = modes_of(problem(net, task, sk.weights.aligned(net, task, a=A, b=A)))
    assert {row[1] for row in found.rows} == {mode.s for mode in task.exact.modes}


def test_many_modes_are_cut_and_counted():
    task = sk.Task.from_modes(np.linspace(1, 2, 20))
    net = sk.Network.two_layer(inputs=20, hidden=20, outputs=20)
    found = modes_of(problem(net, task, sk.weights.aligned(net, task, a=0.1, b=0.1)))
    assert (len(found.rows), found.more) == (12, 8)
    assert str(found).endswith("and 8 more")
    text = sk.derive(net, task, sk.weights.aligned(net, task, a=0.1, b=0.1)).latex()
    assert "and 8 more." in text


def test_what_is_no_chain_of_dense_layers_has_strengths_alone():
    task = sk.Task.from_modes([2.0, 1.0])
    net = sk.Network.two_layer(2, 3, 2, activation="tanh")
    found = modes_of(problem(net, task, sk.weights.gaussian(net)))
    assert found.head == ("mode", "s", "d")


def test_tasks_without_known_modes_have_no_table():
    tanh = sk.Network.two_layer(2, 3, 2, activation="tanh")
    task = sk.Task.from_teacher(tanh, sk.weights.gaussian(tanh, seed=1))
    net = sk.Network.two_layer(2, 3, 2)
    assert modes_of(problem(net, task, sk.weights.gaussian(net))) is None
    mixed = sk.Curriculum(
        [sk.Phase(sk.Task.from_modes([S, 1]), 1), sk.Phase(sk.Task(np.eye(2), np.eye(2)))]
    )
    assert modes_of(problem(net, mixed, sk.weights.gaussian(net))) is None


# ---- in LaTeX


def test_the_problem_section_lists_strengths_and_amplitudes(derivation):
    section = derivation.latex().split(r"\section*{Problem}")[1].split(r"\section*")[0]
    for number in ("$3$", "$1.5$", "$0.5$", "$0.05$", "$0.2$", "$-0.03$"):
        assert number in section
    assert "mode & $s$ & $d$ & $|p|$ & $|q|$" in section


def test_symbols_are_listed_with_the_users_letters():
    task = sk.Task.from_modes(S)
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    d = sk.derive(net, task, sk.weights.aligned(net, task, a=A, b=2 * A))
    text = d.latex(names={"s_user": r"\SIGMA", "a_user": r"\ALPHA"})
    section = text.split(r"\section*{Problem}")[1].split(r"\section*")[0]
    assert r"\symkernelfit{\SIGMA}" in section
    assert r"\symkernelfit{2 \ALPHA}" in section
    assert "user" not in section


@pytest.mark.parametrize("fragment", [True, False])
def test_a_curriculum_says_that_its_formulas_are_those_of_one_phase(fragment, derivation):
    first, then = sk.Task.from_modes(S), sk.Task.from_modes(R)
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    course = sk.Curriculum([sk.Phase(first, duration=D), sk.Phase(then)])
    d = sk.derive(net, course, sk.weights.aligned(net, first, a=A, b=A))
    words = "The formulas hold within each phase of the curriculum: $t$ is the time since the phase"
    assert words in d.latex(fragment=fragment)
    assert words not in derivation.latex(fragment=fragment)


def test_documents_with_modes_and_violations_fit_the_page(tmp_path, pdflatex):
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    task = sk.Task.mixture([sk.Task.from_modes([S, 2]), sk.Task.from_modes([R, 1])], [D, 1 - D])
    symbolic = sk.derive(net, task, sk.weights.aligned(net, task, a=A, b=2 * A))
    task = sk.Task.from_modes([2.0, 1.0])
    w0 = sk.weights.from_arrays(net, [0.1 * np.array([[1, 0.02], [0, 1]]), 0.1 * np.eye(2)])
    near = sk.derive(net, task, w0, law="aligned_modes", tolerance=0.05)
    for d in (symbolic, near):
        path = latex.save(d.latex(), tmp_path / "law.tex")
        assert latex.compile_pdf(path) is not None
        log = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", path.name], cwd=tmp_path, capture_output=True,
            text=True, check=False,
        ).stdout  # fmt: skip
        widths = re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)
        assert max(map(float, widths), default=0.0) < 1.0


def test_the_command_line_lists_modes_and_takes_a_law_with_a_tolerance(tmp_path, capsys):
    for name, array in (("w1", [[0.1, 0.002], [0, 0.1]]), ("w2", [[0.1, 0], [0, 0.1]])):
        np.savetxt(tmp_path / f"{name}.csv", array, delimiter=",")
    path = tmp_path / "p.toml"
    path.write_text(
        'network = { kind = "two_layer", inputs = 2, hidden = 2, outputs = 2 }\n'
        'task = { s = [2, 1] }\nweights = { kind = "arrays", W1 = "w1.csv", W2 = "w2.csv" }\n'
    )
    assert cli.main(["derive", str(path)]) == 0
    assert "near miss: 'aligned_modes'" in capsys.readouterr().out
    assert cli.main(["derive", str(path), "--law", "aligned_modes"]) == 2
    assert "near miss: 'aligned_modes'" in capsys.readouterr().err
    options = [str(path), "--law", "aligned_modes", "--tolerance", "0.05"]
    assert cli.main(["derive", *options]) == 0
    out = capsys.readouterr().out
    assert "accepted up to 0.05" in out
    assert "Modes of the task\n  mode  s  d" in out
    assert cli.main(["check", *options, "--draws", "1"]) == 0
    assert "measured" in capsys.readouterr().out
    assert cli.main(["derive", "aligned_modes", "--tolerance", "0.1"]) == 2
    assert "--law and --tolerance are for problems in files" in capsys.readouterr().err
    assert cli.main(["derive", str(path), "--tolerance", "0.1"]) == 2
    assert "name it by --law" in capsys.readouterr().err


# ---- curricula


def example(name):
    law = next(law for law in sk.catalogue() if law.name == name)
    p = law.example()
    return sk.derive(p.network, p.curriculum, p.weights, law=name)


@pytest.mark.parametrize("name", ["gram_diagonal", "deep_modes"])
def test_every_phase_is_listed_with_the_weights_it_starts_from(name):
    d = example(name)
    starts = d.problem.curriculum.starts
    found, path = modes_in_phases(d), d.compile()(starts)
    column = found.head.index("|p|")
    last = max(d.problem.network.parameters, key=lambda p: p.name).name
    for phase in range(len(starts)):
        sizes = [row[column] for row in found.rows if row[0] == phase]
        # The columns of the first weight, in any basis.
        whole = np.linalg.norm(path.weights["W1"][phase])
        assert np.linalg.norm(sizes) == pytest.approx(whole, rel=1e-9)
    assert [row[column] for row in found.rows if row[0]] != [
        row[column] for row in found.rows if not row[0]
    ]
    assert last in path.weights
    assert all(row[column] == "" for row in modes_of(d.problem).rows if row[0])
    section = d.latex().partition(r"\section*{Problem}")[2].partition(r"\section*{Ass")[0]
    assert f"Phase 0 of the curriculum, flow time 0 to {starts[1]:g}" in section
    assert "at the start of the phase" in section


def test_what_no_law_carries_through_is_left_empty():
    """Opposite sides fall to the saddle until floating point does not hold them."""
    task = sk.Task.from_modes([2.0, 1.0])
    net = sk.Network.two_layer(2, 3, 2)
    w0 = sk.weights.aligned(net, task, a=0.1, b=-0.1)
    course = sk.Curriculum([sk.Phase(task, 1e3), sk.Phase(task, 1), sk.Phase(task)])
    d = sk.derive(net, course, w0)
    with pytest.raises(SymkernelError):
        _ = d.compile()(course.starts).weights
    assert {row[-2:] for row in modes_in_phases(d).rows if row[0]} == {("", "")}
    assert "u_{0,1} &= -6.6" in d.latex()


def test_short_states_at_the_start_of_a_phase_are_printed():
    first, then = sk.Task.from_modes(S), sk.Task.from_modes(R)
    net = sk.Network.two_layer(inputs=1, hidden=1, outputs=1)
    course = sk.Curriculum([sk.Phase(first, duration=D), sk.Phase(then)])
    text = sk.derive(net, course, sk.weights.aligned(net, first, a=A, b=A)).latex()
    section = text.partition(r"\section*{Problem}")[2].partition(r"\section*{Ass")[0]
    assert r"u_{0,1} &= \frac{s_{\mathrm{user}}}{1 + " in section
    assert r"e^{- 2 \tilde{D} s_{\mathrm{user}}}" in section
    assert "from flow time $\\tilde{D}$ on: a task of given modes" in section
    deep = sk.Network.mlp([1, 1, 1, 1], "linear")
    text = sk.derive(deep, course, sk.weights.aligned(deep, first, u=A)).latex()
    assert "has no short formula here" in text


def test_modes_without_formulas_have_no_states():
    one, two = sk.Task.from_modes([S], multiplicity=[2]), sk.Task.from_modes([R, 1])
    net = sk.Network.two_layer(inputs=2, hidden=2, outputs=2)
    w0 = sk.weights.aligned(net, one, a=A, b=A)
    d = sk.derive(net, sk.Curriculum([sk.Phase(one, duration=D), sk.Phase(two)]), w0)
    with pytest.raises(SymkernelError):
        d.mode(0, 0)
    section = d.latex().partition(r"\section*{Problem}")[2].partition(r"\section*{Ass")[0]
    assert "from flow time $\\tilde{D}$ on: a task of given modes" in section
    assert "u_{0,1}" not in section
    assert "short formula" not in section


def test_laws_of_matrices_say_of_what_the_phases_are():
    text = example("lambda_balanced").latex()
    assert "Phase 1 of the curriculum, from flow time 2 on: a task of given second moments." in text
