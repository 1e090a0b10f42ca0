"""The normaliser: any order and chunking of the same rows ends in the same trades; refusals say why."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.market.columns import (
    BUY,
    MAX_ROWS,
    RECEIVE_TIME,
    ROW_ID_BIT,
    SELL,
    UNKNOWN,
    TradeColumns,
)
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.judging import decimal_text, row_ids, segments
from alphapulse.domain.market.normalise import Verdict, against, batches, judge
from alphapulse.domain.market.normalise_bars import bar_batches, bars_against, judge_bars
from alphapulse.domain.market.raw import (
    BAD_SIDE,
    BLANK,
    MALFORMED,
    NOT_A_NUMBER,
    OK,
    TOO_FINE,
    TOO_LARGE,
    Decimals,
    Integers,
    RawBars,
    RawTrades,
)  # fmt: skip

BTC = Instrument("venue", "BTC_USD")
SHA = "c0ffee" + "0" * 58
T = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class Row:
    """One raw row. ``id`` None: blank. ``time`` None: blank, received then."""

    id: int | None = 1
    time: int | None = T
    price: str = "100.5"
    size: str = "2"
    side: int = BUY
    received: int = T + 7


def decimals(texts: Sequence[str]) -> Decimals:
    numbers = [Decimal(t).normalize() for t in texts]
    exponents = [max(0, -int(n.as_tuple().exponent)) for n in numbers]
    mantissas = [int(n.scaleb(e)) for n, e in zip(numbers, exponents, strict=True)]
    return Decimals(
        np.array(mantissas, np.int64), np.array(exponents, np.int8), np.zeros(len(texts), np.uint8)
    )


def integers(values: Sequence[int | None]) -> Integers:
    return Integers(
        np.array([0 if v is None else v for v in values], np.int64),
        np.array([BLANK if v is None else OK for v in values], np.uint8),
    )


def raw(rows: Sequence[Row], first_row: int = 1, numbers: Sequence[int] | None = None) -> RawTrades:
    n = len(rows)
    return RawTrades(
        instrument=BTC,
        refusal=None,
        row=np.array(numbers if numbers is not None else range(first_row, first_row + n), np.int64),
        whole=np.ones(n, np.bool_),
        time=integers([r.time for r in rows]),
        received=integers([r.received for r in rows]),
        price=decimals([r.price for r in rows]),
        size=decimals([r.size for r in rows]),
        side=np.array([r.side for r in rows], np.int8),
        id=integers([r.id for r in rows]),
        raw=lambda i: f"raw {rows[i]}",
        text=lambda i, field: str(getattr(rows[i], field)),
    )


def import_all(chunks: Sequence[Sequence[Row]]) -> tuple[list[TradeColumns], list[Verdict]]:
    """What a log would hold after these chunks, and each verdict."""
    log: list[TradeColumns] = []
    verdicts: list[Verdict] = []
    at = 1
    for rows in chunks:
        verdict = against(judge(raw(rows, at), SHA), log)
        log += [columns for columns, _ in batches(verdict.accepted)]
        verdicts.append(verdict)
        at += len(rows)
    return log, verdicts


def trades_of(log: Sequence[TradeColumns]) -> list[tuple[Any, ...]]:
    return sorted(
        (
            int(c.id[i]), int(c.time[i]), decimal_text(int(c.price[i]), c.price_exponent),
            decimal_text(int(c.size[i]), c.size_exponent), int(c.side[i]), int(c.flags[i]),
        )
        for c in log
        for i in range(len(c))
    )  # fmt: skip


# Any mantissa at any exponent, up to the limit of 1e15.
prices = st.builds(
    lambda mantissa, exponent: f"{Decimal(mantissa).scaleb(-exponent):f}",
    st.integers(1, 2**63 - 1),
    st.integers(0, 18),
).filter(lambda text: Decimal(text) <= 10**15)
rows_without_conflict = st.lists(
    st.builds(
        Row,
        id=st.integers(0, 2**62 - 1),
        time=st.none() | st.integers(T - 10**15, T + 10**15),
        price=st.sampled_from(["1", "0.5", "1406502.0", "0.00141342"]) | prices,
        size=st.sampled_from(["1", "0.00000001", "23.0"]) | prices,
        side=st.sampled_from([BUY, SELL, UNKNOWN]),
    ),
    max_size=30,
    unique_by=lambda r: r.id,
)


@given(rows_without_conflict, st.data())
def test_any_order_chunking_and_repetition_ends_in_the_same_trades(
    rows: list[Row], data: st.DataObject
) -> None:
    wanted = trades_of(import_all([rows])[0])
    assert len(wanted) == len(rows)
    repeated = [*rows, *data.draw(st.lists(st.sampled_from(rows), max_size=20))] if rows else []
    shuffled = data.draw(st.permutations(repeated))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=5)))
    chunks = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]
    log, verdicts = import_all([c for c in chunks if c])
    assert trades_of(log) == wanted
    assert sum(v.duplicates for v in verdicts) == len(repeated) - len(rows)
    assert not any(v.refused for v in verdicts)


@given(rows_without_conflict)
def test_every_batch_is_ordered_holds_its_values_exactly_and_cannot_overflow_a_sum(rows: list[Row]) -> None:
    for columns, _ in batches(judge(raw(rows), SHA).accepted, price_exponent=8, size_exponent=8):
        assert (np.diff(columns.id) > 0).all()
        assert 0 <= columns.price_exponent <= 18
        total = sum(int(p) * int(s) for p, s in zip(columns.price, columns.size, strict=True))
        assert total < 2**127
        for i, trade_id in enumerate(columns.id.tolist()):
            row = next(r for r in rows if r.id == trade_id)
            assert Decimal(int(columns.price[i])).scaleb(-columns.price_exponent) == Decimal(row.price)
            assert Decimal(int(columns.size[i])).scaleb(-columns.size_exponent) == Decimal(row.size)


def test_the_exponent_of_the_stream_is_kept_and_widened_when_a_finer_price_comes() -> None:
    accepted = judge(raw([Row(price="10")]), SHA).accepted
    ((columns, _),) = batches(accepted, price_exponent=2, size_exponent=3)
    assert (columns.price_exponent, columns.price[0], columns.size_exponent, columns.size[0]) == (
        2,
        1000,
        3,
        2000,
    )
    accepted = judge(raw([Row(price="10.1234")]), SHA).accepted
    ((columns, _),) = batches(accepted, price_exponent=2)
    assert (columns.price_exponent, columns.price[0]) == (4, 101234)


def test_prices_that_no_common_exponent_holds_go_into_batches_of_their_own() -> None:
    rows = [Row(id=1, price="0.000000000000000001"), Row(id=2, price="1000000000"), Row(id=3, price="5")]
    parts = [(c.id.tolist(), c.price_exponent) for c, _ in batches(judge(raw(rows), SHA).accepted)]
    assert parts == [([1, 3], 18), ([2], 0)]


def test_a_batch_holds_at_most_ten_thousand_rows_and_the_parts_are_even() -> None:
    n = 2 * MAX_ROWS + 1
    big = [Row(id=i) for i in range(n)]
    parts = list(batches(judge(raw(big), SHA).accepted))
    assert [len(c) for c, _ in parts] == [6667, 6667, 6667]
    assert [first for _, first in parts] == [1, 6668, 13335]


REFUSALS = [
    (Row(price="1e30"), TOO_LARGE, "price '1e30' is out of range"),
    (Row(price="1000000000000001"), OK, "price '1000000000000001' is above 1e+15"),
    (Row(price="0"), OK, "price '0' is not above 0"),
    (Row(size="-1"), OK, "size '-1' is not above 0"),
    (Row(size="0.0"), OK, "size '0.0' is not above 0"),
    (Row(time=4_102_444_800_000_000_000), OK, "time '4102444800000000000' is not between 2009 and 2100"),
    (Row(time=1_230_767_999_999_999_999), OK, "time '1230767999999999999' is not between 2009 and 2100"),
    (Row(id=-1), OK, "id '-1' is below 0"),
    (Row(side=BAD_SIDE), OK, "side '2' is neither a buy nor a sell"),
]


@pytest.mark.parametrize(("row", "status", "reason"), REFUSALS)
def test_a_row_out_of_range_is_refused_with_field_and_value(row: Row, status: int, reason: str) -> None:
    chunk = raw([Row(id=1), replace(row, price="1") if status else row, Row(id=3)])
    if status:
        chunk.price.status[1] = status
        rows = [Row(id=1), row, Row(id=3)]
        chunk = replace(chunk, text=lambda i, field: str(getattr(rows[i], field)))
    verdict = judge(chunk, SHA)
    assert [(r.row, r.reason) for r in verdict.refused] == [(2, reason)]
    assert verdict.refused[0].raw.startswith("raw Row(")
    assert len(verdict.accepted) == 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (BLANK, "price is blank"), (MALFORMED, "price '100.5' cannot be read"),
        (NOT_A_NUMBER, "price '100.5' is not a number"),
        (TOO_FINE, "price '100.5' has more digits than int64 and 18 decimals hold"),
    ],
)  # fmt: skip
def test_a_field_that_could_not_be_parsed_is_the_reason(status: int, reason: str) -> None:
    chunk = raw([Row()])
    chunk.price.status[0] = status
    assert judge(chunk, SHA).refused[0].reason == reason


def test_a_row_with_too_few_fields_is_refused_for_that_alone() -> None:
    chunk = raw([Row(price="0", size="0")])
    chunk.whole[0] = False
    assert [r.reason for r in judge(chunk, SHA).refused] == ["too few or too many fields"]


def test_a_refused_row_keeps_two_thousand_characters() -> None:
    chunk = replace(raw([Row(price="0")]), raw=lambda _: "x" * 5000)
    assert len(judge(chunk, SHA).refused[0].raw) == 2000


def test_a_blank_time_becomes_the_time_of_receipt_and_says_so() -> None:
    accepted = judge(raw([Row(time=None)]), SHA).accepted
    assert (accepted.time.tolist(), accepted.flags.tolist()) == ([T + 7], [RECEIVE_TIME])
    chunk = replace(raw([Row(time=None)]), received=None)
    assert judge(chunk, SHA).refused[0].reason == "time is blank"


def test_two_times_of_receipt_of_one_trade_are_no_difference_but_a_time_of_its_own_is() -> None:
    first, again, timed = Row(time=None), Row(time=None, received=T + 99), Row(time=T)
    log, verdicts = import_all([[first, again], [again]])
    assert [v.duplicates for v in verdicts] == [1, 1]
    refused = import_all([[first], [timed]])[1][1].refused
    assert len(refused) == 1
    assert trades_of(log)[0][1] == T + 7


DIFFERENCES = [Row(price="100.6"), Row(size="3"), Row(side=SELL), Row(time=T + 1)]


@pytest.mark.parametrize("other", DIFFERENCES)
@pytest.mark.parametrize("apart", [False, True])
def test_an_id_that_comes_again_with_other_values_is_refused_and_the_first_stays(
    other: Row, apart: bool
) -> None:
    log, verdicts = import_all([[Row()], [other]] if apart else [[Row(), other]])
    assert trades_of(log) == trades_of(import_all([[Row()]])[0])
    (refused,) = verdicts[-1].refused
    assert refused.row == 2
    assert "id 1 was accepted before with other values: " in refused.reason
    if apart:
        assert "price 100.5, size 2, side 1" in refused.reason


def test_equal_values_under_another_exponent_are_a_repeat() -> None:
    coarse = [
        c
        for c, _ in batches(
            judge(raw([Row(price="100.5", size="2")]), SHA).accepted, price_exponent=8, size_exponent=8
        )
    ]
    verdict = against(judge(raw([Row(price="100.50", size="2.000")]), SHA), coarse)
    assert (len(verdict.accepted), verdict.duplicates) == (0, 1)


def test_rows_without_an_id_get_one_of_file_and_row_so_equal_rows_stay_two_trades() -> None:
    rows = [Row(id=None), Row(id=None)]
    accepted = judge(raw(rows, 5), SHA).accepted
    assert accepted.id.tolist() == row_ids(SHA, np.array([5, 6])).tolist()
    assert (accepted.id >= ROW_ID_BIT).all()
    again = against(judge(raw(rows, 5), SHA), [c for c, _ in batches(accepted)])
    assert (len(again.accepted), again.duplicates) == (0, 2)


def test_ids_made_of_rows_never_share_a_batch_with_ids_of_the_venue() -> None:
    rows = [Row(id=10), Row(id=None), Row(id=11)]
    parts = [c.id.tolist() for c, _ in batches(judge(raw(rows), SHA).accepted)]
    assert parts == [[10, 11], row_ids(SHA, np.array([2])).tolist()]


def test_row_numbers_that_need_over_32_bits_are_an_error_not_another_row() -> None:
    with pytest.raises(ValueError, match="4294967296"):
        row_ids(SHA, np.array([1 << 32]))


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=40, unique=True).map(sorted))
def test_segments_cover_all_ids_once_and_are_few(ids: list[int]) -> None:
    parts = list(segments(np.array(ids, np.int64)))
    assert [i for part in parts for i in ids[part]] == ids
    assert len(parts) <= 9


def raw_bars(rows: Sequence[tuple[int, str, str, str, str, str]]) -> RawBars:
    columns = list(zip(*rows, strict=True))
    return RawBars(
        instrument=BTC,
        refusal=None,
        row=np.arange(1, len(rows) + 1),
        whole=np.ones(len(rows), np.bool_),
        start=integers(columns[0]),
        open=decimals(columns[1]),
        high=decimals(columns[2]),
        low=decimals(columns[3]),
        close=decimals(columns[4]),
        volume=decimals(columns[5]),
        trade_count=None,
        raw=lambda i: str(rows[i]),
        text=lambda i, field: str(rows[i][["start", "open", "high", "low", "close", "volume"].index(field)]),
    )


HOUR = 1_699_999_200_000_000_000


def test_bars_share_one_exact_exponent_and_are_ordered_by_start() -> None:
    chunk = raw_bars(
        [(HOUR + 3_600_000_000_000, "2", "3", "1.25", "2", "0"), (HOUR, "1", "1", "0.5", "1", "7.5")]
    )
    ((columns, first),) = bar_batches(judge_bars(chunk, timeframe_minutes=60).accepted)
    assert (columns.price_exponent, columns.volume_exponent, first) == (2, 1, 1)
    assert columns.start.tolist() == [HOUR, HOUR + 3_600_000_000_000]
    assert [columns.open.tolist(), columns.low.tolist(), columns.volume.tolist()] == [
        [100, 200],
        [50, 125],
        [75, 0],
    ]


@pytest.mark.parametrize(
    ("bar", "reason"),
    [
        ((HOUR, "1", "0.9", "0.5", "0.8", "1"), "low <= open, close <= high does not hold"),
        ((HOUR, "1", "2", "0.5", "3", "1"), "low <= open, close <= high does not hold"),
        ((HOUR, "1", "1", "1", "1", "-1"), "volume '-1' is below 0"),
        ((HOUR, "0", "1", "1", "1", "1"), "open '0' is not above 0"),
        ((HOUR + 1, "1", "1", "1", "1", "1"), f"start '{HOUR + 1}' is not where a 1h bar begins"),
        ((HOUR, "1000000000", "1000000000", "0.0000000001", "1", "1"),
         "open, high, low and close do not fit int64 under one exponent"),
    ],
)  # fmt: skip
def test_a_bar_that_cannot_be_is_refused(bar: tuple[int, str, str, str, str, str], reason: str) -> None:
    verdict = judge_bars(raw_bars([bar]), timeframe_minutes=60)
    assert [r.reason for r in verdict.refused] == [reason]


def test_a_venue_that_opens_at_the_last_close_may_open_outside_the_range() -> None:
    chunk = raw_bars([(HOUR, "1", "0.9", "0.5", "0.8", "1")])
    assert len(judge_bars(chunk, timeframe_minutes=60, open_is_last_close=True).accepted) == 1


def test_a_bar_again_is_a_repeat_and_another_bar_of_that_start_is_refused() -> None:
    bar = (HOUR, "1", "2", "0.5", "1.50", "1")
    other = (HOUR, "1", "2", "0.5", "1.6", "1")
    verdict = judge_bars(raw_bars([bar, bar, other]), timeframe_minutes=60)
    assert (len(verdict.accepted), verdict.duplicates, [r.row for r in verdict.refused]) == (1, 1, [3])
    log = [c for c, _ in bar_batches(verdict.accepted, price_exponent=8, volume_exponent=3)]
    again = bars_against(judge_bars(raw_bars([bar, other]), timeframe_minutes=60), log)
    assert (len(again.accepted), again.duplicates, [r.row for r in again.refused]) == (0, 1, [2])
    alone = bars_against(judge_bars(raw_bars([other]), timeframe_minutes=60), log)
    assert (len(alone.accepted), alone.duplicates, [r.row for r in alone.refused]) == (0, 0, [1])
