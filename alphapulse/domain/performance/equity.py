"""The equity of a set of trades: after each close, at the end of each day, and what of it was in the market.

Signals compound as in their book (signals/book.py): the notional is the size times the equity at the
opening, so later results rest on earlier ones. What was refused has no size: it is taken at a fixed risk, a
share of the equity at the beginning, and adds up. Equity is 1 at the beginning; times are ns by the venue's
clock, days are of UTC, numbered from 1970-01-01. Only what is closed counts: an open position is worth its
entry.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.intervals import BadSample
from alphapulse.domain.performance.trades import Trades
from alphapulse.domain.signals.idea import DAY_NS

SETS: dict[str, Callable[[Trades], Trades]] = {
    "signals": lambda trades: trades.signals,
    "candidates": lambda trades: trades,  # signals too, at the same risk as the others
    "refused": lambda trades: trades.refused,
}


@dataclass(frozen=True, slots=True, eq=False)
class Equity:
    """``contribution`` and ``notional`` (n,) by trade; ``time``, ``value`` (m,) after each time of a close.

    ``begin`` is the first opening or the beginning asked for, ``end`` the last close or the end asked for:
    both are 0 without trades.
    """

    trades: Trades
    compounds: bool  # False: contributions are shares of the equity at the beginning, whatever came before
    size: Floats  # (n,) notional as a share of the equity at the opening
    notional: Floats  # in units of the equity at the beginning
    contribution: Floats  # in the same
    time: Int64s
    value: Floats
    begin: int
    end: int

    @property
    def final(self) -> float:
        return float(self.value[-1]) if len(self.value) else 1.0

    @property
    def is_ruined(self) -> bool:
        """All was lost at some time: what follows cannot be told as a share of what there was."""
        return self.compounds and bool((self.value <= 0).any())

    def at(self, times: Int64s) -> Floats:
        """The equity after all that closed up to each of ``times``, itself included."""
        return np.concatenate([[1.0], self.value])[np.searchsorted(self.time, times, side="right")]


@dataclass(frozen=True, slots=True, eq=False)
class Daily:
    """Days (n,), each with the equity at its end and its return: a share of the equity at the end before.

    Where contributions add up it is a share of the equity at the beginning.
    """

    day: Int64s
    end: Floats
    returns: Floats


def equity_of(
    trades: Trades, *, of: str, risk_ratio: float, since: int | None = None, until: int | None = None
) -> Equity:
    """The equity of those ``of`` the trades (one of SETS) that closed up to ``until``.

    ``since``: an earlier beginning than the first opening; a later one changes nothing. ``risk_ratio``: what
    each candidate is taken to risk, as a share of the equity at the beginning.

    Raises:
        BadSample: no such set, a risk that is not between 0 and 1, an outcome before its decision, or values
            that are not finite.
    """
    if of not in SETS:
        raise BadSample(f"{of} is none of {', '.join(SETS)}")
    if not 0 < risk_ratio <= 1:
        raise BadSample(f"a risk of {risk_ratio} is not between 0 and 1")
    chosen = SETS[of](trades)
    chosen = chosen if until is None else chosen.take(chosen.closed <= until)
    _check(chosen)
    compounds = of == "signals"
    size = chosen.size_ratio if compounds else _sizes_at_risk(chosen, risk_ratio)
    notional = _notional(chosen) if compounds else size
    contribution = notional * chosen.net_bps / 1e4 if compounds else risk_ratio * chosen.net_r
    time, value = _after_closes(chosen.closed, contribution)
    first = int(chosen.opened.min()) if len(chosen) else 0
    begin = min(first, since) if len(chosen) and since is not None else first
    end = max(int(time[-1]), until or 0) if len(chosen) else 0
    return Equity(chosen, compounds, size, notional, contribution, time, value, begin, end)


def daily_of(equity: Equity) -> Daily:
    """Every day from the beginning to the end, also those without a close; none without trades.

    Once all is lost there are no more returns: the figures that need them cannot be said.
    """
    if not len(equity.trades):
        return Daily(np.empty(0, np.int64), np.empty(0), np.empty(0))
    days = np.arange(equity.begin // DAY_NS, equity.end // DAY_NS + 1)
    ends = equity.at((days + 1) * DAY_NS - 1)
    before = np.concatenate([[1.0], ends[:-1]])
    gains = ends - before
    if equity.is_ruined:
        return Daily(days, ends, np.full(len(days), np.nan))
    return Daily(days, ends, gains / before if equity.compounds else gains)


def _check(trades: Trades) -> None:
    if np.any(trades.closed < trades.opened):
        at = int(np.argmax(trades.closed < trades.opened))
        raise BadSample(
            f"{trades.decision[at]} opened at {trades.opened[at]} and closed at {trades.closed[at]}"
        )
    for name in ("size_ratio", "net_bps", "net_r", "gross_bps"):
        values = getattr(trades, name)
        if not np.isfinite(values).all():
            at = int(np.argmin(np.isfinite(values)))
            raise BadSample(f"{name} of {trades.decision[at]} is {values[at]}")


def _sizes_at_risk(trades: Trades, risk_ratio: float) -> Floats:
    """Risk over the distance of the stop; 0 where the net return is 0, which does not tell the distance."""
    known = (trades.net_bps != 0) & (trades.net_r != 0)
    distance = np.divide(trades.net_bps, trades.net_r * 1e4, out=np.ones(len(trades)), where=known)
    return np.where(known, risk_ratio / np.abs(distance), 0.0)


def _notional(trades: Trades) -> Floats:
    """(n,) in units of the equity at the beginning, as the book has it.

    A close comes before an opening at the same time, unless it is of the trade that opens then.
    """
    count = len(trades)
    time = np.concatenate([trades.closed, trades.opened])
    turn = np.concatenate([np.where(trades.closed > trades.opened, 0, 2), np.ones(count, np.int64)])
    size, net = trades.size_ratio.tolist(), trades.net_bps.tolist()
    notional, equity = [0.0] * count, 1.0
    for event in np.lexsort((turn, time)).tolist():
        if event < count:
            equity += notional[event] * net[event] / 1e4
        else:
            notional[event - count] = size[event - count] * equity
    return np.array(notional)


def _after_closes(closed: Int64s, contribution: Floats) -> tuple[Int64s, Floats]:
    order = np.argsort(closed, kind="stable")
    times = closed[order]
    values = np.cumsum(np.concatenate([[1.0], contribution[order]]))[1:]
    last = np.append(np.diff(times) > 0, np.ones(min(len(times), 1), np.bool_))
    return times[last], values[last]
