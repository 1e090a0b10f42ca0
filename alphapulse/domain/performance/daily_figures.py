"""Figures of daily returns, by a table: what each is called, how it is made, and why it may not be said."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.intervals import block_length
from alphapulse.domain.performance import metrics
from alphapulse.domain.performance.equity import Daily, Equity
from alphapulse.domain.performance.figures import Figure
from alphapulse.domain.performance.metrics import Sample
from alphapulse.domain.performance.resampling import (
    FEW,
    Interval,
    draws_of,
    effective_days,
    interval_of,
    sums_of_draws,
)
from alphapulse.domain.performance.series import drawdowns, exposure_of, longest_drawdown
from alphapulse.domain.signals.idea import DAY_NS

NO_TRADES = "no trades"
RUINED = "all was lost: no returns after that"
FEW_SEEN = f"worth fewer than {FEW}: the interval is likely too narrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """``draws`` of the bootstrap, 0: no intervals from it; the same ``seed`` gives the same."""

    year_days: float
    seed: int
    draws: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    name: str
    title: str
    unit: str
    of: Callable[[Sample], Floats]
    days: int = 2  # that it needs
    unbound: str = "the returns do not vary"  # why there is no value although there are days
    tail: int = 0  # days of which one is expected in the tail: fewer do not show it


NO_LOSS = "no day lost"

MEASURES = (
    Measure(name="total_return", title="Total return", unit="ratio", of=metrics.total_return, days=1),
    Measure(
        name="annual_return",
        title="Annual return",
        unit="per_year",
        of=metrics.annual_return,
        days=1,
        unbound="beyond what can be said: too few days for a year",
    ),
    Measure(name="volatility", title="Volatility", unit="per_year", of=metrics.volatility),
    Measure(name="sharpe", title="Sharpe ratio", unit="per_year", of=metrics.sharpe),
    Measure(name="sortino", title="Sortino ratio", unit="per_year", of=metrics.sortino, unbound=NO_LOSS),
    Measure(name="calmar", title="Calmar ratio", unit="per_year", of=metrics.calmar, unbound="no drawdown"),
    Measure(name="max_drawdown", title="Largest drawdown", unit="ratio", of=metrics.max_drawdown, days=1),
    Measure(
        name="var_95",
        title="Value at risk, 95 % of days",
        unit="ratio",
        of=metrics.value_at_risk(0.05),
        tail=20,
    ),
    Measure(
        name="var_99",
        title="Value at risk, 99 % of days",
        unit="ratio",
        of=metrics.value_at_risk(0.01),
        tail=100,
    ),
    Measure(
        name="es_95",
        title="Expected shortfall, 95 % of days",
        unit="ratio",
        of=metrics.expected_shortfall(0.05),
        tail=20,
    ),
    Measure(
        name="es_99",
        title="Expected shortfall, 99 % of days",
        unit="ratio",
        of=metrics.expected_shortfall(0.01),
        tail=100,
    ),
    Measure(
        name="tail_ratio",
        title="Tail ratio",
        unit="ratio",
        of=metrics.tail_ratio,
        unbound="fewer than one day in 20 lost",
        tail=20,
    ),
    Measure(name="skew", title="Skew of daily returns", unit="ratio", of=metrics.skew),
    Measure(
        name="kurtosis", title="Kurtosis of daily returns (normal: 3)", unit="ratio", of=metrics.kurtosis
    ),
)


def figures_of_days(equity: Equity, daily: Daily, how: How) -> Iterator[Figure]:
    """All MEASURES, in their order, then the drawdowns that need the time of each close."""
    if not len(daily.day) or equity.is_ruined:
        why = RUINED if equity.is_ruined else NO_TRADES
        yield from (nothing(m.name, m.title, m.unit, why, len(daily.day)) for m in MEASURES)
    else:
        yield from _measured(equity, daily, how)
    yield from _of_closes(equity, len(daily.day))


def figures_of_exposure(equity: Equity, daily: Daily, how: How) -> Iterator[Figure]:
    names = (
        ("exposure", "Exposure: notional over equity", "ratio"),
        ("time_in_market", "Share of the time with a position", "ratio"),
        ("turnover", "Turnover: bought and sold over equity", "per_year"),
    )
    if not len(daily.day) or equity.is_ruined:
        why = RUINED if equity.is_ruined else NO_TRADES
        yield from (nothing(*name, why, len(daily.day)) for name in names)
        return
    held, inside, counted = exposure_of(equity, daily)
    day = equity.trades.opened // DAY_NS - daily.day[0]
    traded = np.bincount(day, 2 * equity.size, minlength=len(daily.day)).astype(np.float64)
    ones = np.ones(len(daily.day))
    for name, top, bottom in zip(
        names, (held, inside, traded * how.year_days), (counted, counted, ones), strict=True
    ):
        yield _ratio_of_days(name, top, bottom, how)


def figures_of_market(
    daily: Daily, market: tuple[Int64s, Floats] | None, how: How, *, is_ruined: bool
) -> Iterator[Figure]:
    """Over the days (numbered from 1970) for which ``market`` has a finite return."""
    names = (
        ("correlation", "Correlation with the market", "ratio", metrics.correlation),
        ("beta", "Beta to the market", "ratio", metrics.beta),
    )
    own, other = _common(daily, market)
    why = _why_no_market(daily, market, len(own), is_ruined)
    for name, title, unit, function in names:
        if why:
            yield nothing(name, title, unit, why, len(own))
            continue
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value = float(function(own[None], other[None])[0])
            places = _places(len(own), how)
            drawn = [function(own[at], other[at]) for at in places]
        interval = interval_of(np.concatenate(drawn)) if drawn else Interval()
        unbound = "the returns of one of them do not vary"
        effective = effective_days(own, seed=how.seed, draws=how.draws) if how.draws else float(len(own))
        yield made(name, title, unit, value, interval, len(own), effective, unbound)


def nothing(name: str, title: str, unit: str, why: str, sample: int = 0) -> Figure:
    return Figure(name=name, title=title, unit=unit, value=None, sample=sample, note=why)


def made(
    name: str,
    title: str,
    unit: str,
    value: float,
    interval: Interval,
    sample: int,
    effective: float,
    unbound: str,
    note: str = "",
) -> Figure:
    """The figure; ``unbound`` is why there is none where ``value`` is not finite."""
    if not np.isfinite(value):
        return nothing(name, title, unit, unbound, sample)
    has_bounds = interval.low is not None or interval.high is not None
    notes = [note, interval.note, FEW_SEEN if has_bounds and effective < FEW else ""]
    return Figure(
        name=name,
        title=title,
        unit=unit,
        value=value,
        low=interval.low,
        high=interval.high,
        sample=sample,
        effective=effective,
        note="; ".join(n for n in notes if n),
    )


def _measured(equity: Equity, daily: Daily, how: How) -> Iterator[Figure]:
    days, returns = len(daily.day), daily.returns
    values, drawn = _values(returns, equity.compounds, how)
    effective = effective_days(returns, seed=how.seed, draws=how.draws) if how.draws else float(days)
    for i, m in enumerate(MEASURES):
        if days < m.days:
            yield nothing(m.name, m.title, m.unit, f"fewer than {m.days} days", days)
            continue
        interval = Interval() if drawn is None else interval_of(drawn[i])
        tail = f"{days} days hardly show a tail of one in {m.tail}" if days < m.tail else ""
        yield made(m.name, m.title, m.unit, float(values[i]), interval, days, effective, m.unbound, tail)


def _values(returns: Floats, compounds: bool, how: How) -> tuple[Floats, Floats | None]:
    """MEASURES (m,) of the returns, and (m, draws) of their draws."""

    def of(rows: Floats) -> Floats:
        sample = Sample(rows, compounds, how.year_days)
        return np.stack([m.of(sample) for m in MEASURES])

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = of(returns[None])[:, 0]
        drawn = [of(returns[at]) for at in _places(len(returns), how)]
    return values, np.concatenate(drawn, axis=1) if drawn else None


def _places(count: int, how: How) -> Iterator[Int64s]:
    if how.draws == 0 or count < 2:
        return iter(())
    return draws_of(count, block=block_length(count), seed=how.seed, draws=how.draws)


def _of_closes(equity: Equity, days: int) -> Iterator[Figure]:
    by_close = ("max_drawdown_by_close", "Largest drawdown, close by close", "ratio")
    longest = ("longest_drawdown", "Longest drawdown", "days")
    if not len(equity.trades):
        yield from (nothing(*name, NO_TRADES) for name in (by_close, longest))
        return
    count = len(equity.trades)
    deepest = float(drawdowns(equity).max(initial=0.0))
    yield made(*by_close, deepest, Interval(), count, float(count), "")
    yield made(*longest, longest_drawdown(equity) / DAY_NS, Interval(), days, float(days), "")


def _ratio_of_days(name: tuple[str, str, str], top: Floats, bottom: Floats, how: How) -> Figure:
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.divide(top.sum(), bottom.sum()))
        interval, effective = Interval(), float(len(top))
        if how.draws and len(top) >= 2:
            columns = np.stack([top, bottom])
            sums = sums_of_draws(columns, overlapping=1.0, seed=how.seed, draws=how.draws)
            interval = interval_of(sums[0] / sums[1])
            effective = effective_days(top, seed=how.seed, draws=how.draws)
    return made(*name, value, interval, len(top), effective, "no time passed")


def _common(daily: Daily, market: tuple[Int64s, Floats] | None) -> tuple[Floats, Floats]:
    if market is None:
        return np.empty(0), np.empty(0)
    known = np.isfinite(market[1])
    _, mine, theirs = np.intersect1d(daily.day, market[0][known], return_indices=True)
    return daily.returns[mine], market[1][known][theirs]


def _why_no_market(daily: Daily, market: tuple[Int64s, Floats] | None, common: int, is_ruined: bool) -> str:
    if market is None:
        return "no market to compare with"
    if is_ruined:
        return RUINED
    if not len(daily.day):
        return NO_TRADES
    return f"{common} days in common with the market" if common < 3 else ""
