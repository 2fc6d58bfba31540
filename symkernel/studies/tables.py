"""The study's tables, as text and in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from symkernel.studies.comparison import contribution_means
from symkernel.studies.measures import mean_and_deviation
from symkernel.studies.predictors import SMALL
from symkernel.tables import as_text

if TYPE_CHECKING:
    from symkernel.studies.study import MultitaskStudy

Line = tuple[str, ...]


def measures_of(study: MultitaskStudy) -> list[tuple[str, str, int | None]]:
    """Return what the table of trainings shows: its heading, the measure and the tasks at once."""
    many = range(1, study.setting.groups + 1)
    return [
        *((name, name, None) for name in ("r_in", "r_out", "r_diff", "S")),
        *((f"acc_{K}", "acc", K) for K in many),
        *((f"incongruent acc_{K}", "acc_incongruent", K) for K in many[1:]),
        ("loss", "loss", None),
        ("move", "move", None),
    ]


def cells_of(study: MultitaskStudy) -> Iterator[tuple[float, str]]:
    """Yield scale and curriculum of every line: first the initial weights."""
    for scale in study.axis("scale"):
        for name in ("init", *study.axis("curriculum")):
            yield scale, name


def _rows(study: MultitaskStudy, join: str) -> Iterator[Line]:
    for scale, name in cells_of(study):
        cells = []
        for _, measure, K in measures_of(study):
            mean, deviation = mean_and_deviation(study.values(measure, scale, name, K))
            # Correlations and shares are of order 1, the loss and the movement of any.
            forms = (".3g", ".1g") if measure in ("loss", "move") else (".3f", ".3f")
            spread = "" if np.isnan(deviation) else f"{join}{deviation:{forms[1]}}"
            cells.append(f"{mean:{forms[0]}}{spread}")
        yield (f"{scale:g}", name, *cells)


def table_of_runs(study: MultitaskStudy) -> str:
    """Return means and standard deviations over seeds as text."""
    head = ("scale", "curriculum", *(name for name, _, _ in measures_of(study)))
    return as_text(head, _rows(study, " ± "), "")


def table_of_theories(study: MultitaskStudy) -> str:
    """Return theories beside the simulation as text: means over seeds."""
    head = ("scale", "curriculum", "theory", "similarities", "S", "accuracies", "of itself")
    rows = [(*cells, statement) for *cells, statement in _theories(study, "/")]
    return as_text(head, rows, "", widest=78)


def _theories(study: MultitaskStudy, join: str) -> Iterator[Line]:
    cell: tuple[float, str] | None = None
    for one in study.comparisons:
        if cell != (one.scale, one.curriculum):
            cell = one.scale, one.curriculum
            place = f"{one.scale:g}", one.curriculum
            truth = f"{one.true_S.mean():.2f}", _joined(one.true_acc, join)
            yield (*place, "simulation", "", *truth, "")
        verdict = "holds" if one.holds else "does not hold"
        yield (
            *place,
            one.title,
            f"{one.similarities.mean():.3f}",
            f"{one.S.mean():.2f}",
            _joined(one.acc, join),
            f"{verdict}: {one.statement}",
        )


def _joined(accuracies: np.ndarray, join: str) -> str:
    return join.join(f"{value:.2f}" for value in accuracies.mean(axis=0))


def table_of_contributions(study: MultitaskStudy) -> str:
    """Return the mean contributions of training on tasks of each class as text."""
    found = contribution_means(study)
    if not found:
        return ""
    head = ("scale", *next(iter(found.values())), "same input / own")
    rows = [
        (f"{scale:g}", *(f"{v:.2f}" for v in means.values()),
         f"{means['same input'] / means['own']:.2f}")
        for scale, means in found.items()
    ]  # fmt: skip
    return as_text(head, rows, "")


def summary(study: MultitaskStudy) -> str:
    """Return everything as text."""
    setting, seeds = study.setting, study.axis("seed")
    drawn = f"seeds {', '.join(map(str, seeds))}"
    blocks = [
        f"Multitasking: {setting.groups} groups of {setting.features} features, {setting.hidden} "
        f"hidden units, {setting.activation}, output {setting.output_activation}"
        f"{'' if setting.direct else ', no path from task to output'}\n"
        f"means and standard deviations over {drawn}; loss on single tasks; move: of the weights, "
        f"relative to their length at the start",
        table_of_runs(study),
    ]
    if study.bands:
        lines = "\n".join(f"  {band}" for band in study.bands)
        blocks.append(
            f"Bands of this package for the published environment: of trainings, means over seeds; "
            f"of theories, every seed\n{lines}"
        )
    moved = table_of_contributions(study)
    if moved:
        blocks.append(
            "Whose training moved the representation of a task: mean share of the movement of the "
            f"hidden layer, path pseudo-kernel\n{moved}"
        )
    if study.predictions is not None:
        some = ", ".join(map(str, study.axis("seed", "predictions")))
        blocks.append(
            "Theories from the initial weights (and the path's own account), beside the "
            f"simulation: means over seeds {some}. similarities: correlation of those foreseen of "
            "all prompts with those learned. A theory says that it holds where what it neglects is "
            f"below {SMALL:g} of what it keeps; one that presumes small steps only where halving "
            f"the learning rate shows that their size matters by less than {SMALL:g} of the "
            "movement of the hidden layer; none where descent diverged or ended at a larger loss "
            "than at its start\n"
            f"{table_of_theories(study)}"
        )
    if study.failures:
        lines = "\n".join(f"  {_cell(one.parameters)}: {one.error}" for one in study.failures)
        blocks.append(f"{len(study.failures)} cells failed\n{lines}")
    return "\n\n".join(blocks)


def _cell(parameters: object) -> str:
    assert isinstance(parameters, dict)
    named = ("predictor", "scale", "curriculum", "seed")
    return ", ".join(f"{name} {parameters[name]}" for name in named if name in parameters)


# LaTeX --------------------------------------------------------------------------------------------


def latex_tables(study: MultitaskStudy) -> str:
    """Return the tables in LaTeX."""
    names = {"r_in": r"$r_{\mathrm{in}}$", "r_out": r"$r_{\mathrm{out}}$", "S": "$S$",
             "r_diff": r"$r_{\mathrm{diff}}$"}  # fmt: skip
    head = ["scale", "curriculum"]
    for name, measure, K in measures_of(study):
        accuracy = rf"$\mathrm{{acc}}_{{{K}}}$"
        if measure == "acc_incongruent":
            accuracy += " (inc.)"
        head.append(names.get(name, name) if K is None else accuracy)
    rows = [(*row[:2], *(_number(cell) for cell in row[2:])) for row in _rows(study, r" \pm ")]
    parts = [_tabular(head, rows)]
    theories = [row[:-1] for row in _theories(study, "/")]
    if theories:
        head = ["scale", "curriculum", "theory", "similarities", "$S$", "accuracies"]
        parts.append(_tabular(head, theories))
    return "\n\n".join(parts) + "\n"


def _number(cell: str) -> str:
    powers = re.sub(r"e([+-])0*(\d+)", lambda m: rf" \cdot 10^{{{m[1].strip('+')}{m[2]}}}", cell)
    return "--" if "nan" in cell else f"${powers}$"


def _tabular(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, with a gap where the first cell changes."""
    lines: list[str] = []
    before = None
    for row in rows:
        if before is not None and row[0] != before:
            lines.append(r"\hline")
        before = row[0]
        lines.append(" & ".join(row) + r" \\")
    columns = "rl" + "l" * (len(head) - 2)
    body = "\n".join([r"\hline", " & ".join(head) + r" \\", r"\hline", *lines, r"\hline"])
    return f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}"
