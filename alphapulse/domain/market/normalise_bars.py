"""Which bars of a venue's file are accepted, which are repeats, which are refused and why.

Pure, and the same rules as for trades (normalise.py). The open time identifies a bar. Beyond ranges, a
bar must begin where a bar of its timeframe begins and hold low <= open, close <= high.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.market.columns import BarColumns, Int8s, Int64s
from alphapulse.domain.market.events import RefusedRow
from alphapulse.domain.market.judging import (
    MAX_RAW_TEXT,
    Bools,
    Reasons,
    Rows,
    check_positive,
    check_time,
    even_parts,
    rescale,
    scaled,
    take,
)
from alphapulse.domain.market.raw import OK, Decimals, RawBars
from alphapulse.domain.market.timeframes import LABELS, MINUTE_NS, bar_start

_OPEN, _HIGH, _LOW, _CLOSE = range(4)
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AcceptedBars:
    """Bars that passed, ordered by start, no start twice.

    ``price`` has open, high, low, close as rows of shape (4, n) under one exponent a bar.
    """

    raw: RawBars
    index: Rows
    start: Int64s
    price: Int64s
    price_exponent: Int8s
    volume: Decimals
    trade_count: Int64s

    def __len__(self) -> int:
        return len(self.start)

    def take(self, rows: Rows | Bools) -> "AcceptedBars":
        return AcceptedBars(
            raw=self.raw,
            index=self.index[rows],
            start=self.start[rows],
            price=self.price[:, rows],
            price_exponent=self.price_exponent[rows],
            volume=take(self.volume, rows),
            trade_count=self.trade_count[rows],
        )

    @property
    def rows(self) -> Int64s:
        return self.raw.row[self.index]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarVerdict:
    accepted: AcceptedBars
    duplicates: int
    refused: tuple[RefusedRow, ...]


def judge_bars(raw: RawBars, *, timeframe_minutes: int, open_is_last_close: bool = False) -> BarVerdict:
    """Judge each row by itself, then rows of the chunk with the same start: the lowest row wins.

    ``open_is_last_close``: the venue opens a bar at the close before it, which may lie outside low..high.
    """
    reasons = Reasons(len(raw), raw.raw, raw.text)
    reasons.refuse_all(raw.refusal)
    reasons.refuse(~raw.whole, "", "too few or too many fields")
    reasons.check_status("start", raw.start.status)
    check_time(reasons, "start", raw.start.value)
    for field, numbers in (("open", raw.open), ("high", raw.high), ("low", raw.low), ("close", raw.close)):
        check_positive(reasons, field, numbers)
    check_positive(reasons, "volume", raw.volume, zero=True)
    price, exponent = _shared_exponent(raw, reasons)
    _check_shape(raw.start.value, price, timeframe_minutes, open_is_last_close, reasons)
    count = np.full(len(raw), -1, dtype=np.int64)
    if raw.trade_count is not None:
        reasons.refuse(
            (raw.trade_count.status > OK + 1) | (raw.trade_count.value < 0),
            "trade count",
            "{field} {text!r} is no count",
        )
        count = np.where(raw.trade_count.status == OK, raw.trade_count.value, -1)
    kept = reasons.kept()
    kept = kept[np.argsort(raw.start.value[kept], kind="stable")]
    accepted = AcceptedBars(
        raw=raw,
        index=kept,
        start=raw.start.value[kept],
        price=price[:, kept],
        price_exponent=exponent[kept],
        volume=raw.volume.take(kept),
        trade_count=count[kept],
    )
    return _without_repeats(accepted, tuple(reasons.refusals(raw.row)))


def bars_against(verdict: BarVerdict, stored: Sequence[BarColumns]) -> BarVerdict:
    """Take out what the log holds already: identical bars are duplicates, others are refused."""
    accepted = verdict.accepted
    known = np.zeros(len(accepted), dtype=np.bool_)
    duplicates, refused = verdict.duplicates, list(verdict.refused)
    for columns in stored:
        at = np.minimum(np.searchsorted(columns.start, accepted.start), len(columns) - 1)
        mine = np.flatnonzero(columns.start[at] == accepted.start)
        same = _same_as_stored(accepted, mine, columns, at[mine])
        known[mine] = True
        duplicates += int(same.sum())
        refused += [_conflict(accepted, i, "a bar in the log") for i in mine[~same].tolist()]
    return BarVerdict(accepted=accepted.take(~known), duplicates=duplicates, refused=tuple(refused))


def bar_batches(
    accepted: AcceptedBars, *, price_exponent: int = 0, volume_exponent: int = 0
) -> Iterator[tuple[BarColumns, int]]:
    """``accepted`` as columns of at most MAX_ROWS, each with the lowest file row; see normalise.batches."""
    for rows in even_parts(0, len(accepted)):
        yield from _fit(accepted, rows, price_exponent, volume_exponent)


def _fit(
    accepted: AcceptedBars, rows: Rows, price_floor: int, volume_floor: int
) -> Iterator[tuple[BarColumns, int]]:
    part = accepted.take(rows)
    price, price_exponent, price_fits = rescale(_prices(part), price_floor)
    volume, volume_exponent, volume_fits = rescale(part.volume, volume_floor)
    together = price_fits.all(axis=0) & volume_fits
    if together.all():
        columns = BarColumns(
            start=part.start,
            open=price[_OPEN],
            high=price[_HIGH],
            low=price[_LOW],
            close=price[_CLOSE],
            volume=volume,
            trade_count=part.trade_count,
            price_exponent=price_exponent,
            volume_exponent=volume_exponent,
        )
        yield columns, int(part.rows.min())
        return
    first = together if together.any() else np.arange(len(rows)) < len(rows) // 2
    for some in (rows[first], rows[~first]):
        yield from _fit(accepted, some, price_floor, volume_floor)


def _prices(bars: AcceptedBars) -> Decimals:
    return Decimals(bars.price, bars.price_exponent, np.zeros(len(bars), dtype=np.uint8))


def _shared_exponent(raw: RawBars, reasons: Reasons) -> tuple[Int64s, Int8s]:
    """Open, high, low, close of each row under the finest exponent that one of them needs."""
    four = (raw.open, raw.high, raw.low, raw.close)
    exponent = np.max([p.exponent for p in four], axis=0)
    price = np.empty((4, len(raw)), dtype=np.int64)
    for k, numbers in enumerate(four):
        price[k], fits = scaled(numbers, exponent.astype(np.int64))
        reasons.refuse(~fits, "", "open, high, low and close do not fit int64 under one exponent")
    return price, exponent


def _check_shape(
    start: Int64s, price: Int64s, timeframe_minutes: int, open_is_last_close: bool, reasons: Reasons
) -> None:
    begins = np.asarray(bar_start(start // MINUTE_NS, timeframe_minutes)) * MINUTE_NS
    reasons.refuse(
        begins != start, "start", f"start {{text!r}} is not where a {LABELS[timeframe_minutes]} bar begins"
    )
    o, h, low, c = price
    outside = (c < low) | (c > h) | (low > h)
    if not open_is_last_close:
        outside |= (o < low) | (o > h)
    reasons.refuse(outside, "", "low <= open, close <= high does not hold")


def _without_repeats(sorted_rows: AcceptedBars, refused: tuple[RefusedRow, ...]) -> BarVerdict:
    again = np.zeros(len(sorted_rows), dtype=np.bool_)
    again[1:] = sorted_rows.start[1:] == sorted_rows.start[:-1]
    if not again.any():
        return BarVerdict(accepted=sorted_rows, duplicates=0, refused=refused)
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(again))))
    mine = np.flatnonzero(again)
    same = _same_rows(sorted_rows, mine, first[mine])
    conflicts = [
        _conflict(sorted_rows, i, f"row {int(sorted_rows.rows[j])}")
        for i, j in zip(mine[~same].tolist(), first[mine[~same]].tolist(), strict=True)
    ]
    return BarVerdict(
        accepted=sorted_rows.take(~again), duplicates=int(same.sum()), refused=(*refused, *conflicts)
    )


def _same_rows(a: AcceptedBars, i: Rows, j: Rows) -> Bools:
    same: Bools = (
        (a.price[:, i] == a.price[:, j]).all(axis=0)
        & (a.price_exponent[i] == a.price_exponent[j])
        & (a.volume.mantissa[i] == a.volume.mantissa[j])
        & (a.volume.exponent[i] == a.volume.exponent[j])
        & (a.trade_count[i] == a.trade_count[j])
    )
    return same


def _same_as_stored(a: AcceptedBars, i: Rows, stored: BarColumns, j: Rows) -> Bools:
    bars = a.take(i)
    price, price_fits = scaled(_prices(bars), stored.price_exponent)
    volume, volume_fits = scaled(bars.volume, stored.volume_exponent)
    theirs = np.stack([stored.open[j], stored.high[j], stored.low[j], stored.close[j]])
    same: Bools = (
        (price_fits & (price == theirs)).all(axis=0)
        & (volume_fits & (volume == stored.volume[j]))
        & (bars.trade_count == stored.trade_count[j])
    )
    return same


def _conflict(a: AcceptedBars, i: int, other: str) -> RefusedRow:
    at = int(a.index[i])
    return RefusedRow(
        row=int(a.raw.row[at]),
        reason=f"the bar of {int(a.start[i]) // SECOND_NS} s was accepted before with other values: {other}",
        raw=a.raw.raw(at)[:MAX_RAW_TEXT],
    )
