"""The engine as a whole: however the log is cut, put away and restored, the same follows from it."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.domain.decision.decisions import ISSUED, CalibrationFitted, DecisionMade
from alphapulse.domain.decision.strategy import Geometry, Learning, StrategyDefined
from alphapulse.domain.market.events import FeedConnected, FeedLost, GapClosed, WatermarkPassed
from alphapulse.domain.signals import engine_rows, engine_steps
from alphapulse.domain.signals.engine import Engine, EngineState, Output
from alphapulse.domain.signals.engine_state import BadState
from alphapulse.domain.signals.signal import OutcomeRecorded
from tests.domain.signals.engine_world import (
    ADAPTATIONS,
    MINUTE,
    START,
    Log,
    bar_events,
    closes_and_volumes,
    log,
    seat,
    strategy,
    trade_events,
    world,
)

LOG = world(markets=2, bars=1_500, size=100)

# Everything that may meet: two timeframes, a larger one that a voter looks at, adaptations, levels.
MANY = strategy(
    *(seat(name, noise=0.4, seed=n) for n, name in enumerate("abc", 1)),
    timeframes=(1, 5),
    min_consensus=0.35,
    adaptations=ADAPTATIONS,
    geometries=(
        Geometry(stop_atr=2.0, target_atr=1.0, horizon_bars=30, to_levels=True),
        Geometry(stop_atr=1.5, target_atr=1.5, horizon_bars=30),
    ),
)


BARS = 1_600  # five-minute rows begin after 1,350


@cache
def expected() -> list[Output]:
    return list(Engine(strategy()).advance(LOG))


def in_cuts(defined: StrategyDefined, events: Log, cuts: Sequence[int]) -> list[Output]:
    engine, found = Engine(defined), list[Output]()
    for a, b in pairwise([0, *sorted(set(cuts)), len(events)]):
        found += engine.advance(events[a:b])
    return found


def restored(defined: StrategyDefined, events: Log, at: int) -> list[Output]:
    before = Engine(defined)
    found = list(before.advance(events[:at]))
    state = EngineState.unpacked(before.state().packed())
    return found + list(Engine(defined, state=state).advance(events[at:]))


def test_a_world_with_an_edge_gives_decisions_outcomes_calibrations_and_signals() -> None:
    events = [output.event for output in expected()]
    assert sum(isinstance(e, OutcomeRecorded) for e in events) > 60
    assert any(isinstance(e, CalibrationFitted) for e in events)
    assert any(isinstance(e, DecisionMade) and e.verdict == ISSUED for e in events)


@settings(max_examples=12)
@given(cuts=st.sets(st.integers(0, len(LOG)), max_size=12))
def test_any_cutting_into_calls_gives_the_same(cuts: set[int]) -> None:
    assert in_cuts(strategy(), LOG, sorted(cuts)) == expected()


@settings(max_examples=8)
@given(at=st.integers(0, len(LOG)))
def test_an_engine_restored_from_bytes_goes_on_as_if_nothing_had_happened(at: int) -> None:
    assert restored(strategy(), LOG, at) == expected()


# A market in all its moods: trades in batches of any size, watermarks, a feed that is lost and found.


@cache
def trades(seed: int) -> list[Any]:
    closes, volumes = closes_and_volumes(seed, BARS, edge=3e-4)
    rng = np.random.default_rng(seed)
    events = list[Any]()
    for batch in trade_events("M0", closes, volumes, seed=seed, size=80):
        last = int(batch.columns.time[-1])
        events.append(batch)
        where = {"venue": "test", "symbol": "M0"}
        dice = rng.random()
        if dice < 0.1:
            events.append(WatermarkPassed(**where, time=last + MINUTE // 8))
        elif dice < 0.13:
            events.append(FeedLost(**where, time=last, reason="test"))
            events.append(FeedConnected(**where, time=last + MINUTE // 10))
        elif dice < 0.15:
            events.append(GapClosed(**where, start=last - MINUTE, end=last, back_filled=dice < 0.14))
    return [FeedConnected(venue="test", symbol="M0", time=START), *events]


def mixed() -> Log:
    """One market of trades, one of bars, one of both."""
    closes, volumes = closes_and_volumes(8, BARS, edge=3e-4)
    return log(
        {
            "M0": trades(7),
            "M1": bar_events("M1", closes, volumes, size=21),
            "M2": bar_events("M2", closes, volumes, size=450),
        }
    )


MIXED = mixed()


@cache
def expected_mixed() -> list[Output]:
    return list(Engine(MANY).advance(MIXED))


def test_the_mixed_world_has_decisions_on_both_timeframes_in_all_markets() -> None:
    made = [o.event for o in expected_mixed() if isinstance(o.event, DecisionMade)]
    assert {(each.instrument, each.timeframe) for each in made} >= {
        (f"test:M{n}", timeframe) for n in range(3) for timeframe in (1, 5)
    }
    assert any(isinstance(o.event, CalibrationFitted) for o in expected_mixed())


@settings(max_examples=8)
@given(cuts=st.sets(st.integers(0, len(MIXED)), max_size=80))
def test_any_cutting_of_trades_bars_and_gaps_gives_the_same(cuts: set[int]) -> None:
    assert in_cuts(MANY, MIXED, sorted(cuts)) == expected_mixed()


def test_one_event_at_a_time_gives_the_same() -> None:
    assert in_cuts(MANY, MIXED, range(len(MIXED))) == expected_mixed()


@settings(max_examples=6)
@given(at=st.integers(0, len(MIXED)))
def test_a_mixed_world_restored_at_any_event_goes_on_the_same(at: int) -> None:
    assert restored(MANY, MIXED, at) == expected_mixed()


def test_restoring_before_every_event_gives_the_same() -> None:
    events, state, found = MIXED[:60], None, list[Output]()
    for event in events:
        engine = Engine(MANY, state=state)
        found += engine.advance([event])
        state = EngineState.unpacked(engine.state().packed())
    assert found == [o for o in expected_mixed() if o.position <= events[-1][0]]


def test_one_market_alone_in_one_call_or_in_many_gives_the_same() -> None:
    """Where no other market comes in between, events of one are worked on together."""
    closes, volumes = closes_and_volumes(3, 3_000, edge=3e-4)
    alone = log({"M0": bar_events("M0", closes, volumes, size=100)})
    whole = list(Engine(strategy()).advance(alone))
    assert in_cuts(strategy(), alone, range(len(alone))) == whole
    assert any(isinstance(o.event, CalibrationFitted) for o in whole)


@pytest.mark.parametrize(("rows", "voted"), [(1, 7), (700, 64), (10**6, 10**6)])
def test_how_much_is_worked_on_at_once_changes_nothing(
    rows: int, voted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = expected_mixed()
    monkeypatch.setattr(engine_steps, "STRETCH", rows)
    monkeypatch.setattr(engine_rows, "VOTED", voted)
    assert list(Engine(MANY).advance(MIXED)) == whole


# The future


@settings(max_examples=10)
@given(at=st.integers(2, len(MIXED) - 1), factor=st.floats(0.5, 2.0))
def test_whatever_comes_later_changes_nothing_of_what_was_given(at: int, factor: float) -> None:
    """All prices and volumes after an event are others; what followed from the events before stays."""
    closes, volumes = closes_and_volumes(99, BARS, edge=-3e-4)
    other: dict[str, Sequence[Any]] = {
        "M0": trade_events("M0", closes * factor, volumes * factor, seed=5, size=80),
        "M1": bar_events("M1", closes * factor, volumes[::-1], size=21),
        "M2": bar_events("M2", closes * factor, volumes[::-1], size=450),
    }
    later = [each for each in log(other) if each[0] > at]
    poisoned = list(Engine(MANY).advance([*MIXED[:at], *later]))
    known = [o for o in expected_mixed() if o.position <= at]
    assert [o for o in poisoned if o.position <= at] == known


def test_inside_one_event_later_bars_change_nothing_of_what_was_decided_before_them() -> None:
    closes, volumes = closes_and_volumes(11, 2_000, edge=3e-4)
    (event,) = bar_events("M0", closes, volumes, size=2_000)
    later = closes.copy()
    later[1_000:] *= 1.5 + np.sin(np.arange(1_000))
    told = np.concatenate([volumes[:1_000], volumes[:1_000]])
    (other,) = bar_events("M0", later, told, size=2_000)
    end = int(event.columns.start[1_000])

    def before(found: Sequence[Output]) -> list[Any]:
        made = [o.event for o in found if isinstance(o.event, DecisionMade)]
        left = [o.event for o in found if isinstance(o.event, OutcomeRecorded)]
        ends = [e for e in left if e.outcome.closed_at <= end]
        return [e for e in made if e.time <= end] + ends

    first = before(Engine(strategy()).advance([(1, "test:M0", event)]))
    second = before(Engine(strategy()).advance([(1, "test:M0", other)]))
    assert first == second
    assert len(first) > 10


# States


def test_a_state_does_not_change_with_what_comes_after_it() -> None:
    engine = Engine(strategy())
    engine.advance(LOG[:10])
    state = engine.state()
    packed = state.packed()
    engine.advance(LOG[10:])
    Engine(strategy(), state=state).advance(LOG[10:])
    assert state.packed() == packed


def test_a_state_of_another_strategy_or_part_is_refused() -> None:
    state = Engine(strategy()).state()
    with pytest.raises(BadState, match=r"world\.1 .* part 0, not of world\.2"):
        Engine(strategy(version=2), state=state)
    with pytest.raises(BadState, match="part 1"):
        Engine(strategy(), part=1, state=state)


@pytest.mark.parametrize("data", [b"", b"\x00", b"nonsense", b"\x81\xa7version\x02"])
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises(BadState, match=r"state"):
        EngineState.unpacked(data)


def test_memory_is_flat_in_history() -> None:
    sizes = []
    for bars in (3_000, 9_000):
        engine = Engine(strategy(learning=Learning(least=60, window=100)))
        engine.advance(world(markets=1, bars=bars))
        sizes.append(len(engine.state().packed()))
    assert sizes[1] < sizes[0] + 2_000
