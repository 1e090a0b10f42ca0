"""Small worlds for ideas: logs of all that may happen to a market, drawn by hypothesis; and checks."""

from itertools import count, pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest

from alphapulse.domain.market.columns import BACK_FILLED, BarColumns, TradeColumns
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.signals.idea import Idea
from alphapulse.domain.signals.outcome import Outcome, booked
from alphapulse.domain.signals.rederivation import Open
from alphapulse.domain.signals.ticks import Sight, Ticks, market_ticks
from alphapulse.domain.signals.watcher import Watch
from tests.domain.signals.outcome_oracle import MINUTE

BTC = Instrument("test", "BTC_USD")
NAMES = {"venue": "test", "symbol": "BTC_USD"}
SECOND = 10**9
T0 = 29_000_000 * MINUTE  # a minute begins here

Log = list[tuple[int, Any]]


def at(second: float) -> int:
    return T0 + round(second * SECOND)


def trades(*rows: tuple[float, float], fetched: bool = False, first_id: int = 1) -> TradesObserved:
    """(second after T0, price with up to two decimals) each."""
    n = len(rows)
    return TradesObserved(
        instrument=BTC,
        columns=TradeColumns(
            time=np.array([at(time) for time, _ in rows], dtype=np.int64),
            price=np.array([round(price * 100) for _, price in rows], dtype=np.int64),
            size=np.ones(n, dtype=np.int64),
            side=np.zeros(n, dtype=np.int8),
            id=np.arange(first_id, first_id + n, dtype=np.int64),
            flags=np.full(n, BACK_FILLED if fetched else 0, dtype=np.uint8),
            price_exponent=2,
            size_exponent=0,
        ),
    )


def bars(*rows: tuple[float, float, float, float, float], timeframe: int = 1) -> BarsObserved:
    """(second after T0, open, high, low, close) each."""
    start, *prices = np.array(rows).T
    open_, high, low, close = (np.round(price * 100).astype(np.int64) for price in prices)
    return BarsObserved(
        instrument=BTC,
        timeframe_minutes=timeframe,
        volume_unit="base",
        columns=BarColumns(
            start=np.array([at(second) for second in start], dtype=np.int64),
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=np.ones(len(rows), dtype=np.int64),
            trade_count=np.full(len(rows), -1, dtype=np.int64),
            price_exponent=2,
            volume_exponent=0,
        ),
    )


def passed(second: float) -> WatermarkPassed:
    return WatermarkPassed(**NAMES, time=at(second))


def connected(second: float) -> FeedConnected:
    return FeedConnected(**NAMES, time=at(second))


def lost(second: float) -> FeedLost:
    return FeedLost(**NAMES, time=at(second), reason="test")


def gap(start: float, end: float, *, filled: bool) -> GapClosed:
    return GapClosed(**NAMES, start=at(start), end=at(end), back_filled=filled)


def log_of(*events: Any) -> Log:
    return [(10 * (i + 1), event) for i, event in enumerate(events)]


def long(**changes: Any) -> Idea:
    """In at 100, out at 98 or 103, decided at T0, for ten minutes."""
    given = {"side": 1, "entry": 100.0, "stop": 98.0, "target": 103.0, "decided": T0, "horizon_end": at(600)}
    return Idea(**(given | changes))


def short(**changes: Any) -> Idea:
    return long(**({"side": -1, "stop": 102.0, "target": 97.0} | changes))


def watched(idea: Idea, log: Log) -> Outcome | None:
    """What the kernel makes of it."""
    watch = Watch.empty(4)
    watch.add(1, idea)
    left = watch.feed(market_ticks(Sight(), log)[1])
    return booked(idea, left[0].exit) if left else None


