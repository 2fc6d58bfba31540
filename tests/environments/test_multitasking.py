from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import sympy as sp

import symkernel as sk
from symkernel.errors import InvalidArgument, ShapeMismatch

ENV = sk.environments.Multitasking(groups=3, features=3)
SIZES = [(2, 2), (2, 4), (3, 3), (3, 2)]


@pytest.mark.parametrize(("G", "M"), SIZES)
def test_prompts_are_counted(G, M):
    env = sk.environments.Multitasking(G, M)
    assert env.single.X.shape == (G * G * M**G, G * M + G * G)
    for K in range(1, G + 1):
        assert len(env.task_sets(K)) == math.comb(G, K) ** 2 * math.factorial(K)
    many = sum(len(env.task_sets(K)) for K in range(2, G + 1))
    assert env.concurrent.Y.shape == (many * M**G, G * M)


def test_a_prompt_says_what_is_asked_and_what_is_right():
    prompts = ENV.prompts([(1, 6)])  # 0 to 1 and 2 to 0
    row = next(k for k, s in enumerate(prompts.stimuli) if s.tolist() == [2, 0, 1])
    stimulus, tasks = [0, 0, 1, 1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0, 1, 0, 0]
    assert prompts.X[row].tolist() == [*stimulus, *tasks]
    assert prompts.Y[row].tolist() == [0, 1, 0, 0, 0, 1, 0, 0, 0]
    assert prompts.task.labels["tasks"][row] == "0 to 1 and 2 to 0"
    assert not prompts.congruent[row]


@pytest.mark.parametrize(("G", "M"), SIZES)
def test_targets_are_right_and_one_value_for_all_is_right_by_coincidence(G, M):
    env = sk.environments.Multitasking(G, M)
    assert env.single.congruent.all()
    for K in range(1, G + 1):
        prompts = env.prompts(env.task_sets(K))
        assert prompts.accuracy(prompts.Y) == 1
        assert prompts.congruent.mean() == pytest.approx(M ** (1.0 - K))
        # A network that reads one of the stimulus groups for all tasks.
        first = np.array([env.tasks[prompts.sets[k][0]][0] for k in prompts.set_of])
        said = np.eye(M)[prompts.stimuli[np.arange(len(first)), first]]
        outputs = np.tile(said, (1, G))
        assert prompts.accuracy(outputs) == pytest.approx(M ** (1.0 - K))
        assert prompts.accuracy(np.stack([outputs, prompts.Y])).shape == (2,)
        assert prompts.accuracy(outputs, congruent=True) == 1
        if K > 1:
            assert prompts.accuracy(outputs, congruent=False) == 0


def test_sets_of_tasks_share_no_group():
    for K in (2, 3):
        for chosen in ENV.task_sets(K):
            for one, other in itertools.combinations(chosen, 2):
                assert not set(zip(ENV.tasks[one], ENV.tasks[other], strict=True)) & {
                    (k, k) for k in range(3)
                }


def test_curricula_last_so_many_steps():
    def steps(name):
        phases = ENV.curriculum(name, 2.0, single=30, concurrent=20).phases
        return [(len(p.task.X), round(p.duration / 2.0)) for p in phases]

    assert steps("single") == [(243, 30)]
    assert steps("concurrent") == [(648, 20)]
    assert steps("single, concurrent") == [(243, 30), (648, 20)]
    assert steps("concurrent, single") == [(648, 20), (243, 30)]
    assert steps("interleaved") == [(243, 1), (648, 1)] * 20


@pytest.mark.parametrize("direct", [True, False])
def test_the_network_is_the_formula(direct):
    net = ENV.network(hidden=7, direct=direct)
    w0 = ENV.weights(net, scale=0.7, seed=3)
    w, X = w0.arrays, ENV.single.X
    assert [p.name for p in net.parameters if not p.trained] == ["b", "c"]
    h = 1 / (1 + np.exp(-(X[:, :9] @ w["W_s"].T + X[:, 9:] @ w["W_t"].T - 2)))
    before = h @ w["W_2"].T - 2 + (X[:, 9:] @ w["W_o"].T if direct else 0)
    np.testing.assert_allclose(sk.activity(net, w0, X, "hidden"), h, rtol=1e-13)
    np.testing.assert_allclose(sk.activity(net, w0, X), 1 / (1 + np.exp(-before)), rtol=1e-13)
    wide = ENV.weights(ENV.network(hidden=4000), scale=0.7, seed=3).arrays
    spread = {"W_s": 0.7 / np.sqrt(18), "W_t": 0.7 / np.sqrt(18), "W_2": 0.7 / np.sqrt(4000)}
    for name, wanted in spread.items():
        assert wide[name].std() == pytest.approx(wanted, rel=0.02)
    many = np.stack([ENV.weights(net, 0.6, seed).arrays["W_s"] for seed in range(50)])
    assert many.std() == pytest.approx(0.6 / np.sqrt(18), rel=0.05)


