"""Trades become bars: exact, in any order and chunking, revised per event."""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.domain.market import kernels as k
from alphapulse.domain.market.candles import (
    MAX_PARTIAL_SUM,
    Batch,
    PartialBars,
    SumTooLarge,
    Table,
    extent,
    fold_batches,
    wide,
)
from alphapulse.domain.market.columns import TradeColumns
from tests.candle_oracle import MINUTE, TIMEFRAMES, bars_of
from tests.domain.test_normalise import Row, import_all

T0 = 1_600_000_000 * 10**9
Trade = tuple[int, int, int, int, int]  # time, price, size, side, flags


def columns(
    trades: Sequence[Trade], ids: Sequence[int], price_exponent: int = 2, size_exponent: int = 8
) -> TradeColumns:
    table = np.array(trades, dtype=np.int64).reshape(-1, 5)
    return TradeColumns(
        time=table[:, 0].copy(),
        price=table[:, 1].copy(),
        size=table[:, 2].copy(),
        side=table[:, 3].astype(np.int8),
        id=np.array(ids, dtype=np.int64),
        flags=table[:, 4].astype(np.uint8),
        price_exponent=price_exponent,
        size_exponent=size_exponent,
    )


def batches(log: Sequence[tuple[int, TradeColumns | int]]) -> list[Batch]:
    """As a projection hands them on: each with the high water before it."""
    found, high_water = [], 0
    for position, event in log:
        if isinstance(event, int):
            high_water = max(high_water, event)
        else:
            found.append(Batch(event, extent(event), position, high_water))
            high_water = max(high_water, int(event.time.max()))
    return found


def sums(table: Table, field: int) -> list[int]:
    return [wide(bar, field) for bar in table.tolist()]


def rows(partial: PartialBars) -> dict[tuple[int, int], dict[str, Any]]:
    """What one partial holds, in the oracle's words."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    pe, se = partial.price_exponent, partial.size_exponent
    with localcontext(prec=200):
        for timeframe, table in partial.tables.items():
            for bar in table.tolist():
                base, buy, quote = (wide(bar, f) for f in (k.BASE_HI, k.BUY_HI, k.QUOTE_HI))
                found[timeframe, bar[k.MINUTE]] = {
                    "open": Decimal(bar[k.OPEN]).scaleb(-pe),
                    "high": Decimal(bar[k.HIGH]).scaleb(-pe),
                    "low": Decimal(bar[k.LOW]).scaleb(-pe),
                    "close": Decimal(bar[k.CLOSE]).scaleb(-pe),
                    "base_volume": Decimal(base).scaleb(-se),
                    "quote_volume": Decimal(quote).scaleb(-pe - se),
                    "taker_buy_volume": Decimal(buy).scaleb(-se),
                    "trade_count": bar[k.COUNT],
                    "open_time": bar[k.OPEN_TIME],
                    "open_id": bar[k.OPEN_ID],
                    "close_time": bar[k.CLOSE_TIME],
                    "close_id": bar[k.CLOSE_ID],
                    "minutes": bar[k.MINUTES],
                    "revision": bar[k.REVISION],
                    "flags": bar[k.FLAGS],
                    "position": bar[k.POSITION],
                }
    return found


def merged(partials: Sequence[PartialBars]) -> dict[tuple[int, int], dict[str, Any]]:
    """The bars that the partials make together, by the rules of the table's upsert."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for partial in partials:
        for key, bar in rows(partial).items():
            found[key] = _upserted(found[key], bar) if key in found else dict(bar)
    for (timeframe, start), bar in found.items():  # a minute may stand in several partials and counts once
        inside = {m for tf, m in found if tf == 1 and start <= m < start + timeframe}
        bar["minutes"] = len(inside)
    return found


def _upserted(held: dict[str, Any], bar: dict[str, Any]) -> dict[str, Any]:
    first = min(held, bar, key=lambda b: (b["open_time"], b["open_id"]))
    last = max(held, bar, key=lambda b: (b["close_time"], b["close_id"]))
    sums = ("base_volume", "quote_volume", "taker_buy_volume", "trade_count", "revision")
    with localcontext(prec=200):
        added = {name: held[name] + bar[name] for name in sums}
    return added | {
        **{name: first[name] for name in ("open", "open_time", "open_id")},
        **{name: last[name] for name in ("close", "close_time", "close_id")},
        "high": max(held["high"], bar["high"]),
        "low": min(held["low"], bar["low"]),
        "flags": held["flags"] | bar["flags"],
        "position": max(held["position"], bar["position"]),
        "minutes": 0,
    }


