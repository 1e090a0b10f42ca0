"""How a market moves with the reference: against slow code, as of each row, the same however it is cut."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.fields import CLOSE, TIME, Floats
from alphapulse.domain.decision import reference
from alphapulse.domain.decision.reference import LEAST, MEMORY, ReferenceSource
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.signals.engine_contexts import ContextSource

BTC, ETH = "sim:BTC_USD", "sim:ETH_USD"
COUNT = 600


def closed(
    market: str, closes: Floats, positions: Sequence[int], *, late: Sequence[int] | int = 0, first: int = 0
) -> Closed:
    """One-minute bars from minute ``first`` on, known ``late`` ns after their end."""
    values = np.zeros((8, len(closes)))
    values[TIME], values[CLOSE] = 1_000 + first + np.arange(len(closes)), closes
    position = np.array(positions, dtype=np.int64)
    bars = Bars(
        instrument=market,
        timeframe=1,
        values=values,
        known_time=((values[TIME] + 1) * MINUTE_NS).astype(np.int64) + np.array(late, dtype=np.int64),
        position=position,
        input_position=position,
        flags=np.zeros(len(closes), dtype=np.int64),
    )
    return Closed(bars, position)


def worlds(beta: float = 1.5, noise: float = 5e-4, count: int = COUNT) -> tuple[Floats, Floats]:
    """Closes of the reference, and of a market that moves ``beta`` times with it and a little by itself."""
    rng = np.random.default_rng(5)
    x = rng.normal(0, 1e-3, count)
    y = beta * x + rng.normal(0, noise, count)
    return 100 * np.exp(np.cumsum(x)), 10 * np.exp(np.cumsum(y))


def slow(ours: Floats, theirs: Floats, known: Sequence[bool]) -> tuple[list[float], list[float]]:
    """Beta and residual of each row; ``known``: whether the reference's bar was known when ours was."""
    y, x = np.diff(np.log(ours), prepend=np.nan), np.diff(np.log(theirs), prepend=np.nan)
    product = square = errors = 0.0
    pairs, betas, residuals = 0, [], []
    for i in range(len(ours)):
        if i >= 2:  # the pair of the row before
            pairs += 1
            weight = max(1 / pairs, 2 / (MEMORY + 1))
            error = y[i - 1] - (product / square if square else 0.0) * x[i - 1]
            product += weight * (y[i - 1] * x[i - 1] - product)
            square += weight * (x[i - 1] ** 2 - square)
            errors += weight * (error**2 - errors)
        ready = pairs >= LEAST
        betas.append(product / square if ready else math.nan)
        judged = ready and known[i]
        residuals.append((y[i] - betas[-1] * x[i]) / math.sqrt(errors) if judged else math.nan)
    return betas, residuals


def asked(source: ReferenceSource, ours: Closed, cuts: Sequence[int]) -> dict[str, Floats]:
    edges = [0, *cuts, len(ours.bars)]
    parts = [source.columns(ETH, 1, ours.take(slice(a, b))) for a, b in pairwise(edges)]
    return {name: np.concatenate([part[name] for part in parts]) for name in source.names}


def test_it_is_what_the_engine_asks_for():
    source: ContextSource = ReferenceSource(BTC, [1])
    assert set(source.names) == {"reference_beta", "reference_residual"}
    assert source.markets == {BTC}