def test_small_weights_trained_on_single_tasks_share_and_cannot_do_two_at_once():
    """The bands for one seed; the shared solution answers by coincidence, M^(1 - K)."""
    net = ENV.network()
    w0 = ENV.weights(net, scale=0.1, seed=1000)
    single = ENV.single
    run = sk.simulate(net, single.task, w0, learning_rate=20.0, record=[0.0, 20000.0])
    last = {name: w[-1] for name, w in run.weights.items()}
    assert single.accuracy(run.outputs[-1]) == 1
    read, written = zip(*(ENV.tasks[single.sets[k][0]] for k in single.set_of), strict=True)
    sharing = sk.analysis.sharing_index(run, inputs=read, outputs=written)
    assert abs(sharing.index[0]) < 0.1
    assert sharing.index[-1] > 0.8
    for K, low, high in ((2, 0.30, 0.42), (3, 0.09, 0.16)):
        prompts = ENV.prompts(ENV.task_sets(K))
        assert low < prompts.accuracy(sk.activity(net, last, prompts.X)) < high


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sk.environments.Multitasking(1, 3), "groups"),
        (lambda: sk.environments.Multitasking(3, 1), "features"),
        (lambda: sk.environments.Multitasking(3.5, 3), "groups"),
        (lambda: ENV.task_sets(4), "at most the number of groups, 3"),
        (lambda: ENV.task_sets(0), "'K'"),
        (lambda: ENV.prompts([]), "one set of tasks at least"),
        (lambda: ENV.prompts([()]), "must hold sets of tasks"),
        (lambda: ENV.prompts([(0, 9)]), "from 0 to 8"),
        (lambda: ENV.prompts([(0, 3)]), "response group; these do: 0 to 0, 1 to 0"),
        (lambda: ENV.prompts([(0, 1)]), "stimulus group; these do: 0 to 0, 0 to 1"),
        (lambda: ENV.curriculum("both", 1.0), "must be one of single; concurrent"),
        (lambda: ENV.curriculum("singel", 1.0), "did you mean 'single'"),
        (lambda: ENV.prompts([0, 4]), r"as \[\[0, 4\], \[1\]\], not 0"),
        (lambda: ENV.prompts(["04"]), "must hold sets of tasks"),
        (lambda: ENV.prompts(None), "must hold sets of tasks"),
        (lambda: ENV.weights(None, 1.0), "'net' must be a Network"),
        (lambda: ENV.weights(ENV.network(3), 1.0, bias=[]), "'bias' must be a real number"),
        (lambda: ENV.single.accuracy("right"), "'outputs' must be an array of real numbers"),
        (lambda: sk.Curriculum.of(ENV.single), "give its 'task'"),
        (lambda: ENV.curriculum("single", 0.0), "learning_rate"),
        (lambda: ENV.curriculum("single", 1.0, single=0), "single"),
        (lambda: ENV.weights(sk.Network.two_layer(18, 3, 9), 1.0), "parameter 'W1'"),
        (lambda: ENV.weights(ENV.network(3), 0.0), "scale"),
        (lambda: ENV.network(0), "hidden"),
        (lambda: ENV.single.accuracy(ENV.single.Y, congruent=False), "prompts is incongruent"),
        (lambda: ENV.single.accuracy(np.zeros((3, 9))), "of these prompts' targets"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(InvalidArgument, match=words):
        call()


def test_too_many_prompts_are_refused_before_they_are_made():
    with pytest.raises(InvalidArgument, match="1 GiB"):
        _ = sk.environments.Multitasking(8, 6).single


# The answer of a network to any input


def test_activity_refuses_what_does_not_fit():
    net = ENV.network(hidden=4)
    w0 = ENV.weights(net, 1.0)
    with pytest.raises(ShapeMismatch, match="each of the 18 inputs"):
        sk.activity(net, w0, np.zeros((2, 9)))
    with pytest.raises(InvalidArgument, match="no node 'middle'"):
        sk.activity(net, w0, ENV.single.X, "middle")
    with pytest.raises(InvalidArgument, match="must be a Network"):
        sk.activity(None, w0, ENV.single.X)
    with pytest.raises(InvalidArgument, match="finite"):
        sk.activity(net, w0, np.full((2, 18), np.nan))
    with pytest.raises(ShapeMismatch, match="'W_s' must be of shape"):
        sk.activity(net, ENV.weights(ENV.network(hidden=5), 1.0), ENV.single.X)
    through_time = {name: w[None] for name, w in w0.arrays.items()}
    with pytest.raises(ShapeMismatch, match="the weights at 1 times; choose one"):
        sk.activity(net, through_time, ENV.single.X)
    with pytest.raises(ShapeMismatch, match="parameters"):
        sk.activity(net, {"W_s": np.zeros((4, 9))}, ENV.single.X)


def test_activity_takes_gates():
    from symkernel.nodes import Gate, Input, Parameter

    net = sk.Network.build(Parameter("W", (2, 3)) @ Gate("g", Input(3)))
    w0, X = sk.weights.gaussian(net, seed=0), np.ones((2, 3))
    found = sk.activity(net, w0, X, gates={"g": [[1.0], [0.0]]})
    assert found[1].tolist() == [0, 0]
    np.testing.assert_allclose(found[0], w0.arrays["W"].sum(1))
    with pytest.raises(InvalidArgument, match="the gate 'g'"):
        sk.activity(net, w0, X)
    with pytest.raises(ShapeMismatch, match="one column or 3"):
        sk.activity(net, w0, X, gates={"g": np.ones((2, 2))})


def test_weights_of_a_network_of_another_size_are_refused():
    net = sk.environments.Multitasking(2, 2).network(hidden=5)
    with pytest.raises(ShapeMismatch, match=r"must have 10 inputs and 6 outputs.*not 8 and 4"):
        sk.environments.Multitasking(2, 3).weights(net, 1.0)


def test_symbols_have_no_list_of_tasks():
    env = sk.environments.Multitasking(*sp.symbols("G M", integer=True, positive=True))
    with pytest.raises(AttributeError, match=r"with_values\(\{G: 3, M: 3\}\).task_sets"):
        _ = env.task_sets
    with pytest.raises(AttributeError, match="has no attribute 'beauty'"):
        _ = env.beauty
