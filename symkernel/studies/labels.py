"""What the arrays of a study are: names in full, units, and which prompts they are of."""

from __future__ import annotations

_ONE = "1"
# Name in full, unit.
_ABOUT = {
    "S": ("sharing index: r_in less the mean over pairs from two stimulus groups", _ONE),
    "r_in": ("mean correlation of hidden patterns, tasks from one stimulus group", _ONE),
    "r_out": ("mean correlation of hidden patterns, tasks to one response group", _ONE),
    "r_diff": ("mean correlation of hidden patterns, tasks that share neither group", _ONE),
    "acc": ("share of prompts answered right in all addressed response groups", _ONE),
    "loss": ("half the squared error on single tasks, summed over outputs, mean over prompts",
             "squared output"),
    "move": ("length of the change of all weights over their initial length", _ONE),
    "step": ("steps of gradient descent", "step"),
    "patterns": ("hidden activity of each task, mean over stimuli", "activity of a unit"),
    "activity": ("hidden activity at the end, at all prompts of one task", "activity of a unit"),
    "similarity": ("correlation of the hidden patterns of two tasks", _ONE),
    "matrix": ("share of the movement of a task's hidden activity by training on others", _ONE),
    "residual": ("relative residual of the sum rule of contributions", _ONE),
    "agreement": ("correlation of foreseen and learned similarities of all prompts", _ONE),
    "valid": ("1 where the theory says of itself that it holds", _ONE),
    "error": ("what a theory neglects over what it keeps, by its own account", _ONE),
    "statement": ("what a theory says of its own validity", ""),
    "scale": ("standard deviation of the initial weights times the root of their fan-in", _ONE),
    "curriculum": ("what was trained on", ""),
    "seed": ("seed of the initial weights", ""),
    "predictor": ("theory", ""),
    "at_once": ("number K of tasks of a prompt", "task"),
    "task": ("task", ""),
    "other_task": ("task", ""),
    "prompt": ("prompt of one task", ""),
    "unit": ("number of the hidden unit", ""),
}  # fmt: skip
_PREFIXES = {"foreseen_": ", foreseen by a theory", "contribution_": ""}
# NetCDF has no truth values.
_CONGRUENT = {"_congruent": ("congruent", 1), "_incongruent": ("incongruent", 0)}


def about_variable(name: str) -> dict[str, str | int]:
    """Return the attributes of an array or of the values along an axis.

    Accuracies at congruent prompts alone, all of whose features to be copied are the same, have
    ``congruent`` 1, those at incongruent ones 0.
    """
    bare, after, flag = name, "", {}
    for prefix, words in _PREFIXES.items():
        if bare.startswith(prefix):
            bare, after = bare.removeprefix(prefix), words
    for ending, (word, value) in _CONGRUENT.items():
        if bare.endswith(ending):
            bare, after, flag = (
                bare.removesuffix(ending),
                f", {word} prompts{after}",
                {"congruent": value},
            )
    if bare not in _ABOUT:
        return {}
    words, unit = _ABOUT[bare]
    return {"long_name": words + after, **({"units": unit} if unit else {}), **flag}
