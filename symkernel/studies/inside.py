r"""The frozen kernel of the argument of the output nonlinearity, which itself is kept.

The law of the frozen kernel linearises the whole network. Here $f = \psi(z)$ is exact and only z
is linear in the displacement d of the weights:

$$\dot d = -\sum_i w_i\,J_i^T\,\psi'(z_i) \circ (\psi(z_i) - y_i), \qquad z = z_0 + J d, \qquad
h = h_0 + J_h d.$$
"""

from __future__ import annotations

import numpy as np

from symkernel.codegen.activation_values import value_and_slope
from symkernel.problem.curriculum import Curriculum
from symkernel.problem.moments import shares_of
from symkernel.problem.weights import Weights
from symkernel.studies.setting import Setting
from symkernel.studies.wide import AtEnd, functions_of
from symkernel.theory.kernel_movement import TangentKernel
from symkernel.theory.tangent_pass import TangentPass


def frozen_inside(setting: Setting, weights: Weights, curriculum: Curriculum) -> AtEnd:
    """Return what the frozen kernel of z foresees of the end of a curriculum, in its own steps."""
    phi, psi = functions_of(setting.network)
    net = setting.environment.network(setting.hidden, phi, "linear", setting.direct)
    arrays = weights.arrays
    whole = TangentPass(net, arrays, setting.inputs, {})
    flat = np.zeros(whole.layout.count)
    moved = 0.0
    for phase in curriculum.phases:
        task = phase.task
        tangent = TangentPass(net, arrays, task.X, {})
        shares = shares_of(task)
        steps = round(phase.duration / setting.learning_rate)
        weighted = setting.learning_rate * shares[:, None]
        start = tangent.values[net.output]
        for _ in range(steps):
            value, slope = value_and_slope(psi, start + tangent.forward(flat, net.output))
            flat = flat - tangent.backward(weighted * slope * (value - task.Y))
        now = tangent.layout.moved(arrays, flat)
        moved = max(moved, TangentKernel.on_some(tangent).moved(now))
    hidden, output = net.node("hidden"), net.output
    single = len(setting.prompts[0].X)
    activity = whole.values[hidden] + whole.forward(flat, hidden)
    answers = value_and_slope(psi, whole.values[output] + whole.forward(flat, output))[0]
    return AtEnd(activity[:single], answers, moved)
