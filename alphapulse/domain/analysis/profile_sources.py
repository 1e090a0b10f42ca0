"""Volume profiles, exact from trades and approximated from bars; whole, by session, and the delta by time.

From trades, prices fall into bins and sizes are summed as the integers that the log holds: the bins add up to
the volume of the trades. From bars, and labelled so, a bar's volume is spread evenly over the prices from
its low to its high, in whole units again: the sum is right and only the places are guessed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import HIGH, LOW, TAKER_BUY, TIME, TRADES, VOLUME, Floats, Int64s
from alphapulse.domain.analysis.profile import ROWS, Bins, Grid, Profile, TooLarge, Whole, check_bins, trimmed
from alphapulse.domain.analysis.profile_kernels import fold_bars, fold_trades
from alphapulse.domain.market.columns import TradeColumns
from alphapulse.domain.market.timeframes import MINUTE_NS

MAX_SESSIONS = 10_000
DAY = 1440  # minutes

_EXACT_FLOAT = 1 << 53
_MAX_TICKS = 1 << 31  # in the range of a bar
_NOISE = 1e-15  # relative: 0.1 + 0.2 has one decimal place


class TooManySessions(ValueError):
    """More sessions than one answer may have: ask for a shorter time, or longer sessions."""


def profile_of_trades(batches: Iterable[TradeColumns], grid: Grid) -> Profile:
    """The exact profile of all trades, in whatever order and batches they come.

    Raises:
        TooManyBins, TooLarge: the prices do not fit ``grid``.
    """
    bins = Bins(grid, exact=True)
    for columns in batches:
        bins.add(_of_batch(columns, grid))
    return bins.profile()


def session_profiles(
    batches: Iterable[TradeColumns], grid: Grid, *, minutes: int = DAY, anchor: int = 0
) -> dict[int, Profile]:
    """The exact profile of each session by its start (minutes since 1970 UTC), oldest first.

    Sessions are ``minutes`` long and begin ``anchor`` minutes after midnight 1970-01-01 UTC; a trade
    belongs to the one that its own time falls in. Those without trades are missing.

    Raises:
        TooManySessions, TooManyBins, TooLarge.
    """
    sessions: dict[int, Bins] = {}
    for columns in batches:
        for start, rows in _by_session(columns.time // MINUTE_NS, minutes, anchor, len(sessions)):
            bins = sessions.setdefault(start, Bins(grid, exact=True))
            _check_sessions(len(sessions))
            bins.add(_of_batch(columns.take(rows), grid))
    return {start: sessions[start].profile() for start in sorted(sessions)}


def profile_of_bars(
    values: Floats, grid: Grid, *, price_exponent: int | None = None, size_exponent: int | None = None
) -> Profile:
    """A profile approximated from bars ``values`` (INPUTS, T): each volume evenly from low to high.

    A bar covers every price of its range in steps of 10**-price_exponent, the finest that its market has;
    volumes are rounded to 10**-size_exponent. Without them the prices and volumes tell. A bar whose volume
    is NaN counts nothing, one whose taker side is NaN has volume of unknown side.

    Raises:
        TooManyBins, TooLarge: the bars do not fit ``grid`` or these units.
    """
    price_exponent = _tick_places(values) if price_exponent is None else price_exponent
    size_exponent = decimals(values[[VOLUME, TAKER_BUY]]) if size_exponent is None else size_exponent
    exponent = max(price_exponent, grid.exponent)
    low, high = _units(values[LOW], exponent, "price"), _units(values[HIGH], exponent, "price")
    per_bin = grid.mantissa * 10 ** (exponent - grid.exponent)
    amounts = _amounts(values, size_exponent)
    if not len(low):
        return Bins(grid, exact=False).profile()
    if per_bin >= 1 << 62 or int((high - low).max()) >= _MAX_TICKS:
        raise TooLarge(f"bars of up to {int((high - low).max())} ticks in bins of {per_bin}")
    first, last = int(low.min()) // per_bin, int(high.max()) // per_bin
    check_bins(first, last, grid)
    limbs = np.zeros((ROWS, 2, last - first + 1), dtype=np.int64)
    fold_bars(low, high, amounts, per_bin, first, limbs)
    first, cells = trimmed(first, _joined(limbs))
    return Profile(grid=grid, size_exponent=size_exponent, first=first, cells=cells, exact=False)


def session_profiles_of_bars(
    values: Floats,
    grid: Grid,
    *,
    minutes: int = DAY,
    anchor: int = 0,
    price_exponent: int | None = None,
    size_exponent: int | None = None,
) -> dict[int, Profile]:
    """Approximated profiles by session, as session_profiles; a bar belongs to the session it opens in."""
    price_exponent = _tick_places(values) if price_exponent is None else price_exponent
    size_exponent = decimals(values[[VOLUME, TAKER_BUY]]) if size_exponent is None else size_exponent
    parts = _by_session(values[TIME].astype(np.int64), minutes, anchor, 0)
    return {
        start: profile_of_bars(
            values[:, rows], grid, price_exponent=price_exponent, size_exponent=size_exponent
        )
        for start, rows in parts
    }


@dataclass(frozen=True, slots=True, eq=False)
class DeltaSeries:
    """What takers bought less what they sold, by time; integers in units of 10**-size_exponent."""

    start: Int64s  # (n,) minutes since 1970 UTC; spans without trades are missing
    delta: Sequence[int]
    cumulative: Sequence[int]
    size_exponent: int


def delta_series(batches: Iterable[TradeColumns], *, minutes: int = 1) -> DeltaSeries:
    """The exact delta of each span of ``minutes``, and its sum so far, in any order of the trades."""
    found: dict[int, int] = {}
    exponent = 0
    for columns in batches:
        if columns.size_exponent > exponent:
            found = {at: value * 10 ** (columns.size_exponent - exponent) for at, value in found.items()}
            exponent = columns.size_exponent
        factor = 10 ** (exponent - columns.size_exponent)
        for start, rows in _by_session(columns.time // MINUTE_NS, minutes, 0, None):
            signed = columns.size[rows].astype(object) * columns.side[rows]
            found[start] = found.get(start, 0) + int(signed.sum()) * factor
    starts = sorted(found)
    delta = [found[start] for start in starts]
    cumulative = np.cumsum(np.array(delta, dtype=object)).tolist() if delta else []
    return DeltaSeries(np.array(starts, dtype=np.int64), delta, cumulative, exponent)


def decimals(values: Floats, *, at_most: int = 12) -> int:
    """How many decimal places all of ``values`` have; with more than ``at_most`` what still is exact."""
    known = np.abs(values[np.isfinite(values)])
    top = float(known.max(initial=0.0))
    for places in range(at_most + 1):
        if top * 10.0**places >= _EXACT_FLOAT:
            return max(0, places - 1)
        if (np.abs(np.rint(known * 10.0**places) / 10.0**places - known) <= _NOISE * known).all():
            return places
    return at_most


def _tick_places(values: Floats) -> int:
    """Decimal places of the prices of bars, as long as no bar has more ticks than it may."""
    widest = float((values[HIGH] - values[LOW]).max(initial=0.0))
    places = decimals(values[[HIGH, LOW]])
    while places and widest * 10.0**places >= _MAX_TICKS - 1:
        places -= 1
    return places


def _of_batch(columns: TradeColumns, grid: Grid) -> Profile:
    """The profile of one batch."""
    bins = grid.bins(columns.price, columns.price_exponent)
    if not len(bins):
        return Bins(grid, exact=True).profile()
    first, last = int(bins.min()), int(bins.max())
    check_bins(first, last, grid)
    limbs = np.zeros((ROWS, 2, last - first + 1), dtype=np.int64)
    fold_trades(bins, columns.size, columns.side, first, limbs)
    return Profile(
        grid=grid,
        size_exponent=columns.size_exponent,
        first=first,
        cells=_joined(limbs),
        exact=True,
    )


def _by_session(
    minute: Int64s, length: int, anchor: int, known: int | None
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Start of each session and the rows that fall in it. ``known``: sessions there are already."""
    if length < 1:
        raise ValueError(f"sessions of {length} minutes")
    session = (minute - anchor) // length
    order = np.argsort(session, kind="stable")
    cuts = np.flatnonzero(np.diff(session[order])) + 1
    if known is not None and len(cuts) >= MAX_SESSIONS:
        _check_sessions(len(cuts) + 1)
    for rows in np.split(order, cuts):
        if len(rows):
            yield int(session[rows[0]]) * length + anchor, rows


