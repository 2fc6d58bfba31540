"""A problem in a file, and the arrays beside it."""

from __future__ import annotations

import numpy as np

BASE = """
network = { kind = "two_layer", inputs = 2, hidden = 3, outputs = 2 }
symbols = { s1 = { positive = true, latex = '\\sigma_1' }, a = { positive = true } }
values = { s1 = 2, a = "1/10" }
latex = { s = '\\sigma' }
task = { s = ["s1", "1/2"] }
weights = { kind = "aligned", a = "a", b = ["a", 0.3], seed = 3 }
loss = { factor = "1/4" }
simulate = { learning_rate = 0.01, record = [0, "1/2", 1.5] }
claim = [{ observable = ["mode", 0], formula = "s1*t + a" }, { observable = "loss", formula = "1" }]
"""
X = np.array([[1.0, 2.0], [0.5, -1.0], [0.25, 0.0]])
Y = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, -3.5]])
