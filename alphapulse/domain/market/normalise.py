"""Which rows of a file or feed become trades, which are repeats, and which are refused and why.

Pure. Rows come parsed but unjudged (raw.py); accepted ones leave ordered by id, no id twice, with
canonical decimals, and at last as columns with one exponent. A row is judged by itself and by what
has the same id, never by what happened to stand beside it: the same rows in other chunks or orders
end in the same set of trades.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.market.columns import (
    RECEIVE_TIME,
    Int8s,
    Int64s,
    TradeColumns,
    UInt8s,
)
from alphapulse.domain.market.events import RefusedRow
from alphapulse.domain.market.judging import (
    MAX_RAW_TEXT,
    Bools,
    Reasons,
    Rows,
    check_positive,
    check_time,
    decimal_text,
    even_parts,
    rescale,
    row_ids,
    scaled,
    segments,
    take,
)
from alphapulse.domain.market.raw import (
    BAD_SIDE,
    BLANK,
    OK,
    Decimals,
    RawTrades,
)

_INT128_MAX = float(2**127 - 1)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Accepted:
    """Trades that passed, ordered by id, no id twice. ``index`` is each one's place in ``raw``."""

    raw: RawTrades
    index: Rows
    time: Int64s
    price: Decimals
    size: Decimals
    side: Int8s
    id: Int64s
    flags: UInt8s

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: Rows | Bools) -> "Accepted":
        return Accepted(
            raw=self.raw,
            index=self.index[rows],
            time=self.time[rows],
            price=take(self.price, rows),
            size=take(self.size, rows),
            side=self.side[rows],
            id=self.id[rows],
            flags=self.flags[rows],
        )

    @property
    def rows(self) -> Int64s:
        """The file row of each trade, 1-based."""
        return self.raw.row[self.index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a chunk comes to: every row is accepted, a duplicate or refused."""

    accepted: Accepted
    duplicates: int
    refused: tuple[RefusedRow, ...]


def judge(raw: RawTrades, sha256: str) -> Verdict:
    """Judge each row by itself, then rows of the chunk that share an id: the lowest row wins."""
    n = len(raw)
    verdict = Reasons(n, raw.raw, raw.text)
    verdict.refuse_all(raw.refusal)
    verdict.refuse(~raw.whole, "", "too few or too many fields")
    time, flags = _times(raw, verdict)
    for field, numbers in (("price", raw.price), ("size", raw.size)):
        check_positive(verdict, field, numbers)
    ids = _ids(raw, sha256, verdict)
    verdict.refuse(raw.side == BAD_SIDE, "side", "side {text!r} is neither a buy nor a sell")
    kept = verdict.kept()
    kept = kept[np.argsort(ids[kept], kind="stable")]
    accepted = Accepted(
        raw=raw,
        index=kept,
        time=time[kept],
        price=raw.price.take(kept),
        size=raw.size.take(kept),
        side=raw.side[kept],
        id=ids[kept],
        flags=flags[kept],
    )
    return _without_repeats(accepted, tuple(verdict.refusals(raw.row)))


def against(verdict: Verdict, stored: Sequence[TradeColumns]) -> Verdict:
    """Take out what the log holds already: identical rows are duplicates, others with an id are refused."""
    accepted = verdict.accepted
    if not stored or not len(accepted):
        return verdict
    duplicate = np.zeros(len(accepted), dtype=np.bool_)
    known = np.zeros(len(accepted), dtype=np.bool_)
    refused = list(verdict.refused)
    for columns in stored:
        mine, theirs = _matches(accepted.id, columns.id)
        if len(mine) == 0:
            continue
        same = _same_as_stored(accepted, mine, columns, theirs)
        known[mine] = True
        duplicate[mine[same]] = True
        for i, j in zip(mine[~same].tolist(), theirs[~same].tolist(), strict=True):
            refused.append(_conflict(accepted, i, _stored_text(columns, j)))
    return Verdict(
        accepted=accepted.take(~known),
        duplicates=verdict.duplicates + int(duplicate.sum()),
        refused=tuple(refused),
    )


def batches(
    accepted: Accepted, *, price_exponent: int = 0, size_exponent: int = 0
) -> Iterator[tuple[TradeColumns, int]]:
    """``accepted`` as columns of at most MAX_ROWS, each with the lowest file row in it.

    The exponents are at least those given (what the instrument's stream uses already), wider where a
    price or size needs it. Where one exponent cannot hold all rows in int64, the finer rows go apart.
    """
    for part in segments(accepted.id):
        for rows in even_parts(part.start, part.stop):
            yield from _fit(accepted, rows, price_exponent, size_exponent)


def _fit(
    accepted: Accepted, rows: Rows, price_floor: int, size_floor: int
) -> Iterator[tuple[TradeColumns, int]]:
    price, price_exponent, price_fits = rescale(take(accepted.price, rows), price_floor)
    size, size_exponent, size_fits = rescale(take(accepted.size, rows), size_floor)
    together = price_fits & size_fits
    # A bar sums price times size in 128 bits: a batch must not overflow that by itself.
    widest = float(price.max()) * float(size.max()) * len(rows)
    if together.all() and (widest < _INT128_MAX or len(rows) == 1):
        columns = TradeColumns(
            time=accepted.time[rows],
            price=price,
            size=size,
            side=accepted.side[rows],
            id=accepted.id[rows],
            flags=accepted.flags[rows],
            price_exponent=price_exponent,
            size_exponent=size_exponent,
        )
        yield columns, int(accepted.rows[rows].min())
        return
    # Apart by what fits; where nothing does (or only the sum is too wide), in halves. One row always fits.
    half = np.arange(len(rows)) < len(rows) // 2
    first = together if together.any() and not together.all() else half
    for part in (rows[first], rows[~first]):
        yield from _fit(accepted, part, price_floor, size_floor)


def _times(raw: RawTrades, verdict: Reasons) -> tuple[Int64s, UInt8s]:
    """Each row's time, where blank the time of receipt, and the flag that says so."""
    time, status = raw.time.value, raw.time.status
    flags = np.zeros(len(raw), dtype=np.uint8)
    if raw.received is not None and (blank := status == BLANK).any():
        usable = blank & (raw.received.status == OK)
        time = np.where(usable, raw.received.value, time)
        status = np.where(usable, np.uint8(OK), status)
        flags[usable] = RECEIVE_TIME
    verdict.check_status("time", status)
    check_time(verdict, "time", time)
    return time, flags


def _ids(raw: RawTrades, sha256: str, verdict: Reasons) -> Int64s:
    if raw.id is None:
        return row_ids(sha256, raw.row)
    blank = raw.id.status == BLANK
    verdict.check_status("id", np.where(blank, np.uint8(OK), raw.id.status))
    verdict.refuse(~blank & (raw.id.value < 0), "id", "id {text!r} is below 0")
    if not blank.any():
        return raw.id.value
    return np.where(blank, row_ids(sha256, raw.row), raw.id.value)


def _without_repeats(sorted_rows: Accepted, refused: tuple[RefusedRow, ...]) -> Verdict:
    again = np.zeros(len(sorted_rows), dtype=np.bool_)
    again[1:] = sorted_rows.id[1:] == sorted_rows.id[:-1]
    if not again.any():
        return Verdict(accepted=sorted_rows, duplicates=0, refused=refused)
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(again))))
    mine = np.flatnonzero(again)
    same = _same_rows(sorted_rows, mine, first[mine])
    conflicts = [
        _conflict(sorted_rows, i, f"row {int(sorted_rows.rows[j])}")
        for i, j in zip(mine[~same].tolist(), first[mine[~same]].tolist(), strict=True)
    ]
    return Verdict(
        accepted=sorted_rows.take(~again), duplicates=int(same.sum()), refused=(*refused, *conflicts)
    )


