"""Which funding rates of a file are accepted, which are repeats, which are refused and why.

Pure, and the same rules as for trades (normalise.py). The settlement's minute identifies a rate: two
polls of one settlement carry stamps some milliseconds apart, which is no difference. The rate and
the interval are its values.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.market.columns import MAX_EXPONENT, Int64s
from alphapulse.domain.market.events import RefusedRow
from alphapulse.domain.market.fundamentals import (
    MAX_INTERVAL_HOURS,
    MINUTE_NS,
    FundingColumns,
    settlement,
)
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.judging import (
    MAX_RAW_TEXT,
    Bools,
    Reasons,
    Rows,
    check_time,
    decimal_text,
    even_parts,
    rescale,
    scaled,
    take,
)
from alphapulse.domain.market.raw import BLANK, OK, Decimals, Integers

MAX_RATE = 1  # the whole position in one interval; venues cap at a few hundredths
_ONE = np.array([10**e for e in range(MAX_EXPONENT + 1)], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RawFunding:
    """n rows of one instrument, in file order, times in UTC; see raw.RawTrades."""

    instrument: Instrument
    refusal: str | None
    row: Int64s
    whole: NDArray[np.bool_]
    time: Integers
    rate: Decimals
    interval: Integers | None
    interval_hours: int | None  # where the file says nothing, or nothing in this row
    zero: Mapping[str, Decimals]  # columns that hold 0 in a file of funding rates, and prices in others
    raw: Callable[[int], str]
    text: Callable[[int, str], str]

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AcceptedFunding:
    """Rates that passed, ordered by settlement, none twice. ``index`` is each one's place in ``raw``."""

    raw: RawFunding
    index: Rows
    minute: Int64s
    time: Int64s
    rate: Decimals
    interval_hours: Int64s

    def __len__(self) -> int:
        return len(self.minute)

    def take(self, rows: Rows | Bools) -> "AcceptedFunding":
        return AcceptedFunding(
            raw=self.raw,
            index=self.index[rows],
            minute=self.minute[rows],
            time=self.time[rows],
            rate=take(self.rate, rows),
            interval_hours=self.interval_hours[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingVerdict:
    accepted: AcceptedFunding
    duplicates: int
    refused: tuple[RefusedRow, ...]


def judge_funding(raw: RawFunding) -> FundingVerdict:
    """Judge each row by itself, then rows of the chunk with one settlement: the lowest row wins."""
    reasons = Reasons(len(raw), raw.raw, raw.text)
    reasons.refuse_all(raw.refusal)
    reasons.refuse(~raw.whole, "", "too few or too many fields")
    reasons.check_status("time", raw.time.status)
    check_time(reasons, "time", raw.time.value)
    reasons.check_status("rate", raw.rate.status)
    large = np.abs(raw.rate.mantissa) > MAX_RATE * _ONE[raw.rate.exponent]
    reasons.refuse(
        large, "rate", f"{{field}} {{text!r}} is not between -{MAX_RATE} and {MAX_RATE} an interval"
    )
    for name, numbers in raw.zero.items():
        other = (numbers.status != OK) | (numbers.mantissa != 0)
        reasons.refuse(other, name, "{field} {text!r} is not 0: this is no row of funding rates")
    hours = _intervals(raw, reasons)
    kept = reasons.kept()
    minute = settlement(raw.time.value[kept])
    order = np.argsort(minute, kind="stable")
    kept = kept[order]
    accepted = AcceptedFunding(
        raw=raw,
        index=kept,
        minute=minute[order],
        time=raw.time.value[kept],
        rate=raw.rate.take(kept),
        interval_hours=hours[kept],
    )
    return _without_repeats(accepted, tuple(reasons.refusals(raw.row)))


def funding_against(verdict: FundingVerdict, stored: Sequence[FundingColumns]) -> FundingVerdict:
    """Take out what the log holds already: identical rates are duplicates, others are refused."""
    accepted = verdict.accepted
    known = np.zeros(len(accepted), dtype=np.bool_)
    duplicates, refused = verdict.duplicates, list(verdict.refused)
    for columns in stored:
        minutes = settlement(columns.time)
        at = np.minimum(np.searchsorted(minutes, accepted.minute), len(columns) - 1)
        mine = np.flatnonzero(minutes[at] == accepted.minute)
        same = _same_as_stored(accepted, mine, columns, at[mine])
        known[mine] = True
        duplicates += int(same.sum())
        refused += [
            _conflict(
                accepted, i, _text(int(columns.rate[j]), columns.rate_exponent, columns.interval_hours[j])
            )
            for i, j in zip(mine[~same].tolist(), at[mine[~same]].tolist(), strict=True)
        ]
    return FundingVerdict(accepted=accepted.take(~known), duplicates=duplicates, refused=tuple(refused))


def funding_batches(
    accepted: AcceptedFunding, *, rate_exponent: int = 0
) -> Iterator[tuple[FundingColumns, int]]:
    """``accepted`` as columns of at most MAX_ROWS, each with the lowest file row; see normalise.batches."""
    for rows in even_parts(0, len(accepted)):
        yield from _fit(accepted.take(rows), rate_exponent)


def _fit(part: AcceptedFunding, floor: int) -> Iterator[tuple[FundingColumns, int]]:
    # A rate is at most 1 and has at most 18 decimals: any exponent up to 18 holds it in int64.
    rate, exponent, fits = rescale(part.rate, floor)
    assert fits.all(), part.rate.mantissa[~fits]
    columns = FundingColumns(
        time=part.time, rate=rate, interval_hours=part.interval_hours, rate_exponent=exponent
    )
    yield columns, int(part.raw.row[part.index].min())


def _intervals(raw: RawFunding, reasons: Reasons) -> Int64s:
    default = raw.interval_hours or 0
    hours = np.full(len(raw), default, dtype=np.int64)
    if raw.interval is not None:
        unread = (raw.interval.status != OK) & (raw.interval.status != BLANK)
        reasons.refuse(unread, "interval", "{field} {text!r} cannot be read as hours")
        hours = np.where(raw.interval.status == OK, raw.interval.value, default)
    outside = (hours < 1) | (hours > MAX_INTERVAL_HOURS)
    reasons.refuse(outside, "interval", f"{{field}} {{text!r}} is not 1 to {MAX_INTERVAL_HOURS} hours")
    return hours


def _without_repeats(sorted_rows: AcceptedFunding, refused: tuple[RefusedRow, ...]) -> FundingVerdict:
    again = np.zeros(len(sorted_rows), dtype=np.bool_)
    again[1:] = sorted_rows.minute[1:] == sorted_rows.minute[:-1]
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(again))))
    mine = np.flatnonzero(again)
    same = _same_rows(sorted_rows, mine, first[mine])
    conflicts = [
        _conflict(sorted_rows, i, f"row {int(sorted_rows.raw.row[sorted_rows.index[j]])}")
        for i, j in zip(mine[~same].tolist(), first[mine[~same]].tolist(), strict=True)
    ]
    return FundingVerdict(
        accepted=sorted_rows.take(~again), duplicates=int(same.sum()), refused=(*refused, *conflicts)
    )


def _same_rows(a: AcceptedFunding, i: Rows, j: Rows) -> Bools:
    same: Bools = (
        (a.rate.mantissa[i] == a.rate.mantissa[j])
        & (a.rate.exponent[i] == a.rate.exponent[j])
        & (a.interval_hours[i] == a.interval_hours[j])
    )
    return same


def _same_as_stored(a: AcceptedFunding, i: Rows, stored: FundingColumns, j: Rows) -> Bools:
    rate, fits = scaled(take(a.rate, i), stored.rate_exponent)
    same: Bools = fits & (rate == stored.rate[j]) & (a.interval_hours[i] == stored.interval_hours[j])
    return same


def _text(rate: int, exponent: int, hours: int) -> str:
    return f"rate {decimal_text(rate, exponent)} for {int(hours)} h"


def _conflict(a: AcceptedFunding, i: int, other: str) -> RefusedRow:
    at = int(a.index[i])
    when = np.datetime64(int(a.minute[i]) * MINUTE_NS, "ns").astype("datetime64[m]")
    return RefusedRow(
        row=int(a.raw.row[at]),
        reason=f"the settlement of {when}Z was accepted before with other values: {other}",
        raw=a.raw.raw(at)[:MAX_RAW_TEXT],
    )
