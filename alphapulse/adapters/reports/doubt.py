"""Pictures of how far it could be luck: Monte Carlo, walk-forward, cross-validation, overfitting."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alphapulse.adapters.reports.style import BAD, GREY, INK, LINE, MUTED, OTHER, Sheet, nothing, percent
from alphapulse.adapters.reports.words import day, number, plural, sentence, share
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.backtest.results import CrossValidation, Fan, Fold, MonteCarlo, Search, WalkForward

_KINDS = {
    "trades": "trades drawn anew",
    "order": "the same trades in another order",
    "blocks": "blocks of days drawn anew",
    "noise": "noise on the fills",
}
MAX_FOLD_LABELS = 16


def monte_carlo_sheets(runs: Sequence[MonteCarlo]) -> Sequence[Sheet]:
    if runs:
        return [_monte_carlo(each) for each in runs]
    why = "No Monte Carlo was run, or there were no signals to draw anew: nothing to draw."
    return [nothing("monte-carlo", "Monte Carlo", why)]


def _monte_carlo(drawn: MonteCarlo) -> Sheet:
    name, title = f"monte-carlo-{drawn.kind}", f"Monte Carlo: {_KINDS.get(drawn.kind, drawn.kind)}"
    if len(drawn.fan.shares) < 2 or not drawn.fan.lines:
        return nothing(name, title, f"No trades to draw anew: nothing to draw.{sentence(drawn.note)}")
    caption = (
        f"{plural(drawn.runs, 'run')}, seed {drawn.seed}. Bands lie between quantiles of the equity of all "
        "runs after so many of their trades; the one line is what happened. It says how wide luck is for "
        "trades like these, not that the next ones will be like them."
    )
    caption += sentence(drawn.note)
    return Sheet(name, title, caption, lambda figure: _fan(figure, drawn))


def _fan(figure: Figure, drawn: MonteCarlo) -> None:
    axis = figure.subplots()
    fan = drawn.fan
    levels = sorted(fan.lines, key=float)
    middle = (len(levels) - 1) / 2
    for i, (lower, upper) in enumerate(pairwise(levels)):
        nearness = 1 - abs(i + 0.5 - middle) / max(middle, 1)
        axis.fill_between(
            fan.shares, fan.lines[lower], fan.lines[upper], color=LINE, linewidth=0,
            alpha=0.12 + 0.25 * nearness,
        )  # fmt: skip
    place = widest(fan)
    for level in levels:
        axis.annotate(
            f"{float(level) * 100:g} %", (fan.shares[place], fan.lines[level][place]), xytext=(4, 0),
            textcoords="offset points", fontsize=7, va="center", color=MUTED, annotation_clip=False,
        )  # fmt: skip
    axis.plot(fan.shares, fan.observed, color=INK, linewidth=1.3, label="what happened")
    axis.axhline(1.0, color=MUTED, linewidth=0.8, linestyle="--")
    axis.set_xlim(fan.shares[0], fan.shares[-1])
    axis.set_xlabel("share of the trades")
    axis.set_ylabel("equity (1 = beginning)")
    axis.ticklabel_format(axis="y", style="plain", useOffset=False)
    percent(axis, "x", digits=0)
    axis.legend(loc="upper left")


def widest(fan: Fan) -> int:
    """Where lines are named: at the end, unless they come together there, as orders of the same trades do."""
    levels = sorted(fan.lines, key=float)
    apart = np.array(fan.lines[levels[-1]]) - np.array(fan.lines[levels[0]])
    return len(apart) - 1 if apart[-1] > apart.max() / 2 else int(apart.argmax())


def walk_forward_sheets(runs: Sequence[WalkForward]) -> Sequence[Sheet]:
    if runs:
        return [_walk_forward(each) for each in runs]
    return [nothing("walk-forward", "Walk-forward", "No walk-forward was run: nothing to draw.")]


def _walk_forward(run: WalkForward) -> Sheet:
    name, title = f"walk-forward-{run.kind}", f"Walk-forward, {run.kind}: in sample and out of sample"
    tested = sum(fold.out_of_sample_trades for fold in run.folds)
    if all(fold.in_sample is None and fold.out_of_sample is None for fold in run.folds):
        why = (
            f"{plural(len(run.folds), 'fold')}, {plural(tested, 'trade')} out of sample: too few for a "
            f"Sharpe ratio in any of them, so nothing to draw.{_note(run.folds)}{sentence(run.note)}"
        )
        return nothing(name, title, why)
    both = [f for f in run.folds if f.in_sample is not None and f.out_of_sample is not None]
    worse = sum((f.out_of_sample or 0.0) < (f.in_sample or 0.0) for f in both)
    caption = (
        f"{plural(len(run.folds), 'fold')}; in each one configuration is chosen on the train range and "
        f"measured on the test range after it, {plural(tested, 'trade')} there in all. Sharpe ratio of daily "
        f"returns, a day, not annualised. Worse out of sample than in sample in {worse} of {len(both)} folds "
        "that have both. A fold without a mark had too few trades. Trades of the test range stand under its "
        "first day."
    )
    caption += sentence(run.note)
    return Sheet(name, title, caption, lambda figure: _folds(figure, run.folds), height_in=5.0)


def _note(folds: Sequence[Fold]) -> str:
    return next((f" The first one: {fold.note}." for fold in folds if fold.note), "")


def _folds(figure: Figure, folds: Sequence[Fold]) -> None:
    axis = figure.subplots()
    for x, fold in enumerate(folds):
        if fold.in_sample is not None and fold.out_of_sample is not None:
            axis.plot([x, x], [fold.in_sample, fold.out_of_sample], color=GREY, linewidth=1.4, zorder=1)
    _dots(axis, [fold.in_sample for fold in folds], GREY, "o", "in sample (chosen for it)")
    _dots(axis, [fold.out_of_sample for fold in folds], LINE, "D", "out of sample")
    axis.axhline(0.0, color=MUTED, linewidth=0.9, linestyle="--")
    every = max(1, -(-len(folds) // MAX_FOLD_LABELS))
    places = range(0, len(folds), every)
    labels = [f"{day(folds[i].test_from)}\nn {folds[i].out_of_sample_trades:,}" for i in places]
    turned = len(labels) > 8
    axis.set_xticks(places, labels, fontsize=7, rotation=90 if turned else 0)
    axis.set_xlim(-0.6, len(folds) - 0.4)
    axis.set_ylabel("Sharpe ratio a day")
    axis.set_xlabel("test range begins, trades in it")
    axis.margins(y=0.15)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _dots(axis: Any, values: Sequence[float | None], colour: str, marker: str, label: str) -> None:
    known = [(x, value) for x, value in enumerate(values) if value is not None]
    x, y = ([a for a, _ in known], [b for _, b in known])
    axis.scatter(x, y, color=colour, marker=marker, s=30, label=f"{label}: {len(known)}", zorder=2)


def cross_validation_sheet(done: CrossValidation | None) -> Sheet:
    name, title = "cross-validation", "Cross-validation: Sharpe ratio of each path"
    if done is None:
        return nothing(name, title, "No cross-validation was run: nothing to draw.")
    known = [value for value in done.sharpes if value is not None]
    if not known:
        why = f"None of {plural(len(done.sharpes), 'path')} has enough trades for a Sharpe ratio."
        return nothing(name, title, why + sentence(done.note))
    middle = float(np.median(known))
    under = sum(value <= 0 for value in known)
    caption = (
        f"Combinatorial and purged: {done.groups} groups of days, {done.tested} tested at a time, "
        f"{plural(done.splits, 'split')}, {plural(len(done.sharpes), 'path')}; each path is made of test "
        f"groups only. {len(known)} have a Sharpe ratio (a day, not annualised): median {number(middle, 3)}, "
        f"{under} of them at most 0. Paths share trades: they are not independent."
    )
    caption += sentence(done.note)

    def paint(figure: Figure) -> None:
        axis = figure.subplots()
        _histogram(axis, known)
        axis.plot(known, np.zeros(len(known)), "|", color=INK, markersize=11, label="a path", clip_on=False)
        axis.axvline(0.0, color=MUTED, linewidth=0.9, linestyle="--")
        axis.axvline(middle, color=OTHER, linewidth=1.4, label=f"median {number(middle, 3)}")
        axis.set_xlabel("Sharpe ratio a day")
        axis.set_ylabel("paths")
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return Sheet(name, title, caption, paint)


def overfit_sheet(search: Search) -> Sheet:
    """The logits of CSCV: how the best in sample ranks out of sample; at most 0 is the lower half."""
    name, title = "overfitting", "Overfitting: where the best in sample ranks out of sample"
    if not search.logits:
        tried = plural(len(search.cells), "configuration")
        why = f"{tried} in this run: rank in sample cannot be held against rank out of sample."
        return nothing(name, title, why + sentence(search.note))
    logits, counts = zip(*search.logits, strict=True)
    caption = (
        f"{plural(sum(counts), 'split')} of the days in two halves, {len(search.cells)} "
        "configurations. The logit of the rank that the best one of one half has in the other: at most 0 "
        "means in the lower half, the middle with it. Probability of overfitting = their share = "
        f"{share(search.overfit, 1)}. By combinatorially symmetric cross-validation (Bailey, Borwein, López "
        "de Prado, Zhu 2015)."
    )

    def paint(figure: Figure) -> None:
        axis = figure.subplots()
        _histogram(axis, np.repeat(logits, counts), split=0.0)
        axis.axvline(0.0, color=MUTED, linewidth=1.0, linestyle="--")
        axis.set_xlabel("logit of the relative rank out of sample")
        axis.set_ylabel("splits")

    return Sheet(name, title, caption, paint)


def _histogram(axis: Any, values: Floats | Sequence[float], split: float | None = None) -> None:
    """Bars over ``values``, in another colour up to ``split``, which is then an edge."""
    low, high = min(values), max(values)
    bars = min(max(2 * round(len(values) ** 0.5), 6), 24)
    width = (high - low) / bars or max(abs(high), 1.0) / bars
    origin = low - width / 2 if split is None else split
    first, last = np.floor((low - origin) / width), np.ceil((high - origin) / width)
    edges = origin + width * np.arange(int(first) - 1, int(last) + 2)
    # Right ends belong to a bar, so that a value at ``split`` lies beneath it.
    places = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, len(edges) - 2)
    counts = np.bincount(places, minlength=len(edges) - 1)
    middles = (edges[:-1] + edges[1:]) / 2
    colours = [BAD if split is not None and middle < split else LINE for middle in middles]
    axis.bar(middles, counts, width=width * 0.94, color=colours, alpha=0.65)
    axis.yaxis.get_major_locator().set_params(integer=True)