times = st.one_of(
    st.integers(0, 20 * MINUTE),  # within a few bars
    st.integers(0, 30 * 1440 * MINUTE),  # over weeks
    st.integers(0, 3).map(lambda m: m * MINUTE),  # on the edges
).map(lambda t: T0 + t)
trade = st.tuples(
    times,
    st.one_of(st.integers(1, 100), st.integers(1, 1 << 40)),
    st.one_of(st.integers(0, 10**9), st.integers(0, 1 << 50)),  # at exponent 4 over 63 bits: more partials
    st.sampled_from([1, -1, 0]),
    st.integers(0, 3),
)


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[int, TradeColumns | int]]:
    """Events of one instrument: trades in any order and chunks, exponents that change, watermarks."""
    trades = draw(st.lists(trade, min_size=1, max_size=40))
    ids = draw(st.permutations(range(len(trades))))
    log: list[tuple[int, TradeColumns | int]] = []
    position, row = 0, 0
    while row < len(trades):
        position += draw(st.integers(1, 3))
        if draw(st.integers(0, 4)) == 4:
            log.append((position, draw(times)))
            continue
        n = draw(st.integers(1, len(trades) - row))
        exponents = draw(st.integers(0, 4)), draw(st.integers(0, 4))
        log.append((position, columns(trades[row : row + n], ids[row : row + n], *exponents)))
        row += n
    return log


@given(logs())
@settings(deadline=None)
def test_bars_are_those_of_the_book(log: list[tuple[int, TradeColumns | int]]) -> None:
    assert merged(fold_batches(batches(log), last_time=0)) == bars_of(log)


