"""The study's tables, as text and in LaTeX."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from symkernel.studies.comparison import contribution_means
from symkernel.studies.measures import any_learned, mean_and_deviation
from symkernel.studies.predictors import SMALL, predictor_of
from symkernel.tables import as_text

if TYPE_CHECKING:
    from symkernel.studies.study import MultitaskStudy

Line = tuple[str, ...]


_LEGEND = (
    ("r_in, r_out, r_diff", "mean correlation over hidden units of the patterns of two tasks, "
     "averaged over stimuli, from one stimulus group, to one response group, sharing neither"),
    ("S", "sharing index: r_in less the mean over all pairs from two stimulus groups, those of "
     "r_out and r_diff. 1 and more: shared by stimulus group. Near 0: tasks of one stimulus group "
     "are no more alike than others, be all of them separated or all alike: read r_in, r_out and "
     "r_diff. Below 0: they are less alike than others, as where patterns are shared by response "
     "group, r_out above r_in"),
    ("acc_K", "share of the prompts of K tasks at once of which every addressed response group has "
     "its largest output at the right unit"),
    ("incongruent", "of prompts alone whose features to be copied are not all the same"),
    ("loss", "of single tasks: half the squared error, summed over outputs, mean over prompts"),
    ("move", "length of the change of all weights, over their length at the start"),
)  # fmt: skip


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


def _rows(study: MultitaskStudy, write: Callable[[str, float, float], str]) -> Iterator[Line]:
    for scale, name in cells_of(study):
        found = (
            (measure, *mean_and_deviation(study.values(measure, scale, name, K)))
            for _, measure, K in measures_of(study)
        )
        yield (f"{scale:g}", name, *(write(*one) for one in found))


def _plain(measure: str, mean: float, deviation: float) -> str:
    # Correlations and shares are of order 1, the loss and the movement of any.
    forms = (".3g", ".1g") if measure in ("loss", "move") else (".3f", ".3f")
    spread = "" if np.isnan(deviation) else f" ± {deviation:{forms[1]}}"
    return f"{mean:{forms[0]}}{spread}"


def table_of_runs(study: MultitaskStudy) -> str:
    """Return means and standard deviations over seeds as text."""
    head = ("scale", "curriculum", *(name for name, _, _ in measures_of(study)))
    return as_text(head, _rows(study, _plain), "")


def legend() -> str:
    """Return what the columns of the table of trainings are."""
    width = 2 + max(len(name) for name, _ in _LEGEND)
    lines = []
    for name, what in _LEGEND:
        first, *rest = textwrap.wrap(what, 76)
        lines += [f"  {name:<{width}}{first}", *(f"  {'':<{width}}{line}" for line in rest)]
    return "\n".join(lines)


def table_of_theories(study: MultitaskStudy) -> str:
    """Return theories beside the simulation as text: means over seeds."""
    head = ("scale", "curriculum", "theory", "similarities", "S", "accuracies", "of itself")
    rows = [(*cells, statement) for *cells, statement in _theories(study, "/")]
    return as_text(head, rows, "", widest=78)


def _theories(study: MultitaskStudy, join: str) -> Iterator[Line]:
    cell: tuple[float, str] | None = None
    unfinished = {(scale, name) for scale, name, _ in study.unlearned}
    for one in study.comparisons:
        if cell != (one.scale, one.curriculum):
            cell = one.scale, one.curriculum
            place = f"{one.scale:g}", one.curriculum
            truth = f"{one.true_S.mean():.2f}", _joined(one.true_acc, join)
            yield (*place, "simulation", "", *truth, "")
        verdict = "holds" if one.holds else "does not hold"
        verdict += "; training not finished" if cell in unfinished else ""
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


def notes_on_theories(study: MultitaskStudy) -> list[str]:
    """Return what the table of theories does not tell, as paragraphs."""
    notes = []
    asked = set(study.axis("curriculum", "predictions"))
    if asked == {"single"}:
        notes.append(
            "Theories are compared on single tasks alone. With concurrent tasks none was found to "
            "hold at small scale; all curricula and seeds: --predictors all, predictors='all'"
        )
    frozen = frozen_domain(study)
    return [*notes, frozen] if frozen else notes


def frozen_domain(study: MultitaskStudy) -> str:
    """Return by how much a frozen kernel moves at the largest scale, and what it would take."""
    assert study.predictions is not None
    names = study.axis("predictor", "predictions")
    asked = [name for name in ("frozen_inside", "frozen") if name in names]
    if not asked or "error" not in study.predictions.values:
        return ""
    scales = study.axis("scale", "predictions")
    largest = scales.index(max(scales))
    # Small scales are no way there: their kernel may stay where it learns nothing.
    errors = study.array("error", "predictions")[names.index(asked[0]), largest]
    moved, hidden = mean_and_deviation(errors.ravel())[0], study.setting.hidden
    if not np.isfinite(moved):
        return ""
    told = (
        f"{predictor_of(asked[0]).title}: by its own account it would hold where it moves by less "
        f"than {SMALL:g} of itself; at scale {scales[largest]:g}, the largest here, it moves by "
        f"{moved:.2g}"
    )
    if moved < SMALL:
        return told
    units = float(f"{moved / SMALL * hidden:.2g}")
    return (
        f"{told}. That falls as 1/width, to leading order: at this scale it would hold from about "
        f"{units:,.0f} hidden units on, {hidden} here; larger scales lower it, too"
    )


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
        f"means and standard deviations over {drawn}",
        f"{table_of_runs(study)}\n{legend()}",
    ]
    if study.unlearned:
        lines = "\n".join(f"  scale {x:g}, {name}: {why}" for x, name, why in study.unlearned)
        blocks.append(
            "NOT learned, or not finished: less than half way from chance to 1 in accuracy, at "
            "what was trained on last, or the loss of single tasks, if so trained, not halved. "
            "Representations and accuracies say little there; another learning rate than "
            f"{setting.learning_rate:g}, or more steps, may help\n{lines}"
        )
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
        blocks += notes_on_theories(study)
    elif not any_learned(study.runs):
        blocks.append("No theory is asked: no training ended at a smaller loss than at its start")
    if study.failures:
        lines = "\n".join(f"  {_cell(one.parameters)}: {one.error}" for one in study.failures)
        count = len(study.failures)
        blocks.append(
            f"{count} cell{'s' * (count > 1)} failed: the means above are over the others, nan "
            f"without any. What is finished is kept; the same study with the same folder tries "
            f"these again\n{lines}"
        )
    return "\n\n".join(blocks)


def _cell(parameters: object) -> str:
    assert isinstance(parameters, dict)
    named = ("predictor", "scale", "curriculum", "seed")
    return ", ".join(f"{name} {parameters[name]}" for name in named if name in parameters)


# LaTeX --------------------------------------------------------------------------------------------


def latex_tables(study: MultitaskStudy) -> str:
    """Return the tables in LaTeX, each with its caption, for a page of the usual width."""
    names = {"r_in": r"$r_{\mathrm{in}}$", "r_out": r"$r_{\mathrm{out}}$", "S": "$S$",
             "r_diff": r"$r_{\mathrm{diff}}$", "loss": r"$10^3\,$loss"}  # fmt: skip
    heads = ["scale", "curriculum"]
    places: dict[str, list[int]] = {}
    for place, (name, measure, K) in enumerate(measures_of(study), 2):
        accuracy = rf"$\mathrm{{acc}}_{{{K}}}$"
        if measure == "acc_incongruent":
            accuracy = rf"$\mathrm{{inc}}_{{{K}}}$"
        heads.append(names.get(name, name) if K is None else accuracy)
        places.setdefault("accuracy" if measure.startswith("acc") else "sharing", []).append(place)
    rows = list(_rows(study, _number))
    parts = []
    for name, caption in _captions(study).items():
        chosen = (0, 1, *places[name])
        cells = [[row[k] for k in chosen] for row in rows]
        parts.append(latex_table([heads[k] for k in chosen], cells, caption))
    theories = [_short(row) for row in _theories(study, "/")]
    if theories:
        head = ["scale", "curriculum", "theory", "similarities", "$S$", "accuracies", "valid"]
        some = ", ".join(map(str, study.axis("seed", "predictions")))
        parts.append(latex_table(head, theories, _THEORIES.format(seeds=some), "p{34mm}"))
    return (
        "\n\n".join(
            ["% \\input{multitask} in a document of yours, with \\usepackage{graphicx}.", *parts]
        )
        + "\n"
    )


# What a loss is shown in multiples of.
_LOSSES = 1e3
_THEORIES = (
    "Theories from the initial weights beside the simulation; means over seeds {seeds}. "
    "Similarities: correlation of those foreseen of all prompts with those learned; accuracies at "
    "1, 2, \\ldots{{}} tasks at once; valid: whether the theory says of itself that it holds."
)


def _captions(study: MultitaskStudy) -> dict[str, str]:
    """Return the captions of both halves of the table of trainings."""
    setting, seeds = study.setting, study.axis("seed")
    count = len(seeds)
    drawn = f"means and standard deviations over {count} seeds" if count > 1 else "one seed"
    head = (
        f"$G = {setting.groups}$ groups of $M = {setting.features}$ features, {setting.hidden} "
        f"hidden units; {drawn}."
    )
    return {
        "sharing": f"Representations: {head} $r$: mean correlation of the hidden patterns of two "
        "tasks from one stimulus group, to one response group, and sharing neither; $S$: the "
        "first less the mean over all pairs from two stimulus groups; loss on single tasks; move: "
        "change of the weights over their initial length.",
        "accuracy": f"Performance: {head} $\\mathrm{{acc}}_K$: share of the prompts of $K$ tasks "
        "that are answered right in all addressed groups; $\\mathrm{inc}_K$: of prompts alone "
        "whose features to be copied are not all the same.",
    }


def _short(row: Line) -> Line:
    """Return a line of the theories with whether it holds in a word."""
    *cells, statement = row
    word = {"": "", "h": "yes"}.get(statement[:1], "no")
    unfinished = "training not finished" in statement.partition(":")[0]
    return (*cells, f"{word}, not finished" if unfinished else word)


def _number(measure: str, mean: float, deviation: float) -> str:
    if np.isnan(mean):
        return "--"
    if measure == "loss":
        mean, deviation = _LOSSES * mean, _LOSSES * deviation
    form = ".1f" if measure in ("loss", "move") else ".2f"
    spread = "" if np.isnan(deviation) else rf"_{{\pm {deviation:{form}}}}"
    return f"${mean:{form}}{spread}$"


# As wide as it is, or as the line.
_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}"


def latex_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, third: str = "l"
) -> str:
    """Return a table with its caption, and a gap where the first cell changes."""
    lines: list[str] = []
    before = None
    for row in rows:
        if before is not None and row[0] != before:
            lines.append(r"\hline")
        before = row[0]
        lines.append(" & ".join(row) + r" \\")
    columns = f"rl{third}" + "l" * (len(head) - 3)
    body = "\n".join([r"\hline", " & ".join(head) + r" \\", r"\hline", *lines, r"\hline"])
    return (
        f"\\begin{{table}}\n\\centering\\scriptsize\\setlength{{\\tabcolsep}}{{2pt}}"
        "\\renewcommand{\\arraystretch}{1.3}\n"
        f"\\caption{{{caption}}}\n{_FITTED}{{\\begin{{tabular}}{{{columns}}}\n{body}\n"
        "\\end{tabular}}\n\\end{table}"
    )
