"""Figures of daily returns, by a table: what each is called, how it is made, and why it may not be said."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.intervals import block_length
from alphapulse.domain.performance import metrics
from alphapulse.domain.performance.equity import Daily, Equity
from alphapulse.domain.performance.figures import Figure
from alphapulse.domain.performance.resampling import Interval, draws_of, effective_days, interval_of
from alphapulse.domain.performance.said import NO_TRADES, RUINED, How, Named, Sample, nothing, said
from alphapulse.domain.performance.series import drawdowns, longest_drawdown
from alphapulse.domain.signals.idea import DAY_NS

Of = Callable[[metrics.Returns], Floats]


@dataclass(frozen=True, slots=True)
class Measure:
    named: Named
    of: Of
    days: int = 2  # that it needs
    unbound: str = "the returns do not vary"  # why there may be no value although there are days
    fair: int = 0  # days below which ``warning`` is said
    warning: str = ""


TOO_SHORT = "beyond what can be said: too few days for a year"
NO_TAIL = "the 5th percentile of the days is 0"
LEAST_IN_TAIL = 10
FEW_IN_TAIL = "fewer than ten of them are in the tail"
YEAR = "they say little of a year"


def _of_tail(tail: float, named: Named, of: Callable[[float], Of]) -> Measure:
    """What looks at that share of the days alone."""
    return Measure(named, of(tail), fair=round(LEAST_IN_TAIL / tail), warning=FEW_IN_TAIL)


MEASURES = (
    Measure(Named("total_return", "Total return", "ratio"), metrics.total_return, days=1),
    Measure(
        Named("annual_return", "Annual return", "per_year"), metrics.annual_return, days=1, unbound=TOO_SHORT,
        fair=90, warning=YEAR,
    ),
    Measure(Named("volatility", "Volatility", "per_year"), metrics.volatility),
    Measure(Named("sharpe", "Sharpe ratio", "per_year"), metrics.sharpe),
    Measure(Named("sortino", "Sortino ratio", "per_year"), metrics.sortino, unbound="no day lost"),
    Measure(
        Named("calmar", "Calmar ratio", "per_year"), metrics.calmar, unbound="no drawdown", fair=90,
        warning=YEAR,
    ),
    Measure(Named("max_drawdown", "Largest drawdown", "ratio"), metrics.max_drawdown, days=1),
    Measure(
        Named("days_below_peak", "Longest run of days below the peak", "days"), metrics.days_below, days=1
    ),
    _of_tail(0.05, Named("var_95", "Value at risk, 95 % of days", "ratio"), metrics.value_at_risk),
    _of_tail(0.01, Named("var_99", "Value at risk, 99 % of days", "ratio"), metrics.value_at_risk),
    _of_tail(0.05, Named("es_95", "Expected shortfall, 95 % of days", "ratio"), metrics.expected_shortfall),
    _of_tail(0.01, Named("es_99", "Expected shortfall, 99 % of days", "ratio"), metrics.expected_shortfall),
    Measure(
        Named("tail_ratio", "Tail ratio", "ratio"), metrics.tail_ratio, unbound=NO_TAIL, fair=200,
        warning=FEW_IN_TAIL,
    ),
    Measure(Named("skew", "Skew of daily returns", "ratio"), metrics.skew),
    Measure(Named("kurtosis", "Kurtosis of daily returns (normal: 3)", "ratio"), metrics.kurtosis),
)  # fmt: skip
BY_CLOSE = Named("max_drawdown_by_close", "Largest drawdown, close by close", "ratio")
LONGEST = Named("longest_drawdown", "Longest drawdown", "days")


def figures_of_days(equity: Equity, daily: Daily, how: How) -> Iterator[Figure]:
    """All MEASURES, in their order, then the drawdowns that need the time of each close."""
    why = RUINED if equity.is_ruined else "" if len(daily.day) else NO_TRADES
    if why:
        yield from (nothing(m.named, why, len(daily.day)) for m in MEASURES)
    else:
        yield from _measured(equity, daily, how)
    yield from _by_closes(equity, daily)


def places_of_days(days: int, how: How) -> Iterator[Int64s]:
    """Draws (some, days) of neighbouring days; none where there are no two."""
    if how.draws == 0 or days < 2:
        return iter(())
    return draws_of(days, block=block_length(days), seed=how.seed, draws=how.draws)


def _measured(equity: Equity, daily: Daily, how: How) -> Iterator[Figure]:
    days = len(daily.day)
    sample = Sample(days, effective_days(daily.returns, seed=how.seed, draws=how.draws))
    values, drawn = _values(daily.returns, equity.compounds, how)
    for i, m in enumerate(MEASURES):
        if days < m.days:
            yield nothing(m.named, f"fewer than {m.days} days", days)
            continue
        interval = Interval() if drawn is None else interval_of(drawn[i])
        note = f"{days} days: {m.warning}" if days < m.fair else ""
        yield said(m.named, float(values[i]), interval, sample, unbound=m.unbound, note=note)


def _values(returns: Floats, compounds: bool, how: How) -> tuple[Floats, Floats | None]:
    """MEASURES (m,) of the returns, and (m, draws) of their draws."""

    def of(rows: Floats) -> Floats:
        given = metrics.Returns(rows, compounds, how.year_days)
        return np.stack([m.of(given) for m in MEASURES])

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = of(returns[None])[:, 0]
        drawn = [of(returns[at]) for at in places_of_days(len(returns), how)]
    return values, np.concatenate(drawn, axis=1) if drawn else None


def _by_closes(equity: Equity, daily: Daily) -> Iterator[Figure]:
    if not len(equity.trades):
        yield from (nothing(named, NO_TRADES) for named in (BY_CLOSE, LONGEST))
        return
    closes, days = len(equity.trades), len(daily.day)
    deepest = float(drawdowns(equity).max(initial=0.0))
    yield said(BY_CLOSE, deepest, Interval(), Sample(closes, float(closes)))
    yield said(LONGEST, longest_drawdown(equity) / DAY_NS, Interval(), Sample(days, float(days)))
