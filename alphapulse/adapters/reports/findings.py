"""What a report claims, in plain words, and what it does not: nothing that a figure does not bear."""

from collections.abc import Iterator, Sequence

from alphapulse.adapters.reports.words import number, plural, share
from alphapulse.domain.backtest.results import BacktestReport
from alphapulse.domain.performance.figures import Figure

FEW = 30  # resolved signals under which nothing is said about them
SURE = 0.95  # least deflated Sharpe ratio that speaks for more than luck
_EXPECTANCY = "expectancy_bps"


def verdict(report: BacktestReport) -> str:
    """One sentence: what was found. Each rule that forbids a claim stands before the claim."""
    counts, search = report.counts, report.search
    if counts.signals == 0:
        refused = f"all {plural(counts.decisions, 'candidate')} were refused" if counts.decisions else (
            "there was no candidate at all"
        )  # fmt: skip
        return f"No signals: {refused}. No edge was found, and none is claimed."
    if counts.trades < FEW:
        return (
            f"{plural(counts.trades, 'signal')} of which the outcome is known: too few (under {FEW}) to say "
            "anything. No edge is claimed."
        )
    earned = _figure(report, _EXPECTANCY)
    if earned is None or earned.value is None or earned.low is None or earned.low <= 0:
        return f"No edge found: {_with_interval(earned)} a signal after costs: it may be nothing."
    if search.deflated is None:
        return (
            f"{_with_interval(earned)} a signal after costs, but what that is worth among "
            f"{plural(search.trials, 'trial')} is not known. No edge is claimed."
        )
    if search.deflated < SURE:
        return (
            f"No edge found: of {plural(search.trials, 'trial')}, the best one could be luck (probability "
            f"{share(search.deflated, 1)} that it is more, {share(SURE, 0)} would be asked)."
        )
    if search.overfit is not None and search.overfit >= 0.5:
        return (
            f"Overfit: the best in sample is in the lower half out of sample in {share(search.overfit, 0)}."
        )
    return (
        f"{_with_interval(earned)} a signal after costs on this history; probability "
        f"{share(search.deflated, 1)} that the best of {plural(search.trials, 'trial')} is more than luck. "
        "That holds for this history only."
    )


def findings(report: BacktestReport) -> Sequence[str]:
    """What else is to be known before anybody believes a figure."""
    return list(_findings(report))


def _findings(report: BacktestReport) -> Iterator[str]:
    counts = report.counts
    missed = f"; {number(counts.missed)} were over before they could be filled" if counts.missed else ""
    yield (
        f"{plural(counts.decisions, 'candidate')}, {plural(counts.signals, 'signal')} (confidence at least "
        f"{share(report.configuration.gate.threshold, 0)}, and more than costs need by "
        f"{share(report.configuration.gate.margin, 0)}); of the signals {number(counts.trades)} are "
        f"resolved, {number(counts.won)} won, {number(counts.open)} still open at the end{missed}."
    )
    risk = report.configuration.risk
    if risk.fee_bps == 0 and risk.slippage_bps == 0:
        yield "No costs were counted: fees and slippage are 0, and every figure is better than a market pays."
    if report.configuration.label == "research":
        yield "The gate is lower than in production: this is research, and its signals would say so."
    if counts.calibrations == 0:
        yield "No calibration came about in this range: no more than the odds of the geometry was claimed."
    if len(report.search.cells) > 1 and report.search.best_sharpe is not None:
        best = report.search.best or report.search.cells[0].name
        yield (
            f"The figures are those of {best}, the best of {len(report.search.cells)} configurations on all "
            "of this range, so in sample. Walk-forward and cross-validation tell what the choice is worth."
        )
    for run in report.walk_forward:
        tested = [fold for fold in run.folds if fold.out_of_sample is not None]
        lost = sum((fold.out_of_sample or 0.0) <= 0 for fold in tested)
        worth = f"a Sharpe ratio at most 0 in {lost} of the {len(tested)} folds that have one"
        none = "too few in any of them for a Sharpe ratio"
        yield (
            f"Walk-forward ({run.kind}): {plural(len(run.folds), 'fold')}, "
            f"{plural(run.performance.trades, 'trade')} out of sample; {worth if tested else none}."
        )
    yield from _searched(report)
    yield (
        "Candidates that were refused are shown to tell what the gate costs and saves; they were not traded, "
        "and nothing is claimed of them."
    )


def _searched(report: BacktestReport) -> Iterator[str]:
    search = report.search
    tried = plural(search.trials, "trial")
    text = f"{tried} of this strategy in the log, {len(search.cells)} of them in this run"
    if search.deflated is not None:
        text += (
            f": best Sharpe ratio {number(search.best_sharpe, 3)} a day ({search.best}), "
            f"{number(search.expected_best, 3)} would be the best of so many without skill, so it is "
            f"more than luck with a probability of {share(search.deflated, 1)}"
        )
    yield f"{text}. Every one counts, also those that were tried before and not liked."
    if search.overfit is not None:
        splits = plural(sum(count for _, count in search.logits), "split")
        yield f"Probability of overfitting {share(search.overfit, 1)}, from {splits}."


def _figure(report: BacktestReport, name: str) -> Figure | None:
    return next((each for each in report.performance.figures if each.name == name), None)


def _with_interval(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "nothing is known of the return"
    between = f" (95 % interval {number(figure.low, 3)} to {number(figure.high, 3)})"
    return f"{number(figure.value, 3)} bps{between if figure.low is not None else ''}"
