"""The study's tables, as text and in LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symkernel.report.prose import escape
from symkernel.studies.decisions.found import Found
from symkernel.studies.decisions.measures import NOISES
from symkernel.studies.decisions.theory import foreseen, is_foreseen
from symkernel.studies.decisions.verdicts import (
    CLAIMS,
    LEVEL,
    SMALLEST,
    Verdict,
    smallest_of,
)
from symkernel.studies.measures import mean_and_deviation
from symkernel.studies.tables import latex_table
from symkernel.tables import as_text

if TYPE_CHECKING:
    from symkernel.studies.decisions.study import InformationStudy

Line = tuple[str, ...]
# What the columns of layers show: a noise that is free of scale.
_BY_LAYER = "rel.3"


def _cell(values: np.ndarray, join: str) -> str:
    mean, deviation = mean_and_deviation(values)
    if np.isnan(mean):
        return "failed"
    return f"{mean:.2f}" if np.isnan(deviation) else f"{mean:.2f}{join}{deviation:.2f}"


def head_of(found: Found, first: Sequence[str]) -> Line:
    """Return the heading of a table of bits, behind columns of its own."""
    relevant, irrelevant = found.decision.names
    layers = range(1, len(found.setting.hidden))
    return (
        *first,
        f"{relevant} n0",
        *(f"{irrelevant} {noise}" for noise in NOISES),
        *(f"layer {k} {relevant}" for k in layers),
        *(f"layer {k} {irrelevant}" for k in layers),
    )


def bits_row(found: Found, sweep: str, place: tuple[Any, ...], join: str) -> Iterator[str]:
    """Yield cells of bits over seeds: of the last layer, then of the others."""
    layers = range(len(found.setting.hidden) - 1)
    wanted = [("relevant", "n0", -1), *(("irrelevant", noise, -1) for noise in NOISES)]
    for label in ("relevant", "irrelevant"):
        wanted += [(label, _BY_LAYER, k) for k in layers]
    for label, noise, layer in wanted:
        yield _cell(found.bits(sweep, label, noise, layer)[place], join)


Table = tuple[str, Line, list[Line]]


def tables_of(found: Found, join: str = " ± ") -> Iterator[Table]:
    """Yield the tables of a setting: what they show, headings, rows."""
    setting = found.setting
    order = sorted(range(len(setting.descents)), key=lambda k: setting.descents[k].noise)
    rows = [
        (str(setting.descents[k]), f"{setting.descents[k].noise:.2g}",
         _cell(found.trainings["accuracy"][k, :, -1], join),
         *bits_row(found, "trainings", (k, slice(None), -1), join))
        for k in order
    ]  # fmt: skip
    duration = setting.descents[0].duration
    yield (
        f"Noise: at the end of training, learning rate x steps = {duration:g}",
        head_of(found, ("rate/batch", "lr/B", "accuracy")),
        rows,
    )
    if found.watched is not None:
        times = found.watched["time"][0, 0]
        rows = [
            (f"{t:.3g}", *bits_row(found, "watched", (0, slice(None), k), join))
            for k, t in enumerate(times)
        ]
        yield f"Through training at {setting.watched}", head_of(found, ("t",)), rows
    if found.pretrainings is not None:
        grid = found.pretrainings.grid
        rows = [
            (str(k), readout,
             _cell(found.pretrainings["accuracy"][i, j, :, -1], join),
             *bits_row(found, "pretrainings", (i, j, slice(None), -1), join))
            for j, readout in enumerate(grid["readout"])
            for i, k in enumerate(grid["epochs"])
        ]  # fmt: skip
        assert setting.perturbed is not None
        yield (
            f"After pretraining on {found.decision.names[1]}: at the end of training at "
            f"{setting.perturbed}, learning rate x steps = {setting.perturbed.duration:g}",
            head_of(found, ("epochs", "read-out", "accuracy")),
            rows,
        )


def verdict_rows(verdicts: Sequence[Verdict]) -> list[Line]:
    """Return a row for each verdict: noise, words, difference with interval, effect, about."""
    return [(str(one.claim), one.noise, one.words, *_numbers(one), one.about) for one in verdicts]


def _numbers(one: Verdict) -> tuple[str, str]:
    if one.found is None:
        return "", ""
    return one.found.interval, f"{one.found.effect:.1f}"


_VERDICT_HEAD = ("claim", "noise", "verdict", "bits", "effect", "what was compared")


def summary(study: InformationStudy) -> str:
    """Return everything as text."""
    seeds = ", ".join(map(str, study.seeds))
    claims = "\n".join(f"  ({number}) {words}" for number, words in CLAIMS.items())
    blocks = [
        f"Usable information through training\nmeans and standard deviations over seeds {seeds}; "
        f"bits that linear decoders find on held-out probes, of the last hidden layer unless a "
        f"layer is named (those under {_BY_LAYER})\n"
        f"noise: n0 none; rel.3 of 0.3 times the spread of a layer's units; abs.3 of standard "
        f"deviation 0.3; rate/batch: learning rate and batch size; accuracy on clean labels\n"
        f"{claims}\n"
        f"A claim holds where the {LEVEL:.0%} confidence interval of the paired difference is "
        f"above {SMALLEST:.0%} of the entropy of the irrelevant label, holds weakly where it is "
        f"above 0, does not hold where it is below these {SMALLEST:.0%}, and is undecided "
        f"otherwise, as few seeds leave it. Claim 2 is a rise and a fall, judged by the weaker of "
        f"them; the time of a seed's peak is that of the other seeds' mean. Effect: difference by "
        f"the standard deviation of the differences. Intervals are for one comparison each, not "
        f"for all together"
    ]
    for found in study.found:
        blocks.append(_setting(study, found))
    if study.bands:
        gone = [band for band in study.bands if not band.holds]
        lines = "\n".join(f"  {band}" for band in gone)
        blocks.append(
            f"An earlier simulation by other code: {len(study.bands) - len(gone)} of "
            f"{len(study.bands)} of its means are met within two of its standard deviations"
            + (f"\n{lines}" if gone else "")
        )
    if study.failures:
        lines = "\n".join(f"  {dict(one.parameters)}: {one.error}" for one in study.failures)
        blocks.append(f"{len(study.failures)} cells failed\n{lines}")
    return "\n\n".join(blocks)


def _setting(study: InformationStudy, found: Found) -> str:
    name = found.setting.name
    one, other = found.decision.names
    widths = "-".join(map(str, found.setting.hidden))
    entropy = found.entropy
    beside = f", beside {one}" if found.decision.conditional else ""
    most = found.decision.ceilings
    held = "" if most is None else f"; the inputs hold {most[0]:.3f} and {most[1]:.3f} bits"
    parts = [
        f"=== {name}; hidden layers {widths}; {one} relevant ({entropy['relevant']:.3f} bits), "
        f"{other} not ({entropy['irrelevant']:.3f} bits{beside}; differences are of interest from "
        f"{smallest_of(found):.3f}){held}"
    ]
    for title, head, rows in tables_of(found):
        parts.append(f"{title}\n{as_text(head, rows, '')}")
    if is_foreseen(found):
        parts.append(_clock(found))
    mine = [one for one in study.verdicts if one.setting == name]
    if mine:
        parts.append("Verdicts\n" + as_text(_VERDICT_HEAD, verdict_rows(mine), "", widest=78))
    return "\n\n".join(parts)


def _clock(found: Found) -> str:
    """Say what the pruning clock foresees of the end of the watched training."""
    assert found.watched is not None
    clock = float(np.nanmean(found.watched["clock"][0], axis=0)[-1])
    said = [
        f"{foreseen(found, noise)[-1]:.2f} bits under {noise} "
        f"(measured {np.nanmean(found.bits('watched', noise=noise)[0], axis=0)[-1]:.2f})"
        for noise in ("rel.3", "abs.3")
    ]
    return (
        f"The pruning clock X, flow time by the rate at which noise shrinks what is not asked for, "
        f"is derived for two linear layers and an indication here. Read off this training: X = "
        f"{clock:.3g} at the end; it would leave {' and '.join(said)} of the peak"
    )


# LaTeX --------------------------------------------------------------------------------------------


_CAPTION = (
    "Verdicts: mean paired differences over seeds in bits with their 95\\% confidence intervals, "
    "and by their standard deviation. Claims: "
    + "; ".join(f"({number}) {words}" for number, words in CLAIMS.items())
    + ". A claim holds where the interval is above 5\\% of the entropy of the irrelevant label, "
    "holds weakly where it is above 0, does not hold where it is below these 5\\%, and is "
    "undecided otherwise; (2) is judged by the weaker of rise and fall. Measured without noise "
    "(n0), under noise of 0.3 times the spread of a layer's units (rel.3), and under noise of "
    "standard deviation 0.3 (abs.3)."
)


def latex_tables(study: InformationStudy) -> str:
    """Return the verdicts of all settings, then the tables of each, in LaTeX."""
    rows = [(one.setting, *row[:-1]) for one, row in
            zip(study.verdicts, verdict_rows(study.verdicts), strict=True)]  # fmt: skip
    head = ("setting", *_VERDICT_HEAD[:-1])
    parts = [latex_table(head, [tuple(map(_tex, row)) for row in rows], _CAPTION)] if rows else []
    for found in study.found:
        for title, names, cells in tables_of(found, r" \pm "):
            body = [tuple(map(_tex, row)) for row in cells]
            caption = _tex(f"{found.setting.name}. {title}.")
            parts.append(latex_table(tuple(map(_tex, names)), body, caption))
    return (
        "\n\n".join(
            ["% \\input{information} in a document of yours, with \\usepackage{graphicx}.", *parts]
        )
        + "\n"
    )


def _tex(cell: str) -> str:
    """Return a cell with its numbers as mathematics."""
    numeric = cell and all(c in "+-0123456789.[], e" for c in cell.replace(r"\pm", ""))
    return f"${cell}$" if numeric else escape(cell)