def assert_agrees(outcome: Outcome | Open | None, expected: dict[str, Any] | None) -> None:
    """``outcome`` is what the oracle says: prices, times and labels exactly, ratios to the last digits."""
    if expected is None or not isinstance(outcome, Outcome):
        assert expected is None, (outcome, expected)
        assert outcome is None or isinstance(outcome, Open), outcome
        return
    for name, value in expected.items():
        found = getattr(outcome, name)
        wanted = value if isinstance(value, str | int) else pytest.approx(float(value), rel=1e-9, abs=1e-9)
        if name in ("exit_price", "worst_price", "best_price"):
            wanted = float(value)
        assert found == wanted, (name, found, value, outcome)


def ticks_of(log: Log, cuts: list[int] | None = None) -> list[Ticks]:
    sight, found = Sight(), []
    for begin, end in pairwise([0, *sorted(cuts or []), len(log)]):
        sight, ticks = market_ticks(sight, log[begin:end])
        found.append(ticks)
    return found


KINDS = (*["trades"] * 6, *["bars"] * 3, "watermark", "connected", "lost", "gap", "filled")

# Step of the price, wicks of a bar, seconds back.
_ROW = st.tuples(
    st.integers(-8, 8), st.integers(0, 3), st.integers(0, 3), st.integers(-8, 4).map(lambda x: 5 * x)
)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from((30, 60, 90, 15, 5, 0)),  # seconds that pass; often two things happen at once
        st.lists(_ROW, min_size=1, max_size=4),
        st.booleans(),
    ),
    min_size=3,
    max_size=25,
)


@st.composite
def worlds(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Log:
    """Trades in and out of order, bars with and without them, and a feed that comes and goes."""
    log, second, price, ids = Log(), 0.0, 10_000, count(1)
    for kind, pause, rows, flag in draw(_STEPS):
        if kind not in kinds:
            continue
        second += pause
        log.append((10 * (len(log) + 1), _event(kind, second, price, rows, flag, next(ids))))
        price += rows[-1][0] * 25
    return log


def _event(
    kind: str, second: float, price: int, rows: list[tuple[int, ...]], flag: bool, first_id: int
) -> Any:
    steps = [row[0] * 25 for row in rows]
    prices = [(price + sum(steps[: i + 1])) / 100 for i in range(len(rows))]
    back = rows[0][3]
    match kind:
        case "trades":
            lags = [min(row[3], 0) if flag else i * 5 for i, row in enumerate(rows)]
            given = [(max(second + lag, 1), p) for lag, p in zip(lags, prices, strict=True)]
            return trades(*given, fetched=flag and back > 0, first_id=first_id * 10)
        case "bars":
            begin = 60 * (second // 60)
            given5 = [
                (begin + 60 * i, p, p + up + 0.5, p - down - 0.5, p + (up - down) / 2)
                for i, (p, (_, up, down, _)) in enumerate(zip(prices, rows, strict=True))
            ]
            if flag and back > 10:
                return bars((300 * (second // 300), *given5[0][1:]), timeframe=5)
            return bars(*given5)
        case "watermark":
            return passed(second)
        case "connected":
            return connected(second)
        case "lost":
            return lost(second + min(back, 0) * flag)
    since = max(second - 60 * rows[0][1] - rows[0][2], 0)
    return gap(since, max(second, since + 1), filled=kind == "filled")


@st.composite
def ideas(draw: st.DrawFn) -> Idea:
    side = draw(st.sampled_from((1, -1)))
    entry = 100 + draw(st.integers(-12, 12)) * 0.25
    risk, gain = draw(st.integers(1, 12)) * 0.25, draw(st.integers(1, 12)) * 0.25
    decided = at(draw(st.integers(0, 12)) * 30)
    return Idea(
        side=side,
        entry=entry,
        stop=entry - side * risk,
        target=entry + side * gain,
        decided=decided,
        horizon_end=decided + draw(st.integers(1, 20)) * 30 * SECOND,
        fee_bps=draw(st.sampled_from((0.0, 7.5))),
        slippage_bps=draw(st.sampled_from((0.0, 2.5))),
    )