@given(st.lists(trade, min_size=1, max_size=60), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_any_order_and_chunking_gives_the_same_bars(trades: list[Trade], random: object) -> None:
    ids = list(range(len(trades)))
    whole = fold_batches(batches([(1, columns(trades, ids))]), last_time=0)
    order = list(ids)
    random.shuffle(order)  # type: ignore[attr-defined]
    log: list[tuple[int, TradeColumns | int]] = []
    while order:
        n = random.randint(1, len(order))  # type: ignore[attr-defined]
        log.append((len(log) + 1, columns([trades[i] for i in order[:n]], order[:n])))
        order = order[n:]
    chunked = fold_batches(batches(log), last_time=0)
    assert timeless(merged(whole)) == timeless(merged(chunked))


few_rows = st.lists(
    st.builds(
        Row,
        id=st.integers(0, 1_000),
        time=times,
        price=st.sampled_from(["1", "0.5", "1406502.0", "0.00141342"]),
        size=st.sampled_from(["1", "0.00000001", "23.0"]),
        side=st.sampled_from([1, -1, 0]),
    ),
    max_size=15,
    unique_by=lambda row: row.id,
)


@given(few_rows, st.data())
@settings(max_examples=40)
def test_rows_that_come_twice_in_any_order_and_chunks_make_the_bars_of_each_once(
    rows: list[Row], data: st.DataObject
) -> None:
    """From raw rows on: what the normaliser hands on, folded, is what the book says of each row once."""
    repeated = data.draw(st.lists(st.sampled_from(rows), max_size=10)) if rows else []
    order = data.draw(st.permutations([*rows, *repeated]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    chunks = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    once, twice = (list(enumerate(import_all(each)[0], start=1)) for each in ([rows], chunks))
    folded = merged(fold_batches(batches(twice), last_time=0))
    assert timeless(folded) == timeless(bars_of(once))


def timeless(bars: dict[tuple[int, int], dict[str, Any]]) -> dict[tuple[int, int], dict[str, Any]]:
    """Without what depends on the log that they come from."""
    own = {"revision", "position"}
    return {key: {field: bar[field] for field in bar.keys() - own} for key, bar in bars.items()}


def test_many_minutes_and_many_late_touches_outgrow_the_first_tables() -> None:
    n = 1000
    one = columns([(T0 + i * MINUTE, 100 + i, 5, 1, 0) for i in range(n)], range(n))
    two = columns([(T0 + i * MINUTE, 200 + i, 7, -1, 0) for i in reversed(range(n))], range(n, 2 * n))
    log: list[tuple[int, TradeColumns | int]] = [(1, one), (2, T0 + 5000 * MINUTE), (3, two)]
    (partial,) = fold_batches(batches(log), last_time=0)
    assert rows(partial) == bars_of(log)
    assert len(partial.tables[1]) == n
    assert partial.tables[1][:, k.REVISION].tolist() == [1] * n


def test_an_event_revises_an_ended_bar_once_and_an_open_one_never() -> None:
    first = columns([(T0 + 2 * MINUTE, 1, 1, 1, 0)], [1])
    late = columns([(T0, 1, 1, 1, 0), (T0 + MINUTE, 1, 1, 1, 0), (T0 + 1, 1, 1, 1, 0)], [2, 3, 4])
    (partial,) = fold_batches(batches([(1, first), (2, late), (3, late)]))
    found = rows(partial)
    start = T0 // MINUTE
    assert [found[1, start + i]["revision"] for i in range(3)] == [2, 2, 0]
    assert all(row["revision"] == 0 for (timeframe, _), row in found.items() if timeframe >= 60)


def test_sums_pass_64_bits() -> None:
    largest = (1 << 62) - 1
    trades = [(T0 + i, 3, largest, 1, 0) for i in range(100)]
    log: list[tuple[int, TradeColumns | int]] = [(1, columns(trades, range(100), 0, 0))]
    (partial,) = fold_batches(batches(log), last_time=0)
    assert rows(partial) == bars_of(log)
    assert sums(partial.tables[10080], k.BASE_HI) == [100 * largest]


@given(
    st.lists(st.tuples(st.integers(-(2**50), 2**50), st.integers(-(2**50), 2**50)), min_size=1, max_size=20)
)
@settings(deadline=None)
def test_products_are_exact_with_any_signs(pairs: list[tuple[int, int]]) -> None:
    made = columns([(T0 + i, p, s, -1, 0) for i, (p, s) in enumerate(pairs)], range(len(pairs)), 0, 0)
    (partial,) = fold_batches(batches([(1, made)]))
    assert sums(partial.tables[1], k.QUOTE_HI) == [sum(p * s for p, s in pairs)]
    assert sums(partial.tables[1], k.BASE_HI) == [sum(s for _, s in pairs)]


def test_exponents_too_far_apart_for_64_bits_stay_in_partials_of_their_own() -> None:
    coarse = columns([(T0, (1 << 62), 1, 1, 0)], [1], 0, 0)
    fine = columns([(T0, 5, 1, 1, 0)], [2], 18, 0)
    partials = fold_batches(batches([(1, coarse), (2, fine)]))
    assert [(p.price_exponent, len(p.tables[1])) for p in partials] == [(0, 1), (18, 1)]
    assert partials[1].tables[1][0, k.OPEN] == 5


def test_sums_that_would_pass_128_bits_are_split_between_events() -> None:
    huge = columns([(T0, 1 << 52, 1 << 52, 1, 0)], [1], 0, 0)
    copies = MAX_PARTIAL_SUM // (1 << 104)
    log: list[tuple[int, TradeColumns | int]] = [(i + 1, huge) for i in range(copies + 1)]
    partials = fold_batches(batches(log))
    assert len(partials) == 2
    assert sum(sums(p.tables[1], k.QUOTE_HI)[0] for p in partials) == (copies + 1) << 104


def test_an_event_over_the_limit_is_refused_with_its_values() -> None:
    made = columns([(T0, 1 << 60, 1 << 60, 1, 0)], [1], 0, 0)
    with pytest.raises(SumTooLarge, match=f"event at 7: 1 trades of up to {1 << 60} x {1 << 60}"):
        fold_batches(batches([(7, made)]))


def test_only_minutes_after_the_last_trade_are_known_to_be_new() -> None:
    made = columns([(T0 + i * MINUTE, 1, 1, 1, 0) for i in range(4)], range(4))
    (partial,) = fold_batches(batches([(1, made)]), last_time=T0 + MINUTE)
    assert partial.tables[1][:, k.MINUTES].tolist() == [0, 0, 1, 1]
    (partial,) = fold_batches(batches([(1, made)]), last_time=None)
    assert not partial.tables[10080][:, k.MINUTES].any()


def test_weeks_begin_on_monday() -> None:
    sunday = 1_704_671_999 * 10**9  # 2024-01-07T23:59:59Z
    made = columns([(sunday, 1, 1, 1, 0), (sunday + 10**9, 1, 1, 1, 0)], [1, 2])
    (partial,) = fold_batches(batches([(1, made)]))
    assert [m * 60 for m in partial.tables[10080][:, k.MINUTE].tolist()] == [1_704_067_200, 1_704_672_000]
    assert tuple(partial.tables) == TIMEFRAMES