def _same_rows(a: Accepted, i: Rows, j: Rows) -> Bools:
    same: Bools = (
        _same_times(a.time[i], a.flags[i], a.time[j], a.flags[j])
        & (a.price.mantissa[i] == a.price.mantissa[j])
        & (a.price.exponent[i] == a.price.exponent[j])
        & (a.size.mantissa[i] == a.size.mantissa[j])
        & (a.size.exponent[i] == a.size.exponent[j])
        & (a.side[i] == a.side[j])
    )
    return same


def _same_as_stored(a: Accepted, i: Rows, stored: TradeColumns, j: Rows) -> Bools:
    price, price_fits = scaled(take(a.price, i), stored.price_exponent)
    size, size_fits = scaled(take(a.size, i), stored.size_exponent)
    same: Bools = (
        _same_times(a.time[i], a.flags[i], stored.time[j], stored.flags[j])
        & (price_fits & (price == stored.price[j]))
        & (size_fits & (size == stored.size[j]))
        & (a.side[i] == stored.side[j])
    )
    return same


def _same_times(a: Int64s, a_flags: UInt8s, b: Int64s, b_flags: UInt8s) -> Bools:
    """Two polls of one trade without a time of its own see it at two times of receipt: no difference."""
    both_unknown: Bools = a_flags & b_flags & RECEIVE_TIME != 0
    same: Bools = both_unknown | ((a == b) & ((a_flags ^ b_flags) & RECEIVE_TIME == 0))
    return same


def _matches(mine: Int64s, theirs: Int64s) -> tuple[Rows, Rows]:
    """Places of the ids in both of two sorted arrays without repeats."""
    at = np.searchsorted(theirs, mine)
    found = np.flatnonzero(theirs[np.minimum(at, len(theirs) - 1)] == mine)
    return found, at[found]


def _conflict(a: Accepted, i: int, other: str) -> RefusedRow:
    at = int(a.index[i])
    return RefusedRow(
        row=int(a.raw.row[at]),
        reason=f"id {int(a.id[i])} was accepted before with other values: {other}",
        raw=a.raw.raw(at)[:MAX_RAW_TEXT],
    )


def _stored_text(c: TradeColumns, j: int) -> str:
    return (
        f"time {int(c.time[j])} ns, price {decimal_text(int(c.price[j]), c.price_exponent)}, "
        f"size {decimal_text(int(c.size[j]), c.size_exponent)}, side {int(c.side[j])}"
    )