def _check_sessions(count: int) -> None:
    if count > MAX_SESSIONS:
        raise TooManySessions(f"{count} sessions or more, at most {MAX_SESSIONS}")


def _joined(limbs: Int64s) -> Whole:
    """Sums from their high and low halves of 32 bits."""
    whole: Any = limbs.astype(object)
    joined: Whole = whole[:, 0] * (1 << 32) + whole[:, 1]
    return joined


def _units(values: Floats, exponent: int, what: str) -> Int64s:
    """``values`` as integers in units of 10**-exponent."""
    scaled = np.rint(values * 10.0**exponent)
    if not (np.abs(scaled) < _EXACT_FLOAT).all():
        raise TooLarge(f"a {what} of {float(np.abs(values).max()):g} in units of 1e-{exponent}")
    return scaled.astype(np.int64)


def _amounts(values: Floats, exponent: int) -> Int64s:
    """(4, T): what is to be spread of each bar, the rows of a profile's cells."""
    known = np.nan_to_num(values, nan=0.0)
    volume = _units(known[VOLUME], exponent, "volume")
    bought = _units(known[TAKER_BUY], exponent, "volume")
    sold = np.where(np.isnan(values[TAKER_BUY]), 0, volume - bought)
    return np.stack([volume, bought, sold, _units(known[TRADES], 0, "number of trades")])
