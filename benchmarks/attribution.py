"""Path attribution by task, beside plain training of the same network: steps a second.

A stimulus-response environment of the size of published studies: 243 samples of 9 tasks, 18
inputs, 100 hidden units, 9 outputs. Attribution uses all threads, plain training one, since the
problem is small.
"""

from __future__ import annotations

import itertools

import numpy as np

import symkernel as sk
from benchmarks.table import Row, rates

GROUPS, FEATURES, HIDDEN, STEPS, RATE = 3, 3, 100, 1500, 2.0
# Attribution may cost three times the training: a third of its steps in a second.
TARGET = 0.333


def prompts() -> sk.Task:
    """Every stimulus under every task (i, j): response group j copies stimulus group i."""
    stimuli = itertools.product(range(FEATURES), repeat=GROUPS)
    pairs = itertools.product(range(GROUPS), repeat=2)
    one_hot = np.eye(FEATURES)
    X, Y, names = [], [], []
    for (k, (i, j)), stimulus in itertools.product(enumerate(pairs), list(stimuli)):
        responses = np.zeros((GROUPS, FEATURES))
        responses[j] = one_hot[stimulus[i]]
        X.append(np.concatenate([one_hot[list(stimulus)].ravel(), np.eye(GROUPS**2)[k]]))
        Y.append(responses.ravel())
        names.append(f"{i} to {j}")
    return sk.Task(X, Y, labels={"tasks": names})


def run() -> list[Row]:
    task = prompts()
    sizes = [int(task.inputs), HIDDEN, int(task.outputs)]
    net = sk.Network.mlp(sizes, "sigmoid", output_activation="sigmoid")
    w0 = sk.weights.gaussian(net, scale=0.3, seed=0)
    end = [STEPS * RATE]
    routines = {
        "plain": lambda: sk.simulate(net, task, w0, RATE, record=end),
        "hidden layer": lambda: sk.simulate(
            net, task, w0, RATE, record=end, attribute="task", nodes=["hidden"]
        ),
        "hidden layer and output": lambda: sk.simulate(
            net, task, w0, RATE, record=end, attribute="task"
        ),
    }
    found = rates(STEPS, routines, 7)
    return [
        Row(f"{sizes}, {name} by task", "steps/s", found[name], "plain", found["plain"], TARGET)
        for name in routines
        if name != "plain"
    ]
