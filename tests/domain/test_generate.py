"""The generated tape: the same for a seed however it is cut, lifelike, and disordered only on request."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.domain.market.columns import RECEIVE_TIME, TradeColumns
from alphapulse.domain.market.generate import BLOCK, TapeSpec, tape

SPEC = TapeSpec(gaps_per_day=200)


def made(
    spec: TapeSpec, rows: int, chunk_rows: int, seed: int = 1
) -> tuple[TradeColumns, list[tuple[int, int]]]:
    chunks = list(tape(spec, np.random.default_rng(seed), rows=rows, chunk_rows=chunk_rows))
    assert [len(c.trades) for c in chunks[:-1]] == [chunk_rows] * (len(chunks) - 1)
    first = chunks[0].trades
    names = ("time", "price", "size", "side", "id", "flags")
    joined = {name: np.concatenate([getattr(c.trades, name) for c in chunks]) for name in names}
    gaps = [g for c in chunks for g in c.gaps]
    return TradeColumns(
        **joined, price_exponent=first.price_exponent, size_exponent=first.size_exponent
    ), gaps


@settings(max_examples=20)
@given(st.integers(1, 100_000), st.integers(500, 80_000), st.booleans())
def test_a_seed_gives_one_tape_whatever_the_chunks(rows: int, chunk_rows: int, shuffled: bool) -> None:
    spec = replace(SPEC, shuffled=shuffled, duplicate_ratio=0.01, blank_time_ratio=0.01)
    whole, gaps = made(spec, rows, rows)
    cut, same_gaps = made(spec, rows, chunk_rows)
    assert cut == whole
    assert same_gaps == gaps


def test_another_seed_gives_another_tape() -> None:
    assert made(SPEC, 1000, 1000, seed=1)[0] != made(SPEC, 1000, 1000, seed=2)[0]


def test_an_orderly_tape_has_rising_ids_and_times_and_positive_values() -> None:
    trades, _ = made(TapeSpec(), 3 * BLOCK, 10_000)
    assert (np.diff(trades.id) > 0).all()
    assert (np.diff(trades.time) >= 0).all()
    assert trades.price.min() > 0
    assert trades.size.min() > 0
    assert set(np.unique(trades.side).tolist()) == {-1, 1}
    assert not trades.flags.any()
    assert (trades.time % 1_000_000 == 0).all()


def test_trades_come_in_bursts_sizes_have_a_heavy_tail_and_sides_persist() -> None:
    trades, _ = made(TapeSpec(rate_per_s=20), 10 * BLOCK, BLOCK)
    waits = np.diff(trades.time) / 1e9
    assert waits.std() / waits.mean() > 1.3  # a Poisson process has 1
    assert 10 < 1 / waits.mean() < 40
    assert trades.size.max() > 100 * np.median(trades.size)
    assert 0.6 < (trades.side[1:] == trades.side[:-1]).mean() < 0.7


def test_holes_are_told_last_minutes_and_hold_no_trade() -> None:
    trades, gaps = made(SPEC, 4 * BLOCK, 7_777)
    assert gaps
    for start, end in gaps:
        assert 60e9 <= end - start <= 30 * 60e9
        assert not ((trades.time > start) & (trades.time < end - SPEC.time_step)).any()


def test_repeats_blank_times_and_disorder_come_as_often_as_asked() -> None:
    spec = TapeSpec(duplicate_ratio=0.1, blank_time_ratio=0.05, shuffled=True)
    trades, _ = made(spec, 4 * BLOCK, 4 * BLOCK)
    ids = np.unique(trades.id)
    assert 0.08 < 1 - len(ids) / len(trades) < 0.12
    assert 0.04 < (trades.flags == RECEIVE_TIME).mean() < 0.06
    assert (np.diff(trades.id) < 0).mean() > 0.1


def test_a_disordered_tape_holds_the_trades_of_the_orderly_one() -> None:
    calm, _ = made(TapeSpec(), 2 * BLOCK, 9_999)
    wild, _ = made(TapeSpec(shuffled=True, blank_time_ratio=0.1), 2 * BLOCK, 10_001)
    ordered = wild.take(np.argsort(wild.id))
    assert replace(ordered, flags=calm.flags) == calm


@pytest.mark.parametrize("wrong", [{"rate_per_s": 0.0}, {"price": -1.0}, {"duplicate_ratio": 1.5}])
def test_a_market_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be above 0|between 0 and 1"):
        replace(TapeSpec(), **wrong)
