"""Path attribution, beside plain training of the same network: steps in a second.

A stimulus-response environment of the size of published studies: 243 samples of 9 tasks, 18
inputs, 100 hidden units, 9 outputs. Attribution uses all threads, plain training one, since the
problem is small: seconds are therefore those of the processor, of all threads together; those of
the clock are a row of their own.
"""

from __future__ import annotations

import time
from functools import partial

import symkernel as sk
from benchmarks.table import Row, rates

GROUPS, FEATURES, HIDDEN, RATE = 3, 3, 100, 2.0
STEPS, SAMPLE_STEPS = 1500, 192
# Attribution may cost three times the training: a third of its steps in a second. By sample it
# costs about the training times the samples.
TARGET = 0.333
# Among whom, which nodes, and how many steps to a chord.
CASES = {
    "hidden by phase": ("phase", ["hidden"], 1),
    "hidden and output by phase": ("phase", None, 1),
    "hidden by task": ("task", ["hidden"], 1),
    "hidden by task, stride 4": ("task", ["hidden"], 4),
    "hidden and output by task": ("task", None, 1),
    "hidden and output by task, stride 8": ("task", None, 8),
    "hidden by sample": ("sample", ["hidden"], 1),
    "hidden by sample, stride 16": ("sample", ["hidden"], 16),
}


def run() -> list[Row]:
    task = sk.environments.Multitasking(GROUPS, FEATURES).single.task
    sizes = [int(task.inputs), HIDDEN, int(task.outputs)]
    net = sk.Network.mlp(sizes, "sigmoid", output_activation="sigmoid")
    w0 = sk.weights.gaussian(net, scale=0.3, seed=0)

    def training(steps: int, **asked: object) -> partial:
        return partial(sk.simulate, net, task, w0, RATE, record=[steps * RATE], **asked)

    def steps_of(name: str) -> int:
        return SAMPLE_STEPS if "by sample" in name else STEPS

    routines = {
        name: training(steps_of(name), attribute=by, nodes=nodes, stride=stride)
        for name, (by, nodes, stride) in CASES.items()
    }
    routines["plain"] = training(STEPS)
    rows = []
    for clock, unit in ((time.process_time, "CPU s"), (time.perf_counter, "s")):
        runs = rates(1, routines, 5, clock)
        plain = STEPS * runs["plain"]
        rows += [
            Row(
                f"{sizes}, {name}", f"steps/{unit}", steps_of(name) * runs[name], "plain", plain,
                None if "by sample" in name else TARGET,
            )
            for name in CASES
        ]  # fmt: skip
    return rows