def test_beta_and_residual_are_those_of_the_definition():
    theirs, ours = worlds()
    source = ReferenceSource(BTC, [1])
    source.closed(BTC, {1: closed(BTC, theirs, range(1, COUNT + 1))})
    got = source.columns(ETH, 1, closed(ETH, ours, range(1, COUNT + 1)))
    betas, residuals = slow(ours, theirs, [True] * COUNT)
    np.testing.assert_allclose(got["reference_beta"], betas, rtol=1e-9)
    np.testing.assert_allclose(got["reference_residual"], residuals, rtol=1e-7, atol=1e-9)
    assert got["reference_beta"][-1] == pytest.approx(1.5, abs=0.1)
    assert np.nanstd(got["reference_residual"]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("why", ["position", "clock"])
def test_a_bar_of_the_reference_that_is_known_after_a_row_does_not_show_in_it(why):
    """It is learnt from with the next row: beta stays what it would be, the residual is not there."""
    theirs, ours = worlds()
    later = np.arange(COUNT) % 3 == 0
    source = ReferenceSource(BTC, [1])
    positions = 10 * np.arange(COUNT)
    shifted = positions + later * 5 if why == "position" else positions
    late = later.astype(np.int64) * 7 if why == "clock" else 0
    source.closed(BTC, {1: closed(BTC, theirs, shifted, late=late)})
    got = source.columns(ETH, 1, closed(ETH, ours, positions + 1))
    betas, residuals = slow(ours, theirs, ~later)
    np.testing.assert_allclose(got["reference_beta"], betas, rtol=1e-9)
    np.testing.assert_allclose(got["reference_residual"], residuals, rtol=1e-7, atol=1e-9)


def test_however_the_calls_are_cut_and_restored_the_bytes_are_the_same():
    theirs, ours = worlds()
    reference_bars, rows = closed(BTC, theirs, range(COUNT)), closed(ETH, ours, range(COUNT))
    whole = ReferenceSource(BTC, [1])
    whole.closed(BTC, {1: reference_bars})
    expected = asked(whole, rows, [])
    cut, at = ReferenceSource(BTC, [1]), 0
    parts = []
    for end in (1, 2, 130, 131, 400, COUNT):
        cut.closed(BTC, {1: reference_bars.take(slice(at, end))})
        parts.append(cut.columns(ETH, 1, rows.take(slice(at, end))))
        again = ReferenceSource(BTC, [1])
        again.restore(cut.packed())
        assert again.packed() == cut.packed()
        cut, at = again, end
    for name, values in expected.items():
        assert np.concatenate([part[name] for part in parts]).tobytes() == values.tobytes()
    assert cut.packed() == whole.packed()


def test_a_row_sees_so_many_bars_of_the_reference_however_many_were_handed_in(monkeypatch):
    """What the limit forgets depends on the position of a row, not on how far ahead the reference is."""
    monkeypatch.setattr(reference, "CAPACITY", 50)
    theirs, ours = worlds()
    # The reference is 40, then 60 bars ahead of the market in the log.
    for ahead, known in ((40, True), (60, False)):
        bars, rows = closed(BTC, theirs, np.arange(COUNT)), closed(ETH, ours, np.arange(COUNT) + ahead)
        at_once, stepwise = ReferenceSource(BTC, [1]), ReferenceSource(BTC, [1])
        at_once.closed(BTC, {1: bars})
        whole = asked(at_once, rows, [300])["reference_residual"]
        parts = []
        for begin in range(0, COUNT + ahead, 20):
            stepwise.closed(BTC, {1: bars.take(slice(begin, begin + 20))})
            its = rows.take(slice(max(begin - ahead, 0), max(begin + 20 - ahead, 0)))
            parts.append(stepwise.columns(ETH, 1, its)["reference_residual"])
            assert len(stepwise._bars[1].end) <= 70
        assert np.concatenate(parts).tobytes() == whole.tobytes()
        assert np.isfinite(whole[LEAST + 5 : COUNT - ahead]).all() == known
        assert len(stepwise.packed()) < 50 * 4 * 8 + 300


def test_a_hole_on_either_side_gives_no_return():
    theirs, ours = worlds()
    source = ReferenceSource(BTC, [1])
    source.closed(BTC, {1: closed(BTC, theirs[:300], range(300))})
    source.closed(BTC, {1: closed(BTC, theirs[300:], range(300, COUNT), first=301)})
    first = source.columns(ETH, 1, closed(ETH, ours[:300], range(300)))["reference_residual"]
    after = source.columns(ETH, 1, closed(ETH, ours[300:], range(300, COUNT), first=301))[
        "reference_residual"
    ]
    assert np.isfinite(first[-1])
    assert np.isnan(after[0])
    assert np.isfinite(after[1])


def test_the_reference_itself_and_other_timeframes_are_told_nothing():
    theirs, _ = worlds()
    bars = closed(BTC, theirs, range(COUNT))
    source = ReferenceSource(BTC, [1])
    source.closed(BTC, {1: bars, 5: bars})
    assert np.isnan(source.columns(BTC, 1, bars)["reference_beta"]).all()
    assert np.isnan(source.columns(ETH, 5, bars)["reference_beta"]).all()


def test_a_market_beyond_the_limit_is_told_nothing(monkeypatch):
    monkeypatch.setattr(reference, "MAX_MARKETS", 1)
    theirs, ours = worlds()
    source = ReferenceSource(BTC, [1])
    source.closed(BTC, {1: closed(BTC, theirs, range(COUNT))})
    first = source.columns(ETH, 1, closed(ETH, ours, range(COUNT)))["reference_beta"]
    second = source.columns("sim:XRP_USD", 1, closed("sim:XRP_USD", ours, range(COUNT)))["reference_beta"]
    assert np.isfinite(first[-1])
    assert np.isnan(second).all()


def test_a_state_of_another_reference_is_refused_with_both():
    with pytest.raises(ValueError, match=r"of sim:BTC_USD in \[1\] minutes, not of sim:ETH_USD in \(1, 5\)"):
        ReferenceSource(ETH, [5, 1]).restore(ReferenceSource(BTC, [1]).packed())
